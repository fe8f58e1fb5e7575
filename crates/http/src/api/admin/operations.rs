//! `/admin/operations`: long work that administrators ask for, and its reports.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use cloakroom_core::JsonObject;
use cloakroom_core::access::Principal;
use cloakroom_core::error::ErrorCode;
use cloakroom_core::id::OperationId;
use cloakroom_core::operation::{Finding, Operation, OperationKind, OperationState};
use cloakroom_service::ServiceError;
use cloakroom_service::operations::csv;
use futures_util::stream::{self, Stream};
use http::StatusCode;
use http::header::{self, HeaderMap, HeaderValue};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::openapi::schema::{Object, ObjectBuilder, Type};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::api::cursor;
use crate::auth::Administrator;
use crate::extract::query::{FromQuery, Parameters, invalid};
use crate::extract::{Json, Path, Query};
use crate::openapi::Refused;
use crate::problem::{Problem, Result};
use crate::state::HttpState;

/// Lines of a report that are read at a time.
const CSV_PAGE: u32 = 1_000;

/// An operation to start.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StartOperationRequest {
    /// What to do.
    #[schema(schema_with = kind_schema)]
    kind: String,
    /// How: `deep` and `fix` for `verify`, `trash` for `orphans`, `dry_run` for `purge`, `owner` for `delete_owner`.
    #[serde(default)]
    #[schema(value_type = Object, additional_properties = true, required = false, example = json!({"fix": true}))]
    options: JsonObject,
}

/// An operation.
#[derive(Serialize, ToSchema)]
#[schema(as = Operation)]
pub struct OperationBody {
    /// Its id.
    id: Uuid,
    /// What is done.
    #[schema(schema_with = kind_schema)]
    kind: &'static str,
    /// How far it is.
    #[schema(schema_with = state_schema)]
    state: &'static str,
    /// How it is done.
    #[schema(value_type = Object, additional_properties = true)]
    options: JsonObject,
    /// Things looked at so far.
    done: u64,
    /// Things to look at, as far as that is known.
    total: Option<u64>,
    /// What was found, by name.
    #[schema(value_type = Object, additional_properties = true)]
    counts: JsonObject,
    /// Why it failed; of one that runs, what holds it up.
    error: Option<String>,
    /// Who asked for it.
    actor: String,
    /// When.
    created_at: Timestamp,
    /// When it last said how far it is.
    updated_at: Timestamp,
    /// When it was over.
    finished_at: Option<Timestamp>,
    /// Which worker holds it.
    lease_owner: Option<String>,
    /// Until when.
    lease_until: Option<Timestamp>,
}

impl From<Operation> for OperationBody {
    fn from(operation: Operation) -> Self {
        Self {
            id: operation.id.0,
            kind: operation.kind.as_str(),
            state: operation.state.as_str(),
            options: operation.options,
            done: operation.done,
            total: operation.total,
            counts: operation.counts,
            error: operation.error,
            actor: operation.actor,
            created_at: operation.created_at,
            updated_at: operation.updated_at,
            finished_at: operation.finished_at,
            lease_owner: operation.lease_owner.map(|worker| worker.0),
            lease_until: operation.lease_until,
        }
    }
}

/// A page of operations, newest first.
#[derive(Serialize, ToSchema)]
#[schema(as = OperationList)]
pub struct OperationListBody {
    /// The operations.
    operations: Vec<OperationBody>,
    /// Where the next page begins; `null` at the end.
    next_cursor: Option<String>,
}

/// A line of a report.
#[derive(Serialize, ToSchema)]
#[schema(as = Finding)]
pub struct FindingBody {
    /// What was found.
    #[schema(example = "size_differs")]
    kind: String,
    /// What was done about it.
    #[schema(example = "reported")]
    action: String,
    /// The bucket, if it is about an object.
    bucket: Option<String>,
    /// The key, if it is about an object.
    key: Option<String>,
    /// The file, if it is about one.
    file_id: Option<Uuid>,
    /// What is wrong, for people.
    detail: String,
}

impl From<Finding> for FindingBody {
    fn from(finding: Finding) -> Self {
        Self {
            kind: finding.kind,
            action: finding.action,
            bucket: finding.bucket,
            key: finding.key,
            file_id: finding.file_id.map(|id| id.0),
            detail: finding.detail,
        }
    }
}

/// A page of a report, in the order in which it was found.
#[derive(Serialize, ToSchema)]
#[schema(as = FindingList)]
pub struct FindingListBody {
    /// The lines.
    findings: Vec<FindingBody>,
    /// Where the next page begins; `null` at the end of what was found so far.
    next_cursor: Option<String>,
}

