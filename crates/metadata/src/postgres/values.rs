//! Values as they go over the wire: text, JSON and times that this database takes as they are.
//!
//! PostgreSQL has no NUL in text. So that what one database keeps the other keeps too, NUL is written as two
//! characters that begin with an escape (U+001A), which is itself written as two. Equal texts stay equal, so
//! comparing in the database still works; nothing else changes.

use std::borrow::Cow;
use std::error::Error;

use cloakroom_core::JsonObject;
use cloakroom_core::ports::metadata::MetadataError;
use jiff::Timestamp;
use serde_json::Value;
use tokio_postgres::types::private::BytesMut;
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, to_sql_checked};

use super::failure::Outcome;

const ESCAPE: char = '\u{1a}';
/// Microseconds from 1970 to 2000, where the database's time begins.
const EPOCH_MICROS: i64 = 946_684_800_000_000;
/// The earliest time that the database keeps, 4714 BC, in its own microseconds.
const EARLIEST_MICROS: i64 = -211_813_488_000_000_000;

type Boxed = Box<dyn Error + Sync + Send>;

fn escape(text: &str) -> Cow<'_, str> {
    // Both are one byte: there is no need to look at characters.
    if !text.bytes().any(|byte| byte == 0 || byte == ESCAPE as u8) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            '\0' => escaped.extend([ESCAPE, '0']),
            ESCAPE => escaped.extend([ESCAPE, '1']),
            other => escaped.push(other),
        }
    }
    Cow::Owned(escaped)
}

fn unescape(text: &str) -> String {
    let mut parts = text.split(ESCAPE);
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        plain.push(if part.starts_with('0') { '\0' } else { ESCAPE });
        plain.push_str(part.get(1..).unwrap_or_default());
    }
    plain
}

fn map_texts(value: &Value, change: &impl Fn(&str) -> String) -> Value {
    match value {
        Value::String(text) => Value::String(change(text)),
        Value::Array(items) => items.iter().map(|item| map_texts(item, change)).collect(),
        Value::Object(fields) => fields
            .iter()
            .map(|(name, item)| (change(name), map_texts(item, change)))
            .collect(),
        other => other.clone(),
    }
}

/// A JSON object as the database keeps it.
pub(super) fn json_text(object: &JsonObject) -> Outcome<String> {
    if object.is_empty() {
        return Ok("{}".to_owned());
    }
    let internal = |error: serde_json::Error| MetadataError::Internal(error.to_string());
    let text = serde_json::to_string(object).map_err(internal)?;
    // Control characters are always spelled like this in JSON text.
    if !text.contains("\\u0000") && !text.contains("\\u001a") {
        return Ok(text);
    }
    let escaped = map_texts(&Value::Object(object.clone()), &|part| escape(part).into_owned());
    Ok(serde_json::to_string(&escaped).map_err(internal)?)
}

/// A JSON object from its text in the database.
pub(super) fn json_object(text: &str) -> Option<JsonObject> {
    if text == "{}" {
        return Some(JsonObject::new());
    }
    let value: Value = serde_json::from_str(text).ok()?;
    let value = if text.contains("\\u001a") {
        map_texts(&value, &unescape)
    } else {
        value
    };
    match value {
        Value::Object(object) => Some(object),
        _ => None,
    }
}

/// Text on its way into the database.
#[derive(Clone, Copy, Debug)]
pub(super) struct Text<'a>(pub(super) &'a str);

impl ToSql for Text<'_> {
    fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> Result<IsNull, Boxed> {
        escape(self.0).as_ref().to_sql(ty, out)
    }

    fn accepts(ty: &Type) -> bool {
        <&str as ToSql>::accepts(ty)
    }

    to_sql_checked!();
}

/// Text from the database, or on its way back.
#[derive(Debug)]
pub(super) struct TextBuf(pub(super) String);

impl ToSql for TextBuf {
    fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> Result<IsNull, Boxed> {
        Text(&self.0).to_sql(ty, out)
    }

    fn accepts(ty: &Type) -> bool {
        <Text<'_> as ToSql>::accepts(ty)
    }

    to_sql_checked!();
}

