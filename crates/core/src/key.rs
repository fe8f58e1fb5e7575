//! Object keys: the only place where a path in a bucket is spelled.

mod derivatives;
mod documents;

use std::borrow::Cow;
use std::fmt::Write as _;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::{Offset, TimeZone};

pub(crate) use self::derivatives::rest_of;
pub use self::derivatives::{derivative_base, derivative_key, derivative_suffix, original_of};
pub use self::documents::{
    Beside, RECORDS_PREFIX, RecordDocument, attribute_file_of, beside, confirm_note_file_id,
    confirm_note_key, ids_in, record_document, record_document_key, record_documents_prefix,
};
use crate::id::FileId;

/// Everything that we write under this prefix is unverified, and swept when its deadline is over.
pub const STAGING_PREFIX: &str = "staging/";
/// Ours, beside the files: mode, format and probes.
pub const SYSTEM_PREFIX: &str = "_cloakroom/";
/// Longest file name in a key, in characters (S3-seed: "до 200 символов").
const NAME_CHARS_MAX: usize = 200;
/// Longest file name in a key, in bytes: what a file system takes.
const NAME_BYTES_MAX: usize = 255;
/// Longest ending of what stands beside an object: `.<epoch>.thumbnail-4096x4095-cover-<16 digits>.webp`.
const BESIDE_BYTES_MAX: usize = 64;
/// Longest S3 key, in bytes (S3 user guide, "Object key naming guidelines").
pub const KEY_BYTES_MAX: usize = 1024;

/// Where a client writes. The deadline comes first, so a sweeper finds what is over by listing a prefix.
pub fn staging_key(file_id: FileId, filename: &str, expires_at: Timestamp) -> String {
    let time = Offset::UTC.to_datetime(expires_at);
    let (stem, extension) = split_name(filename);
    let stem = segment(stem, 80);
    let dot = if extension.is_empty() { "" } else { "." };
    format!(
        "{STAGING_PREFIX}{:04}{:02}{:02}T{:02}{:02}Z/{file_id}/{stem}{dot}{extension}",
        time.year(),
        time.month(),
        time.day(),
        time.hour(),
        time.minute()
    )
}

/// The file that a staging key belongs to, if it is one of ours.
pub fn staging_file_id(key: &str) -> Option<FileId> {
    let mut segments = key.strip_prefix(STAGING_PREFIX)?.split('/');
    let _deadline = segments.next()?;
    segments.next()?.parse().ok()
}

/// When the URL of a staging key ends, to the minute: what [`staging_key`] was given, unless the upload was renewed since.
pub fn staging_deadline(key: &str) -> Option<Timestamp> {
    let deadline = key.strip_prefix(STAGING_PREFIX)?.split('/').next()?;
    let digits = deadline.strip_suffix('Z')?;
    let at = DateTime::strptime("%Y%m%dT%H%M", digits).ok()?;
    Some(at.to_zoned(TimeZone::UTC).ok()?.timestamp())
}

/// The staging key that a bucket's notification names, and its file, if it is one of ours.
///
/// AWS, MinIO and moto send keys encoded as in a form (`%2F`, `+` for a space), Ceph RGW and EventBridge as they are, and
/// nothing in a message says which. It needs no saying: a staging key of ours never holds `%`, `+` or a space
/// ([`staging_key`] cleans names), so a key with one of them is encoded or not ours.
pub fn notified_staging_key(key: &str) -> Option<(FileId, String)> {
    let key = if key.contains(['%', '+']) {
        decode_form(key)?
    } else {
        key.to_owned()
    };
    if key.len() > KEY_BYTES_MAX || key.contains(['%', '+', ' ']) || key.split('/').count() != 4 {
        return None;
    }
    // Names of ours begin with a dot: a confirm note is no upload.
    let ours = key.rsplit('/').next().is_some_and(|name| name.starts_with('.'));
    Some((staging_file_id(&key).filter(|_| !ours)?, key))
}

