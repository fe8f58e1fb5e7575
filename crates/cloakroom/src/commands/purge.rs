//! `purge`: what is in the trash and over its deadline, removed now.

use cloakroom_core::operation::OperationKind;

use super::Failure;
use super::operations::{self, EXIT_CODES, OperationArgs};

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = EXIT_CODES)]
pub struct Args {
    /// Only list what would go
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    operation: OperationArgs,
}

/// Does it, and says what it found.
pub async fn run(args: Args) -> Result<(), Failure> {
    let options = operations::flags(&[("dry_run", args.dry_run)]);
    operations::run(OperationKind::Purge, options, args.operation).await
}
