//! `ls`: what is in an instance.

use cloakroom_core::file::FileState;
use serde::Deserialize as _;
use serde_json::Value;

use super::session::{Session, failure, until_interrupted};
use super::{Failure, print};
use crate::client::api::{Api, parse_record};
use crate::client::connection::ConnectionArgs;
use crate::client::error::{ClientError, Result};
use crate::client::output::{OutputArgs, human_size, table};
use crate::client::wire::{FileAnswer, RecordRef};

/// Largest page that the API gives.
const PAGE_MAX: u32 = 1000;

/// Lists files, newest first.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only this collection
    #[arg(long, short, value_name = "NAME")]
    collection: Option<String>,
    /// Only files of this record
    #[arg(long, short, value_parser = parse_record, value_name = "TYPE/ID")]
    record: Option<RecordRef>,
    /// Only these states, comma-separated; trashed and expired files are shown only when named
    #[arg(long, short, value_name = "STATE,..", value_parser = parse_states)]
    state: Option<String>,
    /// Only files with these words in their name or description
    #[arg(long, value_name = "WORDS")]
    q: Option<String>,
    /// At most so many
    #[arg(long, default_value_t = 50, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// All of them
    #[arg(long, conflicts_with = "limit")]
    all: bool,
    /// Collection, owner, record and checksum too
    #[arg(long, short)]
    long: bool,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    connection: ConnectionArgs,
}

fn parse_states(text: &str) -> std::result::Result<String, String> {
    if text.split(',').all(|state| FileState::parse(state).is_some()) {
        return Ok(text.to_owned());
    }
    let names: Vec<&str> = FileState::ALL.iter().map(|state| state.as_str()).collect();
    Err(format!("there are: {}", names.join(", ")))
}

/// Does it.
pub async fn run(args: Args) -> std::result::Result<(), Failure> {
    let session = Session::open(&args.connection, args.output)?;
    let listed = until_interrupted(list(&session.api, &args))
        .await
        .and_then(|listed| listed);
    if listed.map_err(|error| failure(&error))? && !args.output.quiet {
        session.progress.note("there are more; use --limit or --all");
    }
    Ok(())
}

/// Prints page by page; whether there is more than was asked for.
async fn list(api: &Api, args: &Args) -> Result<bool> {
    let mut left = if args.all { u64::MAX } else { u64::from(args.limit) };
    let mut cursor: Option<String> = None;
    let mut first = true;
    loop {
        let limit = left.min(u64::from(PAGE_MAX));
        let mut query = vec![("limit", limit.to_string())];
        let filters = [
            ("collection", args.collection.clone()),
            ("record", args.record.as_ref().map(ToString::to_string)),
            ("state", args.state.clone()),
            ("q", args.q.clone()),
            ("cursor", cursor.take()),
        ];
        query.extend(
            filters
                .into_iter()
                .filter_map(|(name, value)| Some((name, value?))),
        );
        let page = api.files(&query).await?;
        let text = if args.output.json {
            json_lines(&page.files)
        } else {
            rows(&page.files, args.long, first)?
        };
        // A reader that went away ends the list; `print` takes that for no failure.
        if print(&text).is_err() {
            return Ok(false);
        }
        first = false;
        left = left.saturating_sub(page.files.len() as u64);
        cursor = page.next_cursor;
        if cursor.is_none() || left == 0 {
            return Ok(cursor.is_some());
        }
    }
}

fn json_lines(files: &[Value]) -> String {
    let mut lines = String::new();
    for file in files {
        lines.push_str(&file.to_string());
        lines.push('\n');
    }
    lines
}

fn rows(files: &[Value], long: bool, header: bool) -> Result<String> {
    let columns = |cells: [String; 6], more: [String; 4]| -> Vec<String> {
        let [id, state, size, kind, created, name] = cells;
        let more = more.into_iter().filter(|_| long);
        [id, state, size, kind, created]
            .into_iter()
            .chain(more)
            .chain([name])
            .collect()
    };
    let mut lines = Vec::new();
    if header && !files.is_empty() {
        let titles = ["ID", "STATE", "SIZE", "TYPE", "CREATED", "NAME"].map(str::to_owned);
        lines.push(columns(
            titles,
            ["COLLECTION", "OWNER", "RECORD", "SHA256"].map(str::to_owned),
        ));
    }
    for file in files {
        let file = FileAnswer::deserialize(file).map_err(|error| {
            ClientError::Failed(format!(
                "the server's answer is not what the API promises: {error}"
            ))
        })?;
        let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        let cells = [
            file.file_id,
            file.state,
            or_dash(file.size_bytes.map(human_size)),
            file.content_type,
            short_time(&file.created_at),
            file.filename,
        ];
        let record = or_dash(file.record.map(|record| record.to_string()));
        lines.push(columns(
            cells,
            [file.collection, file.owner, record, or_dash(file.checksum_sha256)],
        ));
    }
    Ok(table(&lines))
}

/// `2026-11-21 10:00:00` out of RFC 3339 UTC.
fn short_time(text: &str) -> String {
    text.get(..19)
        .map_or_else(|| text.to_owned(), |text| text.replace('T', " "))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_list_for_people() {
        let file = json!({
            "file_id": "0192a3b4-0000-7000-8000-000000000001", "state": "ready", "filename": "a\u{202e}.txt",
            "content_type": "text/plain", "size_bytes": 2048, "checksum_sha256": "ab", "collection": "files",
            "owner": "ann", "record": {"type": "message", "id": "1"}, "error": null,
            "created_at": "2026-11-21T10:00:00.123Z", "confirmed_at": null, "something": "new",
        });
        assert_eq!(
            rows(std::slice::from_ref(&file), false, true).expect("rows"),
            "ID                                    STATE  SIZE      TYPE        CREATED              NAME\n\
             0192a3b4-0000-7000-8000-000000000001  ready  2.00 KiB  text/plain  2026-11-21 10:00:00  a.txt\n"
        );
        let long = rows(std::slice::from_ref(&file), true, false).expect("rows");
        assert!(long.contains("files  ann  message/1  ab  a.txt"), "{long}");
        assert_eq!(json_lines(std::slice::from_ref(&file)), format!("{file}\n"));
        assert_eq!(rows(&[], false, true).expect("no rows"), "");
        assert!(rows(&[json!({"file_id": "x"})], false, true).is_err());
    }
}
