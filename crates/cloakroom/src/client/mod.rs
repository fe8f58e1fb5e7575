//! The client library of the command line: everything that `put`, `get`, `ls`, `rm`, `status` and `smoke` need to
//! talk to an instance, near or far.
//!
//! It knows the wire contract only, never the service's own types: what works here works for every other client.
//! Tokens and presigned URLs are secrets (I7): the types that hold them print nothing, and errors never carry a URL.

pub mod api;
pub mod connection;
pub mod development;
pub mod download;
pub mod error;
pub mod filename;
mod jobs;
pub mod multipart;
pub mod operations;
pub mod output;
pub mod partial;
pub mod profile;
pub mod progress;
mod quarantine;
pub mod retry;
pub mod source;
pub mod status;
pub mod transfer;
pub mod upload;
pub mod wire;
