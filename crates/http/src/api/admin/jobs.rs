//! `/admin/jobs`: the queue and its dead-letter list.

use axum::extract::State;
use cloakroom_core::error::ErrorCode;
use cloakroom_core::id::JobId;
use cloakroom_core::job::{Job, JobKind, JobProgress, JobState};
use cloakroom_service::queue::Handled;
use http::StatusCode;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::openapi::schema::{Object, ObjectBuilder, SchemaType, Type};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::api::cursor;
use crate::auth::{Administrator, Caller};
use crate::extract::query::{FromQuery, Parameters, invalid};
use crate::extract::{Json, Path, Query};
use crate::openapi::Refused;
use crate::problem::{Problem, Result};
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
    /// Whose file it is about; owners take turns.
    owner: Option<String>,
    /// How far the attempt is that runs.
    progress: Option<JobProgressBody>,
}

/// How far a job is.
#[derive(Serialize, ToSchema)]
#[schema(as = JobProgress)]
pub struct JobProgressBody {
    /// `scanning`, `verifying`, `promoting`, or `processing:` and the processor's name.
    stage: String,
    /// Bytes of this stage that are done.
    done_bytes: u64,
    /// Bytes of this stage, where that is known before.
    total_bytes: Option<u64>,
}

impl From<JobProgress> for JobProgressBody {
    fn from(progress: JobProgress) -> Self {
        Self {
            stage: progress.stage.name().into_owned(),
            done_bytes: progress.done_bytes,
            total_bytes: progress.total_bytes,
        }
    }
}

fn kind_schema() -> Object {
    let kinds = JobKind::ALL.iter().map(|kind| kind.as_str());
    ObjectBuilder::new()
        .schema_type(Type::String)
        .description(Some("What to do."))
        .enum_values(Some(kinds))
        .build()
}

fn any_kind_schema() -> Object {
    let kinds = JobKind::ALL.iter().map(|kind| Some(kind.as_str()));
    ObjectBuilder::new()
        .schema_type(SchemaType::from_iter([Type::String, Type::Null]))
        .description(Some("Of this kind; `null` for every kind."))
        .enum_values(Some(kinds.chain([None])))
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
            owner: job.owner,
            progress: job.progress.map(JobProgressBody::from),
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
    /// Of this kind.
    #[param(schema_with = kind_schema)]
    kind: Option<JobKind>,
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
        let kind = query.text("kind").map(|name| {
            JobKind::parse(&name).ok_or_else(|| invalid("kind", "names a kind that there is not"))
        });
        Ok(Self {
            state: state.transpose()?,
            kind: kind.transpose()?,
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
        .jobs(
            caller.principal(),
            which.state,
            which.kind,
            which.cursor,
            which.limit,
        )
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

/// Which dead jobs.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DeadJobsRequest {
    /// Of this kind; `null` for every kind.
    #[serde(default)]
    #[schema(schema_with = any_kind_schema, required = false)]
    kind: Option<String>,
    /// `next_cursor` of the answer before.
    #[serde(default)]
    #[schema(value_type = Option<String>, pattern = "^[A-Za-z0-9_-]{21}[AQgw]$")]
    cursor: Option<String>,
}

impl DeadJobsRequest {
    fn read(&self) -> Result<(Option<JobKind>, Option<JobId>)> {
        let kind = match self.kind.as_deref() {
            None => None,
            Some(name) => {
                Some(JobKind::parse(name).ok_or_else(|| unknown("kind", "names a kind that there is not"))?)
            }
        };
        let cursor = match self.cursor.as_deref() {
            None => None,
            Some(text) => Some(cursor::decode(text).ok_or_else(|| unknown("cursor", "is none of ours"))?),
        };
        Ok((kind, cursor))
    }
}

fn unknown(field: &str, what: &str) -> Problem {
    Problem::new(
        ErrorCode::InvalidParameter,
        format!("The field `{field}` {what}."),
    )
    .with("field", field)
}

/// What became of some dead jobs.
#[derive(Serialize, ToSchema)]
#[schema(as = HandledJobs)]
pub struct HandledBody {
    /// How many are dead no more.
    done: u64,
    /// Those that stay dead.
    refused: Vec<RefusedJobBody>,
    /// To go on with; `null` when every dead job was looked at.
    next_cursor: Option<String>,
}

/// A job that stays dead.
#[derive(Serialize, ToSchema)]
#[schema(as = RefusedJob)]
pub struct RefusedJobBody {
    /// The job.
    id: Uuid,
    /// Why, for programs.
    error_code: &'static str,
    /// Why, for people.
    message: String,
}

impl From<Handled> for HandledBody {
    fn from(handled: Handled) -> Self {
        let refused = handled.refused.into_iter().map(|(id, refusal)| RefusedJobBody {
            id: id.0,
            error_code: refusal.code.as_str(),
            message: refusal.message,
        });
        Self {
            done: handled.done,
            refused: refused.collect(),
            next_cursor: handled.next.map(|id| cursor::encode(&id)),
        }
    }
}

/// Try dead jobs again, 200 at a time.
#[utoipa::path(
    post,
    path = "/admin/jobs/retry",
    operation_id = "retry_jobs",
    tag = "admin",
    request_body = DeadJobsRequest,
    responses((status = OK, description = "What became of them.", body = HandledBody), Refused::<400>, Refused::<403>),
)]
pub async fn retry_jobs(
    State(state): State<HttpState>,
    Administrator(principal): Administrator,
    Json(request): Json<DeadJobsRequest>,
) -> Result<axum::Json<HandledBody>> {
    let (kind, after) = request.read()?;
    let handled = state.app.retry_jobs(&principal, kind, after).await?;
    Ok(axum::Json(handled.into()))
}

/// Throw dead jobs away, 200 at a time.
#[utoipa::path(
    post,
    path = "/admin/jobs/discard",
    operation_id = "discard_jobs",
    tag = "admin",
    request_body = DeadJobsRequest,
    responses((status = OK, description = "What became of them.", body = HandledBody), Refused::<400>, Refused::<403>),
)]
pub async fn discard_jobs(
    State(state): State<HttpState>,
    Administrator(principal): Administrator,
    Json(request): Json<DeadJobsRequest>,
) -> Result<axum::Json<HandledBody>> {
    let (kind, after) = request.read()?;
    let handled = state.app.discard_jobs(&principal, kind, after).await?;
    Ok(axum::Json(handled.into()))
}
