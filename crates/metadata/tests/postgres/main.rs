//! The PostgreSQL adapter: the conformance suites, and what only a shared database has to promise.

#![expect(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

mod administration;
mod commits;
mod conformance;
mod database;
mod diagnosis;
mod failures;
mod grouping;
mod network;
mod nodes;
mod opening;
mod pool;
mod tls;
