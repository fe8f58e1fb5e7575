//! What every client command does first and last: connect, show what happens, end with the exit code that scripts
//! rely on.

use futures_util::StreamExt as _;
use serde_json::Value;

use super::Failure;
use crate::client::api::Api;
use crate::client::connection::{Connection, ConnectionArgs};
use crate::client::development::DevIdentity;
use crate::client::error::{ClientError, Exit, Result};
use crate::client::output::{OutputArgs, json_line};
use crate::client::progress::Progress;

/// A connection and a way to talk to the person.
pub struct Session {
    /// The instance.
    pub api: Api,
    /// Bars and lines.
    pub progress: Progress,
    /// Whether a machine reads.
    pub json: bool,
}

impl Session {
    /// Connects, and says what should be known about it.
    pub fn open(connection: &ConnectionArgs, output: OutputArgs) -> std::result::Result<Self, Failure> {
        Self::open_as(DevIdentity::User, connection, output)
    }

    /// [`Self::open`] for a command that takes the role admin.
    pub fn open_as_administrator(
        connection: &ConnectionArgs,
        output: OutputArgs,
    ) -> std::result::Result<Self, Failure> {
        Self::open_as(DevIdentity::Administrator, connection, output)
    }

    fn open_as(
        identity: DevIdentity,
        connection: &ConnectionArgs,
        output: OutputArgs,
    ) -> std::result::Result<Self, Failure> {
        let opened = Connection::open(connection, identity).and_then(|connection| {
            let notices = connection.notices.clone();
            Ok((Api::new(connection)?, notices))
        });
        let (api, notices) = opened.map_err(|error| failure(&error))?;
        let progress = Progress::new(output.quiet || output.json);
        if !output.quiet {
            for notice in &notices {
                progress.note(notice);
            }
        }
        Ok(Self {
            api,
            progress,
            json: output.json,
        })
    }

    /// Says how one item went: a line of text for success, or the error; for machines the object in both cases.
    pub fn tell(&self, item: &str, text: &str, object: Value, outcome: &Result<()>) {
        match (self.json, outcome) {
            (true, outcome) => self.progress.line(&json_line(object, outcome.as_ref().err())),
            (false, Ok(())) => self.progress.line(text),
            (false, Err(error @ ClientError::File { .. })) => self.progress.note(&error.to_string()),
            (false, Err(error)) => self.progress.note(&format!("{item}: {error}")),
        }
    }

    /// Works on items, several at a time, until all are done or Ctrl-C; gives the verdict.
    pub async fn each<T, F: Future<Output = Exit>>(
        &self,
        items: impl IntoIterator<Item = T>,
        jobs: usize,
        work: impl FnMut(T) -> F,
        interrupted: &str,
    ) -> std::result::Result<(), Failure> {
        let all = futures_util::stream::iter(items)
            .map(work)
            .buffer_unordered(jobs)
            .collect::<Vec<Exit>>();
        match until_interrupted(all).await {
            Ok(exits) => verdict(exits),
            Err(_) => Err(Failure::with_code(Exit::Interrupted.code(), interrupted)),
        }
    }
}

/// Runs until the end or Ctrl-C; then everything under way is dropped.
pub async fn until_interrupted<T>(work: impl Future<Output = T>) -> Result<T> {
    tokio::select! {
        done = work => Ok(done),
        _ = tokio::signal::ctrl_c() => Err(ClientError::Interrupted),
    }
}

/// How the process ends after its items; what went wrong has been told.
pub fn verdict(exits: impl IntoIterator<Item = Exit>) -> std::result::Result<(), Failure> {
    match Exit::of(exits) {
        Exit::Done => Ok(()),
        exit => Err(Failure::silent(exit.code())),
    }
}

/// An error that ends the command.
pub fn failure(error: &ClientError) -> Failure {
    Failure::with_code(error.exit().code(), error)
}

/// The exit of one item.
pub fn exit_of(outcome: &Result<()>) -> Exit {
    outcome.as_ref().err().map_or(Exit::Done, ClientError::exit)
}
