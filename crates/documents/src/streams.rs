//! How large the streams of a PDF become, measured before the parser makes them so.
//!
//! A kilobyte of deflate can be a megabyte, a chain of two a gigabyte. The streams are decompressed here piece by
//! piece, into nothing, up to the limit. First those that opening the file may need, found in the raw bytes; then
//! those that the first page leads to.

use std::borrow::Cow;
use std::collections::HashSet;
use std::io::{ErrorKind, Read};

use flate2::read::{DeflateDecoder, ZlibDecoder};
use hayro::hayro_syntax::Filter;
use hayro::hayro_syntax::object::{Dict, MaybeRef, Object, ObjectIdentifier, Stream};
use hayro::hayro_syntax::page::Page;
use memchr::memmem;

use crate::{Error, Limits, armour};

/// What deflate makes of one byte at most (RFC 1951: 258 bytes for 2 bits, and some).
const DEFLATE_RATIO: u64 = 1_032;
/// What LZW with codes of 12 bits makes of one byte at most, resets included.
const LZW_RATIO: u64 = 1_400;
/// A dictionary is looked for this far before its stream.
const DICTIONARY_WINDOW: usize = 4 * 1024;
/// Decompressions after one another. Nobody needs more than two.
const FILTERS: usize = 4;

fn too_large(limit: u64) -> Error {
    Error::LimitExceeded {
        limit: "bytes of a stream",
        value: limit,
    }
}

/// Pages that announce themselves in a piece of a file: `/Page` as a name of its own.
fn announced_pages(bytes: &[u8]) -> usize {
    memmem::find_iter(bytes, b"/Page")
        .filter(|at| {
            !bytes
                .get(at + b"/Page".len())
                .is_some_and(u8::is_ascii_alphanumeric)
        })
        .count()
}

/// Measures what opening the file may need: its pages, and its streams that are no images.
pub(crate) fn check_file(bytes: &[u8], limits: &Limits) -> Result<(), Error> {
    let mut pages = announced_pages(bytes);
    let mut total = 0;
    for at in memmem::find_iter(bytes, b"stream") {
        if bytes[..at].ends_with(b"end") {
            continue;
        }
        let before = &bytes[at.saturating_sub(DICTIONARY_WINDOW)..at];
        let dictionary = &before[memmem::rfind(before, b" obj").unwrap_or(0)..];
        let objects = memmem::find(dictionary, b"/ObjStm").is_some();
        let references = memmem::find(dictionary, b"/XRef").is_some();
        let image = memmem::find(dictionary, b"/Image").is_some();
        if image && !objects && !references {
            continue;
        }
        let data = &bytes[at + b"stream".len()..];
        let data = data.strip_prefix(b"\r").unwrap_or(data);
        let data = data.strip_prefix(b"\n").unwrap_or(data);
        let limit = if references {
            limits.reference_bytes
        } else {
            limits.stream_bytes
        };
        let layers = memmem::find_iter(dictionary, b"FlateDecode").count();
        if layers == 0 {
            continue;
        }
        // A stream that ends soon cannot become large.
        let room = limit.div_ceil(DEFLATE_RATIO.saturating_pow(u32::try_from(layers).unwrap_or(u32::MAX)));
        let near = &data[..data.len().min(usize::try_from(room).unwrap_or(usize::MAX))];
        if !objects && !references && memmem::find(near, b"endstream").is_some() {
            continue;
        }
        let filters = text_filters(dictionary);
        let encoded = if filters.is_empty() {
            Cow::Borrowed(data)
        } else {
            let end = memmem::find(data, b"endstream").unwrap_or(data.len());
            armour::strip(Cow::Borrowed(&data[..end]), &filters)
        };
        let size = measure(&encoded, layers, limit, |piece| {
            if objects {
                pages += announced_pages(piece);
            }
        })?;
        if objects {
            total += size;
        }
        // They all stay in memory.
        if total > 2 * limits.stream_bytes {
            return Err(too_large(limits.stream_bytes));
        }
    }
    if pages > limits.pages {
        return Err(Error::LimitExceeded {
            limit: "pages",
            value: limits.pages as u64,
        });
    }
    Ok(())
}

