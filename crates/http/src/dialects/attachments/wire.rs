//! Ids as the document's clients write them, and the answer about an attachment.

use cloakroom_core::JsonObject;
use cloakroom_core::error::{ErrorCode, Refusal};
use cloakroom_core::file::{File, FileState};
use cloakroom_core::id::FileId;
use cloakroom_core::record::RecordKey;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::api::content::content_url;
use crate::api::wire::{FileErrorBody, state_schema};
use crate::auth::Caller;
use crate::dialects::Dialect;
use crate::extract::json::Whole;
use crate::problem::{Problem, Result};
use crate::state::HttpState;

/// What attachments hang on: records of this type.
const MESSAGE: &str = "message";
/// Where their contents are, below the CDN's address or ours.
const CONTENT_PATH: &str = "/attachments";

/// The id of a message or a user: the document has numbers, others have text.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[serde(untagged, expecting = "an id: a whole number or text")]
pub(super) enum Id {
    /// A number.
    #[schema(value_type = u64)]
    Number(#[serde(serialize_with = "number")] Whole),
    /// Text.
    Text(String),
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature that serde asks for"
)]
fn number<S: serde::Serializer>(
    Whole(number): &Whole,
    serializer: S,
) -> std::result::Result<S::Ok, S::Error> {
    serializer.serialize_u64(*number)
}

impl Id {
    /// As a number, if it is written as one that scripts of pages can hold.
    fn of(text: &str) -> Self {
        const SAFE_MAX: u64 = (1 << 53) - 1;
        let number = text.parse().ok();
        let number = number.filter(|number: &u64| *number <= SAFE_MAX && number.to_string() == text);
        number.map_or_else(
            || Self::Text(text.to_owned()),
            |number| Self::Number(Whole(number)),
        )
    }

    /// The record of the message.
    pub(super) fn message(&self) -> std::result::Result<RecordKey, Refusal> {
        let id = match self {
            // As the document says: what a column of a database holds.
            Self::Number(Whole(number)) if i64::try_from(*number).is_err() => {
                let message = format!("A message id as a number is at most {}.", i64::MAX);
                return Err(Refusal::new(ErrorCode::InvalidRequest, message).with("field", "message_id"));
            }
            Self::Number(Whole(number)) => number.to_string(),
            Self::Text(text) => text.clone(),
        };
        RecordKey::new(MESSAGE, &id).map_err(|refusal| refusal.with("field", "message_id"))
    }
}

/// An attachment: the row of the document's table, where it stands, and where its bytes are.
#[derive(Serialize, ToSchema)]
#[expect(clippy::struct_field_names, reason = "the names are those of the wire")]
pub(super) struct Attachment {
    /// Its id, for ever.
    id: Uuid,
    /// The same.
    attachment_id: Uuid,
    /// Whose it is.
    user_id: Id,
    /// The message that it hangs on, if any.
    message_id: Option<Id>,
    /// The name that a download carries.
    #[schema(example = "test.jpg")]
    filename: String,
    /// What the bytes show, before that what was declared.
    #[schema(example = "image/jpeg")]
    content_type: String,
    /// Measured, before that what was declared.
    size_bytes: Option<u64>,
    /// Where the verified bytes are in the bucket.
    #[schema(example = "attachments/0190c0de-0000-7000-8000-000000000000/test.jpg")]
    storage_key: String,
    /// The application's own fields.
    #[schema(value_type = Object, additional_properties = true)]
    metadata: JsonObject,
    /// When the upload was signed.
    created_at: Timestamp,
    /// Where it stands.
    #[schema(schema_with = state_schema)]
    state: &'static str,
    /// Why it failed or is quarantined.
    error: Option<FileErrorBody>,
    /// Where its bytes are, once it is ready: whoever has it may fetch them.
    #[schema(format = "uri")]
    download_url: Option<String>,
    /// Until when, at least.
    download_expires_at: Option<Timestamp>,
}

impl Attachment {
    /// As its owner sees it, with where its bytes are.
    pub(super) async fn of(state: &HttpState, caller: &Caller, file: File) -> Result<Self> {
        let download = match file.state {
            FileState::Ready => Some(download(state, caller, file.id).await?),
            _ => None,
        };
        let message = file.record.as_ref().filter(|record| record.kind() == MESSAGE);
        let (url, until) = download.unzip();
        Ok(Self {
            id: file.id.0,
            attachment_id: file.id.0,
            user_id: Id::of(&file.owner),
            message_id: message.map(|record| Id::of(record.id())),
            content_type: file.content_type().to_string(),
            size_bytes: file.size_bytes(),
            state: file.state.as_str(),
            filename: file.filename,
            storage_key: file.key,
            metadata: file.metadata,
            created_at: file.created_at,
            error: file.error.map(FileErrorBody::from),
            download_url: url,
            download_expires_at: until,
        })
    }
}

/// Through the CDN or at an address of ours, else signed for the store.
async fn download(state: &HttpState, caller: &Caller, id: FileId) -> Result<(String, Timestamp)> {
    if let Some(found) = content_url(state, caller, id, CONTENT_PATH, false).await? {
        return Ok(found);
    }
    let signed = state.app.download(caller.principal(), id, false).await?;
    Ok((signed.url, signed.expires_at))
}

/// The attachment of this id, if this caller may know of it: files of other collections were never there.
pub(super) async fn attachment(state: &HttpState, caller: &Caller, id: FileId) -> Result<File> {
    let file = state.app.file(caller.principal(), id).await?;
    if file.collection == Dialect::Attachments.collection() {
        return Ok(file);
    }
    Err(not_found(id))
}

/// The same unless it is deleted or over: then it is gone for the document's clients.
pub(super) async fn standing_attachment(state: &HttpState, caller: &Caller, id: FileId) -> Result<File> {
    let file = attachment(state, caller, id).await?;
    let gone = matches!(
        file.state,
        FileState::Trashed | FileState::Purging | FileState::Expired | FileState::Reaping
    );
    if gone { Err(not_found(id)) } else { Ok(file) }
}

fn not_found(id: FileId) -> Problem {
    Refusal::file_not_found(&id).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_come_back_as_they_can_be_held() {
        let shown = |text: &str| serde_json::to_string(&Id::of(text)).expect("JSON");
        assert_eq!(shown("42"), "42");
        assert_eq!(shown("9007199254740991"), "9007199254740991");
        for text in ["9007199254740992", "042", "-1", "1e3", "m-1", ""] {
            assert_eq!(shown(text), format!("\"{text}\""), "{text}");
        }
    }

    #[test]
    fn ids_are_read_as_numbers_and_text() {
        let message = |json: &str| {
            let id: Id = serde_json::from_str(json).ok()?;
            id.message().ok().map(|key| key.to_string())
        };
        assert_eq!(message("42").as_deref(), Some("message/42"));
        assert_eq!(message("\"42\"").as_deref(), Some("message/42"));
        assert_eq!(
            message("9223372036854775807").as_deref(),
            Some("message/9223372036854775807")
        );
        for bad in [
            "9223372036854775808",
            "-1",
            "1.5",
            "null",
            "\"\"",
            "\"a/b\"",
            "[1]",
        ] {
            assert_eq!(message(bad), None, "{bad}");
        }
    }
}
