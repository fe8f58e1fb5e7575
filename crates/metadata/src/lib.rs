//! Adapters of the metadata port ([`cloakroom_core::ports::metadata::MetadataStore`]): the only crate that speaks SQL.
//!
//! [`sqlite`] is the embedded database, [`postgres`] the one that several nodes share. What every adapter promises is said once, in the testkit's
//! `metadata_store_suite`; how the schema may change is said in `migrations/README.md`.

mod counting;
mod hold;
mod migration;
mod place;
pub mod postgres;
mod prefix;
mod queue;
mod row;
mod scalar;
pub mod sqlite;
mod trimming;

pub use prefix::{InvalidTablePrefix, TablePrefix};
