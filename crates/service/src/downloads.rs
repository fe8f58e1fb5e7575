//! Handing files out: a signed URL, for a `ready` file only (I1), to those who may have it.

use std::fmt::Write as _;

use cloakroom_core::access::{Action, Principal};
use cloakroom_core::derivative::{Derivative, DerivativeOutcome};
use cloakroom_core::error::{ErrorCode, Refusal};
use cloakroom_core::file::{File, FileState};
use cloakroom_core::id::FileId;
use cloakroom_core::media::MediaType;
use cloakroom_core::ports::objects::ObjectPath;
use cloakroom_core::ports::signer::{DownloadPresentation, SignedRequest};
use cloakroom_core::storage::StorageAction;
use jiff::Timestamp;

use crate::app::App;
use crate::error::Result;
use crate::measuring::{Measured, Seen};

/// URLs of a file and of what was made from it.
#[derive(Clone, Debug)]
pub struct Links {
    /// The file.
    pub original: SignedRequest,
    /// Its derivatives, by name.
    pub derivatives: Vec<(String, SignedRequest)>,
}

impl App {
    /// A URL for the bytes of a ready file. `inline` lets a browser show it, if the type is safe to show.
    pub async fn download(&self, principal: &Principal, id: FileId, inline: bool) -> Result<SignedRequest> {
        let work = self.sign_file(principal, id, inline);
        let whose = (principal.subject.as_str(), Some(id));
        self.measured(Measured::Download, whose, work, |_| Seen::default())
            .await
    }

    async fn sign_file(&self, principal: &Principal, id: FileId, inline: bool) -> Result<SignedRequest> {
        let file = self.file_for(principal, Action::Read, id).await?;
        readable(&file)?;
        self.admit(StorageAction::ReadBytes, &file.bucket)
            .map_err(|refusal| refusal.with("file_id", id.to_string()))?;
        let presentation = present(&file.filename, file.content_type(), inline);
        let signed = self.sign_download(&file, &file.key, &presentation, principal)?;
        tracing::info!(
            event = "file_presigned",
            operation = "download",
            file_id = %file.id,
            user_id = %principal.subject,
            collection = %file.collection,
            bucket = %file.bucket,
            expires_at = %signed.expires_at,
            "Download signed"
        );
        Ok(signed)
    }

    /// A URL for a derivative of a ready file. Made by us, so it may be shown.
    pub async fn download_derivative(
        &self,
        principal: &Principal,
        id: FileId,
        name: &str,
    ) -> Result<SignedRequest> {
        let file = self.file_for(principal, Action::Read, id).await?;
        readable(&file)?;
        self.admit(StorageAction::ReadBytes, &file.bucket)
            .map_err(|refusal| refusal.with("file_id", id.to_string()))?;
        let derivative = self
            .derivatives_of(&file)
            .await?
            .into_iter()
            .find(|d| d.name == name);
        let Some(DerivativeOutcome::Made {
            key, content_type, ..
        }) = derivative.map(|d| d.outcome)
        else {
            return Err(
                Refusal::new(ErrorCode::DerivativeNotFound, "The file has no such derivative.")
                    .with("file_id", id.to_string())
                    .with("name", name)
                    .into(),
            );
        };
        let presentation = present_derivative(&key, &content_type);
        self.sign_download(&file, &key, &presentation, principal)
    }

    /// URLs of a file that the caller may read and of what was made from it, both to be shown; `None` where its bytes are not
    /// handed out.
    pub fn links(
        &self,
        principal: &Principal,
        file: &File,
        derivatives: &[Derivative],
    ) -> Result<Option<Links>> {
        if readable(file).is_err() || self.admit(StorageAction::ReadBytes, &file.bucket).is_err() {
            return Ok(None);
        }
        let presentation = present(&file.filename, file.content_type(), true);
        let original = self.sign_download(file, &file.key, &presentation, principal)?;
        let mut links = Links {
            original,
            derivatives: Vec::new(),
        };
        for one in derivatives {
            if let DerivativeOutcome::Made {
                key, content_type, ..
            } = &one.outcome
            {
                let presentation = present_derivative(key, content_type);
                let signed = self.sign_download(file, key, &presentation, principal)?;
                links.derivatives.push((one.name.clone(), signed));
            }
        }
        Ok(Some(links))
    }

    fn sign_download(
        &self,
        file: &File,
        key: &str,
        presentation: &DownloadPresentation,
        principal: &Principal,
    ) -> Result<SignedRequest> {
        let seconds = self.download_expires_seconds(file);
        self.sign_object(file, key, presentation, (seconds, self.now()), &principal.subject)
    }

    /// How long a download of this file is good for. A collection that is no longer configured still hands its files out.
    pub(crate) fn download_expires_seconds(&self, file: &File) -> u32 {
        self.collections
            .get(&file.collection)
            .map_or(3600, |c| c.download_expires_seconds)
    }

