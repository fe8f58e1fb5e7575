//! The S3 adapter: against a real Ceph RADOS gateway, over a bad network, and against answers that no good service gives.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod bootstrap;
mod clocks;
mod encryption;
mod hostile;
mod network;
mod own_endpoint;
mod parts;
mod retries;
mod scripted;
mod stand;
mod streams;
mod suite;
mod wire;

use stand::options;
