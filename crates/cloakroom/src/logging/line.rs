//! One log line, written straight into a buffer: a busy server writes two for each request.

use std::cell::Cell;
use std::fmt::{self, Write as _};
use std::ops::Range;

use jiff::Timestamp;
use tracing::Metadata;
use tracing::field::{Field, Visit};

use super::ROOM_BYTES_MAX;
use super::redaction::{REDACTED, SECRET_FIELDS, redact};
use crate::runtime::wall_time;

/// Fields in the order in which they were recorded, each value as JSON, without credentials. All values stand in one
/// text: a field costs no allocation of its own.
#[derive(Default)]
pub(super) struct Fields {
    places: Vec<(&'static str, Range<usize>)>,
    values: String,
}

impl Fields {
    /// Forgets everything but the room.
    pub(super) fn clear(&mut self) {
        self.places.clear();
        self.values.clear();
    }

    /// Takes along what is not there already: an event's own fields count before those of the spans around it.
    pub(super) fn add_missing(&mut self, outer: &Self) {
        for (name, value) in outer.iter() {
            if self.get(name).is_none() {
                self.push(name, |values| values.push_str(value));
            }
        }
    }

    fn iter(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let value = |(name, place): &(&'static str, Range<usize>)| (*name, &self.values[place.clone()]);
        self.places.iter().map(value)
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.iter()
            .find(|(known, _)| *known == name)
            .map(|(_, value)| value)
    }

    fn push(&mut self, name: &'static str, write: impl FnOnce(&mut String)) {
        let start = self.values.len();
        write(&mut self.values);
        self.places.push((name, start..self.values.len()));
    }

    /// A field that is recorded again has its last value.
    fn set(&mut self, field: &Field, write: impl FnOnce(&mut String)) {
        // Names come as they are written in the code.
        let name = field.name();
        let name = name.strip_prefix("r#").unwrap_or(name);
        self.push(name, write);
        let last = self.places.len() - 1;
        if let Some(place) = self.places[..last].iter().position(|(known, _)| *known == name) {
            self.places.swap_remove(place);
        }
    }

    fn set_text(&mut self, field: &Field, text: &str) {
        let secret = SECRET_FIELDS.contains(&field.name());
        self.set(field, |values| {
            if secret {
                push_json_text(values, REDACTED);
            } else {
                push_json_text(values, &redact(text));
            }
        });
    }

    fn set_shown(&mut self, field: &Field, shown: impl fmt::Display) {
        self.set(field, |values| {
            // Writing to a String cannot fail.
            let _ = write!(values, "{shown}");
        });
    }
}

impl Visit for Fields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        if value.is_finite() {
            self.set_shown(field, value);
        } else {
            // JSON knows no infinity.
            self.set_shown(field, "null");
        }
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.set_shown(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.set_shown(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.set_shown(field, value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.set_text(field, value);
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        let mut text = value.to_string();
        let mut source = value.source();
        while let Some(error) = source {
            // Writing to a String cannot fail.
            let _ = write!(text, ": {error}");
            source = error.source();
        }
        self.set_text(field, &text);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let mut text = SPARE.try_with(Cell::take).unwrap_or_default();
        // Writing to a String cannot fail.
        let _ = write!(text, "{value:?}");
        self.set_text(field, &text);
        if text.capacity() <= ROOM_BYTES_MAX {
            text.clear();
            let _ = SPARE.try_with(|spare| spare.set(text));
        }
    }
}

thread_local! {
    /// Room for the text of a value before it is looked at.
    static SPARE: Cell<String> = const { Cell::new(String::new()) };
    /// The second of the last line, and how it is written.
    static SECOND: Cell<(i64, [u8; 20])> = const { Cell::new((i64::MIN, [0; 20])) };
}

/// The obligatory fields first, for people who read it all the same; a field of an event cannot take the place of
/// one of these. `function` is the unit of work around the event (its innermost span), else the last part of the
/// module: Rust programs do not know the names of their functions.
pub(super) fn json_line(line: &mut String, metadata: &Metadata<'_>, function: Option<&str>, fields: &Fields) {
    const OBLIGATORY: [&str; 7] = [
        "timestamp",
        "level",
        "logger",
        "module",
        "function",
        "line",
        "message",
    ];
    let module = metadata.module_path().unwrap_or(metadata.target());
    let function = function.unwrap_or_else(|| module.rsplit("::").next().unwrap_or(module));
    line.push_str("{\"timestamp\":\"");
    push_time(line, wall_time());
    // Names of modules, levels and spans are plain words of the code.
    for (name, value) in [
        ("\",\"level\":\"", metadata.level().as_str()),
        ("\",\"logger\":\"", metadata.target()),
        ("\",\"module\":\"", module),
        ("\",\"function\":\"", function),
    ] {
        line.push_str(name);
        line.push_str(value);
    }
    // Writing to a String cannot fail.
    let _ = write!(line, "\",\"line\":{}", metadata.line().unwrap_or_default());
    line.push_str(",\"message\":");
    line.push_str(fields.get("message").unwrap_or("\"\""));
    for (name, value) in fields.iter().filter(|(name, _)| !OBLIGATORY.contains(name)) {
        line.push_str(",\"");
        line.push_str(name);
        line.push_str("\":");
        line.push_str(value);
    }
    line.push_str("}\n");
}

/// A time with microseconds. Its second is written anew only when it is another one.
fn push_time(line: &mut String, time: Timestamp) {
    let (mut second, mut text) = SECOND.get();
    if second != time.as_second() {
        second = time.as_second();
        let written = time.strftime("%Y-%m-%dT%H:%M:%S.").to_string();
        let Ok(fresh) = written.as_bytes().try_into() else {
            // A year of more than four digits.
            line.push_str(&time.to_string());
            return;
        };
        text = fresh;
        SECOND.set((second, text));
    }
    // What strftime wrote is ASCII.
    line.push_str(std::str::from_utf8(&text).unwrap_or_default());
    // Before 1970 the fraction is negative; no line is as old.
    let _ = write!(line, "{:06}Z", time.subsec_microsecond());
}

/// A line for people: time, level, message, then `name=value`.
pub(super) fn text_line(line: &mut String, metadata: &Metadata<'_>, fields: &Fields) {
    let time = wall_time().strftime("%H:%M:%S%.3f");
    let message = fields.get("message").unwrap_or("\"\"");
    let message: String = serde_json::from_str(message).unwrap_or_else(|_| message.to_owned());
    // Writing to a String cannot fail.
    let _ = write!(
        line,
        "{time} {:>5} {}",
        metadata.level().as_str(),
        message.escape_debug()
    );
    for (name, value) in fields.iter().filter(|(name, _)| *name != "message") {
        let bare = value
            .strip_prefix('"')
            .and_then(|rest| rest.strip_suffix('"'))
            .unwrap_or(value);
        let plain = !bare.is_empty()
            && bare
                .bytes()
                .all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\'));
        let _ = write!(line, " {name}={}", if plain { bare } else { value });
    }
    line.push('\n');
}

fn push_json_text(out: &mut String, text: &str) {
    if text
        .bytes()
        .any(|byte| byte < 0x20 || matches!(byte, b'"' | b'\\'))
    {
        // A string always has a JSON form.
        out.push_str(&serde_json::to_string(text).unwrap_or_default());
    } else {
        out.push('"');
        out.push_str(text);
        out.push('"');
    }
}
