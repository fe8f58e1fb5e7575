//! The embedded S3 endpoint: real S3 over any [`ObjectStore`], so that clients talk to Cloakroom with the tools they have.
//!
//! It is strict where S3 is: every request carries a Signature of Version 4 (in its header, its query or a form's policy),
//! what is not signed is not done, and nothing becomes visible before its checksums and signatures are verified. Bodies
//! stream in both directions; memory does not grow with their size.
//!
//! | module | for |
//! |---|---|
//! | `server` | connections: accept, limits, timeouts, drain |
//! | `gateway` | one request: routed, authorised, answered |
//! | `request`, `routing`, `auth`, `conditions`, `attributes` | what a request says |
//! | `body` | bodies on their way in: `aws-chunked`, forms, checksums |
//! | `operations` | S3's operations |
//! | `error`, `xml`, `response`, `cors` | what an answer says |
//!
//! [`ObjectStore`]: cloakroom_core::ports::objects::ObjectStore

mod attributes;
mod auth;
mod body;
mod conditions;
mod cors;
mod error;
mod gateway;
mod metrics;
mod operations;
mod request;
mod response;
mod routing;
mod server;
mod xml;

pub use cors::CorsPolicy;
pub use gateway::{CredentialSource, Gateway, GatewayOptions, ObjectObserver, Timeouts};
pub use response::{ResponseBody, S3Response};
