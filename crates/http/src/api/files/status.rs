//! `GET /files/{id}/status`: once, or as a stream of server-sent events until nothing more happens by itself.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use cloakroom_core::JsonObject;
use cloakroom_core::access::Role;
use cloakroom_core::file::{File, FileState};
use cloakroom_core::id::FileId;
use cloakroom_core::job::{Job, JobState};
use cloakroom_core::ports::signals::{Subscription, Topic};
use cloakroom_service::ServiceError;
use futures_util::stream;
use http::{HeaderMap, StatusCode, header};
use jiff::Timestamp;
use serde::Serialize;
use tokio::time::Instant;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::api::wire::{FileErrorBody, state_schema};
use crate::auth::Caller;
use crate::dialects::{Dialect, status_beside};
use crate::extract::Path;
use crate::limits::StreamSlot;
use crate::openapi::Refused;
use crate::problem::Result;
use crate::state::HttpState;

/// A comment goes out so often when nothing happens, so that proxies keep the connection.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// The file is looked at so often even without a wake-up: one may be lost, another node may not send any.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);
/// A stream ends after this time; the client comes again with `Last-Event-ID`, and with a token that still holds.
const STREAM_DURATION_MAX: Duration = Duration::from_mins(15);

/// Where a file stands.
#[derive(Serialize, ToSchema)]
#[schema(as = FileStatus)]
pub struct StatusBody {
    /// The file.
    file_id: Uuid,
    /// Where it stands.
    #[schema(schema_with = state_schema)]
    state: &'static str,
    /// Why it failed or is quarantined.
    error: Option<FileErrorBody>,
    /// How far it is on its way to `ready`; `null` when it is not on that way.
    progress: Option<Progress>,
    /// What is done to make it ready; `null` when that is not under way.
    processing: Option<ProcessingBody>,
    /// When anything last changed.
    updated_at: Timestamp,
    /// Grows with each change.
    version: u64,
    /// Fields of a dialect that is spoken, beside these.
    #[serde(flatten)]
    #[schema(ignore)]
    beside: JsonObject,
}

/// Steps of a file on its way to `ready`.
#[derive(Serialize, ToSchema)]
pub struct Progress {
    /// Steps done: uploaded, confirmed, being processed, ready.
    #[schema(minimum = 0, maximum = 4)]
    step: u8,
    /// Steps in all.
    #[schema(minimum = 4, maximum = 4)]
    steps: u8,
}

/// The work on a confirmed file.
#[derive(Clone, PartialEq, Serialize, ToSchema)]
#[schema(as = Processing)]
pub struct ProcessingBody {
    /// `waiting`, `scanning`, `verifying`, `promoting`, or `processing:` and the processor's name.
    #[schema(example = "verifying")]
    stage: String,
    /// Bytes of this stage that are done. Told about once per second.
    done_bytes: u64,
    /// Bytes of this stage, where that is known before.
    total_bytes: Option<u64>,
    /// Attempts begun so far.
    attempt: u32,
    /// When it is tried again, if it waits for that.
    next_attempt_at: Option<Timestamp>,
    /// Why it waits. To administrators in the words of the worker.
    reason: Option<String>,
}

impl ProcessingBody {
    /// What a principal may know of it: what went wrong inside is for administrators.
    fn of(job: Job, now: Timestamp, administrator: bool) -> Self {
        let waits = job.state == JobState::Ready;
        let reason = job.last_error.filter(|_| waits).map(|words| match job.failures {
            _ if administrator => words,
            0 => "Something that this file needs is not available at the moment; it waits.".to_owned(),
            _ => "The last attempt failed; it is tried again.".to_owned(),
        });
        let progress = job.progress.filter(|_| !waits);
        let begun = if waits { "waiting" } else { "verifying" };
        Self {
            stage: progress
                .as_ref()
                .map_or_else(|| begun.to_owned(), |told| told.stage.name().into_owned()),
            done_bytes: progress.as_ref().map_or(0, |told| told.done_bytes),
            total_bytes: progress.and_then(|told| told.total_bytes),
            attempt: job.attempt,
            next_attempt_at: Some(job.run_at).filter(|at| waits && *at > now),
            reason,
        }
    }
}

impl StatusBody {
    fn new(file: &File, processing: Option<ProcessingBody>, spoken: &[Dialect]) -> Self {
        let step = match file.state {
            FileState::Pending | FileState::Uploading => Some(0),
            FileState::Uploaded => Some(1),
            FileState::Confirmed => Some(2),
            FileState::Processing => Some(3),
            FileState::Ready => Some(4),
            _ => None,
        };
        Self {
            file_id: file.id.0,
            state: file.state.as_str(),
            error: file.error.clone().map(FileErrorBody::from),
            progress: step.map(|step| Progress { step, steps: 4 }),
            processing,
            updated_at: file.updated_at,
            version: file.version,
            beside: status_beside(spoken, file),
        }
    }
}

