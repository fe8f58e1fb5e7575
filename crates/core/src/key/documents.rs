//! Keys of our own documents, and what stands beside a final object.

use std::fmt::Write as _;

use uuid::Uuid;

use super::derivatives::derivative_base;
use super::staging_file_id;
use crate::id::FileId;
use crate::record::RecordKey;

/// The documents of records stand under this, in the home bucket.
pub const RECORDS_PREFIX: &str = "_cloakroom/records/";
/// The name of a confirm note. Clients' names never begin with a dot (`staging_key`).
const CONFIRM_NOTE_NAME: &str = ".confirmed.json";
/// How the names of documents end, and of those that say that a record was deleted: a listing alone tells them apart.
const DOCUMENT_ENDING: &str = ".json";
const TOMBSTONE_ENDING: &str = ".tomb.json";

/// The confirm note beside a staging object.
pub fn confirm_note_key(staging_key: &str) -> String {
    let directory = staging_key
        .rsplit_once('/')
        .map_or("", |(directory, _)| directory);
    format!("{directory}/{CONFIRM_NOTE_NAME}")
}

/// The file whose confirm note this is, if it is one.
pub fn confirm_note_file_id(key: &str) -> Option<FileId> {
    let (_, name) = key.rsplit_once('/')?;
    if name != CONFIRM_NOTE_NAME || key.split('/').count() != 4 {
        return None;
    }
    staging_file_id(key)
}

/// What the documents of one record begin with.
pub fn record_documents_prefix(record: &RecordKey) -> String {
    format!(
        "{RECORDS_PREFIX}{}/{}/",
        record.kind(),
        encode_segment(record.id())
    )
}

/// A document of a record. Names sort by version: 20 digits hold every one.
pub fn record_document_key(document: &RecordDocument) -> String {
    let RecordDocument {
        record,
        version,
        unique,
        deleted,
    } = document;
    let ending = if *deleted {
        TOMBSTONE_ENDING
    } else {
        DOCUMENT_ENDING
    };
    let prefix = record_documents_prefix(record);
    format!("{prefix}{version:020}-{}{ending}", unique.as_hyphenated())
}

/// A document of a record, by its key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RecordDocument {
    /// The record.
    pub record: RecordKey,
    /// Its version in this document.
    pub version: u64,
    /// What tells documents of one version apart; ids sort by time.
    pub unique: Uuid,
    /// Whether it says that this version deleted the record.
    pub deleted: bool,
}

/// What a document's key says; `None` for a key that we did not spell.
pub fn record_document(key: &str) -> Option<RecordDocument> {
    let mut segments = key.strip_prefix(RECORDS_PREFIX)?.split('/');
    let (kind, id, name) = (segments.next()?, segments.next()?, segments.next()?);
    if segments.next().is_some() {
        return None;
    }
    let (name, deleted) = match name.strip_suffix(TOMBSTONE_ENDING) {
        Some(name) => (name, true),
        None => (name.strip_suffix(DOCUMENT_ENDING)?, false),
    };
    let (version, unique) = name.split_once('-')?;
    let document = RecordDocument {
        record: RecordKey::new(kind, &decode_segment(id)?).ok()?,
        version: version.parse().ok()?,
        unique: Uuid::try_parse(unique).ok()?,
        deleted,
    };
    // One spelling alone: nothing that only looks like ours is touched.
    (record_document_key(&document) == key).then_some(document)
}

/// What stands beside a final object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Beside {
    /// A sidecar, by its epoch.
    Sidecar(u32),
    /// The tombstone.
    Tombstone,
    /// A derivative.
    Derivative {
        /// The epoch that made it.
        epoch: u32,
        /// Its name.
        name: String,
    },
}

/// What this is of the object at `key`, beside it or where its derivatives stand; `None` when it is something else.
pub fn beside(key: &str, other: &str) -> Option<Beside> {
    if let Some(rest) = other.strip_prefix(key) {
        return what_follows(rest);
    }
    // Nothing but derivatives stands there.
    let found = what_follows(other.strip_prefix(&*derivative_base(key))?);
    found.filter(|what| matches!(what, Beside::Derivative { .. }))
}

/// What ends so, after the key of its object.
fn what_follows(rest: &str) -> Option<Beside> {
    let rest = rest.strip_prefix('.')?;
    if rest == "tomb.attr.json" {
        return Some(Beside::Tombstone);
    }
    let (epoch, rest) = rest.split_once('.')?;
    let epoch = plain_epoch(epoch)?;
    if rest == "attr.json" {
        return Some(Beside::Sidecar(epoch));
    }
    let (name, extension) = rest.rsplit_once('.')?;
    // What ends like an attribute file is one: that of an object whose key goes on after this one's.
    let fine =
        !name.is_empty() && !extension.is_empty() && !rest.contains('/') && !rest.ends_with(".attr.json");
    fine.then(|| Beside::Derivative {
        epoch,
        name: name.to_owned(),
    })
}

/// The final object whose sidecar or tombstone a key is spelled as.
pub fn attribute_file_of(key: &str) -> Option<&str> {
    let stem = key.strip_suffix(".attr.json")?;
    let (object, name) = stem.rsplit_once('.')?;
    let ours = name == "tomb" || plain_epoch(name).is_some();
    (ours && !object.is_empty() && !object.ends_with('/')).then_some(object)
}

