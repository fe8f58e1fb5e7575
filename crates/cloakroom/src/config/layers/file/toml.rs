//! TOML.

use toml::de::{DeArray, DeTable, DeValue};

use super::{Node, Table, Unreadable};
use crate::config::values::Raw;

/// Reads the text.
pub(super) fn read(text: &str) -> Result<Table, Unreadable> {
    match DeTable::parse(text) {
        Ok(table) => Ok(table_of(table.get_ref(), text)),
        Err(error) => {
            // Only the first line: the parser may go on to quote the text.
            let message = error.message().lines().next().unwrap_or("not TOML").to_owned();
            let offset = error.span().map_or(0, |span| span.start);
            Err(Unreadable(line_of(text, offset), message))
        }
    }
}

fn line_of(text: &str, offset: usize) -> usize {
    let before = text.as_bytes().iter().take(offset);
    1 + before.filter(|byte| **byte == b'\n').count()
}

fn table_of(table: &DeTable<'_>, text: &str) -> Table {
    let entries = table.iter().map(|(name, value)| {
        let node = match value.get_ref() {
            DeValue::Table(inner) => Node::Table(table_of(inner, text)),
            value => Node::Value(raw_of(value)),
        };
        (name.get_ref().to_string(), line_of(text, name.span().start), node)
    });
    entries.collect()
}

fn raw_of(value: &DeValue<'_>) -> Raw {
    match value {
        DeValue::String(text) => Raw::Text(text.to_string()),
        DeValue::Integer(integer) => match i64::from_str_radix(integer.as_str(), integer.radix()) {
            Ok(integer) => Raw::Integer(integer),
            Err(_) => Raw::Other("an integer beyond 64 bits"),
        },
        DeValue::Float(float) => float
            .as_str()
            .parse()
            .map_or(Raw::Other("a decimal number out of range"), Raw::Float),
        DeValue::Boolean(value) => Raw::Boolean(*value),
        DeValue::Array(items) => list_of(items),
        DeValue::Datetime(_) => Raw::Other("a date"),
        DeValue::Table(_) => Raw::Other("a table"),
    }
}

fn list_of(items: &DeArray<'_>) -> Raw {
    let texts = items.iter().map(|item| match item.get_ref() {
        DeValue::String(text) => Some(text.to_string()),
        _ => None,
    });
    texts
        .collect::<Option<Vec<_>>>()
        .map_or(Raw::Other("a list of other things than texts"), Raw::List)
}
