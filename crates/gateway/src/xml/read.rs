//! Reading: a small tree, with bounds on depth and on the number of elements. There are no document types and so no
//! entities to expand; only character references and the five names that XML itself defines are resolved.

use quick_xml::Reader;
use quick_xml::escape::resolve_xml_entity;
use quick_xml::events::Event;

use crate::error::S3Error;

/// The longest document that is read, in bytes: 10,000 parts with checksums, or 1,000 keys of 1,024 bytes, fit.
pub(crate) const XML_BYTES_MAX: usize = 2 * 1024 * 1024;
const DEPTH_MAX: usize = 6;
/// 10,000 parts of at most five elements each, and some to spare.
const ELEMENTS_MAX: usize = 64_000;

/// An element.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Element {
    pub(crate) name: String,
    /// The text directly inside, exactly as written.
    pub(crate) text: String,
    pub(crate) children: Vec<Element>,
}

impl Element {
    /// Reads a document whose root has this name, in any namespace.
    pub(crate) fn parse(document: &[u8], root: &str) -> Result<Self, S3Error> {
        parse(document)
            .filter(|element| element.name == root)
            .ok_or_else(S3Error::malformed_xml)
    }

    /// The text of the first child of this name.
    pub(crate) fn text_of(&self, name: &str) -> Option<&str> {
        self.children
            .iter()
            .find(|child| child.name == name)
            .map(|child| child.text.as_str())
    }

    /// Every child of this name.
    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Element> {
        self.children.iter().filter(move |child| child.name == name)
    }
}

fn parse(document: &[u8]) -> Option<Element> {
    let mut reader = Reader::from_str(std::str::from_utf8(document).ok()?);
    let mut open: Vec<Element> = Vec::new();
    let mut root = None;
    let mut count = 0;
    loop {
        match reader.read_event().ok()? {
            Event::Start(start) => {
                count += 1;
                if root.is_some() || open.len() == DEPTH_MAX || count > ELEMENTS_MAX {
                    return None;
                }
                open.push(named(start.local_name().as_ref()));
            }
            Event::Empty(start) => {
                count += 1;
                if root.is_some() || count > ELEMENTS_MAX {
                    return None;
                }
                close(named(start.local_name().as_ref()), &mut open, &mut root);
            }
            Event::End(_) => close(open.pop()?, &mut open, &mut root),
            Event::Text(text) => push_text(&mut open, &text.xml10_content())?,
            Event::CData(text) => push_text(&mut open, &text.xml10_content())?,
            Event::GeneralRef(reference) => match reference.resolve_char_ref().ok()? {
                Some(character) => push_text(&mut open, character.encode_utf8(&mut [0; 4]))?,
                None => push_text(&mut open, resolve_xml_entity(&reference)?)?,
            },
            Event::DocType(_) => return None,
            Event::Decl(_) | Event::PI(_) | Event::Comment(_) => {}
            Event::Eof => return root.filter(|_| open.is_empty()),
        }
    }
}

fn named(name: &str) -> Element {
    Element {
        name: name.to_owned(),
        ..Element::default()
    }
}

fn close(element: Element, open: &mut [Element], root: &mut Option<Element>) {
    match open.last_mut() {
        Some(parent) => parent.children.push(element),
        None => *root = Some(element),
    }
}

/// Only white space may stand outside of the root.
fn push_text(open: &mut [Element], text: &str) -> Option<()> {
    match open.last_mut() {
        Some(element) => element.text.push_str(text),
        None if text.trim().is_empty() => {}
        None => return None,
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_what_clients_send() {
        let xml = "<?xml version=\"1.0\"?>\n<Delete xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\n <Quiet>true</Quiet>\
                   <Object><Key> a&lt;&#38;&#x64;<![CDATA[<&]]>é </Key></Object><Object/></Delete>\n";
        let document = Element::parse(xml.as_bytes(), "Delete").expect("valid");
        assert_eq!(document.text_of("Quiet"), Some("true"));
        let keys: Vec<_> = document
            .all("Object")
            .map(|object| object.text_of("Key"))
            .collect();
        assert_eq!(keys, [Some(" a<&d<&é "), None]);
    }

    #[test]
    fn everything_else_is_malformed() {
        let deep = "<a>".repeat(DEPTH_MAX + 1);
        let many = format!("<a>{}</a>", "<b/>".repeat(ELEMENTS_MAX));
        for xml in [
            "",
            " ",
            "<a>",
            "</a>",
            "<a></b>",
            "<a/><a/>",
            "text",
            "<a/>text",
            "<b/>",
            "<a>&x;</a>",
            "<a>&#0;</a>",
            "<!DOCTYPE a [<!ENTITY x \"y\">]><a>&x;</a>",
            "<!DOCTYPE a><a/>",
            "<a",
            "{\"a\":1}",
            &deep,
            &many,
        ] {
            let error = Element::parse(xml.as_bytes(), "a").map(|_| ()).expect_err(xml);
            assert_eq!(
                (error.code, error.status.as_u16()),
                ("MalformedXML", 400),
                "{xml}"
            );
        }
        assert!(Element::parse(b"<a>\xff</a>", "a").is_err());
        assert!(Element::parse(b"<a/>", "a").is_ok());
    }

    proptest! {
        #[test]
        fn reading_never_panics(bytes in any::<Vec<u8>>(), close in "[<>/!&;#\\[\\]a-cCDATA\"= -]{0,80}") {
            let _ = Element::parse(&bytes, "a");
            let _ = Element::parse(close.as_bytes(), "a");
        }
    }
}
