//! Adapters of the object-store port: where bytes live, and how clients reach them.

pub mod local;
pub mod signer;
