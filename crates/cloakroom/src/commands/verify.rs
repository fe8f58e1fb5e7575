//! `verify`: rows, sidecars and objects compared, both ways.

use cloakroom_core::operation::OperationKind;

use super::Failure;
use super::operations::{self, EXIT_CODES, OperationArgs};

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = EXIT_CODES)]
pub struct Args {
    /// Read every byte and every sidecar
    #[arg(long)]
    deep: bool,
    /// Repair what can be repaired; nothing is ever deleted
    #[arg(long)]
    fix: bool,
    #[command(flatten)]
    operation: OperationArgs,
}

/// Does it, and says what it found.
pub async fn run(args: Args) -> Result<(), Failure> {
    let options = operations::flags(&[("deep", args.deep), ("fix", args.fix)]);
    operations::run(OperationKind::Verify, options, args.operation).await
}
