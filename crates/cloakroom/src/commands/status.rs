//! `status`: where files stand.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::json;

use super::Failure;
use super::session::{Session, exit_of};
use crate::client::api::parse_file_id;
use crate::client::connection::ConnectionArgs;
use crate::client::error::{ClientError, Result, printable};
use crate::client::output::OutputArgs;
use crate::client::status::wait_until_settled;
use crate::client::wire::StatusAnswer;

/// Files at a time; each that is watched holds a stream.
const JOBS: usize = 8;

/// Shows where files stand.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "With --watch every change is a line, until nothing more happens by itself; the exit code is 0 \
    only if all of them are ready then."
)]
pub struct Args {
    /// Files, by their ids
    #[arg(required = true, value_name = "FILE_ID", value_parser = parse_file_id)]
    ids: Vec<String>,
    /// Wait, and show each change
    #[arg(long, short)]
    watch: bool,
    /// How long to watch each file
    #[arg(long, default_value_t = 86_400, value_name = "SECONDS", requires = "watch")]
    wait_timeout: u32,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    connection: ConnectionArgs,
}

/// Does it.
pub async fn run(args: Args) -> std::result::Result<(), Failure> {
    let session = Session::open(&args.connection, args.output)?;
    let session = &session;
    let watch = args.watch.then(|| Duration::from_secs(args.wait_timeout.into()));
    let show = |id: String| async move {
        let outcome = match watch {
            Some(wait) => watched(session, &id, wait).await,
            None => session
                .api
                .status(&id)
                .await
                .map(|status| session.tell(&id, &line(&status), json!(status), &Ok(()))),
        };
        if outcome.is_err() {
            session.tell(&id, "", json!({ "file_id": id }), &outcome);
        }
        exit_of(&outcome)
    };
    session.each(args.ids, JOBS, show, "interrupted").await
}

async fn watched(session: &Session, id: &str, wait: Duration) -> Result<()> {
    let tell = |status: &StatusAnswer| {
        let text = if session.json {
            json!(status).to_string()
        } else {
            line(status)
        };
        session.progress.line(&text);
    };
    let last = wait_until_settled(&session.api, id, wait, tell).await?;
    match last.state.as_str() {
        "ready" | "archived" => Ok(()),
        state => Err(ClientError::Failed(format!("the file is {state}"))),
    }
}

fn line(status: &StatusAnswer) -> String {
    let mut line = format!(
        "{}  {}  {}",
        status.file_id,
        printable(&status.state),
        status.updated_at
    );
    if let Some(error) = &status.error {
        // Writing to a String cannot fail.
        let _ = write!(
            line,
            "  {}: {}",
            printable(&error.code),
            printable(&error.message)
        );
    }
    line
}