fn kind_schema() -> Object {
    let kinds = OperationKind::ALL.iter().map(|kind| kind.as_str());
    ObjectBuilder::new()
        .schema_type(Type::String)
        .description(Some("What is done."))
        .enum_values(Some(kinds))
        .build()
}

fn state_schema() -> Object {
    let states = OperationState::ALL.iter().map(|state| state.as_str());
    ObjectBuilder::new()
        .schema_type(Type::String)
        .description(Some("How far it is."))
        .enum_values(Some(states))
        .build()
}

/// Which operations.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ListOperationsParameters {
    /// `next_cursor` of the page before.
    #[param(value_type = Option<String>, pattern = "^[A-Za-z0-9_-]{21}[AQgw]$")]
    cursor: Option<OperationId>,
    /// How many.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 1000, default = 50)]
    limit: u32,
}

impl FromQuery for ListOperationsParameters {
    fn from_query(query: &mut Parameters) -> Result<Self> {
        Ok(Self {
            cursor: cursor::take(query)?,
            limit: query.limit()?,
        })
    }
}

/// The form of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ToSchema)]
#[schema(rename_all = "lowercase")]
pub enum ReportFormat {
    /// A page, as JSON.
    Json,
    /// The whole report, as CSV.
    Csv,
}

/// Which lines of a report, and in which form.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ListFindingsParameters {
    /// `csv` is the whole report; without this the header `Accept` decides.
    #[param(inline)]
    format: Option<ReportFormat>,
    /// `next_cursor` of the page before; JSON only.
    #[param(value_type = Option<String>, pattern = "^[A-Za-z0-9_-]{10}[AEIMQUYcgkosw048]$")]
    cursor: Option<u64>,
    /// How many; JSON only.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 1000, default = 50)]
    limit: u32,
}

impl FromQuery for ListFindingsParameters {
    fn from_query(query: &mut Parameters) -> Result<Self> {
        let format = match query.text("format").as_deref() {
            None => None,
            Some("json") => Some(ReportFormat::Json),
            Some("csv") => Some(ReportFormat::Csv),
            Some(_) => return Err(invalid("format", "is not json or csv")),
        };
        Ok(Self {
            format,
            cursor: cursor::take(query)?,
            limit: query.limit()?,
        })
    }
}

/// Start an operation.
///
/// A worker begins it within a second or so. There is one of each kind at a time.
#[utoipa::path(
    post,
    path = "/admin/operations",
    operation_id = "start_operation",
    tag = "admin",
    request_body = StartOperationRequest,
    responses(
        (status = ACCEPTED, description = "It waits for a worker.", body = OperationBody),
        Refused::<403>, Refused::<409>,
    ),
)]
pub async fn start_operation(
    State(state): State<HttpState>,
    Administrator(principal): Administrator,
    Json(request): Json<StartOperationRequest>,
) -> Result<Response> {
    let kind = OperationKind::parse(&request.kind).ok_or_else(|| {
        let kinds: Vec<&str> = OperationKind::ALL.iter().map(|kind| kind.as_str()).collect();
        Problem::new(
            ErrorCode::InvalidRequest,
            format!(
                "There is no such kind of operation; there are {}.",
                kinds.join(", ")
            ),
        )
        .with("field", "kind")
    })?;
    let operation = state
        .app
        .start_operation(&principal, kind, request.options)
        .await?;
    Ok((StatusCode::ACCEPTED, axum::Json(OperationBody::from(operation))).into_response())
}

/// List operations.
#[utoipa::path(
    get,
    path = "/admin/operations",
    operation_id = "list_operations",
    tag = "admin",
    params(ListOperationsParameters),
    responses((status = OK, description = "A page of operations.", body = OperationListBody), Refused::<403>),
)]
pub async fn list_operations(
    State(state): State<HttpState>,
    Administrator(principal): Administrator,
    Query(which): Query<ListOperationsParameters>,
) -> Result<axum::Json<OperationListBody>> {
    let page = state
        .app
        .operations(&principal, which.cursor, which.limit)
        .await?;
    let next_cursor = page
        .items
        .last()
        .filter(|_| page.more)
        .map(|operation| cursor::encode(&operation.id));
    Ok(axum::Json(OperationListBody {
        operations: page.items.into_iter().map(OperationBody::from).collect(),
        next_cursor,
    }))
}