    /// A URL for an object of a file, good for so many seconds from then.
    pub(crate) fn sign_object(
        &self,
        file: &File,
        key: &str,
        presentation: &DownloadPresentation,
        (seconds, from): (u32, Timestamp),
        user_id: &str,
    ) -> Result<SignedRequest> {
        let path = ObjectPath::new(&file.bucket, key);
        let signed = self
            .signer
            .get(&path, presentation, seconds, from)
            .inspect_err(|error| {
                tracing::error!(event = "s3_presign_error", file_id = %file.id, %error, "signing failed");
                self.alert_presign_error(file, error);
            })?;
        tracing::info!(
            event = "s3_presign_ok",
            operation = "download",
            file_id = %file.id,
            user_id,
            bucket = %file.bucket,
            file_size = file.size_bytes(),
            status = "success",
            "Download signed"
        );
        metrics::counter!("cloakroom_downloads_signed_total", "collection" => file.collection.clone())
            .increment(1);
        Ok(signed)
    }
}

/// Whether the bytes of a file are handed out (I1).
pub(crate) fn readable(file: &File) -> std::result::Result<(), Refusal> {
    let (code, message) = match file.state {
        FileState::Ready => return Ok(()),
        FileState::Quarantined => (
            ErrorCode::FileQuarantined,
            "The file is quarantined and cannot be downloaded.",
        ),
        FileState::Archived => (
            ErrorCode::ArchivedFile,
            "The file is archived; have an operator bring it back with unarchive, then download it.",
        ),
        FileState::Failed => (
            ErrorCode::FileNotReady,
            "The file failed verification and cannot be downloaded.",
        ),
        FileState::Trashed => (ErrorCode::FileNotReady, "The file was deleted; restore it first."),
        _ => (
            ErrorCode::FileNotReady,
            "The file is not verified yet; wait until its state is ready.",
        ),
    };
    Err(Refusal::new(code, message)
        .with("file_id", file.id.to_string())
        .with("state", file.state.as_str()))
}

/// A derivative was made by us, so it may be shown.
pub(crate) fn present_derivative(key: &str, content_type: &MediaType) -> DownloadPresentation {
    present(key.rsplit('/').next().unwrap_or(key), content_type, true)
}

/// An attachment with its original name, unless it is asked for inline and safe to show (design §6).
pub(crate) fn present(filename: &str, content_type: &MediaType, inline: bool) -> DownloadPresentation {
    let kind = if inline && content_type.is_safe_inline() {
        "inline"
    } else {
        "attachment"
    };
    let content_type = match content_type.as_str() {
        // A browser that guesses would guess wrong for Cyrillic.
        "text/plain" | "text/csv" => format!("{content_type}; charset=utf-8"),
        other => other.to_owned(),
    };
    DownloadPresentation {
        content_disposition: content_disposition(kind, filename),
        content_type,
    }
}

/// RFC 6266: an ASCII name for old clients and the real one in UTF-8 (RFC 8187).
fn content_disposition(kind: &str, filename: &str) -> String {
    let ascii: String = filename
        .chars()
        .map(|c| {
            if matches!(c, ' '..='~') && !matches!(c, '"' | '\\' | '%') {
                c
            } else {
                '_'
            }
        })
        .collect();
    let mut header = format!("{kind}; filename=\"{ascii}\"");
    if ascii != filename {
        header.push_str("; filename*=UTF-8''");
        for byte in filename.bytes() {
            if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
                header.push(char::from(byte));
            } else {
                // Writing to a String cannot fail.
                let _ = write!(header, "%{byte:02X}");
            }
        }
    }
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_headers() {
        assert_eq!(
            content_disposition("attachment", "a b.csv"),
            "attachment; filename=\"a b.csv\""
        );
        assert_eq!(
            content_disposition("inline", "Отчёт\".pdf"),
            "inline; filename=\"______.pdf\"; filename*=UTF-8''%D0%9E%D1%82%D1%87%D1%91%D1%82%22.pdf"
        );
        assert!(!content_disposition("attachment", "a\r\nSet-Cookie: x=1").contains(['\r', '\n']));
    }

    #[test]
    fn html_is_never_inline() {
        let html = MediaType::parse("text/html").expect("a media type");
        assert!(
            present("a.html", &html, true)
                .content_disposition
                .starts_with("attachment")
        );
        let svg = MediaType::parse("image/svg+xml").expect("a media type");
        assert!(
            present("a.svg", &svg, true)
                .content_disposition
                .starts_with("attachment")
        );
        let png = MediaType::parse("image/png").expect("a media type");
        assert!(
            present("a.png", &png, true)
                .content_disposition
                .starts_with("inline")
        );
        assert!(
            present("a.png", &png, false)
                .content_disposition
                .starts_with("attachment")
        );
    }
}
