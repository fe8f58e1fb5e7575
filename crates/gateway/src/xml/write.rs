//! Writing: every text is escaped, and characters that XML 1.0 forbids become numeric references, as S3 writes them.

use std::fmt::{Display, Write as _};

use bytes::Bytes;

/// The namespace of every document but the error.
const NAMESPACE: &str = "http://s3.amazonaws.com/doc/2006-03-01/";

/// A document while it grows.
pub(crate) struct XmlWriter {
    out: String,
}

impl XmlWriter {
    /// Begins with the declaration.
    pub(crate) fn new() -> Self {
        let mut out = String::with_capacity(512);
        out.push_str("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
        Self { out }
    }

    /// Opens the root element in S3's namespace.
    pub(crate) fn root(name: &str) -> Self {
        let mut xml = Self::new();
        // Proof for all of this file: writing to a `String` cannot fail.
        let _ = write!(xml.out, "<{name} xmlns=\"{NAMESPACE}\">");
        xml
    }

    /// Opens an element.
    pub(crate) fn open(&mut self, name: &str) {
        let _ = write!(self.out, "<{name}>");
    }

    /// Closes an element.
    pub(crate) fn close(&mut self, name: &str) {
        let _ = write!(self.out, "</{name}>");
    }

    /// An element with text.
    pub(crate) fn leaf(&mut self, name: &str, text: &str) {
        self.open(name);
        push_escaped(&mut self.out, text);
        self.close(name);
    }

    /// An element with a number or anything else that needs no escaping.
    pub(crate) fn value(&mut self, name: &str, value: impl Display) {
        let _ = write!(self.out, "<{name}>{value}</{name}>");
    }

    /// An `ETag` in its quotes.
    pub(crate) fn etag(&mut self, etag: &str) {
        self.out.push_str("<ETag>&quot;");
        push_escaped(&mut self.out, etag);
        self.out.push_str("&quot;</ETag>");
    }

    /// The one account that owns everything here, under the element name.
    pub(crate) fn owner(&mut self, element: &str) {
        self.open(element);
        self.leaf("ID", "cloakroom");
        self.leaf("DisplayName", "cloakroom");
        self.close(element);
    }

    /// Raw, well-formed XML.
    pub(crate) fn raw(&mut self, xml: &str) {
        self.out.push_str(xml);
    }

    /// The document.
    pub(crate) fn finish(self) -> Bytes {
        Bytes::from(self.out)
    }
}

fn push_escaped(out: &mut String, text: &str) {
    let mut rest = text;
    while let Some(at) = rest.find(is_special) {
        out.push_str(&rest[..at]);
        let mut tail = rest[at..].chars();
        match tail.next() {
            Some('&') => out.push_str("&amp;"),
            Some('<') => out.push_str("&lt;"),
            Some('>') => out.push_str("&gt;"),
            Some('"') => out.push_str("&quot;"),
            Some(other) => {
                let _ = write!(out, "&#x{:X};", u32::from(other));
            }
            None => {}
        }
        rest = tail.as_str();
    }
    out.push_str(rest);
}

/// A carriage return would come back as a line feed, so it is written as a reference like the forbidden characters.
fn is_special(character: char) -> bool {
    matches!(character, '&' | '<' | '>' | '"' | '\u{0}'..='\u{8}' | '\u{b}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_cannot_break_out() {
        let mut xml = XmlWriter::root("Root");
        xml.leaf("Key", "</Key>&\"'\r\n\t\u{0}ü\u{ffff}");
        xml.etag("a\"b");
        xml.value("Size", 3);
        xml.close("Root");
        assert_eq!(
            xml.finish(),
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Root xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
             <Key>&lt;/Key&gt;&amp;&quot;'&#xD;\n\t&#x0;ü&#xFFFF;</Key><ETag>&quot;a&quot;b&quot;</ETag>\
             <Size>3</Size></Root>"
        );
    }
}
