//! The few XML documents of S3's protocol, read within bounds and written without a tree.

pub(crate) mod read;
pub(crate) mod write;