/// Get an operation.
#[utoipa::path(
    get,
    path = "/admin/operations/{operation_id}",
    operation_id = "get_operation",
    tag = "admin",
    params(("operation_id" = Uuid, Path, description = "The operation.")),
    responses((status = OK, description = "The operation.", body = OperationBody), Refused::<403>, Refused::<404>),
)]
pub async fn get_operation(
    State(state): State<HttpState>,
    Administrator(principal): Administrator,
    Path(id): Path<OperationId>,
) -> Result<axum::Json<OperationBody>> {
    Ok(axum::Json(state.app.operation(&principal, id).await?.into()))
}

/// Cancel an operation.
///
/// What it did so far stays done. One that is over is answered as it is.
#[utoipa::path(
    delete,
    path = "/admin/operations/{operation_id}",
    operation_id = "cancel_operation",
    tag = "admin",
    params(("operation_id" = Uuid, Path, description = "The operation.")),
    responses((status = OK, description = "The operation, over.", body = OperationBody), Refused::<403>, Refused::<404>),
)]
pub async fn cancel_operation(
    State(state): State<HttpState>,
    Administrator(principal): Administrator,
    Path(id): Path<OperationId>,
) -> Result<axum::Json<OperationBody>> {
    Ok(axum::Json(
        state.app.cancel_operation(&principal, id).await?.into(),
    ))
}

/// Get the report of an operation.
///
/// As JSON a page at a time; as CSV (`Accept: text/csv` or `format=csv`) as a whole.
#[utoipa::path(
    get,
    path = "/admin/operations/{operation_id}/findings",
    operation_id = "list_findings",
    tag = "admin",
    params(("operation_id" = Uuid, Path, description = "The operation."), ListFindingsParameters),
    responses(
        (status = OK, description = "What was found so far.", content(
            (FindingListBody = "application/json"),
            (String = "text/csv"),
        )),
        Refused::<403>, Refused::<404>,
    ),
)]
pub async fn list_findings(
    State(state): State<HttpState>,
    Administrator(principal): Administrator,
    Path(id): Path<OperationId>,
    headers: HeaderMap,
    Query(which): Query<ListFindingsParameters>,
) -> Result<Response> {
    let format = which.format.unwrap_or_else(|| accepted(&headers));
    if format == ReportFormat::Csv {
        // A missing operation is said before the first byte.
        state.app.operation(&principal, id).await?;
        return Ok(whole_csv(state, principal, id));
    }
    let skip = which.cursor.unwrap_or_default();
    let page = state.app.findings(&principal, id, skip, which.limit).await?;
    let next_cursor = page
        .more
        .then(|| cursor::encode(&skip.saturating_add(page.items.len() as u64)));
    let body = FindingListBody {
        findings: page.items.into_iter().map(FindingBody::from).collect(),
        next_cursor,
    };
    Ok(axum::Json(body).into_response())
}

/// The form that the client asks for (RFC 9110 §12.5.1), JSON unless it says `text/csv`.
fn accepted(headers: &HeaderMap) -> ReportFormat {
    let values = headers.get_all(header::ACCEPT).iter();
    let csv = values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|range| range.split(';').next().unwrap_or_default().trim())
        .any(|range| range.eq_ignore_ascii_case("text/csv"));
    if csv {
        ReportFormat::Csv
    } else {
        ReportFormat::Json
    }
}

fn whole_csv(state: HttpState, principal: Arc<Principal>, id: OperationId) -> Response {
    let headers = [
        (
            header::CONTENT_TYPE,
            HeaderValue::from_static("text/csv; charset=utf-8; header=present"),
        ),
        (
            header::CONTENT_DISPOSITION,
            HeaderValue::from_static("attachment; filename=\"findings.csv\""),
        ),
    ];
    (headers, Body::from_stream(csv_pages(state, principal, id))).into_response()
}

/// The report in pieces: it may be longer than memory.
fn csv_pages(
    state: HttpState,
    principal: Arc<Principal>,
    id: OperationId,
) -> impl Stream<Item = std::result::Result<Bytes, ServiceError>> {
    stream::try_unfold(Some(0_u64), move |skip| {
        let (state, principal) = (state.clone(), principal.clone());
        async move {
            let Some(skip) = skip else {
                return Ok(None);
            };
            let page = state.app.findings(&principal, id, skip, CSV_PAGE).await?;
            let mut text = if skip == 0 {
                csv::HEADER.to_owned()
            } else {
                String::new()
            };
            for finding in &page.items {
                text.push_str(&csv::line(finding));
            }
            let next = page.more.then(|| skip + page.items.len() as u64);
            Ok(Some((Bytes::from(text), next)))
        }
    })
}
