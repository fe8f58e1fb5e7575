//! A parser of `multipart/form-data` (RFC 7578) that holds no more than a boundary's length of the file back.
//!
//! It is a state machine over pieces of any size, so that what it does does not depend on how the network cuts them.

use bytes::{Buf as _, Bytes};
use cloakroom_signing::percent_decode_str;
use memchr::memmem::Finder;

use crate::error::S3Error;

/// The longest head of a part in bytes: a name, a file name and a content type.
const HEAD_BYTES_MAX: usize = 8 * 1024;
/// The longest boundary (RFC 2046, section 5.1.1).
const BOUNDARY_BYTES_MAX: usize = 70;

/// What comes out of the parser.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum FormEvent {
    /// A part begins.
    Part(PartHead),
    /// Bytes of the part.
    Data(Bytes),
    /// The part has ended at a boundary, so it is whole.
    PartEnd,
    /// The form has ended.
    End,
}

/// The head of a part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PartHead {
    pub(crate) name: String,
    pub(crate) filename: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Preamble,
    Head,
    Content,
    End,
}

/// The parser.
pub(crate) struct FormParser {
    /// `\r\n--<boundary>`.
    needle: Vec<u8>,
    finder: Finder<'static>,
    /// How much of the needle the input so far ends with. A carriage return stands at its start only, so a start that
    /// turns out to be none contains no other.
    matched: usize,
    state: State,
    head: Vec<u8>,
}

impl FormParser {
    /// A parser for a body of this `Content-Type`.
    pub(crate) fn new(content_type: &str) -> Result<Self, S3Error> {
        let boundary = boundary(content_type).ok_or_else(malformed_form)?;
        let needle = [b"\r\n--", boundary.as_bytes()].concat();
        let finder = Finder::new(&needle).into_owned();
        // The first boundary may stand at the very start, as if a line had ended before it.
        Ok(Self {
            needle,
            finder,
            matched: 2,
            state: State::Preamble,
            head: Vec::new(),
        })
    }

    /// The next event out of `input`; `None` when all of that is consumed.
    pub(crate) fn next(&mut self, input: &mut Bytes) -> Result<Option<FormEvent>, S3Error> {
        while !input.is_empty() {
            match self.state {
                State::Preamble => {
                    if let Some(Scan::Boundary) = self.scan(input) {
                        self.state = State::Head;
                    }
                }
                State::Content => match self.scan(input) {
                    Some(Scan::Boundary) => {
                        self.state = State::Head;
                        return Ok(Some(FormEvent::PartEnd));
                    }
                    Some(Scan::Data(data)) => return Ok(Some(FormEvent::Data(data))),
                    None => {}
                },
                State::Head => {
                    if let Some(event) = self.take_head(input)? {
                        return Ok(Some(event));
                    }
                }
                State::End => input.clear(),
            }
        }
        Ok(None)
    }

    /// Looks for the boundary. Bytes that might be its start are held back until they are not.
    fn scan(&mut self, input: &mut Bytes) -> Option<Scan> {
        if self.matched > 0 {
            let missing = &self.needle[self.matched..];
            let compared = missing.len().min(input.len());
            if input[..compared] != missing[..compared] {
                let data = Bytes::copy_from_slice(&self.needle[..self.matched]);
                self.matched = 0;
                return Some(Scan::Data(data));
            }
            input.advance(compared);
            self.matched += compared;
            if self.matched < self.needle.len() {
                return None;
            }
            self.matched = 0;
            return Some(Scan::Boundary);
        }
        if let Some(at) = self.finder.find(input) {
            if at > 0 {
                return Some(Scan::Data(input.split_to(at)));
            }
            input.advance(self.needle.len());
            return Some(Scan::Boundary);
        }
        let last = input.len().saturating_sub(self.needle.len() - 1);
        let held_from = memchr::memrchr(b'\r', &input[last..])
            .map(|at| last + at)
            .filter(|&from| self.needle.starts_with(&input[from..]))
            .unwrap_or(input.len());
        let data = input.split_to(held_from);
        self.matched = input.len();
        input.clear();
        (!data.is_empty()).then_some(Scan::Data(data))
    }

    /// Collects what follows a boundary: two hyphens at the end of the form, else the head of a part.
    fn take_head(&mut self, input: &mut Bytes) -> Result<Option<FormEvent>, S3Error> {
        let before = self.head.len();
        let taken = input.len().min(HEAD_BYTES_MAX + 4 - before.min(HEAD_BYTES_MAX));
        self.head.extend_from_slice(&input[..taken]);
        if self.head.starts_with(b"--") {
            self.state = State::End;
            return Ok(Some(FormEvent::End));
        }
        let search_from = before.saturating_sub(3);
        let Some(at) = memchr::memmem::find(&self.head[search_from..], b"\r\n\r\n") else {
            if self.head.len() > HEAD_BYTES_MAX {
                return Err(malformed_form());
            }
            input.advance(taken);
            return Ok(None);
        };
        let end = search_from + at + 4;
        input.advance(end - before);
        self.head.truncate(end - 4);
        let head = parse_head(&std::mem::take(&mut self.head))?;
        self.state = State::Content;
        Ok(Some(FormEvent::Part(head)))
    }
}

