//! Media types: what the client says, what the bytes say, and whether the two agree.

use std::fmt;

use crate::error::{ErrorCode, Refusal};

/// Longest media type accepted, in bytes.
const MEDIA_TYPE_BYTES_MAX: usize = 127;

/// A media type without parameters, lower-case: `text/csv` (RFC 9110 §8.3.1).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MediaType(String);

impl MediaType {
    /// Reads a `Content-Type` value; parameters are dropped.
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        let refused = || {
            Refusal::new(
                ErrorCode::InvalidRequest,
                "A content type is written as type/subtype, for example image/jpeg.",
            )
            .with("field", "content_type")
        };
        let essence = text
            .split(';')
            .next()
            .unwrap_or_default()
            .trim_matches([' ', '\t']);
        let (kind, subtype) = essence.split_once('/').ok_or_else(refused)?;
        let token = |part: &str| !part.is_empty() && part.bytes().all(is_token_byte);
        if essence.len() > MEDIA_TYPE_BYTES_MAX || !token(kind) || !token(subtype) {
            return Err(refused());
        }
        Ok(Self(essence.to_ascii_lowercase()))
    }

    /// `application/octet-stream`: bytes of which nothing is known.
    pub fn octet_stream() -> Self {
        Self("application/octet-stream".to_owned())
    }

    /// `type/subtype`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a policy entry covers this type: itself, `image/*` or `*/*`.
    pub fn matches(&self, pattern: &str) -> bool {
        match pattern.strip_suffix("/*") {
            Some("*") => true,
            Some(kind) => self.0.split('/').next() == Some(kind),
            None => self.0 == pattern,
        }
    }

    /// Whether a browser may show the type inside a page without running what it contains (design §6).
    pub fn is_safe_inline(&self) -> bool {
        matches!(
            self.as_str(),
            "image/jpeg"
                | "image/png"
                | "image/gif"
                | "image/webp"
                | "image/avif"
                | "application/pdf"
                | "text/plain"
        ) || self.0.starts_with("audio/")
            || self.0.starts_with("video/")
    }

    /// The type that a file name suggests, for clients that declare none.
    pub fn from_extension(extension: &str) -> Option<Self> {
        let kind = match extension.to_ascii_lowercase().as_str() {
            "jpg" | "jpeg" => "image/jpeg",
            "png" => "image/png",
            "gif" => "image/gif",
            "webp" => "image/webp",
            "avif" => "image/avif",
            "heic" => "image/heic",
            "tif" | "tiff" => "image/tiff",
            "bmp" => "image/bmp",
            "svg" => "image/svg+xml",
            "pdf" => "application/pdf",
            "csv" => "text/csv",
            "tsv" => "text/tab-separated-values",
            "txt" | "log" => "text/plain",
            "md" => "text/markdown",
            "html" | "htm" => "text/html",
            "xml" => "application/xml",
            "json" => "application/json",
            "zip" => "application/zip",
            "gz" => "application/gzip",
            "doc" => "application/msword",
            "docx" => "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
            "xls" => "application/vnd.ms-excel",
            "xlsx" => "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
            "pptx" => "application/vnd.openxmlformats-officedocument.presentationml.presentation",
            "ods" => "application/vnd.oasis.opendocument.spreadsheet",
            "mp4" => "video/mp4",
            "webm" => "video/webm",
            "mov" => "video/quicktime",
            "mp3" => "audio/mpeg",
            "ogg" => "audio/ogg",
            "opus" => "audio/opus",
            "wav" => "audio/wav",
            _ => return None,
        };
        Some(Self(kind.to_owned()))
    }
}

impl fmt::Display for MediaType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// RFC 9110 §5.6.2 `tchar`.
const fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        )
}

/// How many leading bytes [`sniff`] wants to see.
pub const SNIFF_BYTES: usize = 8 * 1024;

