//! `put`: files into an instance.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Map, json};

use super::Failure;
use super::session::{Session, exit_of};
use crate::client::api::parse_record;
use crate::client::connection::ConnectionArgs;
use crate::client::error::{Result, printable};
use crate::client::output::{OutputArgs, human_size};
use crate::client::source::Source;
use crate::client::upload::{UploadOptions, UploadReport, settle, upload, upload_stdin};
use crate::client::wire::{RecordRef, SignRequest};

/// The name of standard input.
const STDIN: &str = "-";

/// Uploads files and waits until they are verified.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "The same command again goes on where an interrupted one stopped, and uploads nothing that is \
    there already. Files of 64 MiB and more go in parts, several at a time. Exit codes: 0 all done, \
    1 some failed, 2 wrong usage or configuration, 3 refused by the server, 4 server not reachable \
    or failing."
)]
pub struct Args {
    /// Files; `-` is standard input and needs --name
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Collection to put them into
    #[arg(long, short, default_value = "files", value_name = "NAME")]
    collection: String,
    /// Record that they belong to, as type/id
    #[arg(long, short, value_parser = parse_record, value_name = "TYPE/ID")]
    record: Option<RecordRef>,
    /// Field of the application; may be repeated
    #[arg(long, short, value_parser = parse_field, value_name = "KEY=VALUE")]
    metadata: Vec<(String, String)>,
    /// Text for people, found by search
    #[arg(long, short)]
    description: Option<String>,
    /// Another name than the local one; for one file only
    #[arg(long, short)]
    name: Option<String>,
    /// Type of the content [default: what the name suggests]
    #[arg(long, short = 't', value_name = "TYPE")]
    content_type: Option<String>,
    /// How to send: put, post or multipart [default: multipart from 64 MiB on, else what the collection says]
    #[arg(long, value_name = "METHOD", value_parser = ["put", "post", "multipart"])]
    method: Option<String>,
    /// Compute the SHA-256 first and let the server check it [default: up to 256 MiB]
    #[arg(long, overrides_with = "no_checksum")]
    checksum: bool,
    /// Do not compute a checksum first
    #[arg(long)]
    no_checksum: bool,
    /// Make a new file even if this one was uploaded before
    #[arg(long)]
    new: bool,
    /// Return when the file is confirmed, without waiting for its verification
    #[arg(long)]
    no_wait: bool,
    /// How long to wait for the verification of each file
    #[arg(
        long,
        default_value_t = 600,
        value_name = "SECONDS",
        conflicts_with = "no_wait"
    )]
    wait_timeout: u32,
    /// Files at a time
    #[arg(long, short, default_value_t = 4, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    jobs: u16,
    /// Parts of one file at a time
    #[arg(long, default_value_t = 4, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    part_jobs: u16,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    connection: ConnectionArgs,
}

fn parse_field(text: &str) -> std::result::Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("a field is written key=value".to_owned()),
    }
}

impl Args {
    fn check(&self) -> std::result::Result<(), Failure> {
        let stdin = self.files.iter().filter(|file| is_stdin(file)).count();
        if self.name.is_some() && self.files.len() > 1 {
            return Err(Failure::usage("--name is for one file"));
        }
        if stdin > 0 && self.files.len() > 1 {
            return Err(Failure::usage("standard input (-) goes alone"));
        }
        if stdin > 0 && self.name.is_none() {
            return Err(Failure::usage("standard input (-) needs --name"));
        }
        if stdin > 0 && self.connection.reads_stdin() {
            return Err(Failure::usage(
                "standard input cannot be both the token and the file; use --token-file",
            ));
        }
        if stdin > 0 && (self.method.is_some() || self.checksum) {
            return Err(Failure::usage(
                "--method and --checksum need a file; standard input goes through the service",
            ));
        }
        Ok(())
    }

    fn options(&self) -> UploadOptions {
        UploadOptions {
            request: SignRequest {
                collection: self.collection.clone(),
                filename: self.name.clone().unwrap_or_default(),
                content_type: self.content_type.clone(),
                record: self.record.clone(),
                description: self.description.clone(),
                metadata: self
                    .metadata
                    .iter()
                    .map(|(key, value)| (key.clone(), value.clone().into()))
                    .collect::<Map<_, _>>(),
                method: self.method.clone(),
                ..SignRequest::default()
            },
            checksum: match (self.checksum, self.no_checksum) {
                (true, _) => Some(true),
                (_, true) => Some(false),
                _ => None,
            },
            fresh: self.new,
            part_jobs: self.part_jobs.into(),
            wait: (!self.no_wait).then(|| Duration::from_secs(self.wait_timeout.into())),
        }
    }
}

