//! Whether a file's sidecar will always fit, and what gives way when it grows.

use jiff::Timestamp;

use super::{
    SIDECAR_BYTES_MAX, SidecarErrorV1, SidecarHoldV1, SidecarTrashV1, SidecarUploadV1, SidecarV1, too_large,
};
use crate::checksum::Sha256Digest;
use crate::error::Refusal;
use crate::file::{File, Verified};
use crate::media::MediaType;

/// Room in a sidecar that is kept free for what processors find and make. More is written where there is more.
pub const SIDECAR_ROOM_BYTES: usize = 256;
/// Longest type that bytes show (the office types have 71 to 73 bytes).
const SHOWN_TYPE_BYTES_MAX: usize = 80;
/// Longest `ETag`: 32 digits and the number of parts, or a digest of 64.
const ETAG_BYTES_MAX: usize = 70;
/// Longest owner (`uploads::sign`).
const OWNER_BYTES_MAX: usize = 200;
/// Longest bucket name (S3 user guide, "Bucket naming rules").
const BUCKET_BYTES_MAX: usize = 63;
/// To how many characters texts of hold and error are cut when nothing else gives room.
const CUT_CHARS: usize = 60;

/// What is named in [`SidecarV1::omitted`], and what leaves it out: whether there was anything to leave out.
type Step = (&'static str, fn(&mut SidecarV1) -> bool);

impl SidecarV1 {
    /// Whether the sidecar of this file, verified or not yet, will fit whatever happens to it: trash, hold, quarantine, a
    /// move to an archive. Asked before anything is written.
    ///
    /// # Errors
    /// `metadata_too_large`.
    pub fn admit(file: &File) -> Result<(), Refusal> {
        if Self::is_surely_small(file) {
            return Ok(());
        }
        let Some(largest) = Self::largest(file) else {
            return Ok(());
        };
        // Serialising a struct of strings and numbers to memory cannot fail.
        let bytes = serde_json::to_vec(&largest).unwrap_or_default().len();
        let bytes_max = bytes_max();
        if bytes > bytes_max {
            return Err(too_large(bytes, bytes_max));
        }
        Ok(())
    }

    /// The file's sidecar with everything that it may come to hold, but for facts and derivatives.
    pub(super) fn largest(file: &File) -> Option<Self> {
        let mut probe = file.clone();
        probe.facts.clear();
        let content_type = if file.declared.content_type == MediaType::octet_stream() {
            MediaType::parse(&format!("x/{}", "x".repeat(SHOWN_TYPE_BYTES_MAX - 2))).ok()?
        } else {
            file.declared.content_type.clone()
        };
        probe.verified = Some(Verified {
            sha256: Sha256Digest([0; 32]),
            size_bytes: u64::MAX,
            content_type,
        });
        let long = || "x".repeat(CUT_CHARS);
        let late = Timestamp::MAX;
        let mut largest = Self::of(&probe, &[])?;
        largest.epoch = u32::MAX;
        largest.version = Some(u64::MAX);
        "quarantined".clone_into(&mut largest.state);
        largest.bucket = Some("x".repeat(BUCKET_BYTES_MAX));
        largest.key = Some(crate::key::moved_key(&file.key, u64::MAX));
        if largest.record.is_some() {
            largest.record_owner = Some("x".repeat(OWNER_BYTES_MAX));
            largest.record_created_at = Some(late);
        }
        largest.declared_size_bytes = Some(u64::MAX);
        largest.declared_sha256 = Some(Sha256Digest([0; 32]).to_string());
        largest.etag = Some("x".repeat(ETAG_BYTES_MAX));
        largest.upload = Some(SidecarUploadV1 {
            method: "multipart".to_owned(),
            expires_at: late,
            part_size_bytes: Some(u64::MAX),
            request_sha256: Some(Sha256Digest([0; 32]).to_string()),
        });
        largest.error = Some(SidecarErrorV1 {
            code: long(),
            message: long(),
        });
        largest.trash = Some(SidecarTrashV1 {
            from: "quarantined".to_owned(),
            at: late,
            purge_at: late,
        });
        largest.hold = Some(SidecarHoldV1 {
            by: long(),
            at: late,
            reason: long(),
        });
        for at in [
            &mut largest.uploaded_at,
            &mut largest.confirmed_at,
            &mut largest.processed_at,
            &mut largest.unarchived_at,
        ] {
            *at = Some(late);
        }
        largest.created_at = late;
        largest.updated_at = late;
        for text in ["facts", "derivative_details", "derivatives", "texts"] {
            largest.omitted.push(text.to_owned());
        }
        Some(largest)
    }

    /// The bytes to store. What does not fit gives way and is named in [`Self::omitted`]: first lists among the facts (the
    /// columns of a table), then all facts, which can be found again; then details of derivatives, then their list, which stands in the store by itself; then the texts of hold
    /// and error are cut.
    ///
    /// # Errors
    /// `metadata_too_large`: never for what [`Self::admit`] took.
    pub fn encode_fitting(mut self) -> Result<Vec<u8>, Refusal> {
        let steps: [Step; 5] = [
            ("long_facts", |sidecar| {
                let before = sidecar.facts.len();
                sidecar
                    .facts
                    .retain(|_, fact| !(fact.is_array() || fact.is_object()));
                sidecar.facts.len() < before
            }),
            ("facts", |sidecar| {
                let before = sidecar.omitted.len();
                sidecar.omitted.retain(|name| name != "long_facts");
                !std::mem::take(&mut sidecar.facts).is_empty() || sidecar.omitted.len() < before
            }),
            ("derivative_details", Self::drop_details),
            ("derivatives", |sidecar| {
                sidecar.omitted.retain(|name| name != "derivative_details");
                !std::mem::take(&mut sidecar.derivatives).is_empty()
            }),
            ("texts", Self::cut_texts),
        ];
        for (name, step) in steps {
            if let Ok(bytes) = self.encode() {
                return Ok(bytes);
            }
            if step(&mut self) {
                self.omitted.push(name.to_owned());
            }
        }
        self.encode()
    }

    /// Whether there was anything to drop.
    fn drop_details(&mut self) -> bool {
        for derivative in &mut self.derivatives {
            derivative.width = None;
            derivative.height = None;
            derivative.created_at = None;
            if let Some(error) = &mut derivative.error {
                cut(error);
            }
        }
        !self.derivatives.is_empty()
    }

    /// Whether there was anything to cut.
    fn cut_texts(&mut self) -> bool {
        if let Some(error) = &mut self.error {
            cut(&mut error.code);
            cut(&mut error.message);
        }
        if let Some(hold) = &mut self.hold {
            cut(&mut hold.by);
            cut(&mut hold.reason);
        }
        self.error.is_some() || self.hold.is_some()
    }
}

/// How large the largest sidecar of a file may be.
pub(super) const fn bytes_max() -> usize {
    SIDECAR_BYTES_MAX - SIDECAR_ROOM_BYTES
}

/// Cuts to what takes [`CUT_CHARS`] bytes in JSON, quotes and escapes counted as they are written.
fn cut(text: &mut String) {
    let mut written = 0;
    let mut end = 0;
    for (at, character) in text.char_indices() {
        written += match character {
            '"' | '\\' => 2,
            control if control.is_control() => 6,
            other => other.len_utf8(),
        };
        if written > CUT_CHARS {
            break;
        }
        end = at + character.len_utf8();
    }
    text.truncate(end);
}
