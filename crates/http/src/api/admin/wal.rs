//! `/admin/wal`: what changed stored bytes, and how that ended, in the words of the storage element's document (S3-089 to
//! S3-098).

use axum::extract::State;
use cloakroom_core::JsonObject;
use cloakroom_core::id::{FileId, IntentId};
use cloakroom_core::intent::{Intent, IntentKind, IntentStatus};
use cloakroom_core::ports::administration::IntentQuery;
use jiff::Timestamp;
use serde::Serialize;
use utoipa::openapi::schema::{Object, ObjectBuilder, Type};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::api::cursor;
use crate::auth::Administrator;
use crate::extract::Query;
use crate::extract::query::{FromQuery, Parameters, invalid};
use crate::openapi::Refused;
use crate::problem::{Problem, Result};
use crate::state::HttpState;

/// A page of the write-ahead log, newest first.
#[derive(Serialize, ToSchema)]
#[schema(as = Wal)]
pub struct WalBody {
    /// The entries.
    transactions: Vec<WalTransactionBody>,
    /// Where the next page begins; `null` at the end.
    next_cursor: Option<String>,
}

/// An entry of the write-ahead log.
#[derive(Serialize, ToSchema)]
#[schema(as = WalTransaction)]
pub struct WalTransactionBody {
    /// Its id; ids sort by time.
    transaction_id: Uuid,
    /// What is done.
    #[schema(schema_with = type_schema)]
    operation_type: String,
    /// How far it is.
    #[schema(schema_with = status_schema)]
    status: &'static str,
    /// The file it is done to; `null` where it is about no single one.
    file_id: Option<Uuid>,
    /// Where from, where to, and what else recovery needs.
    #[schema(value_type = Object, additional_properties = true)]
    operation_data: JsonObject,
    /// Why it failed.
    error_message: Option<String>,
    /// When it began.
    started_at: Timestamp,
    /// When it ended.
    completed_at: Option<Timestamp>,
    /// How long it took, in milliseconds.
    duration_ms: Option<u64>,
    /// Who does it: a subject, or a worker.
    user_id: String,
}

impl From<Intent> for WalTransactionBody {
    fn from(intent: Intent) -> Self {
        let took = intent
            .completed_at
            .map(|at| at.duration_since(intent.started_at).as_millis());
        Self {
            transaction_id: intent.id.0,
            operation_type: type_name(intent.kind),
            status: intent.status.as_str(),
            file_id: intent.file_id.map(|id| id.0),
            operation_data: intent.data,
            error_message: intent.error,
            started_at: intent.started_at,
            completed_at: intent.completed_at,
            // The clocks of two nodes may differ a little.
            duration_ms: took.map(|ms| u64::try_from(ms).unwrap_or_default()),
            user_id: intent.actor,
        }
    }
}

/// The document's spelling: `FILE_CREATE`.
fn type_name(kind: IntentKind) -> String {
    kind.as_str().to_ascii_uppercase()
}

fn type_schema() -> Object {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .description(Some("What is done."))
        .enum_values(Some(IntentKind::ALL.iter().map(|kind| type_name(*kind))))
        .build()
}

fn status_schema() -> Object {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .description(Some("How far it is."))
        .enum_values(Some(IntentStatus::ALL.iter().map(|status| status.as_str())))
        .build()
}

/// Which entries. All given conditions must hold.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(
    dead_code,
    reason = "describes the query; what is read is the port's own `IntentQuery`"
)]
pub struct ListWalParameters {
    /// With this status.
    #[param(schema_with = status_schema)]
    status: Option<String>,
    /// Of this type.
    #[param(schema_with = type_schema)]
    operation_type: Option<String>,
    /// About this file.
    file_id: Option<Uuid>,
    /// `next_cursor` of the page before.
    #[param(pattern = "^[A-Za-z0-9_-]{21}[AQgw]$")]
    cursor: Option<String>,
    /// How many.
    #[param(minimum = 1, maximum = 1000, default = 50)]
    limit: Option<u32>,
}

impl FromQuery for IntentQuery {
    fn from_query(query: &mut Parameters) -> std::result::Result<Self, Problem> {
        let status = query.text("status").map(|text| {
            IntentStatus::parse(&text).ok_or_else(|| invalid("status", "names a status that there is not"))
        });
        let kind = query.text("operation_type").map(|text| {
            let found = IntentKind::ALL.iter().find(|kind| type_name(**kind) == text);
            found
                .copied()
                .ok_or_else(|| invalid("operation_type", "names a type that there is not"))
        });
        let before: Option<IntentId> = cursor::take(query)?;
        Ok(Self {
            status: status.transpose()?,
            kind: kind.transpose()?,
            file_id: query.parsed("file_id", "a UUID")?.map(FileId),
            before,
            limit: query.limit()?,
        })
    }
}

/// Read the write-ahead log.
///
/// Newest first. Entries that are closed are kept for a while.
#[utoipa::path(
    get,
    path = "/admin/wal",
    operation_id = "list_wal",
    tag = "admin",
    params(ListWalParameters),
    responses((status = OK, description = "A page of the log.", body = WalBody), Refused::<403>),
)]
pub async fn list_wal(
    State(state): State<HttpState>,
    Administrator(principal): Administrator,
    Query(query): Query<IntentQuery>,
) -> Result<axum::Json<WalBody>> {
    let page = state.app.intents(&principal, query).await?;
    let last = page.items.last().filter(|_| page.more);
    Ok(axum::Json(WalBody {
        next_cursor: last.map(|intent| cursor::encode(&intent.id)),
        transactions: page.items.into_iter().map(WalTransactionBody::from).collect(),
    }))
}
