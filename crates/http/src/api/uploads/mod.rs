//! `/uploads`: signing, parts, confirming.

pub mod abort;
pub mod batch;
pub mod complete;
pub mod confirm;
pub mod parts;
pub mod sign;
