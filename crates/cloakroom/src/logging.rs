//! Log lines on standard error: JSON for machines, text for people.
//!
//! JSON lines carry the fields that the storage element's document obliges every line to have (S3-022) and, inside a
//! request or a job, what its span says: `request_id`, `user_id`, `trace_id`, `span_id`. Fields of an event stand
//! beside them. A last guard replaces what looks like a credential; the rule that nobody logs one stays.

use std::fmt::{self, Write as _};
use std::io::{IsTerminal as _, Write};

use serde_json::{Map, Value, json};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber, span};
use tracing_subscriber::layer::{Context, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{EnvFilter, Layer, Registry};

use crate::config::values::LogFormat;
use crate::runtime::wall_time;

/// What stands where a credential would.
const REDACTED: &str = "[redacted]";
/// Texts that only stand in credentials or in URLs that are ones. Lower-case.
const MARKERS: &[&str] = &["signature=", "x-amz-security-token="];
/// Beginnings of tokens, and how many characters of a token's alphabet must follow.
const TOKEN_BEGINNINGS: &[(&str, usize)] = &[("eyJ", 16), ("clk_", 20)];
/// Fields whose value is never written.
const SECRET_FIELDS: &[&str] = &[
    "authorization",
    "password",
    "secret",
    "secret_key",
    "token",
    "upload_url",
    "download_url",
];

/// Sends every log line of the process to standard error. To be called once.
pub fn start(format: LogFormat, filter: &str) {
    let json = match format {
        LogFormat::Json => true,
        LogFormat::Text => false,
        LogFormat::Auto => !std::io::stderr().is_terminal(),
    };
    let layer = Lines {
        json,
        out: std::io::stderr,
    };
    let subscriber = Registry::default().with(layer.with_filter(filter_of(filter)));
    // A second call would be a defect, and the first subscriber goes on.
    let _ = tracing::subscriber::set_global_default(subscriber);
    std::panic::set_hook(Box::new(|panic| {
        let location = panic.location().map(ToString::to_string).unwrap_or_default();
        let message = panic.payload_as_str().unwrap_or("no text");
        tracing::error!(event = "panic", location, "panic: {message}");
    }));
}

/// A level alone is for this program: at `debug`, the libraries below it have too much to say.
fn filter_of(text: &str) -> EnvFilter {
    let directives = match text {
        "debug" | "trace" => format!("info,cloakroom={text}"),
        other => other.to_owned(),
    };
    // Configuration has checked the text.
    EnvFilter::try_new(directives).unwrap_or_else(|_| EnvFilter::new("info"))
}

/// Writes each event as a line.
struct Lines<W> {
    json: bool,
    out: fn() -> W,
}

/// Fields of a span, kept with it.
struct SpanFields(Map<String, Value>);

impl<S, W> Layer<S> for Lines<W>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: Write + 'static,
{
    fn on_new_span(&self, attributes: &span::Attributes<'_>, id: &span::Id, context: Context<'_, S>) {
        let mut fields = Map::new();
        attributes.record(&mut Collect(&mut fields));
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(SpanFields(fields));
        }
    }

    fn on_record(&self, id: &span::Id, values: &span::Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(SpanFields(fields)) = span.extensions_mut().get_mut()
        {
            values.record(&mut Collect(fields));
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Map::new();
        event.record(&mut Collect(&mut fields));
        let message = fields.remove("message").unwrap_or_else(|| json!(""));
        let mut function = None;
        for span in context.event_scope(event).into_iter().flatten() {
            function.get_or_insert(span.name());
            if let Some(SpanFields(outer)) = span.extensions().get() {
                for (name, value) in outer {
                    fields.entry(name.clone()).or_insert_with(|| value.clone());
                }
            }
        }
        let line = if self.json {
            json_line(event.metadata(), function, &message, fields)
        } else {
            text_line(event.metadata(), &message, &fields)
        };
        // Nothing can be done about a log that nobody takes.
        let _ = (self.out)().write_all(line.as_bytes());
    }
}

/// `function` is the unit of work around the event (its innermost span), else the last part of the module: Rust
/// programs do not know the names of their functions.
fn json_line(
    metadata: &tracing::Metadata<'_>,
    function: Option<&str>,
    message: &Value,
    fields: Map<String, Value>,
) -> String {
    let module = metadata.module_path().unwrap_or(metadata.target());
    let function = function.unwrap_or_else(|| module.rsplit("::").next().unwrap_or(module));
    let obligatory = [
        (
            "timestamp",
            json!(wall_time().strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()),
        ),
        ("level", json!(metadata.level().as_str())),
        ("logger", json!(metadata.target())),
        ("module", json!(module)),
        ("function", json!(function)),
        ("line", json!(metadata.line().unwrap_or_default())),
        ("message", message.clone()),
    ];
    // In this order, for people who read it all the same. A field of an event cannot take the place of one of these.
    let others = fields
        .into_iter()
        .filter(|(name, _)| obligatory.iter().all(|(taken, _)| taken != name));
    let mut line = String::from("{");
    for (position, (name, value)) in obligatory.iter().enumerate() {
        let comma = if position == 0 { "" } else { "," };
        // Writing to a String cannot fail.
        let _ = write!(line, "{comma}{}:{value}", json!(name));
    }
    for (name, value) in others {
        let _ = write!(line, ",{}:{value}", json!(name));
    }
    line.push_str("}\n");
    line
}

fn text_line(metadata: &tracing::Metadata<'_>, message: &Value, fields: &Map<String, Value>) -> String {
    let time = wall_time().strftime("%H:%M:%S%.3f");
    let message = message.as_str().unwrap_or_default();
    let mut line = format!(
        "{time} {:>5} {}",
        metadata.level().as_str(),
        message.escape_debug()
    );
    for (name, value) in fields {
        // Writing to a String cannot fail.
        let _ = match value.as_str() {
            Some(text) if !text.is_empty() && text.chars().all(|c| c.is_ascii_graphic()) => {
                write!(line, " {name}={text}")
            }
            _ => write!(line, " {name}={value}"),
        };
    }
    line.push('\n');
    line
}

/// Takes fields into a JSON object, without credentials.
struct Collect<'a>(&'a mut Map<String, Value>);

