//! `rebuild`: rows out of what stands in the stores, from nothing or into a database that is in use.

use cloakroom_core::operation::OperationKind;

use super::Failure;
use super::operations::{self, EXIT_CODES, OperationArgs};

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = EXIT_CODES)]
pub struct Args {
    #[command(flatten)]
    operation: OperationArgs,
}

/// Does it, and says what it found.
pub async fn run(args: Args) -> Result<(), Failure> {
    let options = operations::flags(&[]);
    operations::run(OperationKind::Rebuild, options, args.operation).await
}
