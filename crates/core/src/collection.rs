//! Collections: named policies. Which types and sizes, how to upload, how keys look, when uploads expire.

use crate::error::{ErrorCode, Refusal};
use crate::image::ImagePolicy;
use crate::key::KeyTemplate;
use crate::media::MediaType;
use crate::storage::MAIN_STORE;
use crate::upload::UploadMethod;

/// Who may read the bytes of a ready file without asking us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Visibility {
    /// Only who is allowed to, through a signed URL.
    Private,
    /// Anybody who knows the address.
    PublicRead,
}

impl Visibility {
    /// The name in configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Private => "private",
            Self::PublicRead => "public-read",
        }
    }
}

/// When files of a collection go by themselves, or move to its archive.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// How long after its URL's expiry an unconfirmed upload is kept, in seconds; `None`: as the instance says.
    pub unconfirmed_seconds: Option<u64>,
    /// Unconfirmed uploads are kept for an hour alone ([`TEMPORARY_SECONDS`]), unless `unconfirmed_seconds` says more.
    pub temporary: bool,
    /// Age at which a ready file without a record goes to the trash, in seconds; `None`: never.
    pub unlinked_seconds: Option<u64>,
    /// Age at which a ready file goes to the trash, in seconds; `None`: never.
    pub expire_seconds: Option<u64>,
    /// Age at which a ready file moves to the archive, in seconds; `None`: never.
    pub archive_seconds: Option<u64>,
    /// The bucket that archived files stand in.
    pub archive_bucket: Option<String>,
}

/// How long unconfirmed uploads of a temporary collection are kept after their URL's expiry, in seconds.
pub const TEMPORARY_SECONDS: u64 = 60 * 60;

impl Retention {
    /// How long after its URL's expiry an unconfirmed upload is kept, in seconds, where the instance says `usual`.
    pub fn unconfirmed(&self, usual: u64) -> u64 {
        match (self.unconfirmed_seconds, self.temporary) {
            (Some(own), _) => own,
            (None, true) => TEMPORARY_SECONDS,
            (None, false) => usual,
        }
    }
}

/// What becomes of a file that the scanner cannot look at whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ScanOversize {
    /// It is quarantined, for an administrator to decide.
    #[default]
    Quarantine,
    /// It fails.
    Refuse,
}

impl ScanOversize {
    /// The name in configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Quarantine => "quarantine",
            Self::Refuse => "refuse",
        }
    }
}

/// Whether files are looked at by the virus scanner before anybody may read them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScanPolicy {
    /// No file becomes `ready` without the scanner's word; while it does not answer, files wait.
    pub required: bool,
    /// What becomes of those that it cannot look at whole.
    pub oversize: ScanOversize,
}

/// A named policy for files.
#[derive(Clone, Debug, PartialEq)]
pub struct Collection {
    /// Its name in requests: `photos`.
    pub name: String,
    /// What it is for, in a sentence.
    pub description: String,
    /// The store that the bucket belongs to.
    pub store: String,
    /// The bucket that staging and final objects live in.
    pub bucket: String,
    /// How final keys are spelled.
    pub key_template: KeyTemplate,
    /// Media types taken, as `type/subtype` or `type/*`; empty takes every type.
    pub content_types: Vec<String>,
    /// File name extensions taken, lower-case without the dot; empty takes every name.
    pub extensions: Vec<String>,
    /// Largest file in bytes.
    pub size_bytes_max: u64,
    /// Smallest file in bytes; 0 takes empty files.
    pub size_bytes_min: u64,
    /// The method when the request names none.
    pub default_method: UploadMethod,
    /// How long a signed upload may be used, in seconds.
    pub upload_expires_seconds: u32,
    /// How long a signed download may be used, in seconds.
    pub download_expires_seconds: u32,
    /// How long a deleted file can be restored, in seconds.
    pub trash_seconds: u64,
    /// When files go by themselves.
    pub retention: Retention,
    /// Confirm as soon as the complete object is seen, without waiting for the client.
    pub auto_confirm: bool,
    /// Refuse a file whose bytes are not what its content type says.
    pub verify_content_type: bool,
    /// The status of a successful POST form upload: 200, 201 or 204.
    pub success_action_status: u16,
    /// Who may read.
    pub visibility: Visibility,
    /// Whether and how files are scanned.
    pub scan: ScanPolicy,
    /// Names of the processors that run on verified bytes, in order.
    pub processors: Vec<String>,
    /// Processors whose failure fails the file.
    pub required_processors: Vec<String>,
    /// What is made of images.
    pub images: ImagePolicy,
}

/// S3 takes at most 5 TiB in one object (S3 user guide, "Amazon S3 multipart upload limits").
pub const OBJECT_BYTES_MAX: u64 = 5 * 1024 * 1024 * 1024 * 1024;

