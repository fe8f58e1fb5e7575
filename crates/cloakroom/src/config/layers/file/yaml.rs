//! YAML 1.2, as far as configuration needs it: one document, mappings, lists of texts, and the scalars of its core schema.
//! Anchors, aliases and tags are refused, for what they mean cannot be seen where it counts; so is a name that stands
//! twice.

use saphyr_parser::{Event, Parser, ScalarStyle, Span, StrInput};

use super::{Node, Table, Unreadable};
use crate::config::values::Raw;

/// Deepest nesting that is read: more than any key has.
const DEPTH_MAX: usize = 16;

type Result<T> = std::result::Result<T, Unreadable>;
type Events<'a> = Parser<'a, StrInput<'a>>;

/// Reads the text. One without content has no names.
pub(super) fn read(text: &str) -> Result<Table> {
    let mut events = Parser::new_from_str(text.trim_start_matches('\u{feff}'));
    let mut document = None;
    loop {
        let (event, span) = next(&mut events)?;
        match event {
            Event::StreamEnd => return Ok(document.unwrap_or_default()),
            Event::DocumentStart(_) if document.is_some() => {
                return Err(refused(&span, "a configuration file is one YAML document"));
            }
            Event::DocumentStart(_) => {
                let (event, span) = next(&mut events)?;
                document = Some(match node(&mut events, event, &span, 0)? {
                    Node::Table(table) => table,
                    Node::Nothing => Table::new(),
                    Node::Value(_) => {
                        return Err(refused(
                            &span,
                            "a configuration file is a mapping of names to values",
                        ));
                    }
                });
            }
            _ => {}
        }
    }
}

fn refused(span: &Span, message: &str) -> Unreadable {
    Unreadable(span.start.line(), message.to_owned())
}

fn next<'a>(events: &mut Events<'a>) -> Result<(Event<'a>, Span)> {
    match events.next() {
        Some(Ok(found)) => Ok(found),
        // What the parser says names single characters at most.
        Some(Err(error)) => Err(Unreadable(error.marker().line(), error.info().to_owned())),
        None => Err(Unreadable(1, "not YAML".to_owned())),
    }
}

fn node<'a>(events: &mut Events<'a>, event: Event<'a>, span: &Span, depth: usize) -> Result<Node> {
    if depth > DEPTH_MAX {
        return Err(refused(span, "the nesting is deeper than any key"));
    }
    let (anchor, has_tag) = match &event {
        Event::Scalar(_, _, anchor, tag)
        | Event::SequenceStart(anchor, tag)
        | Event::MappingStart(anchor, tag) => (*anchor, tag.is_some()),
        Event::Alias(_) => (1, false),
        _ => (0, false),
    };
    if anchor != 0 || has_tag {
        return Err(refused(
            span,
            "anchors, aliases and tags are not read; write the value itself",
        ));
    }
    match event {
        Event::Scalar(text, ScalarStyle::Plain, ..) if is_null(&text) => Ok(Node::Nothing),
        Event::Scalar(text, style, ..) => Ok(Node::Value(scalar(&text, style))),
        Event::SequenceStart(..) => list(events, depth).map(Node::Value),
        Event::MappingStart(..) => table(events, depth).map(Node::Table),
        _ => Err(refused(span, "not YAML")),
    }
}

fn table(events: &mut Events<'_>, depth: usize) -> Result<Table> {
    let mut table = Table::new();
    loop {
        let (event, span) = next(events)?;
        let name = match event {
            Event::MappingEnd => return Ok(table),
            Event::Scalar(name, _, 0, None) => name.into_owned(),
            _ => return Err(refused(&span, "a name is a text")),
        };
        if table.iter().any(|(known, ..)| *known == name) {
            return Err(refused(&span, &format!("the name {name:?} stands twice")));
        }
        let line = span.start.line();
        let (event, span) = next(events)?;
        table.push((name, line, node(events, event, &span, depth + 1)?));
    }
}

fn list(events: &mut Events<'_>, depth: usize) -> Result<Raw> {
    let mut texts = Some(Vec::new());
    loop {
        let (event, span) = next(events)?;
        if matches!(event, Event::SequenceEnd) {
            return Ok(texts.map_or(Raw::Other("a list of other things than texts"), Raw::List));
        }
        match (node(events, event, &span, depth + 1)?, &mut texts) {
            (Node::Value(Raw::Text(text)), Some(texts)) => texts.push(text),
            _ => texts = None,
        }
    }
}

fn is_null(text: &str) -> bool {
    matches!(text, "" | "~" | "null" | "Null" | "NULL")
}

/// A scalar by the core schema (YAML 1.2.2 §10.3.2): what stands in quotes or blocks is text.
fn scalar(text: &str, style: ScalarStyle) -> Raw {
    if style != ScalarStyle::Plain {
        return Raw::Text(text.to_owned());
    }
    match text {
        "true" | "True" | "TRUE" => return Raw::Boolean(true),
        "false" | "False" | "FALSE" => return Raw::Boolean(false),
        _ => {}
    }
    let is_number = text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.'));
    let radix = |prefix, radix| {
        text.strip_prefix(prefix)
            .and_then(|digits| i64::from_str_radix(digits, radix).ok())
    };
    let integer = text
        .parse()
        .ok()
        .or_else(|| radix("0x", 16))
        .or_else(|| radix("0o", 8));
    if let Some(integer) = integer {
        return Raw::Integer(integer);
    }
    match text.parse::<f64>() {
        Ok(float) if is_number && float.is_finite() => Raw::Float(float),
        _ => Raw::Text(text.to_owned()),
    }
}
