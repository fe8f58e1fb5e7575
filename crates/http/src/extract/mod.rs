//! Strict extractors: what does not fit exactly is refused with a problem that names the place (I12).

pub mod form;
pub mod header;
pub mod json;
pub mod path;
pub mod query;

pub use json::{Json, OptionalJson};
pub use path::Path;
pub use query::Query;