impl Collection {
    /// A policy with the defaults of every collection: any type, 5 GiB, signed PUT for 15 minutes.
    pub fn new(name: &str, bucket: &str) -> Self {
        Self {
            name: name.to_owned(),
            description: String::new(),
            store: MAIN_STORE.to_owned(),
            bucket: bucket.to_owned(),
            key_template: KeyTemplate::default(),
            content_types: Vec::new(),
            extensions: Vec::new(),
            size_bytes_max: 5 * 1024 * 1024 * 1024,
            size_bytes_min: 0,
            default_method: UploadMethod::Put,
            upload_expires_seconds: 15 * 60,
            download_expires_seconds: 60 * 60,
            trash_seconds: 7 * 24 * 60 * 60,
            retention: Retention::default(),
            auto_confirm: false,
            verify_content_type: true,
            success_action_status: 204,
            visibility: Visibility::Private,
            scan: ScanPolicy::default(),
            processors: Vec::new(),
            required_processors: Vec::new(),
            images: ImagePolicy::default(),
        }
    }

    /// Whether a file of this declared name, type and size may come in. The refusal names what was refused and
    /// what would be taken (S1: "a message that names the refused one").
    pub fn admit(
        &self,
        filename: &str,
        content_type: &MediaType,
        size_bytes: Option<u64>,
    ) -> Result<(), Refusal> {
        self.admit_type(content_type)?;
        self.admit_extension(filename)?;
        match size_bytes {
            Some(size) => self.admit_size(size),
            None => Ok(()),
        }
    }

    /// The type part of [`Self::admit`]; also asked about the type that the bytes show.
    pub fn admit_type(&self, content_type: &MediaType) -> Result<(), Refusal> {
        if self.content_types.is_empty()
            || self
                .content_types
                .iter()
                .any(|pattern| content_type.matches(pattern))
        {
            return Ok(());
        }
        Err(Refusal::new(
            ErrorCode::ContentTypeNotAllowed,
            format!(
                "Content type {content_type} is not allowed in collection {}; allowed are {}.",
                self.name,
                self.content_types.join(", ")
            ),
        )
        .with("content_type", content_type.as_str())
        .with("allowed", self.content_types.clone()))
    }

    fn admit_extension(&self, filename: &str) -> Result<(), Refusal> {
        let extension = filename
            .rsplit_once('.')
            .map(|(_, extension)| extension.to_lowercase())
            .unwrap_or_default();
        if self.extensions.is_empty() || self.extensions.contains(&extension) {
            return Ok(());
        }
        Err(Refusal::new(
            ErrorCode::ContentTypeNotAllowed,
            format!(
                "Files named *.{extension} are not allowed in collection {}; allowed are .{}.",
                self.name,
                self.extensions.join(", .")
            ),
        )
        .with("extension", extension)
        .with("allowed", self.extensions.clone()))
    }

    /// The size part of [`Self::admit`]; also asked about the size that arrived.
    pub fn admit_size(&self, size_bytes: u64) -> Result<(), Refusal> {
        if size_bytes > self.size_bytes_max {
            return Err(Refusal::new(
                ErrorCode::FileTooLarge,
                format!(
                    "The file has {size_bytes} bytes; collection {} takes at most {}.",
                    self.name, self.size_bytes_max
                ),
            )
            .with("size_bytes", size_bytes)
            .with("size_bytes_max", self.size_bytes_max));
        }
        if size_bytes < self.size_bytes_min {
            return Err(Refusal::new(
                ErrorCode::FileTooSmall,
                format!(
                    "The file has {size_bytes} bytes; collection {} takes at least {}.",
                    self.name, self.size_bytes_min
                ),
            )
            .with("size_bytes", size_bytes)
            .with("size_bytes_min", self.size_bytes_min));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn photos() -> Collection {
        Collection {
            content_types: vec!["image/jpeg".into(), "video/*".into()],
            extensions: vec!["jpg".into(), "mp4".into()],
            size_bytes_max: 100,
            size_bytes_min: 1,
            ..Collection::new("photos", "b")
        }
    }

    #[test]
    fn admits_by_type_name_and_size() {
        let table = [
            ("a.jpg", "image/jpeg", Some(100), None),
            ("a.JPG", "image/jpeg", None, None),
            ("a.mp4", "video/mp4", Some(1), None),
            (
                "a.jpg",
                "image/png",
                Some(1),
                Some(ErrorCode::ContentTypeNotAllowed),
            ),
            (
                "a.exe",
                "image/jpeg",
                Some(1),
                Some(ErrorCode::ContentTypeNotAllowed),
            ),
            (
                "jpg",
                "image/jpeg",
                Some(1),
                Some(ErrorCode::ContentTypeNotAllowed),
            ),
            ("a.jpg", "image/jpeg", Some(101), Some(ErrorCode::FileTooLarge)),
            ("a.jpg", "image/jpeg", Some(0), Some(ErrorCode::FileTooSmall)),
        ];
        for (name, kind, size, expected) in table {
            let kind = MediaType::parse(kind).expect("a media type");
            assert_eq!(
                photos().admit(name, &kind, size).err().map(|r| r.code),
                expected,
                "{name} {kind} {size:?}"
            );
        }
    }

    #[test]
    fn the_refusal_names_the_refused_type() {
        let kind = MediaType::parse("application/zip").expect("a media type");
        let refusal = photos().admit_type(&kind).expect_err("refused");
        assert!(refusal.message.contains("application/zip") && refusal.message.contains("image/jpeg"));
    }
}
