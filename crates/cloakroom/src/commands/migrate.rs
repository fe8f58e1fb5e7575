//! `migrate`: the newest schema, without starting a server.

use std::fmt::Write as _;

use super::{Failure, print};
use crate::cli::ConfigArgs;
use crate::config::adapters::Database;
use crate::config::values::LogFormat;
use crate::data_dir::DataDir;
use crate::{logging, wire};

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Servers and workers do this at their start as well, one at a time. Exit codes: 0 the schema is the newest, \
    1 it is not (--check) or could not be changed, 2 wrong usage or configuration."
)]
pub struct Args {
    /// Change nothing; exit code 1 when the schema is not the newest
    #[arg(long)]
    check: bool,
    #[command(flatten)]
    config: ConfigArgs,
}

/// Does it, and says what it did.
pub async fn run(args: Args) -> Result<(), Failure> {
    let config = args.config.load(false)?;
    let settings = &config.settings;
    // What waits for the database is worth knowing; what is applied is the command's own answer.
    logging::start(LogFormat::Text, "warn");
    let name = settings.database_description();
    if args.check {
        let pending = wire::pending_migrations(settings, Some(&settings.data_dir)).await?;
        if pending.is_empty() {
            return print(&format!("{name} has the newest schema.\n"));
        }
        print(&list(&pending, "pending"))?;
        return Err(Failure::new(format!(
            "{name} lacks {}; run `cloakroom migrate`",
            steps(pending.len())
        )));
    }
    let data_dir = match settings.database() {
        Database::Sqlite(None) => Some(DataDir::open(&settings.data_dir).map_err(Failure::new)?),
        _ => None,
    };
    let path = data_dir.as_ref().map(DataDir::path);
    let pending = wire::pending_migrations(settings, path).await?;
    let database = wire::open_database(settings, data_dir.as_ref(), None).await?;
    database.close().await?;
    let done = match pending.len() {
        0 => "nothing was to be done".to_owned(),
        many => format!("applied {}", steps(many)),
    };
    print(&format!(
        "{}{name} has the newest schema; {done}.\n",
        list(&pending, "applied")
    ))
}

fn steps(count: usize) -> String {
    if count == 1 {
        "1 migration".to_owned()
    } else {
        format!("{count} migrations")
    }
}

fn list(names: &[String], what: &str) -> String {
    names.iter().fold(String::new(), |mut text, name| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{what} {name}");
        text
    })
}
