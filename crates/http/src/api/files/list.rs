//! `GET /files`, and the query that every list of files takes.

use axum::extract::State;
use cloakroom_core::error::ErrorCode;
use cloakroom_core::file::{File, FileState};
use cloakroom_core::ports::metadata::{Cursor, FileQuery, Page};
use cloakroom_core::record::RecordKey;
use cloakroom_core::search;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use utoipa::openapi::schema::{ArrayBuilder, Schema};
use utoipa::{IntoParams, ToSchema};

use crate::api::cursor;
use crate::api::wire::{FileBody, state_schema};
use crate::auth::Caller;
use crate::extract::Query;
use crate::extract::query::{FromQuery, Parameters, invalid};
use crate::openapi::Refused;
use crate::problem::{Problem, Result};
use crate::state::HttpState;

/// The beginning of filters on metadata.
const METADATA_PREFIX: &str = "metadata.";
/// Most filters on metadata.
const METADATA_FILTERS_MAX: usize = 10;
/// What a time looks like.
const TIME: &str = "a time such as 2026-11-20T21:05:09Z";
/// Longest text in a filter, in characters.
const TEXT_CHARS_MAX: usize = 500;

/// Which files. All given conditions must hold. Besides these, `metadata.<key>=<value>` filters on a field of the
/// metadata: a value that is a JSON number, `true`, `false` or `null` means that; anything else, or text in double
/// quotes, means text.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(
    dead_code,
    reason = "describes the query; what is read is the port's own `FileQuery`"
)]
pub struct ListFilesParameters {
    /// Words that name or description must contain; the last one may be the beginning of a word.
    #[param(max_length = 500, pattern = "^[^\\u0000]*$")]
    q: Option<String>,
    /// In this collection.
    #[param(max_length = 500, pattern = "^[^\\u0000]*$")]
    collection: Option<String>,
    /// Linked to this record: `type/id`.
    #[param(
        pattern = "^[a-z][a-z0-9_-]{0,63}/[^\\u0000-\\u001f\\u007f-\\u009f/]{1,200}$",
        max_length = 265
    )]
    record: Option<String>,
    /// In one of these states, separated by commas. Without it, whatever is not deleted or expired.
    #[param(schema_with = states_schema, style = Form, explode = false)]
    state: Option<Vec<String>>,
    /// Of this type: `image/png` or `image/*`.
    #[param(
        pattern = "^[A-Za-z0-9!#$%&'*+.^_`|~-]+/[A-Za-z0-9!#$%&'*+.^_`|~-]+$",
        max_length = 127
    )]
    content_type: Option<String>,
    /// Of this owner; operators, administrators and service tokens.
    #[param(max_length = 500, pattern = "^[^\\u0000]*$")]
    owner: Option<String>,
    /// Created then or later.
    created_from: Option<Timestamp>,
    /// Created before.
    created_before: Option<Timestamp>,
    /// `next_cursor` of the page before.
    #[param(pattern = "^[A-Za-z0-9_-]{32}$")]
    cursor: Option<String>,
    /// How many.
    #[param(minimum = 1, maximum = 1000, default = 50)]
    limit: Option<u32>,
}

fn states_schema() -> Schema {
    ArrayBuilder::new()
        .items(state_schema())
        .min_items(Some(1))
        .build()
        .into()
}

/// A page of files, newest first.
#[derive(Serialize, ToSchema)]
#[schema(as = FileList)]
pub struct FileListBody {
    /// The files.
    files: Vec<FileBody>,
    /// Where the next page begins; `null` at the end.
    next_cursor: Option<String>,
}

impl FileListBody {
    /// A page, with what the dialects that are spoken add to its files.
    pub(crate) fn of(page: Page<File>, state: &HttpState) -> Self {
        let last = page.items.last().filter(|_| page.more);
        let next_cursor = last.map(|file| {
            cursor::encode(&Cursor {
                created_at: file.created_at,
                id: file.id,
            })
        });
        Self {
            files: page
                .items
                .into_iter()
                .map(|file| FileBody::of(file, state))
                .collect(),
            next_cursor,
        }
    }
}

