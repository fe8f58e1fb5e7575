//! `jobs`: what waits and runs in the background, and what is to become of what failed for good.

use clap::Subcommand;
use cloakroom_core::job::{JobKind, JobState};
use serde_json::{Value, json};

use super::session::{Session, exit_of, failure};
use super::{Failure, print};
use crate::client::connection::ConnectionArgs;
use crate::client::error::{Exit, Result};
use crate::client::output::{OutputArgs, table};

/// Jobs handled at a time.
const AT_ONCE: usize = 4;
/// Largest page that the API gives.
const PAGE_MAX: u32 = 1_000;

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = "For administrators.")]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List jobs, oldest first
    List {
        /// Only those that are ready, running or dead
        #[arg(long, value_parser = parse_state)]
        state: Option<JobState>,
        /// Only those of a kind
        #[arg(long, value_parser = parse_kind)]
        kind: Option<JobKind>,
        /// At most so many
        #[arg(long, default_value_t = 1_000)]
        limit: u32,
        #[command(flatten)]
        output: OutputArgs,
        #[command(flatten)]
        connection: ConnectionArgs,
    },
    /// Try dead jobs again: those named, or all
    Retry(DeadArgs),
    /// Throw dead jobs away: those named, or all
    Discard(DeadArgs),
}

#[derive(Debug, clap::Args)]
struct DeadArgs {
    /// Jobs, by their ids
    #[arg(value_name = "JOB_ID", value_parser = parse_id, required_unless_present = "all")]
    ids: Vec<String>,
    /// Every dead job
    #[arg(long, conflicts_with = "ids")]
    all: bool,
    /// With --all: only those of a kind
    #[arg(long, value_parser = parse_kind, requires = "all")]
    kind: Option<JobKind>,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    connection: ConnectionArgs,
}

fn parse_id(text: &str) -> std::result::Result<String, String> {
    uuid::Uuid::try_parse(text)
        .map(|id| id.to_string())
        .map_err(|_| "not the id of a job".to_owned())
}

fn parse_kind(text: &str) -> std::result::Result<JobKind, String> {
    JobKind::parse(text).ok_or_else(|| {
        let names: Vec<&str> = JobKind::ALL.iter().map(|kind| kind.as_str()).collect();
        format!("there are: {}", names.join(", "))
    })
}

fn parse_state(text: &str) -> std::result::Result<JobState, String> {
    JobState::parse(text).ok_or_else(|| {
        let names: Vec<&str> = JobState::ALL.iter().map(|state| state.as_str()).collect();
        format!("there are: {}", names.join(", "))
    })
}

/// Does it.
pub async fn run(args: Args) -> std::result::Result<(), Failure> {
    match args.action {
        Action::List {
            state,
            kind,
            limit,
            output,
            connection,
        } => {
            list(
                &Session::open_as_administrator(&connection, output)?,
                state,
                kind,
                limit,
            )
            .await
        }
        Action::Retry(args) => handle(args, Deed::Retry).await,
        Action::Discard(args) => handle(args, Deed::Discard).await,
    }
}

async fn list(
    session: &Session,
    state: Option<JobState>,
    kind: Option<JobKind>,
    limit: u32,
) -> std::result::Result<(), Failure> {
    let (state, kind) = (state.map(JobState::as_str), kind.map(JobKind::as_str));
    let heads = [
        "JOB",
        "KIND",
        "STATE",
        "ATTEMPT",
        "NOT BEFORE",
        "FILE",
        "OWNER",
        "STAGE",
        "REASON",
    ];
    let mut rows = vec![heads.map(str::to_owned).to_vec()];
    let (mut left, mut cursor) = (limit, None::<String>);
    while left > 0 {
        let page = session
            .api
            .jobs(state, kind, cursor.as_deref(), left.min(PAGE_MAX))
            .await
            .map_err(|error| failure(&error))?;
        let jobs = page["jobs"].as_array().map(Vec::as_slice).unwrap_or_default();
        left = left.saturating_sub(u32::try_from(jobs.len()).unwrap_or(u32::MAX));
        for job in jobs {
            if session.json {
                print(&format!("{job}\n"))?;
            } else {
                rows.push(row(job));
            }
        }
        cursor = page["next_cursor"].as_str().map(str::to_owned);
        if cursor.is_none() {
            break;
        }
    }
    if session.json {
        return Ok(());
    }
    print(&table(&rows))
}

fn row(job: &Value) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    vec![
        text(&job["id"]),
        text(&job["kind"]),
        text(&job["state"]),
        job["attempt"].to_string(),
        text(&job["run_at"]),
        text(&job["file_id"]),
        text(&job["owner"]),
        text(&job["progress"]["stage"]),
        text(&job["last_error"]),
    ]
}

#[derive(Clone, Copy)]
enum Deed {
    Retry,
    Discard,
}

impl Deed {
    const fn name(self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::Discard => "discard",
        }
    }

    const fn done(self) -> &'static str {
        match self {
            Self::Retry => "will be tried again",
            Self::Discard => "discarded",
        }
    }
}

async fn handle(args: DeadArgs, deed: Deed) -> std::result::Result<(), Failure> {
    let session = Session::open_as_administrator(&args.connection, args.output)?;
    if args.all {
        return handle_all(&session, deed, args.kind).await;
    }
    let session = &session;
    let one = |id: String| async move {
        let outcome: Result<()> = match deed {
            Deed::Retry => session.api.retry_job(&id).await,
            Deed::Discard => session.api.discard_job(&id).await,
        };
        session.tell(
            &id,
            &format!("{id}  {}", deed.done()),
            json!({ "job_id": id }),
            &outcome,
        );
        exit_of(&outcome)
    };
    session
        .each(args.ids, AT_ONCE, one, "interrupted; the rest is as it was")
        .await
}

async fn handle_all(
    session: &Session,
    deed: Deed,
    kind: Option<JobKind>,
) -> std::result::Result<(), Failure> {
    let (mut done, mut refused, mut cursor) = (0, Vec::new(), None::<String>);
    loop {
        let answer = session
            .api
            .handle_dead_jobs(deed.name(), kind.map(JobKind::as_str), cursor.as_deref())
            .await
            .map_err(|error| failure(&error))?;
        done += answer["done"].as_u64().unwrap_or_default();
        refused.extend(answer["refused"].as_array().cloned().unwrap_or_default());
        cursor = answer["next_cursor"].as_str().map(str::to_owned);
        if cursor.is_none() {
            break;
        }
    }
    if session.json {
        print(&format!("{}\n", json!({ "done": done, "refused": refused })))?;
    } else {
        for job in &refused {
            let text = |name: &str| job[name].as_str().unwrap_or_default().to_owned();
            session
                .progress
                .note(&format!("{}: {}", text("id"), text("message")));
        }
        print(&format!("{done} dead jobs: {}\n", deed.done()))?;
    }
    if refused.is_empty() {
        Ok(())
    } else {
        Err(Failure::silent(Exit::Failed.code()))
    }
}
