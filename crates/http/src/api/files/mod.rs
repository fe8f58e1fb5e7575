//! `/files`: what is stored.

pub mod archive;
pub mod change;
pub mod download;
pub mod get;
pub mod hold;
pub mod list;
pub mod receive;
pub mod status;
pub mod timeline;