enum Scan {
    Data(Bytes),
    Boundary,
}

/// The `boundary` of a `Content-Type`, if it is a legal one.
fn boundary(content_type: &str) -> Option<String> {
    let (_, parameters) = content_type.split_once(';')?;
    let value = parameter(parameters, "boundary")?;
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"'()+_,-./:=? ".contains(&byte);
    ((1..=BOUNDARY_BYTES_MAX).contains(&value.len()) && value.bytes().all(legal) && !value.ends_with(' '))
        .then_some(value)
}

fn parse_head(head: &[u8]) -> Result<PartHead, S3Error> {
    let head = std::str::from_utf8(head).map_err(|_| malformed_form())?;
    let mut lines = head.split("\r\n");
    // What stands behind the boundary on its own line: padding, if anything (RFC 2046, section 5.1.1).
    if lines
        .next()
        .is_some_and(|rest| !rest.trim_matches([' ', '\t']).is_empty())
    {
        return Err(malformed_form());
    }
    let disposition = lines
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.trim().eq_ignore_ascii_case("content-disposition"))
        .map(|(_, value)| value)
        .ok_or_else(malformed_form)?;
    let (kind, parameters) = disposition.split_once(';').ok_or_else(malformed_form)?;
    if !kind.trim().eq_ignore_ascii_case("form-data") {
        return Err(malformed_form());
    }
    let name = parameter(parameters, "name").ok_or_else(malformed_form)?;
    let extended = parameter(parameters, "filename*").and_then(|value| {
        let encoded = value
            .get(..7)
            .filter(|start| start.eq_ignore_ascii_case("utf-8''"))
            .map(|_| &value[7..])?;
        percent_decode_str(encoded).ok().map(std::borrow::Cow::into_owned)
    });
    Ok(PartHead {
        name,
        filename: extended.or_else(|| parameter(parameters, "filename")),
    })
}

/// The value of a parameter: a token or a quoted string. In the latter only `\"` is an escape, because some browsers send
/// Windows paths as they are.
fn parameter(parameters: &str, wanted: &str) -> Option<String> {
    let mut rest = parameters;
    loop {
        let (name, tail) = rest.split_once('=')?;
        let name = name.trim_matches([' ', '\t', ';']);
        let tail = tail.trim_start_matches([' ', '\t']);
        let (value, after) = if let Some(quoted) = tail.strip_prefix('"') {
            quoted_string(quoted)?
        } else {
            let end = tail.find(';').unwrap_or(tail.len());
            (tail[..end].trim_end_matches([' ', '\t']).to_owned(), &tail[end..])
        };
        if name.eq_ignore_ascii_case(wanted) {
            return Some(value);
        }
        rest = after;
    }
}

fn quoted_string(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices().peekable();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, &text[at + 1..])),
            '\\' if characters.peek().is_some_and(|(_, next)| *next == '"') => {
                value.push('"');
                characters.next();
            }
            other => value.push(other),
        }
    }
    None
}

