//! Several stores behind one port.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod between;
mod stand;
mod suite;
