//! `/admin`: for administrators alone.

pub mod jobs;
pub mod service_tokens;