impl Collect<'_> {
    fn insert(&mut self, field: &Field, value: Value) {
        // Names with dots or `r#` come as they are written in the code.
        self.0
            .insert(field.name().trim_start_matches("r#").to_owned(), value);
    }

    fn insert_text(&mut self, field: &Field, text: &str) {
        let secret = SECRET_FIELDS.contains(&field.name());
        self.insert(
            field,
            if secret {
                json!(REDACTED)
            } else {
                json!(redact(text))
            },
        );
    }
}

impl Visit for Collect<'_> {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.insert(field, json!(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.insert(field, json!(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.insert(field, json!(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.insert(field, json!(value));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.insert_text(field, value);
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        let mut text = value.to_string();
        let mut source = value.source();
        while let Some(error) = source {
            let _ = write!(text, ": {error}");
            source = error.source();
        }
        self.insert_text(field, &text);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.insert_text(field, &format!("{value:?}"));
    }
}

/// The text with every word that holds a credential replaced.
fn redact(text: &str) -> String {
    if !is_suspicious(text) {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len());
    let mut after_bearer = false;
    for word in text.split_inclusive(char::is_whitespace) {
        let bare = word.trim_end();
        let is_bearer = bare.to_ascii_lowercase().ends_with("bearer");
        if !bare.is_empty() && (after_bearer || is_credential(bare)) {
            out.push_str(REDACTED);
            out.push_str(&word[bare.len()..]);
        } else {
            out.push_str(word);
        }
        after_bearer = is_bearer || after_bearer && bare.is_empty();
    }
    out
}

/// A cheap look that is right for nearly every text.
fn is_suspicious(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    lower.contains("bearer") || is_credential(text)
}

