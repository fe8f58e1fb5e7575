//! Adapters of the object-store port: where bytes live, and how clients reach them.

mod bucket_name;
pub mod cloudfront;
mod conditions;
pub mod credentials;
pub mod local;
pub mod s3;
pub mod signer;
pub mod stores;
mod web;

/// The metric of what circuits of stores do with calls: 0 closed, 1 half-open, 2 open.
const CIRCUIT_STATE: &str = "cloakroom_store_circuit_state";
