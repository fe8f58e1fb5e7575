//! `/admin/audit` and `/admin/totals`: who changed the instance, and how much there is in it.

use axum::extract::State;
use cloakroom_core::JsonObject;
use cloakroom_core::audit::AuditEntry;
use cloakroom_core::id::AuditId;
use jiff::Timestamp;
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::api::cursor;
use crate::auth::Administrator;
use crate::extract::Query;
use crate::extract::query::{FromQuery, Parameters};
use crate::openapi::Refused;
use crate::problem::Result;
use crate::state::HttpState;

/// A page of the audit log, newest first.
#[derive(Serialize, ToSchema)]
#[schema(as = AuditLog)]
pub struct AuditLogBody {
    /// The entries.
    entries: Vec<AuditEntryBody>,
    /// Where the next page begins; `null` at the end.
    next_cursor: Option<String>,
}

/// An entry of the audit log.
#[derive(Serialize, ToSchema)]
#[schema(as = AuditEntry)]
pub struct AuditEntryBody {
    /// Its id.
    id: Uuid,
    /// When.
    at: Timestamp,
    /// Who.
    actor: String,
    /// What.
    #[schema(example = "operation.started")]
    action: String,
    /// To what.
    subject: String,
    /// What else is worth knowing.
    #[schema(value_type = Object, additional_properties = true)]
    data: JsonObject,
}

impl From<AuditEntry> for AuditEntryBody {
    fn from(entry: AuditEntry) -> Self {
        Self {
            id: entry.id.0,
            at: entry.at,
            actor: entry.actor,
            action: entry.action,
            subject: entry.subject,
            data: entry.data,
        }
    }
}

/// Which entries.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ListAuditParameters {
    /// `next_cursor` of the page before.
    #[param(value_type = Option<String>, pattern = "^[A-Za-z0-9_-]{21}[AQgw]$")]
    cursor: Option<AuditId>,
    /// How many.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 1000, default = 50)]
    limit: u32,
}

impl FromQuery for ListAuditParameters {
    fn from_query(query: &mut Parameters) -> Result<Self> {
        Ok(Self {
            cursor: cursor::take(query)?,
            limit: query.limit()?,
        })
    }
}

/// Read the audit log.
#[utoipa::path(
    get,
    path = "/admin/audit",
    operation_id = "list_audit_entries",
    tag = "admin",
    params(ListAuditParameters),
    responses((status = OK, description = "A page of the log.", body = AuditLogBody), Refused::<403>),
)]
pub async fn list_audit_entries(
    State(state): State<HttpState>,
    Administrator(principal): Administrator,
    Query(which): Query<ListAuditParameters>,
) -> Result<axum::Json<AuditLogBody>> {
    let page = state.app.audit(&principal, which.cursor, which.limit).await?;
    let next_cursor = page
        .items
        .last()
        .filter(|_| page.more)
        .map(|entry| cursor::encode(&entry.id));
    Ok(axum::Json(AuditLogBody {
        entries: page.items.into_iter().map(AuditEntryBody::from).collect(),
        next_cursor,
    }))
}

/// Totals of the instance, exact: they are counted in the transactions that change them.
#[derive(Serialize, ToSchema)]
#[schema(as = Totals)]
pub struct TotalsBody {
    /// Confirmed files, the trash included.
    total_files: u64,
    /// Their bytes.
    total_size_bytes: u64,
}

/// Get the totals.
#[utoipa::path(
    get,
    path = "/admin/totals",
    operation_id = "get_totals",
    tag = "admin",
    responses((status = OK, description = "The totals.", body = TotalsBody), Refused::<403>),
)]
pub async fn get_totals(
    State(state): State<HttpState>,
    Administrator(principal): Administrator,
) -> Result<axum::Json<TotalsBody>> {
    let totals = state.app.totals(&principal).await?;
    Ok(axum::Json(TotalsBody {
        total_files: totals.files,
        total_size_bytes: totals.stored_bytes,
    }))
}
