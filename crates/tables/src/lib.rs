//! Tables in files: how many rows, which columns.
//!
//! Pure code over readers: it knows no files, processes or network, and runs as well in a fuzzer as in the sandboxed
//! child that it is made for. Everything streams: memory does not grow with the file.

mod delimited;
mod error;
mod facts;
mod header;
mod workbook;

pub use delimited::{Options, inspect_delimited};
pub use error::Error;
pub use facts::{COLUMN_NAME_CHARS, LineEnding, REPORTED_COLUMNS, Sheet, Table, Workbook};
pub use workbook::{Kind, Limits, inspect_workbook, recognise};