fn is_credential(word: &str) -> bool {
    let lower = word.to_ascii_lowercase();
    let is_token = |(beginning, length): &(&str, usize)| {
        word.match_indices(beginning).any(|(at, _)| {
            let rest = word[at + beginning.len()..].bytes();
            rest.take_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
                .count()
                >= *length
        })
    };
    MARKERS.iter().any(|marker| lower.contains(marker)) || TOKEN_BEGINNINGS.iter().any(is_token)
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    thread_local! {
        static WRITTEN: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    }

    struct ToMemory;

    impl Write for ToMemory {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            WRITTEN.with_borrow_mut(|written| written.extend_from_slice(bytes));
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn lines_of(json: bool, filter: &str, work: impl FnOnce()) -> Vec<String> {
        WRITTEN.with_borrow_mut(Vec::clear);
        let layer = Lines {
            json,
            out: || ToMemory,
        };
        let subscriber = Registry::default().with(layer.with_filter(filter_of(filter)));
        tracing::subscriber::with_default(subscriber, work);
        let written = WRITTEN.with_borrow_mut(std::mem::take);
        String::from_utf8(written)
            .expect("UTF-8")
            .lines()
            .map(str::to_owned)
            .collect()
    }

    #[test]
    fn json_lines_have_the_obligatory_fields_and_those_of_their_spans() {
        let lines = lines_of(true, "info", || {
            let span = tracing::info_span!(
                "request",
                request_id = "r1",
                user_id = tracing::field::Empty,
                trace_id = "t1"
            );
            let _inside = span.enter();
            span.record("user_id", "ann");
            tracing::info!(
                event = "file_presigned",
                size_bytes = 5_u64,
                line = "not the line",
                "signed\nit"
            );
        });
        assert_eq!(lines.len(), 1);
        let line: Value = serde_json::from_str(&lines[0]).expect("JSON");
        for name in [
            "timestamp",
            "level",
            "logger",
            "module",
            "function",
            "line",
            "message",
        ] {
            assert!(line.get(name).is_some(), "{name} in {line}");
        }
        assert_eq!(line["level"], "INFO");
        assert_eq!(line["module"], module_path!());
        assert_eq!(line["function"], "request");
        assert_eq!(line["message"], "signed\nit");
        assert!(line["line"].is_u64());
        assert_eq!(
            [&line["request_id"], &line["user_id"], &line["trace_id"]],
            ["r1", "ann", "t1"]
        );
        assert_eq!(
            (&line["event"], &line["size_bytes"]),
            (&json!("file_presigned"), &json!(5))
        );
    }

    #[test]
    fn a_text_line_is_one_line() {
        let lines = lines_of(false, "info", || {
            tracing::warn!(name = "a b", path = "/x", "two\nlines");
        });
        assert_eq!(lines.len(), 1);
        assert!(
            lines[0].ends_with("WARN two\\nlines name=\"a b\" path=/x"),
            "{}",
            lines[0]
        );
    }

    #[test]
    fn credentials_are_redacted_wherever_they_stand() {
        const JWT: &str = "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhIn0.c2ln";
        let lines = lines_of(true, "info", || {
            let span = tracing::info_span!("request", header = format!("Bearer {JWT}"));
            let _inside = span.enter();
            tracing::info!(
                url = "http://h/b/k?X-Amz-Expires=1&X-Amz-Signature=abc123hush",
                authorization = "Basic aHVzaA==",
                debug = ?("Authorization", "AWS4-HMAC-SHA256 Credential=A/b, Signature=deadbeefhush"),
                error = &std::io::Error::other("clk_0123456789012345678901234567890123456789hush") as &dyn std::error::Error,
                "sent with bearer  opaquehush and {JWT} in it",
            );
        });
        assert!(
            !lines[0].contains("hush") && !lines[0].contains("eyJ") && !lines[0].contains("aHVzaA"),
            "{}",
            lines[0]
        );
        assert_eq!(lines[0].matches(REDACTED).count(), 7, "{}", lines[0]);
        assert!(lines[0].contains("and [redacted] in it"), "{}", lines[0]);
    }

    #[test]
    fn ordinary_texts_stay() {
        for text in [
            "",
            "eyJ",
            "clk_ is a prefix",
            "the signature does not match",
            "/b/k?X-Amz-Expires=1",
            "a  b\n",
        ] {
            assert_eq!(redact(text), text);
        }
    }

    #[test]
    fn a_plain_level_is_for_this_program() {
        let lines = lines_of(true, "debug", || {
            tracing::debug!(target: "cloakroom_http::x", "ours");
            tracing::debug!(target: "hyper", "theirs");
            tracing::info!(target: "hyper", "theirs, and worth it");
        });
        assert_eq!(lines.len(), 2, "{lines:?}");
    }
}
