//! `/admin`: for administrators alone.

pub mod audit;
pub mod garbage;
pub mod jobs;
pub mod operations;
pub mod owners;
pub mod quarantine;
pub mod service_tokens;
pub mod stores;
pub mod wal;
