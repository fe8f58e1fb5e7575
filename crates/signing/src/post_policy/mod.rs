//! Browser form uploads: the policy that says what a form may contain, on the side that makes it and the side that checks it.
//!
//! S3 API, "Authenticating Requests in Browser-Based Uploads Using POST (AWS Signature Version 4)".

mod check;
mod make;
mod parse;

pub(crate) use check::{field, unique_fields};

pub use make::{PolicyCondition, PostForm, PostPolicyRequest};
pub use parse::PostPolicy;
