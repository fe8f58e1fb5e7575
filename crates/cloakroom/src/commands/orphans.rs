//! `orphans`: what nothing refers to, looked for both ways.

use cloakroom_core::operation::OperationKind;

use super::Failure;
use super::operations::{self, EXIT_CODES, OperationArgs};

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = EXIT_CODES)]
pub struct Args {
    /// Mark garbage, so that it goes when its deadline is over
    #[arg(long)]
    trash: bool,
    #[command(flatten)]
    operation: OperationArgs,
}

/// Does it, and says what it found.
pub async fn run(args: Args) -> Result<(), Failure> {
    let options = operations::flags(&[("trash", args.trash)]);
    operations::run(OperationKind::Orphans, options, args.operation).await
}
