//! The HTTP front as a client sees it: real routes, real SQLite, real files.

mod admin;
mod administration;
mod authentication;
mod bucket_events;
mod dialects;
mod files;
mod form;
mod holds;
mod isolation;
mod keys;
mod modes;
mod observability;
mod openapi;
mod operations;
mod quarantine;
mod rate_limits;
mod records;
mod robustness;
mod status;
mod stores;
mod test_app;
mod uploads;
mod variants;
