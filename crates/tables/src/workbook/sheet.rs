//! What is kept of a sheet while it streams by: the count of its rows, and the cells of the first few.

use std::collections::BTreeMap;

use crate::header::{clean_name, names_columns};
use crate::{COLUMN_NAME_CHARS, Error, REPORTED_COLUMNS, Sheet};

/// Rows whose cells are kept: the header and those it is judged by.
const KEPT_ROWS: usize = 20;

/// Bytes that are kept of a cell below the first row: no number or date is longer.
const BODY_CELL_BYTES: usize = 48;

/// The most columns of a sheet: XFD in XLSX, and the same in LibreOffice.
pub(super) const MOST_COLUMNS: u64 = 16_384;

/// Bytes that all kept cells of a workbook may take.
const KEPT_BYTES: usize = 8 << 20;

/// What one kept cell takes beside its text.
const CELL_OVERHEAD: usize = 48;

/// A cell's value, as far as a header needs it.
#[derive(Clone, Debug)]
pub(super) enum Value {
    /// Text, or the notation of a number.
    Text(String),
    /// A number into the workbook's table of strings.
    Shared(u32),
}

/// The bytes that a workbook's sheets may still keep.
#[derive(Debug)]
pub(super) struct Budget(usize);

impl Budget {
    pub(super) fn new() -> Self {
        Self(KEPT_BYTES)
    }
}

/// The rows of a sheet.
#[derive(Debug, Default)]
pub(super) struct Rows {
    count: u64,
    kept: Vec<Vec<(usize, Value)>>,
    current: Vec<(usize, Value)>,
    /// Columns of the first row, up to the last value.
    width: u64,
    filled: bool,
}

impl Rows {
    /// Whether the values of the row that is being read are of interest.
    pub(super) fn keeps(&self) -> bool {
        self.kept.len() < KEPT_ROWS
    }

    /// Whether the row that is being read has a value.
    pub(super) fn is_filled(&self) -> bool {
        self.filled
    }

    /// The row has a value.
    pub(super) fn fill(&mut self) {
        self.filled = true;
    }

    /// The row has this value in this column, from 0.
    pub(super) fn put(&mut self, column: u64, mut value: Value, budget: &mut Budget) -> Result<(), Error> {
        if column >= MOST_COLUMNS {
            return Err(Error::malformed(
                "a cell lies beyond the last column a sheet can have",
            ));
        }
        self.filled = true;
        if !self.keeps() {
            return Ok(());
        }
        if self.kept.is_empty() {
            self.width = self.width.max(column + 1);
        }
        let longest = if self.kept.is_empty() {
            COLUMN_NAME_CHARS * 4
        } else {
            BODY_CELL_BYTES
        };
        let mut cost = CELL_OVERHEAD;
        if let Value::Text(text) = &mut value {
            text.truncate(text.floor_char_boundary(longest));
            cost += text.len();
        }
        if column < REPORTED_COLUMNS as u64
            && let Some(left) = budget.0.checked_sub(cost)
        {
            budget.0 = left;
            self.current.push((column as usize, value));
        }
        Ok(())
    }

    /// The row ends; it stands for so many alike.
    pub(super) fn end_row(&mut self, times: u64, most: u64) -> Result<(), Error> {
        if !std::mem::take(&mut self.filled) {
            self.current.clear();
            return Ok(());
        }
        self.count = self.count.saturating_add(times);
        if self.count > most {
            return Err(Error::malformed("the sheet has more rows than a sheet can have"));
        }
        if self.keeps() {
            self.kept.push(std::mem::take(&mut self.current));
        }
        Ok(())
    }

    /// The same with a count that was made elsewhere.
    pub(super) fn with_count(mut self, count: u64) -> Self {
        self.count = count;
        self
    }

    /// The numbers of the strings whose text is needed.
    pub(super) fn shared(&self) -> impl Iterator<Item = u32> + '_ {
        self.kept.iter().flatten().filter_map(|(_, value)| match value {
            Value::Shared(number) => Some(*number),
            Value::Text(_) => None,
        })
    }

    /// The sheet's facts. `strings` has the text of every needed number.
    pub(super) fn finish(self, name: String, hidden: bool, strings: &BTreeMap<u32, String>) -> Sheet {
        let shown = self.width.min(REPORTED_COLUMNS as u64) as usize;
        let rows: Vec<Vec<String>> = self
            .kept
            .into_iter()
            .map(|cells| {
                let mut row = vec![String::new(); shown];
                for (column, value) in cells {
                    if let Some(cell) = row.get_mut(column) {
                        *cell = match value {
                            Value::Text(text) => text,
                            Value::Shared(number) => strings.get(&number).cloned().unwrap_or_default(),
                        };
                    }
                }
                row
            })
            .collect();
        let has_header = rows
            .split_first()
            .is_some_and(|(first, body)| names_columns(first, body));
        let names = if has_header { rows.first() } else { None };
        Sheet {
            name: clean_name(&name),
            row_count: self.count - u64::from(has_header),
            columns: names
                .map(|names| names.iter().map(|name| clean_name(name)).collect())
                .unwrap_or_default(),
            column_count: self.width,
            has_header,
            dimension: None,
            hidden,
        }
    }
}
