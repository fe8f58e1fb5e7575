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
    let found = infer::get(&head[..head.len().min(SNIFF_BYTES)])?;
    Some(MediaType(found.mime_type().to_owned()))
}

/// Whether leading bytes look like text in UTF-8, UTF-16 with a byte order mark, or a legacy single-byte code:
/// no NUL and hardly any other control characters.
pub fn looks_like_text(head: &[u8]) -> bool {
    let head = &head[..head.len().min(SNIFF_BYTES)];
    if head.starts_with(&[0xff, 0xfe]) || head.starts_with(&[0xfe, 0xff]) {
        return true;
    }
    !head
        .iter()
        .any(|&b| b < 0x20 && !matches!(b, b'\t' | b'\n' | b'\r' | 0x0c | 0x1b))
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
        || declared.starts_with("application/vnd.oasis.opendocument.");
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
        "video/webm" => declared == "audio/webm" || declared == "video/x-matroska",
        "video/x-matroska" => declared == "video/webm" || declared == "audio/webm",
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
            ("image/jpg", b"\xff\xd8\xff\xe0\0\x10JFIF", true),
        ];
        for (declared, head, expected) in table {
            assert_eq!(agrees(&media(declared), head), *expected, "{declared} {head:?}");
        }
    }
}
