//! The HTTP front as a client sees it: real routes, real SQLite, real files.

mod admin;
mod authentication;
mod bucket_events;
mod files;
mod form;
mod isolation;
mod keys;
mod observability;
mod openapi;
mod operations;
mod rate_limits;
mod records;
mod robustness;
mod status;
mod test_app;
mod uploads;