/// Undoes the encoding of forms (URL Standard, "application/x-www-form-urlencoded parsing"), strictly: `None` for a `%`
/// without two hexadecimal digits and for bytes that are not UTF-8.
fn decode_form(text: &str) -> Option<String> {
    let hex = |byte: &u8| {
        char::from(*byte)
            .to_digit(16)
            .and_then(|digit| u8::try_from(digit).ok())
    };
    let mut bytes = text.as_bytes().iter();
    let mut out = Vec::with_capacity(text.len());
    while let Some(&byte) = bytes.next() {
        out.push(match byte {
            b'+' => b' ',
            b'%' => (hex(bytes.next()?)? << 4) | hex(bytes.next()?)?,
            other => other,
        });
    }
    String::from_utf8(out).ok()
}

/// The sidecar of a final object: `<key>.<epoch>.attr.json`. Immutable; the highest epoch wins.
pub fn sidecar_key(key: &str, epoch: u32) -> String {
    format!("{key}.{epoch}.attr.json")
}

/// The tombstone of a final object: written before anything of it is deleted, so no rebuild brings it back.
pub fn tombstone_key(key: &str) -> String {
    format!("{key}.tomb.attr.json")
}

/// Where files move to that are archived or brought back.
pub const MOVED_PREFIX: &str = "moved/";

/// The key of a file that moves, unique to the version that the move makes: no place is ever used twice, so whatever is
/// left at an old one can go at any time.
pub fn moved_key(key: &str, version: u64) -> String {
    format!("{MOVED_PREFIX}{version}/{}", base_key(key))
}

/// The key that a file had before it ever moved.
pub fn base_key(key: &str) -> &str {
    move_of(key).map_or(key, |(_, base)| base)
}

/// The version under which a file moved here, and its base key; `None` for a key that it began with.
pub fn move_of(key: &str) -> Option<(u64, &str)> {
    let (version, base) = key.strip_prefix(MOVED_PREFIX)?.split_once('/')?;
    let plain = !version.is_empty() && version.bytes().all(|byte| byte.is_ascii_digit());
    Some((version.parse().ok().filter(|_| plain)?, base))
}

/// What a key template may name.
#[derive(Clone, Debug)]
pub struct KeyFacts<'a> {
    /// The file.
    pub file_id: FileId,
    /// The client's file name.
    pub filename: &'a str,
    /// A short name of the owner.
    pub username: &'a str,
    /// The collection.
    pub collection: &'a str,
    /// The record's id, or `unlinked`.
    pub record_id: Option<&'a str>,
    /// When the upload was signed.
    pub at: Timestamp,
}

/// A pattern for final keys, such as `{year}/{month}/{day}/{hour}/{stem}_{username}_{timestamp}_{uuid}.{ext}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyTemplate(String);

/// Why a template is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyTemplateError {
    /// A name in braces that does not exist.
    #[error(
        "unknown placeholder {{{0}}}; known are {{year}} {{month}} {{day}} {{hour}} {{stem}} {{username}} {{timestamp}} {{uuid}} {{file_id}} {{ext}} {{collection}} {{record_id}}"
    )]
    UnknownPlaceholder(String),
    /// Neither `{uuid}` nor `{file_id}` in it: two files would share a key.
    #[error("a key template needs {{uuid}} or {{file_id}}, or two files would share a key")]
    NotUnique,
    /// Begins with a slash, is empty, has an empty or dot segment, or lies under a prefix of ours.
    #[error(
        "a key template is a relative path without empty, '.' or '..' segments, outside of staging/, moved/ and _cloakroom/"
    )]
    BadPath,
}

const PLACEHOLDERS: &[&str] = &[
    "year",
    "month",
    "day",
    "hour",
    "stem",
    "username",
    "timestamp",
    "uuid",
    "file_id",
    "ext",
    "collection",
    "record_id",
];

impl Default for KeyTemplate {
    fn default() -> Self {
        Self("{collection}/{year}/{month}/{day}/{uuid}/{stem}.{ext}".to_owned())
    }
}