/// Follow a file.
///
/// With `Accept: text/event-stream` an event `status` with the same JSON comes on each change, of the file or of the work
/// on it, beginning with the present, until the state is settled. `Last-Event-ID` skips what was seen; 204 tells an `EventSource` that there
/// is nothing more to come.
#[utoipa::path(
    get,
    path = "/files/{file_id}/status",
    operation_id = "get_file_status",
    tag = "files",
    params(("file_id" = Uuid, Path, description = "The file.")),
    responses(
        (status = OK, description = "Where it stands.", content((StatusBody = "application/json"), (String = "text/event-stream"))),
        (status = NO_CONTENT, description = "A stream that would have nothing more to say."),
        Refused::<404>, Refused::<429>,
    ),
)]
pub async fn get_file_status(
    State(state): State<HttpState>,
    caller: Caller,
    Path(id): Path<FileId>,
    headers: HeaderMap,
) -> Result<Response> {
    // Subscribed before the first look, so no change falls in between.
    let subscription = state.app.signals.subscribe(Topic::File(id));
    let file = state.app.file(caller.principal(), id).await?;
    if !wants_stream(&headers) {
        let processing = processing(&state, &caller, &file).await?;
        return Ok(axum::Json(StatusBody::new(&file, processing, &state.settings.dialects)).into_response());
    }
    let seen = headers
        .get("last-event-id")
        .and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if file.state.is_settled() && seen.is_some_and(|version| version >= file.version) {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let slot = state.streams.take(&caller.principal().subject)?;
    let deadline = Instant::now() + STREAM_DURATION_MAX;
    let watch = Watch {
        state,
        caller,
        id,
        subscription,
        seen,
        told: None,
        looked: false,
        ended: false,
        deadline,
        _slot: slot,
    };
    let events = stream::unfold(watch, Watch::next);
    Ok(Sse::new(events)
        .keep_alive(KeepAlive::new().interval(HEARTBEAT))
        .into_response())
}

fn wants_stream(headers: &HeaderMap) -> bool {
    let accepted = headers
        .get_all(header::ACCEPT)
        .into_iter()
        .filter_map(|value| value.to_str().ok());
    accepted.flat_map(|value| value.split(',')).any(|range| {
        range
            .split(';')
            .next()
            .unwrap_or_default()
            .trim()
            .eq_ignore_ascii_case("text/event-stream")
    })
}

/// One client watching one file. Dropped with its connection.
struct Watch {
    state: HttpState,
    caller: Caller,
    id: FileId,
    subscription: Box<dyn Subscription>,
    seen: Option<u64>,
    /// What was last known of the work.
    told: Option<ProcessingBody>,
    /// Whether anything is known yet.
    looked: bool,
    ended: bool,
    deadline: Instant,
    _slot: StreamSlot,
}

impl Watch {
    /// The next change, or `None` at the end.
    async fn next(mut self) -> Option<(std::result::Result<Event, Infallible>, Self)> {
        while !self.ended {
            match look(&self.state, &self.caller, self.id).await {
                Ok((file, processing)) => {
                    self.ended = file.state.is_settled();
                    // Whoever comes again knows this version, and hears of the work when it goes on.
                    let news = std::mem::replace(&mut self.looked, true) && self.told != processing;
                    self.told.clone_from(&processing);
                    if news || self.seen.is_none_or(|version| file.version > version) {
                        self.seen = Some(file.version);
                        let event = event(&file, processing, &self.state.settings.dialects);
                        return Some((Ok(event), self));
                    }
                    if self.ended {
                        return None;
                    }
                }
                // Gone, or no longer the caller's.
                Err(ServiceError::Refused(_)) => return None,
                Err(error) => {
                    tracing::warn!(event = "status_stream_delayed", file_id = %self.id, %error, "a look at a file failed");
                }
            }
            let draining = self.state.draining.clone();
            tokio::select! {
                () = draining.cancelled() => return None,
                () = tokio::time::sleep_until(self.deadline) => return None,
                () = self.subscription.wait(LOOK_INTERVAL) => {}
            }
        }
        None
    }
}

/// A file and the work on it.
async fn look(
    state: &HttpState,
    caller: &Caller,
    id: FileId,
) -> std::result::Result<(File, Option<ProcessingBody>), ServiceError> {
    let file = state.app.file(caller.principal(), id).await?;
    let processing = processing(state, caller, &file).await?;
    Ok((file, processing))
}

/// The work on a file, as this caller may know it.
async fn processing(
    state: &HttpState,
    caller: &Caller,
    file: &File,
) -> std::result::Result<Option<ProcessingBody>, ServiceError> {
    let job = state.app.processing_job(file).await?;
    let administrator = caller.principal().role == Role::Admin;
    Ok(job.map(|job| ProcessingBody::of(job, state.app.now(), administrator)))
}

fn event(file: &File, processing: Option<ProcessingBody>, spoken: &[Dialect]) -> Event {
    let event = Event::default().event("status").id(file.version.to_string());
    // Strings, numbers and `null`: serialising them cannot fail.
    let data = serde_json::to_string(&StatusBody::new(file, processing, spoken)).unwrap_or_default();
    event.data(data)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_asked_for_by_accept() {
        let wants = |text: &'static str| {
            wants_stream(&HeaderMap::from_iter([(
                header::ACCEPT,
                http::HeaderValue::from_static(text),
            )]))
        };
        assert!(wants("text/event-stream") && wants("application/json, Text/Event-Stream;q=0.9"));
        assert!(!wants("*/*") && !wants("text/*") && !wants(""));
    }
}