/// Every UUID that a key spells: one of them is the id of its file, for a template names it.
pub fn ids_in(key: &str) -> Vec<FileId> {
    const LENGTH: usize = 36;
    let mut ids: Vec<FileId> = Vec::new();
    for start in 0..key.len().saturating_sub(LENGTH - 1) {
        let Some(text) = key.get(start..start + LENGTH) else {
            continue;
        };
        // Upper case and other spellings are not ours.
        let spelled = text
            .bytes()
            .all(|byte| byte == b'-' || byte.is_ascii_digit() || matches!(byte, b'a'..=b'f'));
        if spelled
            && let Ok(id) = Uuid::try_parse(text)
            && !ids.contains(&FileId(id))
        {
            ids.push(FileId(id));
        }
    }
    ids
}

/// As [`super::sidecar_key`] spells it: no sign, no leading zero.
fn plain_epoch(text: &str) -> Option<u32> {
    let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
    text.parse().ok().filter(|_| plain)
}

/// RFC 3986 §2.1, upper case, of all but unreserved characters.
fn encode_segment(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

fn decode_segment(text: &str) -> Option<String> {
    let hex = |byte: u8| {
        char::from(byte)
            .to_digit(16)
            .and_then(|digit| u8::try_from(digit).ok())
    };
    let mut bytes = text.bytes();
    let mut out = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'%' => (hex(bytes.next()?)? << 4) | hex(bytes.next()?)?,
            other => other,
        });
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::key::{derivative_key, sidecar_key, staging_key, tombstone_key};

    const ID: FileId = FileId(Uuid::from_u128(0x0191_abcd_0000_7000_8000_0000_0000_0007));

    #[test]
    fn what_stands_beside_an_object_is_told_by_its_key() {
        let key = format!("files/{ID}/a.1.b");
        let table = [
            (sidecar_key(&key, 12), Some(Beside::Sidecar(12))),
            (tombstone_key(&key), Some(Beside::Tombstone)),
            (
                derivative_key(&key, 3, "thumbnail.256", "webp"),
                Some(Beside::Derivative {
                    epoch: 3,
                    name: "thumbnail.256".to_owned(),
                }),
            ),
            (key.clone(), None),
            (format!("{key}.x"), None),
            (format!("{key}.01.attr.json"), None),
            (format!("{key}.+1.attr.json"), None),
            (format!("{key}.1.attr"), None),
            (format!("{key}.1.a/b.c"), None),
            (format!("{key}.1.1.attr.json"), None),
            (format!("{key}.1.tomb.attr.json"), None),
            (format!("{key}x.1.attr.json"), None),
            (format!("{key}.4294967296.attr.json"), None),
        ];
        for (other, expected) in table {
            assert_eq!(beside(&key, &other), expected, "{other}");
        }
        assert_eq!(attribute_file_of(&sidecar_key(&key, 7)), Some(key.as_str()));
        assert_eq!(attribute_file_of(&tombstone_key(&key)), Some(key.as_str()));
        for other in [
            ".1.attr.json",
            "a/.1.attr.json",
            "a.attr.json",
            "a.x.attr.json",
            "a.1.attr.jsonl",
        ] {
            assert_eq!(attribute_file_of(other), None, "{other}");
        }
    }

    #[test]
    fn the_ids_in_a_key_are_found() {
        let other = FileId(Uuid::from_u128(0x0191_abcd_0000_7000_8000_0000_0000_0008));
        assert_eq!(
            ids_in(&format!("reconciliation/{other}/{ID}/жалоба-{ID}.pdf")),
            [other, ID]
        );
        assert_eq!(ids_in(&format!("x{ID}_1")), [ID]);
        assert_eq!(ids_in(&ID.to_string().to_uppercase()), []);
        assert_eq!(ids_in(""), []);
    }

    #[test]
    fn a_note_stands_beside_its_upload() {
        let at = "2026-11-21T08:00:00Z".parse().expect("a timestamp");
        let note = confirm_note_key(&staging_key(ID, ".confirmed.json", at));
        assert_eq!(note, format!("staging/20261121T0800Z/{ID}/.confirmed.json"));
        assert_eq!(confirm_note_file_id(&note), Some(ID));
        for other in [
            staging_key(ID, ".confirmed.json", at),
            format!("staging/20261121T0800Z/x/{ID}/.confirmed.json"),
            format!("other/20261121T0800Z/{ID}/.confirmed.json"),
        ] {
            assert_eq!(confirm_note_file_id(&other), None, "{other}");
        }
    }

    proptest! {
        #[test]
        fn records_have_documents_of_one_spelling(id in "[^/\\p{Cc}]{1,40}", version: u64, unique: u128, deleted: bool, noise in ".{0,80}") {
            if let Ok(record) = RecordKey::new("message", &id) {
                let unique = Uuid::from_u128(unique);
                let document = RecordDocument { record, version, unique, deleted };
                let key = record_document_key(&document);
                prop_assert!(key.starts_with(&record_documents_prefix(&document.record)));
                prop_assert!(key.is_ascii() && key.len() <= 1024);
                prop_assert_eq!(record_document(&key), Some(document));
            }
            let _ = record_document(&noise);
            let _ = record_document(&format!("{RECORDS_PREFIX}{noise}"));
            let _ = (beside("a", &noise), attribute_file_of(&noise), ids_in(&noise), confirm_note_file_id(&noise));
        }
    }
}
