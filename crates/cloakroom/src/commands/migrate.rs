//! `migrate`: the newest schema, without starting a server.

use super::{Failure, print};
use crate::cli::ConfigArgs;
use crate::config::values::LogFormat;
use crate::data_dir::DataDir;
use crate::{logging, wire};

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    config: ConfigArgs,
}

/// Does it. Each step that is applied is a log line.
pub fn run(args: &Args) -> Result<(), Failure> {
    let config = args.config.load(false)?;
    logging::start(LogFormat::Text, "info");
    let data_dir = DataDir::open(&config.settings.data_dir).map_err(Failure::new)?;
    let store = wire::open_metadata(&config.settings, &data_dir, None)?;
    store.close().map_err(Failure::new)?;
    print(&format!(
        "{} has the newest schema.\n",
        data_dir.database().display()
    ))
}
