//! Prints the tables of `docs/providers.md`; `make docs-providers` puts them there.

fn main() {
    print!("{}", cloakroom_objects::s3::providers::markdown());
}
