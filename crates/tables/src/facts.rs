//! What is found out about a table.

use serde::Serialize;

/// The most column names that are reported; the number of columns is always the true one.
pub const REPORTED_COLUMNS: usize = 1_000;

/// The most characters of a column's name.
pub const COLUMN_NAME_CHARS: usize = 200;

/// How the lines of a text end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LineEnding {
    /// `\n`.
    Lf,
    /// `\r\n`.
    CrLf,
    /// `\r`.
    Cr,
    /// More than one of them.
    Mixed,
}

/// The facts of delimited text (CSV, TSV).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Table {
    /// Rows of data: neither the header nor blank lines.
    pub row_count: u64,
    /// The header's names, cleaned and cut, at most [`REPORTED_COLUMNS`]; empty without a header.
    pub columns: Vec<String>,
    /// Fields of the first row.
    pub column_count: u64,
    /// What separates the fields; a comma where there is only one column.
    pub delimiter: char,
    /// The encoding's name in lower case, as the WHATWG spells it: `utf-8`, `utf-16le`, `windows-1251`.
    pub encoding: String,
    /// Whether the text begins with a byte order mark.
    pub byte_order_mark: bool,
    /// Whether the first row names the columns.
    pub has_header: bool,
    /// How rows end; none when no line end was seen.
    pub line_ending: Option<LineEnding>,
    /// Lines without a byte, or with blanks only where there are several columns.
    pub blank_lines: u64,
    /// Rows whose number of fields differs from the first row's; always 0 when they are refused.
    pub ragged_rows: u64,
}

/// The facts of a workbook.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Workbook {
    /// The sheets with cells, in the workbook's order; sheets of charts and macros are left out.
    pub sheets: Vec<Sheet>,
}

/// One sheet of a workbook.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Sheet {
    /// The name on the tab.
    pub name: String,
    /// Rows with at least one value, hidden ones too, without the header.
    pub row_count: u64,
    /// The header's names, cleaned and cut, at most [`REPORTED_COLUMNS`]; empty without a header.
    pub columns: Vec<String>,
    /// Cells of the first row with a value, counted up to the last one.
    pub column_count: u64,
    /// Whether the first row with a value names the columns.
    pub has_header: bool,
    /// The range that the file claims for itself (`A1:D20`); not verified. Only XLSX has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dimension: Option<String>,
    /// Whether the sheet is hidden.
    pub hidden: bool,
}
