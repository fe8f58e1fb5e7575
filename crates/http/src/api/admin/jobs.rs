//! `/admin/jobs`: the queue and its dead-letter list.

use axum::extract::State;
use cloakroom_core::id::JobId;
use cloakroom_core::job::{Job, JobKind, JobState};
use http::StatusCode;
use jiff::Timestamp;
use serde::Serialize;
use utoipa::openapi::schema::{Object, ObjectBuilder, Type};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::api::cursor;
use crate::auth::Caller;
use crate::extract::query::{FromQuery, Parameters, invalid};
use crate::extract::{Path, Query};
use crate::openapi::Refused;
use crate::problem::Result;
use crate::state::HttpState;

/// A page of jobs, oldest first.
#[derive(Serialize, ToSchema)]
#[schema(as = JobList)]
pub struct JobListBody {
    /// The jobs.
    jobs: Vec<JobBody>,
    /// Where the next page begins; `null` at the end.
    next_cursor: Option<String>,
}

/// A job.
#[derive(Serialize, ToSchema)]
#[schema(as = Job)]
pub struct JobBody {
    /// Its id.
    id: Uuid,
    /// What to do.
    #[schema(schema_with = kind_schema)]
    kind: &'static str,
    /// To which file.
    file_id: Uuid,
    /// Where it stands.
    #[schema(schema_with = state_schema)]
    state: &'static str,
    /// Not before.
    run_at: Timestamp,
    /// Attempts begun so far. Those whose worker died are among them.
    attempt: u32,
    /// Attempts that ended with an error and were to be tried again.
    failures: u32,
    /// Which worker holds it.
    lease_owner: Option<String>,
    /// Until when.
    lease_until: Option<Timestamp>,
    /// Why the last attempt failed.
    last_error: Option<String>,
    /// When it was enqueued.
    created_at: Timestamp,
}

fn kind_schema() -> Object {
    let kinds = JobKind::ALL.iter().map(|kind| kind.as_str());
    ObjectBuilder::new()
        .schema_type(Type::String)
        .description(Some("What to do."))
        .enum_values(Some(kinds))
        .build()
}

fn state_schema() -> Object {
    let states = JobState::ALL.iter().map(|state| state.as_str());
    ObjectBuilder::new()
        .schema_type(Type::String)
        .description(Some("Where the job stands."))
        .enum_values(Some(states))
        .build()
}

impl From<Job> for JobBody {
    fn from(job: Job) -> Self {
        Self {
            id: job.id.0,
            kind: job.kind.as_str(),
            file_id: job.file_id.0,
            state: job.state.as_str(),
            run_at: job.run_at,
            attempt: job.attempt,
            failures: job.failures,
            lease_owner: job.lease_owner.map(|worker| worker.0),
            lease_until: job.lease_until,
            last_error: job.last_error,
            created_at: job.created_at,
        }
    }
}

/// Which jobs.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ListJobsParameters {
    /// In this state.
    #[param(schema_with = state_schema)]
    state: Option<JobState>,
    /// `next_cursor` of the page before.
    #[param(value_type = Option<String>, pattern = "^[A-Za-z0-9_-]{21}[AQgw]$")]
    cursor: Option<JobId>,
    /// How many.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 1000, default = 50)]
    limit: u32,
}

impl FromQuery for ListJobsParameters {
    fn from_query(query: &mut Parameters) -> Result<Self> {
        let state = query.text("state").map(|name| {
            JobState::parse(&name).ok_or_else(|| invalid("state", "names a state that there is not"))
        });
        Ok(Self {
            state: state.transpose()?,
            cursor: cursor::take(query)?,
            limit: query.limit()?,
        })
    }
}

/// List jobs.
#[utoipa::path(
    get,
    path = "/admin/jobs",
    operation_id = "list_jobs",
    tag = "admin",
    params(ListJobsParameters),
    responses((status = OK, description = "A page of jobs.", body = JobListBody), Refused::<403>),
)]
pub async fn list_jobs(
    State(state): State<HttpState>,
    caller: Caller,
    Query(which): Query<ListJobsParameters>,
) -> Result<axum::Json<JobListBody>> {
    let page = state
        .app
        .jobs(caller.principal(), which.state, which.cursor, which.limit)
        .await?;
    let next_cursor = page
        .items
        .last()
        .filter(|_| page.more)
        .map(|job| cursor::encode(&job.id));
    Ok(axum::Json(JobListBody {
        jobs: page.items.into_iter().map(JobBody::from).collect(),
        next_cursor,
    }))
}

/// Try a dead job again.
#[utoipa::path(
    post,
    path = "/admin/jobs/{job_id}/retry",
    operation_id = "retry_job",
    tag = "admin",
    params(("job_id" = Uuid, Path, description = "The job.")),
    responses((status = NO_CONTENT, description = "In the queue again."), Refused::<403>, Refused::<404>, Refused::<409>),
)]
pub async fn retry_job(
    State(state): State<HttpState>,
    caller: Caller,
    Path(id): Path<JobId>,
) -> Result<StatusCode> {
    state.app.retry_job(caller.principal(), id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Throw a dead job away.
#[utoipa::path(
    delete,
    path = "/admin/jobs/{job_id}",
    operation_id = "discard_job",
    tag = "admin",
    params(("job_id" = Uuid, Path, description = "The job.")),
    responses((status = NO_CONTENT, description = "Gone."), Refused::<403>, Refused::<404>),
)]
pub async fn discard_job(
    State(state): State<HttpState>,
    caller: Caller,
    Path(id): Path<JobId>,
) -> Result<StatusCode> {
    state.app.discard_job(caller.principal(), id).await?;
    Ok(StatusCode::NO_CONTENT)
}
