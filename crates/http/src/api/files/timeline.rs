//! `GET /files/{id}/timeline`.

use axum::extract::State;
use cloakroom_core::JsonObject;
use cloakroom_core::event::{Event, EventKind};
use cloakroom_core::id::FileId;
use jiff::Timestamp;
use serde::Serialize;
use utoipa::openapi::schema::{Object, ObjectBuilder, Type};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::api::cursor;
use crate::api::wire::state_schema;
use crate::auth::Caller;
use crate::extract::query::{FromQuery, Parameters};
use crate::extract::{Path, Query};
use crate::openapi::Refused;
use crate::problem::Result;
use crate::state::HttpState;

/// A page of events, oldest first.
#[derive(Serialize, ToSchema)]
#[schema(as = Timeline)]
pub struct TimelineBody {
    /// The events.
    events: Vec<EventBody>,
    /// Where the next page begins; `null` at the end.
    next_cursor: Option<String>,
}

/// Something that happened to a file.
#[derive(Serialize, ToSchema)]
#[schema(as = Event)]
pub struct EventBody {
    /// Stable across deliveries.
    id: Uuid,
    /// What happened.
    #[serde(rename = "type")]
    #[schema(schema_with = event_kind_schema)]
    kind: &'static str,
    /// The state since then.
    #[schema(schema_with = state_schema)]
    state: &'static str,
    /// The version that it made.
    version: u64,
    /// Who caused it.
    actor: String,
    /// When.
    at: Timestamp,
    /// What else is worth knowing.
    #[schema(value_type = Object, additional_properties = true)]
    data: JsonObject,
}

fn event_kind_schema() -> Object {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .description(Some("What happened."))
        .enum_values(Some(EventKind::ALL.iter().map(|kind| kind.as_str())))
        .build()
}

impl From<Event> for EventBody {
    fn from(event: Event) -> Self {
        Self {
            id: event.id.0,
            kind: event.kind.as_str(),
            state: event.state.as_str(),
            version: event.version,
            actor: event.actor,
            at: event.at,
            data: event.data,
        }
    }
}

/// Which page.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub struct TimelineParameters {
    /// `next_cursor` of the page before.
    #[param(value_type = Option<String>, pattern = "^[A-Za-z0-9_-]{10}[AEIMQUYcgkosw048]$")]
    cursor: Option<u64>,
    /// How many.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 1000, default = 50)]
    limit: u32,
}

impl FromQuery for TimelineParameters {
    fn from_query(query: &mut Parameters) -> Result<Self> {
        Ok(Self {
            cursor: cursor::take(query)?,
            limit: query.limit()?,
        })
    }
}

/// See what happened to a file.
#[utoipa::path(
    get,
    path = "/files/{file_id}/timeline",
    operation_id = "get_file_timeline",
    tag = "files",
    params(("file_id" = Uuid, Path, description = "The file."), TimelineParameters),
    responses((status = OK, description = "A page of events.", body = TimelineBody), Refused::<404>),
)]
pub async fn get_file_timeline(
    State(state): State<HttpState>,
    caller: Caller,
    Path(id): Path<FileId>,
    Query(page): Query<TimelineParameters>,
) -> Result<axum::Json<TimelineBody>> {
    let page = state
        .app
        .timeline(caller.principal(), id, page.cursor, page.limit)
        .await?;
    let next_cursor = page
        .items
        .last()
        .filter(|_| page.more)
        .map(|event| cursor::encode(&event.version));
    Ok(axum::Json(TimelineBody {
        events: page.items.into_iter().map(EventBody::from).collect(),
        next_cursor,
    }))
}