impl<'a> FromSql<'a> for TextBuf {
    fn from_sql(ty: &Type, raw: &'a [u8]) -> Result<Self, Boxed> {
        let text = <&str>::from_sql(ty, raw)?;
        Ok(Self(if text.contains(ESCAPE) {
            unescape(text)
        } else {
            text.to_owned()
        }))
    }

    fn accepts(ty: &Type) -> bool {
        <&str as FromSql>::accepts(ty)
    }
}

/// A JSON document, as text of [`json_text`], on its way into the database.
#[derive(Clone, Debug)]
pub(super) struct Json<T>(pub(super) T);

impl<T: AsRef<str> + std::fmt::Debug> ToSql for Json<T> {
    fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> Result<IsNull, Boxed> {
        if *ty == Type::JSONB {
            // The version of the binary form.
            out.extend_from_slice(&[1]);
        }
        out.extend_from_slice(self.0.as_ref().as_bytes());
        Ok(IsNull::No)
    }

    fn accepts(ty: &Type) -> bool {
        matches!(*ty, Type::JSON | Type::JSONB | Type::TEXT)
    }

    to_sql_checked!();
}

/// The text of a JSON document from the database.
#[derive(Debug)]
pub(super) struct JsonText<'a>(pub(super) &'a str);

impl<'a> FromSql<'a> for JsonText<'a> {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Boxed> {
        Ok(Self(std::str::from_utf8(raw)?))
    }

    fn accepts(ty: &Type) -> bool {
        *ty == Type::JSON
    }
}

/// A time, in whole microseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Time(pub(super) Timestamp);

impl ToSql for Time {
    fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> Result<IsNull, Boxed> {
        // Nothing that we write is older; a condition of a list may be.
        let micros = self.0.as_microsecond() - EPOCH_MICROS;
        micros.max(EARLIEST_MICROS).to_sql(ty, out)
    }

    fn accepts(ty: &Type) -> bool {
        *ty == Type::TIMESTAMPTZ
    }

    to_sql_checked!();
}

impl<'a> FromSql<'a> for Time {
    fn from_sql(ty: &Type, raw: &'a [u8]) -> Result<Self, Boxed> {
        let micros = i64::from_sql(ty, raw)?;
        let since_1970 = micros.checked_add(EPOCH_MICROS).ok_or("no time")?;
        Ok(Self(Timestamp::from_microsecond(since_1970)?))
    }

    fn accepts(ty: &Type) -> bool {
        *ty == Type::TIMESTAMPTZ
    }
}

/// A count or size as the database keeps it.
pub(super) fn integer(value: u64) -> Outcome<i64> {
    i64::try_from(value)
        .map_err(|_| MetadataError::Internal(format!("{value} is more than a column holds")).into())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_text_comes_back_and_none_has_a_nul() {
        for text in [
            "",
            "a",
            "\0",
            "a\0b",
            "\u{1a}",
            "\u{1a}0",
            "\u{1a}1\0\u{1a}\u{1a}0",
            "ж\0é",
        ] {
            let escaped = escape(text);
            assert!(!escaped.contains('\0'), "{text:?}");
            assert_eq!(unescape(&escaped), text, "{text:?}");
        }
        assert_ne!(escape("\0"), escape("\u{1a}0"), "different texts stay different");
        assert!(matches!(escape("plain"), Cow::Borrowed("plain")));
    }

    #[test]
    fn every_document_comes_back_letter_by_letter() {
        for value in [
            json!({}),
            json!({ "a": 1e16, "b": -0.0, "c": 1.0, "d": u64::MAX, "f": i64::MIN }),
            json!({ "a\0b": ["\0", { "\u{1a}": "\u{1a}0" }], "\\u0000": "\\u001a" }),
        ] {
            let Value::Object(object) = value else {
                panic!("an object")
            };
            let text = json_text(&object).unwrap();
            assert!(
                !text.contains("\\u0000") || object.contains_key("\\u0000"),
                "{text}"
            );
            assert_eq!(json_object(&text).unwrap(), object);
        }
        assert_eq!(json_object("[1]"), None);
        assert_eq!(json_object("{"), None);
    }
}
