//! A photo on the wire.

use cloakroom_core::JsonObject;
use cloakroom_core::access::Principal;
use cloakroom_core::derivative::{Derivative, DerivativeOutcome};
use cloakroom_core::file::File;
use cloakroom_service::stores::StoreKind;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::api::wire::{FileErrorBody, state_schema};
use crate::problem::Result;
use crate::state::HttpState;

/// How the names of thumbnails begin.
const THUMBNAIL: &str = "thumbnail-";

/// A photo.
#[derive(Serialize, ToSchema)]
#[schema(as = Photo)]
pub(super) struct PhotoBody {
    /// Its id, for ever.
    photo_id: Uuid,
    /// What it is of.
    complaint_id: Option<String>,
    /// Where it stands; `ready` once it is verified and its thumbnails are made.
    #[schema(schema_with = state_schema)]
    status: &'static str,
    /// Its name.
    filename: String,
    /// Text for people.
    caption: Option<String>,
    /// The type that the bytes show, before that what was declared.
    content_type: String,
    /// Its size in bytes: measured, seen or declared.
    file_size: Option<u64>,
    /// Pixels, once measured.
    width: Option<u64>,
    /// Pixels, once measured.
    height: Option<u64>,
    /// SHA-256 of the bytes, once measured; before that as declared.
    checksum_sha256: Option<String>,
    /// `s3`, or `local` where the bytes are kept in files of our own.
    storage_provider: &'static str,
    /// The bucket.
    bucket: String,
    /// Where the original is, once it is verified.
    s3_key: String,
    /// Where the first thumbnail is, once it is made.
    s3_thumbnail_key: Option<String>,
    /// A short-lived URL of the original, once it is verified.
    #[schema(format = "uri")]
    url: Option<String>,
    /// A short-lived URL of the first thumbnail, once it is made.
    #[schema(format = "uri")]
    thumbnail_url: Option<String>,
    /// Until when the URLs may be used.
    url_expires_at: Option<Timestamp>,
    /// All thumbnails.
    thumbnails: Vec<ThumbnailBody>,
    /// Whose it is.
    owner: String,
    /// The application's own fields.
    #[schema(value_type = Object, additional_properties = true)]
    metadata: JsonObject,
    /// Why it failed or is quarantined.
    error: Option<FileErrorBody>,
    /// When its upload was signed.
    created_at: Timestamp,
    /// When it was first seen complete.
    uploaded_at: Option<Timestamp>,
    /// When it was confirmed.
    confirmed_at: Option<Timestamp>,
    /// When the worker was done with it.
    processed_at: Option<Timestamp>,
}

impl ThumbnailBody {
    /// The longer side, and what was asked for: a small photo has two that are equal.
    fn size(&self) -> (Option<u32>, Option<u32>) {
        let asked = self
            .name
            .strip_prefix(THUMBNAIL)
            .and_then(|side| side.parse().ok());
        (self.width.max(self.height), asked)
    }
}

/// A thumbnail.
#[derive(Serialize, ToSchema)]
#[schema(as = PhotoThumbnail)]
struct ThumbnailBody {
    /// `thumbnail-256`.
    name: String,
    /// Where it is.
    s3_key: String,
    /// Pixels.
    width: Option<u32>,
    /// Pixels.
    height: Option<u32>,
    /// Its type.
    content_type: String,
    /// Its size in bytes.
    file_size: u64,
    /// A short-lived URL.
    #[schema(format = "uri")]
    url: Option<String>,
}

impl PhotoBody {
    /// A photo, with URLs if its bytes are handed out.
    pub(super) fn of(
        file: File,
        derivatives: Vec<Derivative>,
        principal: &Principal,
        state: &HttpState,
    ) -> Result<Self> {
        let links = state.app.links(principal, &file, &derivatives)?;
        let url_of = |name: &str| {
            let links = links.as_ref()?;
            let (_, signed) = links.derivatives.iter().find(|(known, _)| known == name)?;
            Some(signed.url.clone())
        };
        let thumbnails: Vec<ThumbnailBody> = derivatives
            .into_iter()
            .filter(|one| one.name.starts_with(THUMBNAIL))
            .filter_map(|one| match one.outcome {
                DerivativeOutcome::Made {
                    key,
                    content_type,
                    size_bytes,
                    width,
                    height,
                } => Some(ThumbnailBody {
                    url: url_of(&one.name),
                    name: one.name,
                    s3_key: key,
                    width,
                    height,
                    content_type: content_type.to_string(),
                    file_size: size_bytes,
                }),
                DerivativeOutcome::Failed { .. } => None,
            })
            .collect();
        // The smallest is the one for lists.
        let first = thumbnails.iter().min_by_key(|one| one.size());
        let fact = |name: &str| file.facts.get(name).and_then(Value::as_u64);
        let verified = file.verified.as_ref().map(|verified| verified.sha256);
        Ok(Self {
            photo_id: file.id.0,
            complaint_id: file.record.as_ref().map(|record| record.id().to_owned()),
            status: file.state.as_str(),
            caption: file.description.clone(),
            content_type: file.content_type().to_string(),
            file_size: file.size_bytes(),
            width: fact("width"),
            height: fact("height"),
            checksum_sha256: verified.or(file.declared.sha256).map(|digest| digest.to_string()),
            storage_provider: storage_provider(&file, state),
            s3_thumbnail_key: first.map(|one| one.s3_key.clone()),
            thumbnail_url: first.and_then(|one| one.url.clone()),
            url_expires_at: links.as_ref().map(|links| links.original.expires_at),
            url: links.map(|links| links.original.url),
            thumbnails,
            filename: file.filename,
            bucket: file.bucket,
            s3_key: file.key,
            owner: file.owner,
            metadata: file.metadata,
            error: file.error.map(FileErrorBody::from),
            created_at: file.created_at,
            uploaded_at: file.uploaded_at,
            confirmed_at: file.confirmed_at,
            processed_at: file.processed_at,
        })
    }
}

/// What keeps a file's bytes.
pub(super) fn storage_provider(file: &File, state: &HttpState) -> &'static str {
    let stores = &state.app.stores;
    let store = stores.definition(stores.store_of(&file.bucket));
    store.map_or(StoreKind::Local, |store| store.kind).as_str()
}