/// The type that the leading bytes of a file show, from their signature. `None` where bytes carry no signature
/// (plain text, CSV, raw data).
pub fn sniff(head: &[u8]) -> Option<MediaType> {
    let head = &head[..head.len().min(SNIFF_BYTES)];
    if head.starts_with(&OLE_STORAGE) {
        // Its directory, which says whether a document or a workbook is in it, may lie anywhere in the file.
        return Some(MediaType("application/x-ole-storage".to_owned()));
    }
    if head.starts_with(b"II+\0\x08\0\0\0") || head.starts_with(b"MM\0+\0\x08\0\0") {
        return Some(MediaType("image/tiff".to_owned()));
    }
    let found = infer::get(head)?;
    Some(MediaType(found.mime_type().to_owned()))
}

/// First bytes of a compound file (MS-CFB 2.2).
const OLE_STORAGE: [u8; 8] = [0xD0, 0xCF, 0x11, 0xE0, 0xA1, 0xB1, 0x1A, 0xE1];

/// Whether leading bytes look like text in UTF-8, UTF-16 or a legacy code: none but the usual control characters.
pub fn looks_like_text(head: &[u8]) -> bool {
    let whole = head.len() < SNIFF_BYTES;
    let head = &head[..head.len().min(SNIFF_BYTES)];
    if head.starts_with(&[0xff, 0xfe]) || head.starts_with(&[0xfe, 0xff]) {
        return true;
    }
    // DOS ended its texts so.
    let text = head.strip_suffix(&[0x1a]).filter(|_| whole).unwrap_or(head);
    !text.iter().any(|&byte| is_control(byte.into()))
        || is_utf_16(head, u16::from_le_bytes)
        || is_utf_16(head, u16::from_be_bytes)
}

/// Control characters that texts do not have.
fn is_control(unit: u16) -> bool {
    unit < 0x20 && !matches!(unit, 0x09 | 0x0a | 0x0c | 0x0d | 0x1b)
}

/// Whether this is UTF-16 without a byte order mark: in whole units and pairs, without control characters, and with more
/// characters of ASCII, which tables have at the latest between two fields, than pairs of bytes that were ASCII by
/// themselves: a zero byte in a plain text does not make it UTF-16.
fn is_utf_16(head: &[u8], unit: fn([u8; 2]) -> u16) -> bool {
    let (pairs, rest) = head.as_chunks::<2>();
    let units = || pairs.iter().map(|&pair| unit(pair));
    let plain = |pair: &&[u8; 2]| pair.iter().all(|byte| byte.is_ascii() && *byte != 0);
    let narrow = units().filter(|unit| *unit < 0x80).count();
    // A pair of surrogates may be cut in two by the end of what is looked at.
    let cut = units().next_back().is_some_and(|unit| unit & 0xfc00 == 0xd800);
    let unpaired = char::decode_utf16(units()).filter(Result::is_err).count();
    rest.is_empty()
        && narrow > pairs.iter().filter(plain).count()
        && unpaired == usize::from(cut)
        && !units().any(is_control)
}

/// Whether what the bytes are is acceptable for what the client declared. A signature must agree with the
/// declared type (or be the container that the declared type is stored in); a declared type that has a
/// signature must show it; text must look like text. Anything may be declared `application/octet-stream`, which
/// then is served as nothing else.
pub fn agrees(declared: &MediaType, head: &[u8]) -> bool {
    let declared_type = declared.as_str();
    if declared_type == "application/octet-stream" {
        return true;
    }
    match sniff(head) {
        Some(found) => same_family(declared_type, found.as_str()),
        None if has_signature(declared_type) => false,
        None if is_text(declared_type) => looks_like_text(head),
        None => true,
    }
}

/// Declared types whose real files always begin with a signature that [`sniff`] knows.
fn has_signature(declared: &str) -> bool {
    matches!(
        declared,
        "image/jpeg"
            | "image/png"
            | "image/gif"
            | "image/webp"
            | "image/avif"
            | "image/heic"
            | "image/tiff"
            | "image/bmp"
            | "application/pdf"
            | "application/zip"
            | "application/gzip"
            | "application/msword"
            | "application/vnd.ms-excel"
            | "video/mp4"
            | "video/webm"
            | "audio/ogg"
            | "audio/opus"
    ) || declared.starts_with("application/vnd.openxmlformats-officedocument.")
        || declared.starts_with("application/vnd.oasis.opendocument.")
}

