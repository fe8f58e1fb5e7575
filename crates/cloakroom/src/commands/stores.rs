//! `stores`: which there are, how far each is open, and what to do when that is not agreed on.

use clap::{Subcommand, ValueEnum};
use cloakroom_core::error::ErrorCode;
use cloakroom_service::ServiceError;
use cloakroom_service::stores::{Take, Taken};
use serde_json::Value;

use super::session::{Session, failure};
use super::{Failure, existing, print};
use crate::cli::ConfigArgs;
use crate::client::connection::ConnectionArgs;
use crate::client::output::{OutputArgs, table};
use crate::config::values::LogFormat;
use crate::data_dir::DataDir;
use crate::wire::{Instance, Preparation};
use crate::{logging, wire};

/// The actor of what this command does, in the audit log.
const ACTOR: &str = "command-line";

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List the stores of an instance and their modes
    List {
        #[command(flatten)]
        output: OutputArgs,
        #[command(flatten)]
        connection: ConnectionArgs,
    },
    /// Change the mode of a store: rw to ro, ro to ar, and confirmed ro to rw
    Mode(ModeArgs),
    /// End a disagreement between the database, mode.json beside the data, and the configuration; without --take only tell of it
    Reconcile(ReconcileArgs),
}

#[derive(Debug, clap::Args)]
#[command(
    after_help = "From rw to ro a store closes by itself when everything that was signed before is in; the answer says until when."
)]
struct ModeArgs {
    /// The store
    name: String,
    /// The mode: rw, ro or ar
    mode: String,
    /// A closed store is to be written to again
    #[arg(long)]
    confirm: bool,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    connection: ConnectionArgs,
}

#[derive(Debug, clap::Args)]
#[command(
    after_help = "It works on the database and the stores themselves, so it needs the configuration of a server, and with SQLite a \
    server that is stopped. Exit codes: 0 all agree now, 1 they do not, 2 wrong usage or configuration."
)]
struct ReconcileArgs {
    /// The store [default: every one]
    name: Option<String>,
    /// Whose word counts
    #[arg(long, value_name = "PLACE")]
    take: Option<Place>,
    /// What another place says to be closed is to be opened
    #[arg(long, requires = "take")]
    confirm: bool,
    #[command(flatten)]
    config: ConfigArgs,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Place {
    /// The database
    Database,
    /// mode.json beside the data
    File,
    /// storage.mode and `stores.NAME.mode`
    Configuration,
}

impl From<Place> for Take {
    fn from(place: Place) -> Self {
        match place {
            Place::Database => Self::Database,
            Place::File => Self::File,
            Place::Configuration => Self::Configuration,
        }
    }
}

/// Does it.
pub async fn run(args: Args) -> Result<(), Failure> {
    match args.action {
        Action::List { output, connection } => list(&connection, output).await,
        Action::Mode(args) => change_mode(args).await,
        Action::Reconcile(args) => reconcile(args).await,
    }
}

async fn list(connection: &ConnectionArgs, output: OutputArgs) -> Result<(), Failure> {
    let session = Session::open_as_administrator(connection, output)?;
    let stores = session.api.stores().await.map_err(|error| failure(&error))?;
    if session.json {
        return print(&format!("{stores}\n"));
    }
    let heads = ["STORE", "KIND", "MODE", "EPOCH", "SINCE", "BY", "BUCKETS"];
    let mut rows = vec![heads.map(str::to_owned).to_vec()];
    rows.extend(stores["stores"].as_array().into_iter().flatten().map(row));
    print(&table(&rows))
}

fn row(store: &Value) -> Vec<String> {
    let text = |name: &str| store[name].as_str().unwrap_or_default().to_owned();
    let buckets = store["buckets"].as_array().into_iter().flatten();
    let buckets: Vec<&str> = buckets.filter_map(Value::as_str).collect();
    vec![
        text("name"),
        text("kind"),
        shown_mode(store),
        store["epoch"].to_string(),
        text("changed_at"),
        text("changed_by"),
        buckets.join(","),
    ]
}

fn shown_mode(store: &Value) -> String {
    let mode = store["mode"].as_str().unwrap_or_default();
    match store["draining_until"].as_str() {
        Some(until) => format!("{mode}, closing until {until}"),
        None => mode.to_owned(),
    }
}

async fn change_mode(args: ModeArgs) -> Result<(), Failure> {
    let session = Session::open_as_administrator(&args.connection, args.output)?;
    let changed = session.api.change_mode(&args.name, &args.mode, args.confirm);
    let store = changed.await.map_err(|error| failure(&error))?;
    if session.json {
        return print(&format!("{store}\n"));
    }
    print(&format!("{}  {}\n", args.name, shown_mode(&store)))
}

async fn reconcile(args: ReconcileArgs) -> Result<(), Failure> {
    let config = args.config.load(false)?;
    existing::require(&config)?;
    logging::start(LogFormat::Text, "warn");
    let data_dir = if config.needs_data_dir(false) {
        Some(DataDir::open(&config.settings.data_dir).map_err(Failure::new)?)
    } else {
        None
    };
    let instance = wire::open_unreconciled(&config, data_dir.as_ref(), None, Preparation::Buckets).await?;
    let done = reconcile_in(&instance, &args).await;
    instance.close().await?;
    done
}

async fn reconcile_in(instance: &Instance, args: &ReconcileArgs) -> Result<(), Failure> {
    let app = &instance.app;
    if let Some(take) = args.take {
        let all = app.stores.definitions().map(|store| store.name.clone());
        let names: Vec<String> = match &args.name {
            Some(name) => vec![name.clone()],
            None => all.collect(),
        };
        for name in names {
            match app.take_mode(&name, take.into(), args.confirm, ACTOR).await {
                Ok(Taken { state, changed }) => {
                    let verb = if changed { "is" } else { "was" };
                    print(&format!(
                        "{name} {verb} {} (epoch {})\n",
                        state.mode.as_str(),
                        state.epoch
                    ))?;
                }
                // Of every store this place need not say something.
                Err(error) if args.name.is_none() && error.code() == ErrorCode::NotFound => {}
                Err(ServiceError::Refused(refusal)) if refusal.code == ErrorCode::ConfirmationRequired => {
                    return Err(Failure::new(format!("{} (--confirm)", refusal.message)));
                }
                Err(ServiceError::Refused(refusal)) => return Err(Failure::new(refusal.message)),
                Err(error) => return Err(Failure::new(error)),
            }
        }
    }
    let found = app.reconcile_stores().await.map_err(Failure::new)?;
    let ours = |words: &str| match &args.name {
        Some(name) => words.starts_with(&format!("the mode of the store {name} ")),
        None => true,
    };
    let left: Vec<String> = found
        .into_iter()
        .map(|disagreement| disagreement.0)
        .filter(|words| ours(words))
        .collect();
    if left.is_empty() {
        return print("Database, mode.json and configuration agree.\n");
    }
    Err(Failure::new(left.join("\ncloakroom: ")))
}
