//! `quarantine`: what the virus scanner holds back, and what to do about it.

use clap::Subcommand;
use serde_json::{Value, json};

use super::session::{Session, exit_of, failure};
use super::{Failure, print};
use crate::client::api::parse_file_id;
use crate::client::connection::ConnectionArgs;
use crate::client::error::Result;
use crate::client::output::{OutputArgs, human_size, table};

/// Files handled at a time.
const JOBS: usize = 4;
/// Largest page that the API gives.
const PAGE_MAX: u32 = 1000;

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = "For administrators.")]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List what is held back, and why
    List {
        /// Only this collection
        #[arg(long, short, value_name = "NAME")]
        collection: Option<String>,
        #[command(flatten)]
        output: OutputArgs,
        #[command(flatten)]
        connection: ConnectionArgs,
    },
    /// Let files go, whatever the scanner says: they become ready
    Release {
        #[command(flatten)]
        files: FilesArgs,
        /// Why, for the audit log
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
    /// Delete files for good, at once
    Delete {
        #[command(flatten)]
        files: FilesArgs,
    },
    /// Have files scanned again: those named, or all of a collection
    Rescan {
        /// Files, by their ids
        #[arg(value_name = "FILE_ID", value_parser = parse_file_id, required_unless_present = "collection")]
        ids: Vec<String>,
        /// Every ready or quarantined file of this collection
        #[arg(long, short, value_name = "NAME", conflicts_with = "ids")]
        collection: Option<String>,
        #[command(flatten)]
        output: OutputArgs,
        #[command(flatten)]
        connection: ConnectionArgs,
    },
}

#[derive(Debug, clap::Args)]
struct FilesArgs {
    /// Files, by their ids
    #[arg(value_name = "FILE_ID", value_parser = parse_file_id, required = true)]
    ids: Vec<String>,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    connection: ConnectionArgs,
}

/// Does it.
pub async fn run(args: Args) -> std::result::Result<(), Failure> {
    match args.action {
        Action::List {
            collection,
            output,
            connection,
        } => list(&Session::open_as_administrator(&connection, output)?, collection).await,
        Action::Release { files, reason } => {
            let session = Session::open_as_administrator(&files.connection, files.output)?;
            let release = async |id: &str| session.api.release_quarantined(id, &reason).await;
            each(&session, files.ids, "will be ready", release).await
        }
        Action::Delete { files } => {
            let session = Session::open_as_administrator(&files.connection, files.output)?;
            let delete = async |id: &str| session.api.delete_quarantined(id).await;
            each(&session, files.ids, "deleted", delete).await
        }
        Action::Rescan {
            ids,
            collection,
            output,
            connection,
        } => {
            let session = Session::open_as_administrator(&connection, output)?;
            if let Some(collection) = collection {
                return rescan_collection(&session, &collection).await;
            }
            let rescan = async |id: &str| session.api.rescan_file(id).await;
            each(&session, ids, "will be scanned", rescan).await
        }
    }
}

async fn each(
    session: &Session,
    ids: Vec<String>,
    done: &str,
    act: impl AsyncFn(&str) -> Result<()>,
) -> std::result::Result<(), Failure> {
    let act = &act;
    let one = |id: String| async move {
        let outcome = act(&id).await;
        session.tell(&id, &format!("{id}  {done}"), json!({ "file_id": id }), &outcome);
        exit_of(&outcome)
    };
    session.each(ids, JOBS, one, "interrupted").await
}

async fn rescan_collection(session: &Session, collection: &str) -> std::result::Result<(), Failure> {
    let started = session.api.rescan_collection(collection).await;
    let operation = started.map_err(|error| failure(&error))?;
    if session.json {
        return print(&format!("{operation}\n"));
    }
    let id = operation["id"].as_str().unwrap_or_default();
    print(&format!("{id}  every file of {collection} will be scanned\n"))
}

async fn list(session: &Session, collection: Option<String>) -> std::result::Result<(), Failure> {
    let mut cursor: Option<String> = None;
    let heads = ["ID", "SIZE", "COLLECTION", "OWNER", "SINCE", "NAME", "WHY"];
    let mut rows = vec![heads.map(str::to_owned).to_vec()];
    loop {
        let mut query = vec![
            ("limit", PAGE_MAX.to_string()),
            ("state", "quarantined".to_owned()),
        ];
        query.extend(collection.clone().map(|name| ("collection", name)));
        query.extend(cursor.take().map(|cursor| ("cursor", cursor)));
        let page = session.api.files(&query).await.map_err(|error| failure(&error))?;
        if session.json {
            let lines = page.files.iter().map(|file| format!("{file}\n"));
            print(&lines.collect::<String>())?;
        } else {
            rows.extend(page.files.iter().map(row));
        }
        cursor = page.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    if session.json || rows.len() == 1 {
        return Ok(());
    }
    print(&table(&rows))
}

fn row(file: &Value) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    vec![
        text(&file["file_id"]),
        file["size_bytes"]
            .as_u64()
            .map_or_else(|| "-".to_owned(), human_size),
        text(&file["collection"]),
        text(&file["owner"]),
        text(&file["updated_at"]),
        text(&file["filename"]),
        text(&file["error"]["message"]),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_says_why() {
        let file = json!({
            "file_id": "0192a3b4-0000-7000-8000-000000000001", "size_bytes": 68, "collection": "files", "owner": "ann",
            "updated_at": "2026-11-21T10:00:00Z", "filename": "a.zip",
            "error": {"code": "infected", "message": "The scanner found Eicar-Signature."},
        });
        let cells = row(&file);
        assert_eq!(
            (cells[1].as_str(), cells[6].as_str()),
            ("68 B", "The scanner found Eicar-Signature.")
        );
        assert_eq!(row(&json!({}))[6], "-");
    }
}