fn is_text(declared: &str) -> bool {
    declared.starts_with("text/")
        || matches!(declared, "application/json" | "application/xml" | "image/svg+xml")
}

/// Pairs of (declared, found) that name the same bytes.
fn same_family(declared: &str, found: &str) -> bool {
    if declared == found {
        return true;
    }
    let office = declared.starts_with("application/vnd.openxmlformats-officedocument.")
        || declared.starts_with("application/vnd.oasis.opendocument.")
        || macro_enabled(declared).is_some();
    if let Some(component) = found.strip_prefix("application/vnd.openxmlformats-officedocument.") {
        // Documents, their templates, and those with macros differ in what is said deep inside of them.
        let component = component.split('.').next().unwrap_or_default();
        return declared
            .strip_prefix("application/vnd.openxmlformats-officedocument.")
            .is_some_and(|declared| declared.split('.').next() == Some(component))
            || macro_enabled(declared) == Some(component);
    }
    match found {
        // Office documents are zip files; a short head may not show which.
        "application/zip" => {
            office || declared == "application/x-zip-compressed" || declared == "application/epub+zip"
        }
        "application/x-ole-storage" => matches!(
            declared,
            "application/msword" | "application/vnd.ms-excel" | "application/vnd.ms-powerpoint"
        ),
        "image/jpeg" => declared == "image/jpg" || declared == "image/pjpeg",
        "image/heif" => declared == "image/heic",
        "audio/mpeg" => declared == "audio/mp3",
        "audio/x-wav" => matches!(declared, "audio/wav" | "audio/wave" | "audio/vnd.wave"),
        "audio/ogg" => matches!(declared, "audio/opus" | "application/ogg" | "video/ogg"),
        "audio/m4a" => matches!(declared, "audio/mp4" | "audio/x-m4a" | "video/mp4"),
        "audio/x-flac" => declared == "audio/flac",
        "video/webm" | "video/x-matroska" => matches!(
            declared,
            "video/webm" | "audio/webm" | "video/x-matroska" | "audio/x-matroska"
        ),
        "video/mp4" => matches!(declared, "audio/mp4" | "video/quicktime" | "video/x-m4v"),
        "video/x-m4v" | "video/quicktime" => declared == "video/mp4",
        "application/gzip" => declared == "application/x-gzip" || declared == "application/x-tar",
        "text/xml" => matches!(
            declared,
            "application/xml" | "image/svg+xml" | "application/xhtml+xml" | "text/html"
        ),
        "text/html" => matches!(declared, "application/xhtml+xml"),
        "application/x-shellscript" | "text/x-shellscript" => {
            declared == "text/plain" || declared == "application/x-sh"
        }
        "image/x-icon" | "image/vnd.microsoft.icon" => {
            matches!(declared, "image/x-icon" | "image/vnd.microsoft.icon")
        }
        "image/vnd.adobe.photoshop" => declared == "image/x-photoshop",
        "application/x-executable"
        | "application/vnd.microsoft.portable-executable"
        | "application/x-mach-binary" => {
            matches!(
                declared,
                "application/x-executable"
                    | "application/vnd.microsoft.portable-executable"
                    | "application/x-msdownload"
                    | "application/x-mach-binary"
            )
        }
        _ => false,
    }
}

