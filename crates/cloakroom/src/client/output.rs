//! How results are written: for people in columns, for machines one JSON object a line.

use std::fmt::Write as _;

use serde_json::Value;

use super::error::{ClientError, printable};

/// Output flags, the same for every client command.
#[derive(clap::Args, Clone, Copy, Debug, Default)]
#[command(next_help_heading = "Output")]
pub struct OutputArgs {
    /// One JSON object a line on standard output, failures included
    #[arg(long)]
    pub json: bool,
    /// No progress
    #[arg(long, short)]
    pub quiet: bool,
}

/// A result with its error, as one JSON object.
pub fn json_line(mut object: Value, error: Option<&ClientError>) -> String {
    if let Some(fields) = object.as_object_mut() {
        fields.insert(
            "error".to_owned(),
            error.map_or(Value::Null, ClientError::to_json),
        );
    }
    object.to_string()
}

/// A size for people: `1.50 MiB`.
pub fn human_size(bytes: u64) -> String {
    indicatif::BinaryBytes(bytes).to_string()
}

/// Columns, as wide as their widest cell; the last one is not padded.
pub fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let width = |column: usize| {
        rows.iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count())
            .max()
    };
    let widths: Vec<usize> = (0..columns)
        .map(|column| width(column).unwrap_or_default())
        .collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            // Writing to a String cannot fail.
            let _ = write!(line, "{:width$}  ", printable(cell));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_under_each_other_in_any_script() {
        let rows = [
            vec!["ID".to_owned(), "NAME".to_owned()],
            vec!["отчёт".to_owned(), "a\x1b[31m".to_owned()],
        ];
        assert_eq!(table(&rows), "ID     NAME\nотчёт  a[31m\n");
    }

    #[test]
    fn sizes_are_binary() {
        assert_eq!(human_size(1_572_864), "1.50 MiB");
    }
}
