//! What the probe finds on real services, beside what is declared of them.

mod found;
mod setup;
mod stand;
mod troubles;