/// The component of Office Open XML that a type of documents with macros or in binary form belongs to.
fn macro_enabled(declared: &str) -> Option<&'static str> {
    let kind = declared
        .strip_prefix("application/vnd.ms-")?
        .strip_suffix(".macroenabled.12")?;
    Some(match kind.split('.').next()? {
        "word" => "wordprocessingml",
        "excel" => "spreadsheetml",
        "powerpoint" => "presentationml",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn media(text: &str) -> MediaType {
        MediaType::parse(text).expect("a media type")
    }

    #[test]
    fn parsing_normalises_and_refuses() {
        assert_eq!(media("Text/CSV; charset=utf-8").as_str(), "text/csv");
        for bad in [
            "",
            "text",
            "text/",
            "/csv",
            "te xt/csv",
            "text/csv\n",
            "text/cs\0v",
            "a/b/c",
        ] {
            assert!(MediaType::parse(bad).is_err(), "{bad:?}");
        }
        assert!(MediaType::parse(&format!("a/{}", "b".repeat(200))).is_err());
    }

    #[test]
    fn patterns() {
        assert!(media("image/png").matches("image/*"));
        assert!(media("image/png").matches("*/*"));
        assert!(media("image/png").matches("image/png"));
        assert!(!media("image/png").matches("image/jpeg"));
        assert!(!media("imagex/png").matches("image/*"));
    }

    #[test]
    fn bytes_decide() {
        let png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR";
        let html = b"<!DOCTYPE html><script>alert(1)</script>";
        let ole: &[u8] = b"\xD0\xCF\x11\xE0\xA1\xB1\x1A\xE1\0\0";
        let matroska = [&b"\x1A\x45\xDF\xA3\x93\x42\x82\x88matroska"[..], &[0; 300]].concat();
        let xlsx: &[u8] = b"PK\x03\x04\x14\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x0b\0\0\0xl/workbook";
        let table: &[(&str, &[u8], bool)] = &[
            ("image/png", png, true),
            ("image/jpeg", png, false),
            ("image/png", html, false),
            ("image/png", b"", false),
            ("text/csv", b"a,b\n1,2\n", true),
            ("text/csv", b"a,b\0", false),
            ("text/csv", "дата;сумма\n".as_bytes(), true),
            ("text/csv", b"\xff\xfea\0,\0", true),
            ("text/plain", png, false),
            ("application/octet-stream", png, true),
            ("application/pdf", b"%PDF-1.7\n", true),
            ("application/pdf", b"MZ\x90\0", false),
            (
                "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
                b"PK\x03\x04\x14\0",
                true,
            ),
            ("application/x-custom", b"\x01\x02\x03", true),
            ("text/csv", b"a,b\r\n1,2\r\n\x1a", true),
            ("text/csv", b"a,\x1ab\r\n", false),
            // UTF-16 without a mark: "д,b", and a pair of surrogates that the end cuts off.
            ("text/csv", b"\x34\x04,\0b\0\n\0", true),
            ("text/csv", b"\x04\x34\0,\0b\0\n", true),
            ("text/csv", b"a\0,\0\x3d\xd8", true),
            ("text/csv", b"a\0,\0\x3d\xd8b\0", false),
            ("text/csv", b"\x01\0\x02\0", false),
            ("text/csv", b"a,b\n1,\0\x32\n", false),
            ("application/vnd.ms-excel", ole, true),
            ("application/msword", ole, true),
            ("application/pdf", ole, false),
            ("image/tiff", b"II+\0\x08\0\0\0\x10\0\0\0\0\0\0\0", true),
            ("image/tiff", b"MM\0+\0\x08\0\0\0\0\0\0\0\0\0\x10", true),
            ("audio/x-matroska", &matroska, true),
            ("video/webm", &matroska, true),
            ("audio/ogg", &matroska, false),
            ("application/vnd.ms-excel.sheet.macroenabled.12", xlsx, true),
            (
                "application/vnd.ms-excel.sheet.binary.macroenabled.12",
                xlsx,
                true,
            ),
            (
                "application/vnd.openxmlformats-officedocument.spreadsheetml.template",
                xlsx,
                true,
            ),
            ("application/vnd.ms-word.document.macroenabled.12", xlsx, false),
            (
                "application/vnd.ms-word.document.macroenabled.12",
                b"PK\x03\x04\x14\0",
                true,
            ),
            ("image/jpg", b"\xff\xd8\xff\xe0\0\x10JFIF", true),
        ];
        for (declared, head, expected) in table {
            assert_eq!(agrees(&media(declared), head), *expected, "{declared} {head:?}");
        }
    }
}
