//! Log lines on standard error: JSON for machines, text for people. And, where one is configured, in a file, as JSON.
//!
//! JSON lines carry the fields that the storage element's document obliges every line to have (S3-022) and, inside a
//! request or a job, what its span says: `request_id`, `user_id`, `trace_id`, `span_id`. Fields of an event stand
//! beside them. A last guard replaces what looks like a credential; the rule that nobody logs one stays.

mod line;
mod redaction;
mod rotation;

use std::cell::Cell;
use std::io::{IsTerminal as _, Write};

use tracing::{Event, Subscriber, span};
use tracing_subscriber::layer::{Context, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{EnvFilter, Layer, Registry};

use self::line::{Fields, json_line, text_line};
use self::rotation::RotatingFile;
use crate::commands::Failure;
use crate::config::settings::Settings;
use crate::config::values::LogFormat;

/// Sends every log line of a process that serves where its configuration says. To be called once.
///
/// # Errors
/// The log file cannot be opened.
pub fn start_as(settings: &Settings, filter: &str) -> Result<(), Failure> {
    let file = settings.log_file.as_ref().map(|path| {
        RotatingFile::open(path, settings.log_file_max.0, settings.log_files_kept)
            .map_err(|error| Failure::new(format!("cannot open log.file {}: {error}", path.display())))
    });
    begin(settings.log_format, filter, file.transpose()?);
    Ok(())
}

/// Sends every log line of the process to standard error. To be called once.
pub fn start(format: LogFormat, filter: &str) {
    begin(format, filter, None);
}

fn begin(format: LogFormat, filter: &str, file: Option<RotatingFile>) {
    let json = match format {
        LogFormat::Json => true,
        LogFormat::Text => false,
        LogFormat::Auto => !std::io::stderr().is_terminal(),
    };
    let layer = Lines {
        json,
        out: std::io::stderr,
        file,
    };
    let subscriber = Registry::default().with(filter_of(filter)).with(layer);
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
    /// Where each line goes as well, as JSON.
    file: Option<RotatingFile>,
}

impl<S, W> Layer<S> for Lines<W>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: Write + 'static,
{
    fn on_new_span(&self, attributes: &span::Attributes<'_>, id: &span::Id, context: Context<'_, S>) {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(fields);
        }
    }

    fn on_record(&self, id: &span::Id, values: &span::Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(fields) = span.extensions_mut().get_mut::<Fields>()
        {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        // There is none while a value that is being logged logs something itself, or the thread is over.
        let (mut fields, mut line) = ROOM.try_with(Cell::take).unwrap_or_default();
        event.record(&mut fields);
        let mut function = None;
        for span in context.event_scope(event).into_iter().flatten() {
            function.get_or_insert(span.name());
            if let Some(outer) = span.extensions().get::<Fields>() {
                fields.add_missing(outer);
            }
        }
        if self.json {
            json_line(&mut line, event.metadata(), function, &fields);
        } else {
            text_line(&mut line, event.metadata(), &fields);
        }
        // Nothing can be done about a log that nobody takes.
        let _ = (self.out)().write_all(line.as_bytes());
        if let Some(file) = &self.file {
            if !self.json {
                line.clear();
                json_line(&mut line, event.metadata(), function, &fields);
            }
            file.add(&line);
        }
        if line.capacity() <= ROOM_BYTES_MAX {
            fields.clear();
            line.clear();
            let _ = ROOM.try_with(|room| room.set((fields, line)));
        }
    }
}

/// More room than this is not kept for the next line.
const ROOM_BYTES_MAX: usize = 16 * 1024;

thread_local! {
    /// Room for the fields and the text of a line.
    static ROOM: Cell<(Fields, String)> = Cell::default();
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use serde_json::{Value, json};

    use super::redaction::REDACTED;
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
        lines_beside(json, filter, None, work)
    }

    fn lines_beside(
        json: bool,
        filter: &str,
        file: Option<RotatingFile>,
        work: impl FnOnce(),
    ) -> Vec<String> {
        WRITTEN.with_borrow_mut(Vec::clear);
        let layer = Lines {
            json,
            out: || ToMemory,
            file,
        };
        let subscriber = Registry::default().with(filter_of(filter)).with(layer);
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
    fn the_file_has_json_whatever_people_see() {
        let directory = tempfile::tempdir().expect("a directory");
        for json in [false, true] {
            let path = directory.path().join(format!("{json}.log"));
            let file = RotatingFile::open(&path, 1 << 20, 1).expect("a file");
            let shown = lines_beside(json, "info", Some(file), || {
                let span = tracing::info_span!("request", request_id = "r1", trace_id = "t1", span_id = "s1");
                let _inside = span.enter();
                tracing::info!(size_bytes = 5_u64, "seen");
            });
            let text = std::fs::read_to_string(&path).expect("text");
            let line: Value = serde_json::from_str(text.trim_end()).expect("one line of JSON");
            assert_eq!(
                [&line["message"], &line["request_id"], &line["span_id"]],
                ["seen", "r1", "s1"]
            );
            assert_eq!((shown[0] == text.trim_end(), shown.len()), (json, 1));
        }
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
    fn a_plain_level_is_for_this_program() {
        let lines = lines_of(true, "debug", || {
            tracing::debug!(target: "cloakroom_http::x", "ours");
            tracing::debug!(target: "hyper", "theirs");
            tracing::info!(target: "hyper", "theirs, and worth it");
        });
        assert_eq!(lines.len(), 2, "{lines:?}");
    }
}
