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
