//! XML as a stream of tags, for the parts of workbooks: no entities of its own, no memory beyond one tag.
//!
//! Only what the formats use: UTF-8, no document type (which is how small files are made to expand), well-formed as
//! far as tags open and close in pairs.

use std::io::{Read, Seek};

use super::archive::Part;
use crate::Error;

/// Bytes that are inflated at once.
const WINDOW_BYTES: usize = 128 << 10;

/// How deep tags may lie in each other; the formats need about ten.
const DEEPEST: u32 = 256;

/// A tag or text.
#[derive(Debug)]
pub(super) enum Token<'a> {
    /// `<name attributes>` or `<name attributes/>`.
    Open(Tag<'a>),
    /// `</name>`, by its local name.
    Close(&'a [u8]),
    /// A piece of the text between tags, not decoded; CDATA too.
    Text(&'a [u8]),
    /// The part has ended.
    End,
}

/// An opening tag.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tag<'a> {
    /// The name without its namespace.
    pub(super) name: &'a [u8],
    attributes: &'a [u8],
    /// It closes itself.
    pub(super) empty: bool,
}

impl<'a> Tag<'a> {
    /// The value of the attribute of that local name, not decoded.
    pub(super) fn raw(&self, name: &str) -> Option<&'a [u8]> {
        let mut rest = self.attributes;
        while let Some(equals) = memchr::memchr(b'=', rest) {
            let key = local_name(rest[..equals].trim_ascii());
            let value = rest[equals + 1..].trim_ascii_start();
            let (&quote, value) = value.split_first()?;
            if !matches!(quote, b'"' | b'\'') {
                return None;
            }
            let end = memchr::memchr(quote, value)?;
            if key == name.as_bytes() {
                return Some(&value[..end]);
            }
            rest = &value[end + 1..];
        }
        None
    }

    /// The value of the attribute of that local name.
    pub(super) fn attribute(&self, name: &str) -> Option<String> {
        self.raw(name).map(decode)
    }

    /// The value as a number.
    pub(super) fn number(&self, name: &str) -> Option<u64> {
        std::str::from_utf8(self.raw(name)?).ok()?.trim().parse().ok()
    }
}

/// Text with the five entities of XML and the numbered ones replaced; unknown ones stay as they are.
pub(super) fn decode(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let mut decoded = String::with_capacity(text.len());
    let mut rest = &*text;
    while let Some(start) = rest.find('&') {
        decoded.push_str(&rest[..start]);
        rest = &rest[start..];
        let entity = rest
            .find(';')
            .filter(|end| *end <= 12)
            .map(|end| (&rest[1..end], end));
        let letter = entity.and_then(|(name, end)| Some((entity_letter(name)?, end)));
        if let Some((letter, end)) = letter {
            decoded.push(letter);
            rest = &rest[end + 1..];
        } else {
            decoded.push('&');
            rest = &rest[1..];
        }
    }
    decoded + rest
}

fn entity_letter(name: &str) -> Option<char> {
    match name {
        "amp" => Some('&'),
        "lt" => Some('<'),
        "gt" => Some('>'),
        "quot" => Some('"'),
        "apos" => Some('\''),
        _ => {
            let number = name.strip_prefix('#')?;
            let code = match number.strip_prefix(['x', 'X']) {
                Some(hex) => u32::from_str_radix(hex, 16).ok()?,
                None => number.parse().ok()?,
            };
            char::from_u32(code)
        }
    }
}

fn local_name(name: &[u8]) -> &[u8] {
    memchr::memrchr(b':', name).map_or(name, |colon| &name[colon + 1..])
}

/// Reads tokens from a part of an archive.
pub(super) struct Tokens<'a, R> {
    part: Part<'a, R>,
    name: String,
    window: Vec<u8>,
    start: usize,
    end: usize,
    longest: usize,
    depth: u32,
    /// Inside of CDATA.
    cdata: bool,
    /// The part has no more bytes.
    dry: bool,
    /// A tag was seen.
    begun: bool,
    /// Up to here in the window, a closing tag was looked for in vain.
    searched: usize,
}

