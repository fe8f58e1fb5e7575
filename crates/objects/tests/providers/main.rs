//! The suite of the port, and the probe, on S3 services beside those of `make test`: Garage and Swift with s3api, with what
//! they can do as it is declared. `make test-providers` runs it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod garage;
mod service;
mod swift;