fn is_stdin(path: &Path) -> bool {
    path.as_os_str() == STDIN
}

/// Does it.
pub async fn run(args: Args) -> std::result::Result<(), Failure> {
    args.check()?;
    let session = Session::open(&args.connection, args.output)?;
    let options = args.options();
    let (session, options) = (&session, &options);
    let put = |path: PathBuf| async move {
        let mut report = UploadReport::default();
        let outcome = if is_stdin(&path) {
            put_stdin(session, options, &mut report).await
        } else {
            put_file(session, &path, options, &mut report).await
        };
        session.tell(
            &path.display().to_string(),
            &line(&report),
            json!(report),
            &outcome,
        );
        exit_of(&outcome)
    };
    let interrupted = "interrupted; the same command goes on where this one stopped";
    session.each(args.files, args.jobs.into(), put, interrupted).await
}

async fn put_file(
    session: &Session,
    path: &Path,
    options: &UploadOptions,
    report: &mut UploadReport,
) -> Result<()> {
    report.path = Some(path.to_owned());
    let source = Source::open(path)?;
    let task = session.progress.task(&source.name(), Some(source.size()));
    let outcome = upload(&session.api, &source, options, &task, report).await;
    task.finish();
    outcome
}

async fn put_stdin(session: &Session, options: &UploadOptions, report: &mut UploadReport) -> Result<()> {
    let task = session.progress.task(&options.request.filename, None);
    let outcome = match upload_stdin(&session.api, &options.request, &task, report).await {
        Ok(digest) => {
            settle(
                &session.api,
                options.wait,
                Some(&digest.to_string()),
                &task,
                report,
            )
            .await
        }
        Err(error) => Err(error),
    };
    task.finish();
    outcome
}

fn line(report: &UploadReport) -> String {
    let text = |value: &Option<String>| value.as_deref().map_or_else(|| "-".to_owned(), printable);
    let mut line = format!(
        "{}  {}  sha256={}  {}  {}",
        text(&report.file_id),
        text(&report.state),
        text(&report.checksum_sha256),
        report.size_bytes.map_or_else(|| "-".to_owned(), human_size),
        printable(&report.filename),
    );
    if report.already_there {
        line.push_str("  (was there already)");
    }
    line
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;
    use serde_json::Value;

    use super::*;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn parsed(arguments: &str) -> std::result::Result<Args, clap::Error> {
        Line::try_parse_from(std::iter::once("put").chain(arguments.split(' '))).map(|line| line.args)
    }

    #[test]
    fn what_cannot_be_done_is_refused_before_anything_is_sent() {
        for bad in [
            "a b --name x",
            "- a --name x",
            "-",
            "- --name x --token -",
            "- --name x --method put",
        ] {
            assert!(parsed(bad).expect("parsed").check().is_err(), "{bad}");
        }
        for bad in [
            "",
            "a --metadata x",
            "a --record x",
            "a --jobs 0",
            "a --method tus",
            "a --no-wait --wait-timeout 1",
        ] {
            assert!(parsed(bad).map(|args| args.check()).is_err(), "{bad}");
        }
        parsed("- --name x.csv").expect("parsed").check().expect("good");
    }

    #[test]
    fn options_say_what_the_flags_say() {
        let args =
            parsed("a --metadata k=v=w --metadata l= --record m/1 --no-checksum --no-wait").expect("parsed");
        let options = args.options();
        assert_eq!(
            Value::Object(options.request.metadata),
            json!({"k": "v=w", "l": ""})
        );
        assert_eq!((options.checksum, options.wait), (Some(false), None));
        assert_eq!(
            options.request.record.map(|record| record.to_string()).as_deref(),
            Some("m/1")
        );
        assert_eq!(
            parsed("a --no-checksum --checksum")
                .expect("parsed")
                .options()
                .checksum,
            Some(true)
        );
        assert_eq!(parsed("a").expect("parsed").options().checksum, None);
    }
}
