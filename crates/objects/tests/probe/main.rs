//! What the probe finds on real services, beside what is declared of them.

mod found;
#[cfg(feature = "provider-tests")]
mod lifecycle;
mod setup;
mod stand;
mod troubles;
