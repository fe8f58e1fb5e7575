//! The SQLite adapter: the conformance suite, and what only a database in a file has to promise.

#![expect(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

mod conformance;
mod durability;
mod opening;
mod outbox;
mod stale;