impl KeyTemplate {
    /// Checks a template.
    pub fn parse(text: &str) -> Result<Self, KeyTemplateError> {
        let bad_segment = |segment: &str| matches!(segment, "" | "." | "..");
        if text.len() > 500
            || text.split('/').any(bad_segment)
            || text.starts_with(STAGING_PREFIX)
            || text.starts_with(SYSTEM_PREFIX)
            || text.starts_with(MOVED_PREFIX)
            || text.chars().any(char::is_control)
        {
            return Err(KeyTemplateError::BadPath);
        }
        let mut names = Vec::new();
        let mut rest = text;
        while let Some((_, after)) = rest.split_once('{') {
            let Some((name, after)) = after.split_once('}') else {
                return Err(KeyTemplateError::UnknownPlaceholder(after.to_owned()));
            };
            if !PLACEHOLDERS.contains(&name) {
                return Err(KeyTemplateError::UnknownPlaceholder(name.to_owned()));
            }
            names.push(name);
            rest = after;
        }
        if !names.contains(&"uuid") && !names.contains(&"file_id") {
            return Err(KeyTemplateError::NotUnique);
        }
        Ok(Self(text.to_owned()))
    }

    /// The template as written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Spells the final key. Names are sanitised, and the last segment is cut to 200 characters and 255 bytes by
    /// shortening the stem, on a character boundary, so what makes it unique stays whole.
    pub fn render(&self, facts: &KeyFacts<'_>) -> String {
        let (directories, name) = self
            .0
            .rsplit_once('/')
            .map_or(("", self.0.as_str()), |(d, n)| (d, n));
        let mut key = String::new();
        if !directories.is_empty() {
            expand(&mut key, directories, facts, None);
            key.push('/');
        }
        let (stem, extension) = split_name(facts.filename);
        let pattern = if extension.is_empty() {
            name.replace(".{ext}", "")
        } else {
            name.to_owned()
        };
        let mut fixed = String::new();
        let places = expand(&mut fixed, &pattern, facts, Some(""));
        // What comes after a name: ".<epoch>.attr.json" or a derivative's ending.
        let room_bytes = NAME_BYTES_MAX.saturating_sub(fixed.len() + BESIDE_BYTES_MAX);
        let room_chars = NAME_CHARS_MAX.saturating_sub(fixed.chars().count());
        let stem = sanitise(stem);
        let stem = match cut(&stem, room_chars, room_bytes) {
            "" => "file",
            cut => cut,
        };
        let mut written = 0;
        for place in places {
            key.push_str(&fixed[written..place]);
            key.push_str(stem);
            written = place;
        }
        key.push_str(&fixed[written..]);
        key
    }
}

/// Writes a pattern with its names filled in; returns where the stem belongs, when one was given.
fn expand(out: &mut String, pattern: &str, facts: &KeyFacts<'_>, stem: Option<&str>) -> Vec<usize> {
    let time = Offset::UTC.to_datetime(facts.at);
    let (own_stem, extension) = split_name(facts.filename);
    let mut stems = Vec::new();
    let mut rest = pattern;
    while let Some((before, after)) = rest.split_once('{') {
        out.push_str(before);
        let (name, after) = after.split_once('}').unwrap_or((after, ""));
        // Writing to a String cannot fail.
        let _ = match name {
            "year" => write!(out, "{:04}", time.year()),
            "month" => write!(out, "{:02}", time.month()),
            "day" => write!(out, "{:02}", time.day()),
            "hour" => write!(out, "{:02}", time.hour()),
            "timestamp" => write!(out, "{}", time.strftime("%Y%m%dT%H%M%S")),
            "uuid" | "file_id" => write!(out, "{}", facts.file_id),
            "stem" => {
                stems.push(out.len());
                match stem {
                    Some(stem) => out.write_str(stem),
                    None => out.write_str(&segment(own_stem, 80)),
                }
            }
            "ext" => out.write_str(&extension),
            "username" => out.write_str(&segment(facts.username, 40)),
            "collection" => out.write_str(facts.collection),
            "record_id" => out.write_str(&segment(facts.record_id.unwrap_or("unlinked"), 100)),
            _ => Ok(()),
        };
        rest = after;
    }
    out.push_str(rest);
    stems
}

fn segment(text: &str, chars_max: usize) -> Cow<'_, str> {
    let cleaned = match sanitise(text) {
        Cow::Borrowed(clean) => Cow::Borrowed(cut(clean, chars_max, chars_max * 2)),
        Cow::Owned(clean) => Cow::Owned(cut(&clean, chars_max, chars_max * 2).to_owned()),
    };
    if cleaned.is_empty() {
        Cow::Borrowed("_")
    } else {
        cleaned
    }
}

