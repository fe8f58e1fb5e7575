//! The dialects, each spoken by its own document's words.

mod artifacts;
mod attachments;
mod element;
mod photos;
mod reconciliation;
