//! One log line, written straight into a buffer: a busy server writes two for each request.

use std::fmt::{self, Write as _};

use tracing::Metadata;
use tracing::field::{Field, Visit};

use super::redaction::{REDACTED, SECRET_FIELDS, redact};
use crate::runtime::wall_time;

/// Fields in the order in which they were recorded, each value as JSON, without credentials.
#[derive(Default)]
pub(super) struct Fields(Vec<(&'static str, String)>);

impl Fields {
    /// Takes along what is not there already: an event's own fields count before those of the spans around it.
    pub(super) fn add_missing(&mut self, outer: &Self) {
        for (name, value) in &outer.0 {
            if !self.0.iter().any(|(known, _)| known == name) {
                self.0.push((name, value.clone()));
            }
        }
    }

    fn take_message(&mut self) -> String {
        let at = self.0.iter().position(|(name, _)| *name == "message");
        at.map_or_else(|| "\"\"".to_owned(), |at| self.0.remove(at).1)
    }

    fn set(&mut self, field: &Field, value: String) {
        // Names come as they are written in the code.
        let name = field.name().trim_start_matches("r#");
        match self.0.iter_mut().find(|(known, _)| *known == name) {
            Some((_, old)) => *old = value,
            None => self.0.push((name, value)),
        }
    }

    fn set_text(&mut self, field: &Field, text: &str) {
        let secret = SECRET_FIELDS.contains(&field.name());
        let value = if secret {
            json_text(REDACTED)
        } else {
            json_text(&redact(text))
        };
        self.set(field, value);
    }
}

impl Visit for Fields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        // JSON knows no infinity.
        self.set(
            field,
            if value.is_finite() {
                value.to_string()
            } else {
                "null".to_owned()
            },
        );
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.set(field, value.to_string());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.set(field, value.to_string());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.set(field, value.to_string());
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
        self.set_text(field, &format!("{value:?}"));
    }
}

/// The obligatory fields first, for people who read it all the same; a field of an event cannot take the place of
/// one of these. `function` is the unit of work around the event (its innermost span), else the last part of the
/// module: Rust programs do not know the names of their functions.
pub(super) fn json_line(metadata: &Metadata<'_>, function: Option<&str>, mut fields: Fields) -> String {
    const OBLIGATORY: [&str; 6] = ["timestamp", "level", "logger", "module", "function", "line"];
    let module = metadata.module_path().unwrap_or(metadata.target());
    let function = function.unwrap_or_else(|| module.rsplit("::").next().unwrap_or(module));
    let message = fields.take_message();
    let mut line = String::with_capacity(512);
    // Writing to a String cannot fail. Names of modules, levels and spans are plain words of the code.
    let _ = write!(
        line,
        r#"{{"timestamp":"{}","level":"{}","logger":"{}","module":"{module}","function":"{function}","line":{},"message":{message}"#,
        wall_time().strftime("%Y-%m-%dT%H:%M:%S%.6fZ"),
        metadata.level().as_str(),
        metadata.target(),
        metadata.line().unwrap_or_default(),
    );
    for (name, value) in fields.0.iter().filter(|(name, _)| !OBLIGATORY.contains(name)) {
        let _ = write!(line, ",\"{name}\":{value}");
    }
    line.push_str("}\n");
    line
}

/// A line for people: time, level, message, then `name=value`.
pub(super) fn text_line(metadata: &Metadata<'_>, mut fields: Fields) -> String {
    let time = wall_time().strftime("%H:%M:%S%.3f");
    let message = fields.take_message();
    let message: String = serde_json::from_str(&message).unwrap_or(message);
    let mut line = format!(
        "{time} {:>5} {}",
        metadata.level().as_str(),
        message.escape_debug()
    );
    for (name, value) in &fields.0 {
        let bare = value
            .strip_prefix('"')
            .and_then(|rest| rest.strip_suffix('"'))
            .unwrap_or(value);
        let plain = !bare.is_empty()
            && bare
                .bytes()
                .all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\'));
        // Writing to a String cannot fail.
        let _ = write!(line, " {name}={}", if plain { bare } else { value });
    }
    line.push('\n');
    line
}

fn json_text(text: &str) -> String {
    // A string always has a JSON form.
    serde_json::to_string(text).unwrap_or_default()
}
