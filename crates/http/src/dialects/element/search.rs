//! `GET /api/v1/files/search`.

use axum::extract::State;
use cloakroom_core::ports::metadata::FileQuery;
use cloakroom_core::search;
use jiff::Timestamp;
use utoipa::IntoParams;

use super::COLLECTION;
use crate::api::files::list::FileListBody;
use crate::auth::Caller;
use crate::extract::Query;
use crate::extract::query::{FromQuery, Parameters, invalid};
use crate::openapi::Refused;
use crate::problem::{Problem, Result};
use crate::state::HttpState;

/// Longest text in a filter, in characters.
const TEXT_CHARS_MAX: usize = 500;

/// Which documents. All given conditions must hold; beside these, `metadata.<key>=<value>` and every other filter of
/// `GET /api/v1/files` but `collection`.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(
    dead_code,
    reason = "describes the query; what is read is the port's own `FileQuery`"
)]
pub struct ElementSearchParameters {
    /// Words that name or description must contain; the last one may be the beginning of a word. `q` is the same.
    #[param(max_length = 500, pattern = "^[^\\u0000]*$")]
    query: Option<String>,
    /// Of this user; for operators, administrators and service tokens.
    #[param(max_length = 500, pattern = "^[^\\u0000]*$")]
    created_by_id: Option<String>,
    /// Of this type: `image/png` or `image/*`.
    #[param(
        pattern = "^[A-Za-z0-9!#$%&'*+.^_`|~-]+/[A-Za-z0-9!#$%&'*+.^_`|~-]+$",
        max_length = 127
    )]
    content_type: Option<String>,
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

/// A search among documents.
pub struct Search(FileQuery);

impl FromQuery for Search {
    fn from_query(query: &mut Parameters) -> std::result::Result<Self, Problem> {
        if query.text("collection").is_some_and(|name| name != COLLECTION) {
            return Err(invalid("collection", "is not documents, where this looks"));
        }
        let words = query.text("query").unwrap_or_default();
        let user = query.text("created_by_id");
        for (name, text) in [
            ("query", &words),
            ("created_by_id", user.as_ref().unwrap_or(&words)),
        ] {
            if text.chars().count() > TEXT_CHARS_MAX {
                return Err(invalid(name, "is longer than 500 characters"));
            }
        }
        let mut found = FileQuery::from_query(query)?;
        found.words.extend(search::words(&words));
        found.collections = Some(vec![COLLECTION.to_owned()]);
        found.owner = found.owner.or(user);
        Ok(Self(found))
    }
}

/// Search documents.
///
/// By the words of names and descriptions in any language, and by other fields; newest first, only what the caller may see.
#[utoipa::path(
    get,
    path = "/api/v1/files/search",
    operation_id = "element_search",
    tag = "dialect: element",
    params(ElementSearchParameters),
    responses((status = OK, description = "A page of files.", body = FileListBody), Refused::<403>),
)]
pub async fn element_search(
    State(state): State<HttpState>,
    caller: Caller,
    Query(Search(mut query)): Query<Search>,
) -> Result<axum::Json<FileListBody>> {
    if query.owner.is_none() {
        query.owner = caller.owner(None)?;
    }
    let page = state.app.files(caller.principal(), query).await?;
    Ok(axum::Json(FileListBody::of(page, &state)))
}
