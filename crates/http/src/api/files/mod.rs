//! `/files`: what is stored.

pub mod change;
pub mod download;
pub mod get;
pub mod list;
pub mod receive;
pub mod status;
pub mod timeline;
