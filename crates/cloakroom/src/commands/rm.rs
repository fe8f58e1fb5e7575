//! `rm`: files into the trash.

use serde_json::json;

use super::Failure;
use super::session::{Session, exit_of};
use crate::client::api::{parse_file_id, parse_record};
use crate::client::connection::ConnectionArgs;
use crate::client::output::OutputArgs;
use crate::client::wire::RecordRef;

/// Files deleted at a time.
const JOBS: usize = 4;

/// Deletes files: into the trash, from which they can be restored until its deadline.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Files, by their ids
    #[arg(value_name = "FILE_ID", value_parser = parse_file_id, required_unless_present = "record")]
    ids: Vec<String>,
    /// This record with all its files, and the records below it
    #[arg(long, short, value_parser = parse_record, value_name = "TYPE/ID")]
    record: Option<RecordRef>,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    connection: ConnectionArgs,
}

enum Thing {
    File(String),
    Record(RecordRef),
}

/// Does it.
pub async fn run(args: Args) -> Result<(), Failure> {
    let session = Session::open(&args.connection, args.output)?;
    let things = args
        .ids
        .into_iter()
        .map(Thing::File)
        .chain(args.record.map(Thing::Record));
    let session = &session;
    let delete = |thing: Thing| async move {
        let (name, object, outcome) = match &thing {
            Thing::File(id) => (
                id.clone(),
                json!({ "file_id": id }),
                session.api.delete_file(id).await,
            ),
            Thing::Record(record) => (
                format!("record {record}"),
                json!({ "record": record }),
                session.api.delete_record(record).await,
            ),
        };
        session.tell(&name, &format!("{name}  trashed"), object, &outcome);
        exit_of(&outcome)
    };
    session.each(things, JOBS, delete, "interrupted").await
}
