//! The quick answer to whether a sidecar will fit: nearly all are small, and each signature asks.

use std::io::{self, Write};
use std::sync::LazyLock;

use jiff::Timestamp;

use super::SidecarV1;
use super::fitting::bytes_max;
use crate::JsonObject;
use crate::file::{Declared, File, FileState};
use crate::id::FileId;
use crate::media::MediaType;
use crate::record::RecordKey;

/// The largest sidecar of a file without texts, in bytes; `usize::MAX` if there is none, so that nothing is small.
static FRAME_BYTES: LazyLock<usize> = LazyLock::new(|| {
    let largest = SidecarV1::largest(&without_texts());
    let bytes = largest.and_then(|largest| serde_json::to_vec(&largest).ok());
    bytes.map_or(usize::MAX, |bytes| bytes.len())
});
/// Name and punctuation of the application's own fields, which the frame does not have.
const METADATA_FIELD_BYTES: usize = 16;

impl SidecarV1 {
    /// Whether the sidecar of this file will surely fit. It may fit all the same when not: texts that stand in it in
    /// other words or not at all are counted as they are.
    pub(super) fn is_surely_small(file: &File) -> bool {
        let record = file.record.as_ref();
        let texts = [
            file.owner.as_str(),
            &file.created_by_username,
            file.created_by_full_name.as_deref().unwrap_or_default(),
            &file.collection,
            record.map_or("", RecordKey::kind),
            record.map_or("", |key| key.id()),
            &file.key,
            &file.filename,
            file.description.as_deref().unwrap_or_default(),
            // Declared, and as it may be found.
            file.declared.content_type.as_str(),
            file.declared.content_type.as_str(),
        ];
        let metadata = if file.metadata.is_empty() {
            0
        } else {
            METADATA_FIELD_BYTES.saturating_add(object_bytes(&file.metadata))
        };
        let texts = texts.into_iter().map(text_bytes).sum::<usize>();
        FRAME_BYTES.saturating_add(texts).saturating_add(metadata) <= bytes_max()
    }
}

/// How long a text is in JSON, at most.
fn text_bytes(text: &str) -> usize {
    let bytes = text.bytes();
    bytes
        .map(|byte| {
            if byte < 0x20 || matches!(byte, b'"' | b'\\') {
                6
            } else {
                1
            }
        })
        .sum()
}

fn object_bytes(object: &JsonObject) -> usize {
    struct Count(usize);

    impl Write for Count {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    let mut count = Count(0);
    // Counting cannot fail, and what fails is not small.
    serde_json::to_writer(&mut count, object).map_or(usize::MAX, |()| count.0)
}

fn without_texts() -> File {
    File {
        id: FileId(uuid::Uuid::nil()),
        owner: String::new(),
        created_by_username: String::new(),
        created_by_full_name: Some(String::new()),
        collection: String::new(),
        bucket: String::new(),
        state: FileState::Pending,
        version: 1,
        epoch: 0,
        // The shortest there is.
        record: RecordKey::new("x", "x").ok(),
        key: String::new(),
        filename: String::new(),
        description: Some(String::new()),
        metadata: JsonObject::new(),
        declared: Declared {
            content_type: MediaType::octet_stream(),
            size_bytes: Some(u64::MAX),
            sha256: None,
        },
        staged: None,
        verified: None,
        facts: JsonObject::new(),
        error: None,
        created_at: Timestamp::MAX,
        updated_at: Timestamp::MAX,
        uploaded_at: None,
        confirmed_at: None,
        processed_at: None,
        trash: None,
        hold: None,
        unarchived_at: None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// What the quick answer takes, the careful one takes as well.
        #[test]
        fn what_is_surely_small_fits(
            (owner, filename, key) in (".{0,200}", ".{0,255}", ".{0,400}"),
            description in prop::option::of("[\u{0}-\u{40}a-zж\"\\\\]{0,900}"),
            (full_name, linked) in (prop::option::of(".{0,100}"), any::<bool>()),
            fields in prop::collection::btree_map("[a-z\"\u{1}]{1,20}", ".{0,300}", 0..4),
            content_type in prop::sample::select(vec!["application/octet-stream", "image/png", "a/b"]),
        ) {
            let file = File {
                owner,
                filename,
                key,
                description,
                created_by_full_name: full_name,
                record: linked.then(|| RecordKey::new("message", "42").unwrap()),
                metadata: fields.into_iter().map(|(name, text)| (name, text.into())).collect(),
                declared: Declared {
                    content_type: MediaType::parse(content_type).unwrap(),
                    size_bytes: None,
                    sha256: None,
                },
                ..without_texts()
            };
            let largest = serde_json::to_vec(&SidecarV1::largest(&file).unwrap()).unwrap();
            if SidecarV1::is_surely_small(&file) {
                prop_assert!(largest.len() <= bytes_max(), "{}", largest.len());
            }
        }
    }

    #[test]
    fn ordinary_files_are_surely_small() {
        let file = File {
            owner: "0b8ff1b6-64a4-4d2c-9d2e-5a4d6cf2b1aa".to_owned(),
            created_by_username: "ann".to_owned(),
            collection: "documents".to_owned(),
            filename: "Отчёт за май.pdf".to_owned(),
            key: "documents/2026/11/21/0b8ff1b6-64a4-4d2c-9d2e-5a4d6cf2b1aa/Отчёт_за_май.pdf".to_owned(),
            ..without_texts()
        };
        assert!(
            SidecarV1::is_surely_small(&file),
            "the frame has {} bytes",
            *FRAME_BYTES
        );
        let large = File {
            description: Some("x".repeat(3_000)),
            ..file
        };
        assert!(!SidecarV1::is_surely_small(&large));
    }
}