/// The text filters that a dictionary names, in their order.
fn text_filters(dictionary: &[u8]) -> Vec<Filter> {
    let mut filters: Vec<(usize, Filter)> = [
        (&b"ASCII85Decode"[..], Filter::Ascii85Decode),
        (b"ASCIIHexDecode", Filter::AsciiHexDecode),
    ]
    .into_iter()
    .filter_map(|(name, filter)| Some((memmem::find(dictionary, name)?, filter)))
    .collect();
    filters.sort_by_key(|(at, _)| *at);
    filters.into_iter().map(|(_, filter)| filter).collect()
}

/// The size after `layers` of deflate; what is broken counts as far as it goes. `look` sees every
/// piece.
fn measure(data: &[u8], layers: usize, limit: u64, mut look: impl FnMut(&[u8])) -> Result<u64, Error> {
    if layers > FILTERS {
        return Err(Error::Unsupported {
            what: "a stream that is compressed over and over",
        });
    }
    let mut reader: Box<dyn Read + '_> = Box::new(data);
    for layer in 0..layers {
        let zlib = layer > 0 || looks_like_zlib(data);
        reader = if zlib {
            Box::new(ZlibDecoder::new(reader))
        } else {
            Box::new(DeflateDecoder::new(reader))
        };
    }
    let mut buffer = vec![0; 64 * 1024];
    let mut size = 0;
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return Ok(size),
            Ok(read) => {
                size += read as u64;
                look(&buffer[..read]);
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return Ok(size),
        }
        if size > limit {
            return Err(too_large(limit));
        }
    }
}

/// RFC 1950, section 2.2: method 8, and a header that is a multiple of 31.
fn looks_like_zlib(data: &[u8]) -> bool {
    matches!(data, [method, flags, ..]
        if method & 15 == 8 && u16::from_be_bytes([*method, *flags]).is_multiple_of(31))
}

/// Measures what rendering `page` will decompress: every stream and image that it leads to.
pub(crate) fn check_page(page: &Page<'_>, limits: &Limits) -> Result<(), Error> {
    let mut walk = Walk {
        page,
        limits,
        seen: HashSet::new(),
        total: 0,
        waiting: Vec::new(),
    };
    walk.take_entries(page.raw(), &[b"Parent"]);
    // Resources may come from the page tree, and then are not in the page's own dictionary.
    let resources = page.resources();
    for dict in [
        &resources.ext_g_states,
        &resources.fonts,
        &resources.properties,
        &resources.color_spaces,
        &resources.x_objects,
        &resources.patterns,
        &resources.shadings,
    ] {
        walk.take_entries(dict, &[]);
    }
    while let Some(object) = walk.waiting.pop() {
        match object {
            Object::Dict(dict) => walk.take_entries(&dict, &[]),
            Object::Array(array) => array.raw_iter().for_each(|item| walk.take(item)),
            Object::Stream(stream) => {
                walk.measure_stream(&stream)?;
                walk.take_entries(stream.dict(), &[]);
            }
            _ => {}
        }
        if walk.seen.len() > limits.objects || walk.waiting.len() > limits.objects {
            return Err(Error::LimitExceeded {
                limit: "objects",
                value: limits.objects as u64,
            });
        }
    }
    Ok(())
}

struct Walk<'a, 'b> {
    page: &'b Page<'a>,
    limits: &'b Limits,
    seen: HashSet<ObjectIdentifier>,
    total: u64,
    waiting: Vec<Object<'a>>,
}

/// Entries that lead away from the page: to its parents, to other pages, to structure.
const ELSEWHERE: [&[u8]; 12] = [
    b"Parent",
    b"P",
    b"Popup",
    b"Dest",
    b"A",
    b"AA",
    b"IRT",
    b"StructParents",
    b"B",
    b"Metadata",
    b"PieceInfo",
    b"Thumb",
];