impl FromQuery for FileQuery {
    fn from_query(query: &mut Parameters) -> std::result::Result<Self, Problem> {
        let mut text = |name: &str| match query.text(name) {
            Some(text) if text.chars().count() > TEXT_CHARS_MAX => {
                Err(invalid(name, "is longer than 500 characters"))
            }
            other => Ok(other),
        };
        let words = text("q")?.map(|text| search::words(&text)).unwrap_or_default();
        let collections = text("collection")?.map(|name| vec![name]);
        let owner = text("owner")?;
        let content_type = text("content_type")?.map(content_type_filter).transpose()?;
        let record = text("record")?.map(|key| RecordKey::parse(&key)).transpose();
        let record = record.map_err(|refusal| {
            Problem::from(refusal).recoded(ErrorCode::InvalidRequest, ErrorCode::InvalidParameter)
        })?;
        let states = text("state")?
            .map(|names| states(&names))
            .transpose()?
            .unwrap_or_default();
        Ok(Self {
            owner,
            collections,
            states,
            record,
            content_type,
            words,
            metadata: metadata_filters(query.prefixed(METADATA_PREFIX))?,
            created_from: query.parsed("created_from", TIME)?,
            created_before: query.parsed("created_before", TIME)?,
            after: cursor::take(query)?,
            limit: query.limit()?,
        })
    }
}

fn states(names: &str) -> Result<Vec<FileState>> {
    names
        .split(',')
        .map(|name| FileState::parse(name).ok_or_else(|| invalid("state", "names a state that there is not")))
        .collect()
}

fn content_type_filter(text: String) -> Result<String> {
    let text = text.to_ascii_lowercase();
    let well_formed = text.split_once('/').is_some_and(|(kind, subtype)| {
        let token = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_graphic() && b != b'/');
        token(kind) && token(subtype)
    });
    if well_formed {
        Ok(text)
    } else {
        Err(invalid(
            "content_type",
            "is not a type such as image/png or image/*",
        ))
    }
}

fn metadata_filters(filters: Vec<(String, String)>) -> Result<Vec<(String, Value)>> {
    if filters.len() > METADATA_FILTERS_MAX {
        return Err(invalid("metadata", "is filtered by more than 10 fields"));
    }
    let scalar = |text: String| match serde_json::from_str(&text) {
        Ok(value @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_))) => value,
        _ => Value::String(text),
    };
    Ok(filters
        .into_iter()
        .map(|(name, text)| (name, scalar(text)))
        .collect())
}

/// List files.
///
/// Newest first; only what the caller may see.
#[utoipa::path(
    get,
    path = "/files",
    operation_id = "list_files",
    tag = "files",
    params(
        ListFilesParameters,
        ("x-cloakroom-owner" = Option<String>, Header, description = "As `owner`; service tokens and administrators only.", min_length = 1, max_length = 200, pattern = "^[!-~]+$"),
    ),
    responses((status = OK, description = "A page of files.", body = FileListBody), Refused::<403>),
)]
pub async fn list_files(
    State(state): State<HttpState>,
    caller: Caller,
    Query(mut query): Query<FileQuery>,
) -> Result<axum::Json<FileListBody>> {
    if query.owner.is_none() {
        query.owner = caller.owner(None)?;
    }
    let page = state.app.files(caller.principal(), query).await?;
    Ok(axum::Json(FileListBody::of(page, &state)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(query: &str) -> std::result::Result<FileQuery, u16> {
        let status = |problem: Problem| problem.status().as_u16();
        FileQuery::from_query(&mut Parameters::parse(query).map_err(status)?).map_err(status)
    }

    #[test]
    fn filters_are_read() {
        let query = read(
            "q=Отчёт+май&collection=photos&record=message/1&state=ready,failed&content_type=Image/*&owner=ann\
             &metadata.n=5&metadata.t=%225%22&metadata.s=a&metadata.b=true&created_from=2026-11-20T21:05:09Z&limit=3",
        )
        .expect("a query");
        assert_eq!(query.words, ["отчет", "маи"]);
        assert_eq!(query.states, [FileState::Ready, FileState::Failed]);
        assert_eq!(query.content_type.as_deref(), Some("image/*"));
        assert_eq!(query.limit, 3);
        let mut metadata = query.metadata;
        metadata.sort_by(|a, b| a.0.cmp(&b.0));
        let expected = [
            ("b", json!(true)),
            ("n", json!(5)),
            ("s", json!("a")),
            ("t", json!("5")),
        ];
        assert_eq!(metadata, expected.map(|(name, value)| (name.to_owned(), value)));
    }

    #[test]
    fn bad_filters_are_refused() {
        for bad in [
            "state=",
            "state=ready,",
            "state=nope",
            "content_type=image",
            "content_type=/",
            "record=message",
            "record=Message/1",
            "created_from=yesterday",
            "cursor=x",
            "limit=0",
        ] {
            assert_eq!(read(bad).err(), Some(400), "{bad}");
        }
        assert_eq!(read(&format!("q={}", "x".repeat(501))).err(), Some(400));
        let many = (0..11).fold(String::new(), |query, n| format!("{query}metadata.k{n}=1&"));
        assert_eq!(read(&many).err(), Some(400));
    }
}
