//! `get`: files out of an instance.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use serde_json::json;

use super::Failure;
use super::session::{Session, exit_of};
use crate::client::api::parse_file_id;
use crate::client::connection::ConnectionArgs;
use crate::client::download::{DownloadReport, download_to_file, download_to_stdout};
use crate::client::error::{ClientError, Result};
use crate::client::filename::sanitised;
use crate::client::output::{OutputArgs, human_size};

/// Downloads files and verifies them.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "A download that broke off goes on where it stopped. Exit codes: 0 all done, 1 some failed, 2 \
    wrong usage or configuration, 3 refused by the server, 4 server not reachable or failing."
)]
pub struct Args {
    /// Files, by their ids
    #[arg(required = true, value_name = "FILE_ID", value_parser = parse_file_id)]
    ids: Vec<String>,
    /// Where to: a file, `-` for standard output, or a directory (several files, or a path that ends with /)
    /// [default: the file's own name in this directory]
    #[arg(long, short, value_name = "PATH|-")]
    output: Option<PathBuf>,
    /// Replace files that exist
    #[arg(long, short)]
    force: bool,
    /// Files at a time
    #[arg(long, short, default_value_t = 4, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    jobs: u16,
    #[command(flatten)]
    form: OutputArgs,
    #[command(flatten)]
    connection: ConnectionArgs,
}

/// Where files go.
#[derive(Debug, PartialEq, Eq)]
enum Destination {
    Stdout,
    File(PathBuf),
    Directory(PathBuf),
}

impl Args {
    fn destination(&self) -> std::result::Result<Destination, Failure> {
        let Some(output) = &self.output else {
            return Ok(Destination::Directory(PathBuf::new()));
        };
        let directory =
            output.is_dir() || output.as_os_str().to_string_lossy().ends_with('/') || self.ids.len() > 1;
        match directory {
            _ if output.as_os_str() == "-" && self.ids.len() > 1 => Err(Failure::usage(
                "several files cannot go to standard output; use -o DIRECTORY",
            )),
            _ if output.as_os_str() == "-" && self.form.json => Err(Failure::usage(
                "standard output cannot take both the file and --json",
            )),
            _ if output.as_os_str() == "-" => Ok(Destination::Stdout),
            false => Ok(Destination::File(output.clone())),
            true => match std::fs::create_dir_all(output) {
                Ok(()) => Ok(Destination::Directory(output.clone())),
                Err(error) => Err(Failure::new(format!("{}: {error}", output.display()))),
            },
        }
    }
}

/// Does it.
pub async fn run(args: Args) -> std::result::Result<(), Failure> {
    let destination = args.destination()?;
    let session = Session::open(&args.connection, args.form)?;
    let names = Mutex::new(HashSet::new());
    let (session, destination, names) = (&session, &destination, &names);
    let get = |id: String| async move {
        let mut report = DownloadReport {
            file_id: id.clone(),
            ..DownloadReport::default()
        };
        let outcome = fetch(session, destination, args.force, names, &mut report).await;
        let path = report
            .path
            .as_ref()
            .map_or_else(|| "-".to_owned(), |path| path.display().to_string());
        let text = format!("{id}  {}  {path}", human_size(report.size_bytes));
        // Standard output is the file.
        if matches!((destination, &outcome), (Destination::Stdout, Ok(()))) {
            return exit_of(&outcome);
        }
        session.tell(&id, &text, json!(report), &outcome);
        exit_of(&outcome)
    };
    let interrupted = "interrupted; the same command goes on where this one stopped";
    session.each(args.ids, args.jobs.into(), get, interrupted).await
}

async fn fetch(
    session: &Session,
    destination: &Destination,
    force: bool,
    names: &Mutex<HashSet<PathBuf>>,
    report: &mut DownloadReport,
) -> Result<()> {
    let file = session.api.file(&report.file_id).await?;
    let name = sanitised(&file.filename, &file.file_id);
    let task = session.progress.task(&name, file.size_bytes);
    let outcome = match destination {
        Destination::Stdout => download_to_stdout(&session.api, &file, &task).await,
        Destination::File(path) => download_to_file(&session.api, &file, path, force, &task).await,
        Destination::Directory(directory) => {
            let path = directory.join(&name);
            // With --force the second would silently replace the first.
            if names
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .insert(path.clone())
            {
                download_to_file(&session.api, &file, &path, force, &task).await
            } else {
                Err(ClientError::Failed(format!(
                    "another of these files is named {name} too; get it alone with -o"
                )))
            }
        }
    };
    task.finish();
    *report = outcome?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn destination(arguments: &str) -> std::result::Result<Destination, Failure> {
        let line = Line::try_parse_from(std::iter::once("get").chain(arguments.split(' '))).expect("parsed");
        line.args.destination()
    }

    #[test]
    fn where_files_go() {
        let directory = tempfile::tempdir().expect("a directory");
        let (id, here) = ("0192a3b4-0000-7000-8000-000000000001", directory.path().display());
        assert_eq!(destination(id), Ok(Destination::Directory(PathBuf::new())));
        assert_eq!(destination(&format!("{id} -o -")), Ok(Destination::Stdout));
        assert_eq!(
            destination(&format!("{id} -o {here}/x")),
            Ok(Destination::File(directory.path().join("x")))
        );
        assert_eq!(
            destination(&format!("{id} -o {here}")),
            Ok(Destination::Directory(directory.path().to_owned()))
        );
        assert_eq!(
            destination(&format!("{id} {id} -o {here}/d")),
            Ok(Destination::Directory(directory.path().join("d")))
        );
        assert!(directory.path().join("d").is_dir());
        assert!(destination(&format!("{id} {id} -o -")).is_err());
        assert!(destination(&format!("{id} -o - --json")).is_err());
    }
}