/// A file name into stem and lower-case extension; the extension is letters and digits, at most 16.
fn split_name(filename: &str) -> (&str, String) {
    // Browsers of old sent whole paths.
    let base = filename.rsplit(['/', '\\']).next().unwrap_or(filename);
    match base.rsplit_once('.') {
        Some((stem, extension))
            if !extension.is_empty()
                && extension.len() <= 16
                && extension.bytes().all(|b| b.is_ascii_alphanumeric()) =>
        {
            (stem, extension.to_ascii_lowercase())
        }
        _ => (base, String::new()),
    }
}

/// Letters and digits of every script stay; so do `-`, `_`, `.` and parentheses; all else becomes `_`. Dots do not begin a name.
fn sanitise(text: &str) -> Cow<'_, str> {
    let stays = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.' | '(' | ')');
    if text.chars().all(stays) {
        return Cow::Borrowed(text.trim_start_matches('.').trim_end_matches('.'));
    }
    let cleaned: String = text.chars().map(|c| if stays(c) { c } else { '_' }).collect();
    Cow::Owned(cleaned.trim_start_matches('.').trim_end_matches('.').to_owned())
}

/// At most so many characters and bytes, on a character boundary.
fn cut(text: &str, chars_max: usize, bytes_max: usize) -> &str {
    let ends = text.char_indices().map(|(start, c)| start + c.len_utf8());
    let end = ends.take(chars_max).take_while(|end| *end <= bytes_max).last();
    &text[..end.unwrap_or_default()]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;

    const DOCUMENTS: &str = "{year}/{month}/{day}/{hour}/{stem}_{username}_{timestamp}_{uuid}.{ext}";

    fn facts(filename: &str) -> KeyFacts<'_> {
        KeyFacts {
            file_id: FileId(Uuid::from_u128(7)),
            filename,
            username: "ann",
            collection: "documents",
            record_id: None,
            at: "2026-11-20T21:05:09Z".parse().expect("a timestamp"),
        }
    }

    #[test]
    fn the_documents_of_the_storage_element() {
        let key = KeyTemplate::parse(DOCUMENTS)
            .expect("a template")
            .render(&facts("Отчёт за май.PDF"));
        assert_eq!(
            key,
            "2026/11/20/21/Отчёт_за_май_ann_20261120T210509_00000000-0000-0000-0000-000000000007.pdf"
        );
    }

    #[test]
    fn photos_hang_on_their_complaint() {
        let template =
            KeyTemplate::parse("complaint/{record_id}/originals/{file_id}.{ext}").expect("a template");
        let key = template.render(&KeyFacts {
            record_id: Some("42"),
            ..facts("a.jpg")
        });
        assert_eq!(
            key,
            "complaint/42/originals/00000000-0000-0000-0000-000000000007.jpg"
        );
        let without = template.render(&facts("noextension"));
        assert_eq!(
            without,
            "complaint/unlinked/originals/00000000-0000-0000-0000-000000000007"
        );
    }

    #[test]
    fn bad_templates_are_refused() {
        for (text, error) in [
            (
                "{uuid}/{nope}",
                KeyTemplateError::UnknownPlaceholder("nope".into()),
            ),
            ("{year}/{stem}.{ext}", KeyTemplateError::NotUnique),
            ("/{uuid}", KeyTemplateError::BadPath),
            ("a/../{uuid}", KeyTemplateError::BadPath),
            ("a//{uuid}", KeyTemplateError::BadPath),
            ("staging/{uuid}", KeyTemplateError::BadPath),
            ("moved/{year}/{uuid}", KeyTemplateError::BadPath),
            ("{uuid", KeyTemplateError::UnknownPlaceholder("uuid".into())),
        ] {
            assert_eq!(KeyTemplate::parse(text), Err(error), "{text}");
        }
    }

    #[test]
    fn a_file_may_move_again_and_again() {
        let first = moved_key("a/7/b.bin", 5);
        assert_eq!(first, "moved/5/a/7/b.bin");
        assert_eq!(moved_key(&first, 9), "moved/9/a/7/b.bin");
        assert_eq!(move_of(&first), Some((5, "a/7/b.bin")));
        for key in ["a/7/b.bin", "moved/x/b", "moved/+5/b", "moved/5", "moved//b"] {
            assert_eq!((move_of(key), base_key(key)), (None, key));
        }
    }

    fn encode_form(text: &str) -> String {
        text.bytes()
            .map(|byte| match byte {
                b' ' => "+".to_owned(),
                b'-' | b'.' | b'_' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => char::from(byte).to_string(),
                _ => format!("%{byte:02x}"),
            })
            .collect()
    }

    #[test]
    fn what_is_not_a_staging_key_of_ours_is_not_notified() {
        let id = "00000000-0000-0000-0000-000000000007";
        let ours = format!("staging/20261120T2105Z/{id}/a(1).pdf");
        for spelling in [ours.clone(), ours.replace('/', "%2F"), ours.replace('(', "%28")] {
            let found = notified_staging_key(&spelling).map(|(_, key)| key);
            assert_eq!(found.as_deref(), Some(ours.as_str()), "{spelling}");
        }
        for other in [
            String::new(),
            "staging/".to_owned(),
            format!("other/20261120T2105Z/{id}/a.pdf"),
            format!("staging/20261120T2105Z/{id}"),
            format!("staging/20261120T2105Z/{id}/a/b.pdf"),
            format!("staging/20261120T2105Z/{id}/a+b.pdf"),
            format!("staging/20261120T2105Z/{id}/a%2Bb.pdf"),
            format!("staging/20261120T2105Z/{id}/a%252eb.pdf"),
            format!("staging/20261120T2105Z/{id}/a%2.pdf"),
            format!("staging/20261120T2105Z/{id}/a%ff.pdf"),
            format!("staging/20261120T2105Z/{id}x/a.pdf"),
            format!("staging/20261120T2105Z/{id}/{}", "a".repeat(KEY_BYTES_MAX)),
        ] {
            assert_eq!(notified_staging_key(&other), None, "{other}");
        }
    }

    proptest! {
        #[test]
        fn a_notified_key_is_known_encoded_or_not(filename in ".{0,200}", noise in ".{0,80}") {
            let id = FileId(Uuid::from_u128(7));
            let ours = staging_key(id, &filename, facts("").at);
            for spelling in [ours.clone(), encode_form(&ours), encode_form(&ours).replace("%2f", "/")] {
                prop_assert_eq!(notified_staging_key(&spelling), Some((id, ours.clone())), "{}", spelling);
            }
            // Encoded twice it is another key.
            if encode_form(&ours) != ours {
                prop_assert_eq!(notified_staging_key(&encode_form(&encode_form(&ours))), None);
            }
            let _ = notified_staging_key(&noise);
            let _ = notified_staging_key(&format!("staging/{noise}"));
        }

        #[test]
        fn names_stay_within_their_limits(filename in ".{0,400}", username in ".{0,200}") {
            let template = KeyTemplate::parse(DOCUMENTS).expect("a template");
            let key = template.render(&KeyFacts { username: &username, ..facts(&filename) });
            prop_assert!(key.len() <= KEY_BYTES_MAX - 40);
            let name = key.rsplit('/').next().expect("a last segment");
            prop_assert!(name.chars().count() <= 200 && name.len() <= 255, "{name}");
            prop_assert!(name.contains("00000000-0000-0000-0000-000000000007"));
            prop_assert!(key.split('/').all(|s| !s.is_empty() && s != "." && s != ".."));
            prop_assert!(!key.chars().any(|c| c.is_control() || c == '\\'));
            prop_assert_eq!(staging_file_id(&key), None);
            let staging = staging_key(FileId(Uuid::from_u128(7)), &filename, facts("").at);
            let deadline = "2026-11-20T21:05:00Z".parse().expect("a timestamp");
            prop_assert_eq!(staging_deadline(&staging), Some(deadline));
            prop_assert_eq!(staging_file_id(&staging), Some(FileId(Uuid::from_u128(7))));
            prop_assert!(staging.len() < 300 && staging.split('/').count() == 4, "{staging}");
        }
    }
}
