//! The local store from outside.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod child;
mod crashes;
mod foreign_files;
mod limits;
mod metrics;
mod suite;
