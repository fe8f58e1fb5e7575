//! Bytes at an address of ours, for whoever has it: signed, or of a collection that everybody may read (`public-read`).
//!
//! Such an address is good for a content delivery network, whose origin we are then: no bucket has to be opened to
//! strangers, and sidecars, staging and what is quarantined stay out of reach, as a bucket's policy could not promise.

use cloakroom_core::access::{Action, Principal};
use cloakroom_core::collection::Visibility;
use cloakroom_core::error::{ErrorCode, Refusal};
use cloakroom_core::file::{File, FileState};
use cloakroom_core::id::FileId;
use cloakroom_core::ports::objects::{ByteRange, GetOptions, ObjectError, ObjectPath, ObjectRead};
use cloakroom_core::ports::signer::{DownloadPresentation, SignedRequest};
use cloakroom_core::storage::StorageAction;
use jiff::{SignedDuration, Timestamp};

use crate::app::App;
use crate::downloads::{present, readable};
use crate::error::{Result, ServiceError};
use crate::variants::window_begin;

/// What an address of a file's content says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContentAddress {
    /// The file.
    pub file_id: FileId,
    /// Its name: an address that says another one is none of ours.
    pub filename: String,
    /// What permits the reading; `None` where everybody may.
    pub grant: Option<ContentGrant>,
}

/// Where the content of a file is.
#[derive(Clone, Debug)]
pub struct ContentPlace {
    /// The address.
    pub address: ContentAddress,
    /// Until when it is good at least.
    pub good_until: Timestamp,
    /// The file's collection.
    pub collection: String,
}

/// Permits reading one file for a time. `Debug` hides the signature: whoever has it may use it (I7).
#[derive(Clone, PartialEq, Eq)]
pub struct ContentGrant {
    /// Until when.
    pub expires_at: Timestamp,
    /// What makes it one of ours.
    pub signature: String,
}

impl std::fmt::Debug for ContentGrant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ContentGrant")
            .field("expires_at", &self.expires_at)
            .finish_non_exhaustive()
    }
}

/// The content of a ready file that may be read.
#[derive(Clone, Debug)]
pub struct Content {
    /// The file.
    pub file: File,
    /// Whether everybody may read it.
    pub public: bool,
    /// How long caches may keep it, in seconds: until the address is over, or as long as a download of the collection.
    pub cache_seconds: u32,
}

impl App {
    /// Whether everybody may read the ready files of this collection. One that is no longer configured is private.
    pub fn is_public(&self, collection: &str) -> bool {
        self.collections
            .get(collection)
            .is_some_and(|collection| collection.visibility == Visibility::PublicRead)
    }

    /// The address of a ready file's content: without a signature where everybody may read it. `None` where addresses cannot be signed, as no secret is configured.
    ///
    /// # Errors
    /// As of a download.
    pub async fn content_address(&self, principal: &Principal, id: FileId) -> Result<Option<ContentPlace>> {
        let file = self.file_for(principal, Action::Read, id).await?;
        readable(&file)?;
        self.admit(StorageAction::ReadBytes, &file.bucket)
            .map_err(|refusal| refusal.with("file_id", id.to_string()))?;
        let seconds = self.download_expires_seconds(&file);
        let expires_at = window_begin(self.now(), seconds)
            .checked_add(SignedDuration::from_secs(i64::from(seconds)))
            .map_err(|error| ServiceError::Internal(error.to_string()))?;
        let public = self.is_public(&file.collection);
        let key = self.variants.key().filter(|_| !public);
        if key.is_none() && !public {
            return Ok(None);
        }
        let grant = key.map(|key| ContentGrant {
            expires_at,
            signature: key.sign_content(id, &file.filename, expires_at),
        });
        let address = ContentAddress {
            file_id: id,
            filename: file.filename,
            grant,
        };
        Ok(Some(ContentPlace {
            address,
            good_until: expires_at,
            collection: file.collection,
        }))
    }

    /// The content behind an address.
    ///
    /// # Errors
    /// With a signature: `invalid_signature` before anything else is looked at, `url_expired`, then as of a download. Without:
    /// `file_not_found` for everything that not everybody may read, so that strangers learn nothing (I8).
    pub async fn content(&self, asked: &ContentAddress) -> Result<Content> {
        let now = self.now();
        if let Some(grant) = &asked.grant {
            self.check_grant(asked, grant, now)?;
        }
        let missing = || Refusal::file_not_found(&asked.file_id);
        let file = self.metadata.file(asked.file_id).await?.ok_or_else(missing)?;
        let public = self.is_public(&file.collection);
        if file.filename != asked.filename {
            return Err(missing().into());
        }
        if asked.grant.is_some() {
            readable(&file)?;
        } else if !public || file.state != FileState::Ready {
            return Err(missing().into());
        }
        self.admit(StorageAction::ReadBytes, &file.bucket)
            .map_err(|refusal| refusal.with("file_id", file.id.to_string()))?;
        let usual = self.download_expires_seconds(&file);
        let left = asked.grant.as_ref().map_or(i64::from(usual), |grant| {
            grant.expires_at.duration_since(now).as_secs()
        });
        Ok(Content {
            cache_seconds: u32::try_from(left).unwrap_or(0).min(usual),
            file,
            public,
        })
    }

    fn check_grant(
        &self,
        asked: &ContentAddress,
        grant: &ContentGrant,
        now: Timestamp,
    ) -> std::result::Result<(), Refusal> {
        let genuine = self.variants.key().is_some_and(|key| {
            key.verify_content(asked.file_id, &asked.filename, grant.expires_at, &grant.signature)
        });
        if !genuine {
            return Err(Refusal::new(
                ErrorCode::InvalidSignature,
                "The URL is not one that was signed here; use it exactly as it was given.",
            ));
        }
        if now >= grant.expires_at {
            return Err(Refusal::new(
                ErrorCode::UrlExpired,
                "The time of the URL is over; ask for a new one.",
            )
            .with("expires_at", grant.expires_at.to_string()));
        }
        Ok(())
    }

    /// How the content presents itself: as a download, unless it is asked for inline and safe to show.
    pub fn content_presentation(content: &Content, inline: bool) -> DownloadPresentation {
        present(&content.file.filename, content.file.content_type(), inline)
    }

    /// A URL of the store for it, good for as long as it may be cached.
    pub fn content_url(&self, content: &Content, inline: bool) -> Result<SignedRequest> {
        let presentation = Self::content_presentation(content, inline);
        let (file, seconds) = (&content.file, content.cache_seconds.max(1));
        self.sign_object(file, &file.key, &presentation, (seconds, self.now()), "")
    }

    /// Its bytes, or some of them, from the final object, which nobody but us has ever written to (I2).
    ///
    /// # Errors
    /// `range_not_satisfiable`; `file_not_found` where it was purged at this moment.
    pub async fn read_content(&self, content: &Content, range: Option<ByteRange>) -> Result<ObjectRead> {
        let file = &content.file;
        let options = GetOptions {
            range,
            ..GetOptions::default()
        };
        let path = ObjectPath::new(&file.bucket, &file.key);
        self.objects
            .get(&path, &options)
            .await
            .map_err(|error| match error {
                ObjectError::InvalidRange { size_bytes } => Refusal::new(
                    ErrorCode::RangeNotSatisfiable,
                    format!("The range lies outside of the file, which has {size_bytes} bytes."),
                )
                .with("size_bytes", size_bytes)
                .into(),
                ObjectError::NotFound => Refusal::file_not_found(&file.id).into(),
                error => error.into(),
            })
    }
}
