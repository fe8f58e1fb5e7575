//! The native API: one file per endpoint or close group, each with its JSON, its handler and its documentation.

pub mod admin;
pub mod bucket_events;
pub mod collections;
pub mod content;
pub(crate) mod cursor;
pub mod files;
pub mod me;
pub mod offer;
pub mod records;
pub mod uploads;
pub mod variants;
pub(crate) mod wire;