/// `MalformedPOSTRequest`.
pub(crate) fn malformed_form() -> S3Error {
    S3Error::new(
        "MalformedPOSTRequest",
        "The body of your POST request is not well-formed multipart/form-data.",
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CONTENT_TYPE: &str = "multipart/form-data; boundary=\"x--y\"";

    type Parts = Vec<(PartHead, Vec<u8>)>;

    /// Whole parts with their content, and whether the form's end was seen.
    fn parse(body: &[u8], step: usize) -> Result<(Parts, bool), &'static str> {
        let mut parser = FormParser::new(CONTENT_TYPE).map_err(|error| error.code)?;
        let (mut parts, mut whole, mut ended) = (Parts::new(), 0, false);
        for piece in body.chunks(step) {
            let mut input = Bytes::copy_from_slice(piece);
            while let Some(event) = parser.next(&mut input).map_err(|error| error.code)? {
                match event {
                    FormEvent::Part(head) => parts.push((head, Vec::new())),
                    FormEvent::Data(data) => parts.last_mut().expect("a part").1.extend_from_slice(&data),
                    FormEvent::PartEnd => whole += 1,
                    FormEvent::End => ended = true,
                }
            }
        }
        parts.truncate(whole);
        Ok((parts, ended))
    }

    fn part(name: &str, filename: Option<&str>, content: &[u8]) -> (PartHead, Vec<u8>) {
        (
            PartHead {
                name: name.into(),
                filename: filename.map(Into::into),
            },
            content.to_vec(),
        )
    }

    #[test]
    fn forms_come_out_whatever_the_pieces() {
        let content = b"a\r\n--x-\r\r\n--x--\r\n-\r\n\r\n--x--Y\r";
        let body = [
            b"preamble\r\n--x--y\t\r\nContent-Disposition: form-data; name=\"key\"\r\n\r\nk\xc3\xa4\r\n".as_slice(),
            b"--x--y\r\ncontent-type: text/plain\r\nCONTENT-disposition: Form-Data; filename=\"C:\\d\\a\\\"b.txt\"; name=file\r\n\r\n",
            content,
            b"\r\n--x--y\r\nContent-Disposition: form-data; name=\"empty\"\r\n\r\n\r\n--x--y--\r\nepilogue",
        ]
        .concat();
        let expected = vec![
            part("key", None, "kä".as_bytes()),
            part("file", Some("C:\\d\\a\"b.txt"), content),
            part("empty", None, b""),
        ];
        for step in 1..=body.len() {
            assert_eq!(parse(&body, step), Ok((expected.clone(), true)), "{step}");
        }
        assert_eq!(
            parse(&body["preamble\r\n".len()..], 7),
            Ok((expected, true)),
            "without a preamble"
        );
    }

    #[test]
    fn a_part_that_is_cut_is_never_whole() {
        let body = b"--x--y\r\nContent-Disposition: form-data; name=\"file\"\r\n\r\ncontent\r\n--x--y--\r\n";
        let boundary_ends = body.len() - 4;
        for length in 0..boundary_ends {
            assert_eq!(parse(&body[..length], 5), Ok((vec![], false)), "{length}");
        }
        assert_eq!(
            parse(&body[..boundary_ends], 5),
            Ok((vec![part("file", None, b"content")], false))
        );
    }

    #[test]
    fn file_names_come_in_several_spellings() {
        let filename = |parameters: &str| {
            parse_head(format!("\r\nContent-Disposition: form-data; name=f; {parameters}").as_bytes())
                .map(|head| head.filename)
                .map_err(|error| error.code)
        };
        assert_eq!(
            filename("filename=\"\u{43a}.png\""),
            Ok(Some("\u{43a}.png".into()))
        );
        assert_eq!(filename("filename=plain.txt"), Ok(Some("plain.txt".into())));
        assert_eq!(
            filename("filename=\"x\"; filename*=UTF-8''%D0%BA.png"),
            Ok(Some("\u{43a}.png".into()))
        );
        assert_eq!(
            filename("filename*=latin1''%FF; filename=\"a;b=c\""),
            Ok(Some("a;b=c".into()))
        );
        assert_eq!(filename("filename=\"\""), Ok(Some(String::new())));
        assert_eq!(filename("x=y"), Ok(None));
    }

    #[test]
    fn what_is_no_form_is_refused() {
        for content_type in [
            "multipart/form-data",
            "multipart/form-data; boundary=",
            "multipart/form-data; boundary=a\r\nb",
            "multipart/form-data; boundary=\"a ",
            "multipart/form-data; boundary=é",
            &format!("multipart/form-data; boundary={}", "x".repeat(71)),
        ] {
            let code = FormParser::new(content_type)
                .map(|_| ())
                .map_err(|error| error.code);
            assert_eq!(code, Err("MalformedPOSTRequest"), "{content_type:?}");
        }
        let long = format!("--x--y\r\nA: {}", "x".repeat(HEAD_BYTES_MAX));
        for body in [
            "--x--y\r\n\r\nno head\r\n--x--y--",
            "--x--y\r\nContent-Disposition: attachment; name=a\r\n\r\n",
            "--x--y\r\nContent-Disposition: form-data; file=a\r\n\r\n",
            "--x--yz\r\nContent-Disposition: form-data; name=a\r\n\r\n",
            &long,
        ] {
            for step in [1, 1000, 100_000] {
                assert_eq!(
                    parse(body.as_bytes(), step),
                    Err("MalformedPOSTRequest"),
                    "{body:?}"
                );
            }
        }
    }

    proptest! {
        #[test]
        fn any_content_survives(content in proptest::collection::vec(prop_oneof![Just(b'\r'), Just(b'\n'), Just(b'-'), Just(b'x'), any::<u8>()], 0..200), step in 1..50_usize) {
            prop_assume!(memchr::memmem::find(&content, b"\r\n--x--y").is_none());
            let mut body = b"--x--y\r\nContent-Disposition: form-data; name=f\r\n\r\n".to_vec();
            body.extend_from_slice(&content);
            body.extend_from_slice(b"\r\n--x--y--");
            prop_assert_eq!(parse(&body, step), Ok((vec![part("f", None, &content)], true)));
        }

        #[test]
        fn parsing_never_panics(bytes in any::<Vec<u8>>(), close in "[-xy\r\n:;=\"\\\\a]{0,80}", step in 1..9_usize) {
            let _ = parse(&bytes, step);
            let _ = parse(close.as_bytes(), step);
            let _ = parse(format!("--x--y\r\nContent-Disposition: form-data; {close}\r\n\r\n").as_bytes(), step);
            let _ = FormParser::new(&format!("multipart/form-data; {close}"));
        }
    }
}