/// Where a token ends in the window, and what it is.
enum Found {
    Open { end: usize, empty: bool },
    Close { end: usize },
    Text { end: usize },
    Nothing { end: usize },
}

impl<'a, R: Read + Seek> Tokens<'a, R> {
    /// Begins to read. `longest` is the limit on a tag.
    pub(super) fn new(part: Part<'a, R>, name: &str, longest: usize) -> Result<Self, Error> {
        let mut tokens = Self {
            part,
            name: name.to_owned(),
            window: vec![0; WINDOW_BYTES],
            start: 0,
            end: 0,
            longest,
            depth: 0,
            cdata: false,
            dry: false,
            begun: false,
            searched: 0,
        };
        while tokens.end < 4 && tokens.refill()? {}
        let head = &tokens.window[..tokens.end];
        if head.starts_with(&[0xFE, 0xFF]) || head.starts_with(&[0xFF, 0xFE]) || head.starts_with(&[0, b'<'])
        {
            return Err(Error::Unsupported(format!("UTF-16 in {name}")));
        }
        if head.starts_with(&[0xEF, 0xBB, 0xBF]) {
            tokens.start = 3;
        }
        Ok(tokens)
    }

    /// The next token.
    pub(super) fn next(&mut self) -> Result<Token<'_>, Error> {
        loop {
            let token_start = self.start;
            let Some(found) = self.find()? else {
                if !self.refill()? {
                    return self.finish();
                }
                continue;
            };
            match found {
                Found::Nothing { end } => self.start = end,
                Found::Text { end } => {
                    self.start = end;
                    return Ok(Token::Text(&self.window[token_start..end]));
                }
                Found::Close { end } => {
                    self.start = end;
                    let Some(depth) = self.depth.checked_sub(1) else {
                        return Err(self.fault("a tag is closed that was not opened"));
                    };
                    self.depth = depth;
                    let name = self.window[token_start + 2..end - 1].trim_ascii();
                    return Ok(Token::Close(local_name(name)));
                }
                Found::Open { end, empty } => {
                    self.start = end;
                    self.begun = true;
                    if !empty {
                        self.depth += 1;
                        if self.depth > DEEPEST {
                            return Err(Error::Limit {
                                limit: "the depth of tags",
                                value: u64::from(DEEPEST),
                            });
                        }
                    }
                    let inside = &self.window[token_start + 1..end - 1 - usize::from(empty)];
                    let name_end = inside
                        .iter()
                        .position(u8::is_ascii_whitespace)
                        .unwrap_or(inside.len());
                    let (name, attributes) = inside.split_at(name_end);
                    return Ok(Token::Open(Tag {
                        name: local_name(name),
                        attributes,
                        empty,
                    }));
                }
            }
        }
    }

    /// How many tags are open.
    pub(super) fn depth(&self) -> u32 {
        self.depth
    }

    /// Goes on to the closing tag of an element whose content is at this depth, as far as that is seen without reading
    /// on; else stays. What lies between is not looked at: nothing there changes an answer, and whether it is
    /// well-formed is not asked. Comments and CDATA could hold the tag as text: with them it stays, too.
    pub(super) fn skip_to(&mut self, closing: &memchr::memmem::Finder<'_>, depth: u32) {
        if self.start < self.searched || self.cdata {
            return;
        }
        let bytes = &self.window[self.start..self.end];
        let Some(end) = closing.find(bytes) else {
            self.searched = self.end;
            return;
        };
        if memchr::memmem::find(&bytes[..end], b"<!").is_some() {
            self.searched = self.start + end;
            return;
        }
        self.start += end;
        self.depth = depth;
    }

    /// A fault in this part.
    pub(super) fn fault(&self, what: &str) -> Error {
        Error::malformed(format!("{}: {what}", self.name))
    }

    fn finish(&self) -> Result<Token<'_>, Error> {
        if self.start < self.end || self.depth > 0 || self.cdata || !self.begun {
            return Err(self.fault("the XML ends too early"));
        }
        Ok(Token::End)
    }

    /// Looks for the end of the token at `start`; none if more bytes are needed.
    fn find(&mut self) -> Result<Option<Found>, Error> {
        let bytes = &self.window[self.start..self.end];
        let place = |offset: usize| self.start + offset;
        let Some(&first) = bytes.first() else {
            return Ok(None);
        };
        if self.cdata {
            return Ok(match memchr::memmem::find(bytes, b"]]>") {
                Some(0) => {
                    self.cdata = false;
                    Some(Found::Nothing { end: self.start + 3 })
                }
                Some(end) => Some(Found::Text { end: place(end) }),
                None if bytes.len() > 2 => Some(Found::Text {
                    end: place(bytes.len() - 2),
                }),
                None => None,
            });
        }
        if first != b'<' {
            let end = memchr::memchr(b'<', bytes).unwrap_or(bytes.len());
            return Ok(Some(Found::Text { end: place(end) }));
        }
        match bytes.get(1) {
            None => Ok(None),
            Some(b'!') => self.find_declaration(),
            Some(b'?') => {
                Ok(memchr::memmem::find(bytes, b"?>").map(|end| Found::Nothing { end: place(end + 2) }))
            }
            Some(b'/') => Ok(memchr::memchr(b'>', bytes).map(|end| Found::Close { end: place(end + 1) })),
            Some(_) => {
                let Some(end) = tag_end(bytes) else {
                    return Ok(None);
                };
                if bytes[end] == b'<' {
                    return Err(self.fault("a tag is not closed"));
                }
                Ok(Some(Found::Open {
                    end: place(end + 1),
                    empty: bytes[end - 1] == b'/',
                }))
            }
        }
    }

    fn find_declaration(&mut self) -> Result<Option<Found>, Error> {
        let bytes = &self.window[self.start..self.end];
        if bytes.starts_with(b"<!--") {
            let end = memchr::memmem::find(&bytes[4..], b"-->");
            return Ok(end.map(|end| Found::Nothing {
                end: self.start + 4 + end + 3,
            }));
        }
        if bytes.starts_with(b"<![CDATA[") {
            self.cdata = true;
            return Ok(Some(Found::Nothing { end: self.start + 9 }));
        }
        if !self.dry && (b"<!--".starts_with(bytes) || b"<![CDATA[".starts_with(bytes)) {
            return Ok(None);
        }
        Err(self.fault("a document type or another declaration, which is not accepted"))
    }

    /// Gets more bytes behind those that are left; false at the end of the part.
    fn refill(&mut self) -> Result<bool, Error> {
        if self.dry {
            return Ok(false);
        }
        if self.start > 0 {
            self.window.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.searched = self.searched.saturating_sub(self.start);
            self.start = 0;
        }
        if self.end == self.window.len() {
            if self.window.len() >= self.longest {
                return Err(Error::Limit {
                    limit: "an XML tag, in bytes,",
                    value: self.longest as u64,
                });
            }
            let longer = (self.window.len() * 2).min(self.longest);
            self.window.resize(longer, 0);
        }
        let read = self.part.read(&mut self.window[self.end..])?;
        self.end += read;
        self.dry = read == 0;
        Ok(read > 0)
    }
}

/// The place of the `>` that ends a tag, none of those inside of attribute values; or that of a `<`, which does not
/// belong there.
fn tag_end(tag: &[u8]) -> Option<usize> {
    let mut from = 1;
    loop {
        let at = from
            + tag[from..]
                .iter()
                .position(|byte| matches!(byte, b'>' | b'"' | b'\'' | b'<'))?;
        if matches!(tag[at], b'>' | b'<') {
            return Some(at);
        }
        from = at + 1 + memchr::memchr(tag[at], &tag[at + 1..])? + 1;
    }
}