impl<'a> Walk<'a, '_> {
    fn take_entries(&mut self, dict: &Dict<'a>, leave: &[&[u8]]) {
        for (key, value) in dict.entries() {
            let key: &[u8] = &key;
            if !leave.contains(&key) && !ELSEWHERE.contains(&key) {
                self.take(value);
            }
        }
    }

    fn take(&mut self, value: MaybeRef<Object<'a>>) {
        match value {
            MaybeRef::NotRef(object) => self.waiting.push(object),
            MaybeRef::Ref(reference) => {
                let id = reference.into();
                if self.seen.insert(id) {
                    self.waiting.extend(self.page.xref().get::<Object<'a>>(id));
                }
            }
        }
    }

    fn measure_stream(&mut self, stream: &Stream<'a>) -> Result<(), Error> {
        let dict = stream.dict();
        let side = |key: &str| u64::from(dict.get::<u32>(key).unwrap_or(0));
        let pixels = side("Width").saturating_mul(side("Height"));
        if pixels > self.limits.image_pixels {
            return Err(Error::LimitExceeded {
                limit: "pixels of an image",
                value: self.limits.image_pixels,
            });
        }
        let filters = stream.filters();
        let layers = filters
            .iter()
            .filter(|filter| **filter == Filter::FlateDecode)
            .count();
        let limit = self.limits.stream_bytes.max(pixels.saturating_mul(8));
        let raw = stream.raw_data();
        if filters.contains(&Filter::LzwDecode) && raw.len() as u64 * LZW_RATIO > limit {
            return Err(too_large(limit));
        }
        let size = if layers == 0 || filters.contains(&Filter::DctDecode) && layers == 1 {
            raw.len() as u64
        } else {
            measure(&armour::strip(raw, &filters), layers, limit, |_| ())?
        };
        self.total = self.total.saturating_add(size);
        if self.total > self.limits.page_bytes.max(limit) {
            return Err(too_large(self.limits.page_bytes));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::ZlibEncoder;

    use super::*;

    fn deflate(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn file(dictionary: &str, data: &[u8]) -> Vec<u8> {
        let mut file = format!("%PDF-1.5\n4 0 obj\n<< {dictionary} >>\nstream\n").into_bytes();
        file.extend(data);
        file.extend(b"\nendstream\nendobj\n");
        file
    }

    #[test]
    fn a_stream_of_objects_is_measured_before_it_is_read() {
        let limits = Limits {
            stream_bytes: 1 << 20,
            ..Limits::default()
        };
        let bomb = deflate(&vec![b' '; 3 << 20]);
        let refused = check_file(&file("/Type /ObjStm /Filter /FlateDecode", &bomb), &limits);
        assert!(matches!(
            refused,
            Err(Error::LimitExceeded {
                limit: "bytes of a stream",
                value: 0x10_0000
            })
        ));
        let twice = deflate(&bomb);
        let two = file("/Filter [/FlateDecode /FlateDecode]", &twice);
        assert!(
            matches!(check_file(&two, &limits), Err(Error::LimitExceeded { .. })),
            "{} bytes",
            twice.len()
        );
        let small = deflate(&vec![b' '; 1 << 19]);
        check_file(&file("/Type /ObjStm /Filter /FlateDecode", &small), &limits).unwrap();
    }

    #[test]
    fn text_around_a_bomb_does_not_hide_it() {
        let limits = Limits {
            stream_bytes: 1 << 20,
            ..Limits::default()
        };
        let bomb = deflate(&vec![b' '; 3 << 20]);
        let hex = bomb
            .iter()
            .fold(String::new(), |text, byte| format!("{text}{byte:02x}"));
        let hidden = file(
            "/Type /ObjStm /Filter [/ASCIIHexDecode /FlateDecode]",
            hex.as_bytes(),
        );
        assert!(matches!(
            check_file(&hidden, &limits),
            Err(Error::LimitExceeded { .. })
        ));
    }

    #[test]
    fn an_image_is_left_to_its_page() {
        let limits = Limits {
            stream_bytes: 1 << 20,
            ..Limits::default()
        };
        let picture = deflate(&vec![0; 3 << 20]);
        check_file(&file("/Subtype /Image /Filter /FlateDecode", &picture), &limits).unwrap();
    }
}
