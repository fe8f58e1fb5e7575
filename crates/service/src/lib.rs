//! Use cases: what Cloakroom does, in terms of the core's rules and ports. The only caller of the ports.
//!
//! Every use case takes the [`cloakroom_core::access::Principal`] who asks, decides by the core's rules, and
//! commits through one transition. The protocols in front (`cloakroom-http`, the workers) only translate.

mod alerting;
pub mod app;
pub mod archiving;
pub mod artifacts;
pub mod cascading;
pub mod content;
mod digesting;
pub mod downloads;
pub mod error;
pub mod files;
pub mod garbage;
pub mod health;
pub mod holding;
mod measuring;
pub mod offers;
pub mod operations;
pub mod processing;
pub mod purging;
mod quarantine;
pub mod queue;
pub mod rebuilding;
pub mod records;
pub mod recovery;
pub mod retention;
mod revising;
mod scanning;
pub mod specimen;
pub mod stores;
mod stranded;
pub mod sweeping;
pub mod tokens;
pub mod uploads;
pub mod variants;
mod verifying;

pub use app::{App, Pause};
pub use error::{Result, ServiceError};
