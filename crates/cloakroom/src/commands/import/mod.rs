//! `import`: growing up. Moves an embedded instance (SQLite and a directory of objects) to whatever is configured:
//! PostgreSQL, S3, or both.
//!
//! The order makes every interruption harmless. Objects go first, each verified where it arrives; rows follow, in
//! portions; how far it is stands in a setting of the target. So the same command goes on where the last one stopped,
//! and until it says that it is done, the target has no file whose bytes are not there.

mod buckets;
mod error;
mod index;
mod objects;
mod place;
mod report;
mod rows;
mod source;
mod target;
mod verification;

use std::path::PathBuf;

use cloakroom_core::ports::archive::Section;

use super::transfer::display::Display;
use super::{Failure, print};
use crate::cli::ConfigArgs;
use crate::client::output::OutputArgs;
use crate::config::values::LogFormat;
use crate::logging;
use crate::stop::StopSignals;

use self::buckets::BucketNames;
use self::error::ImportError;
use self::index::Index;
use self::objects::{ObjectMover, Stock};
use self::place::Place;
use self::report::{Outcome, Report};
use self::source::{Held, Source};
use self::target::Target;

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "The target is what the configuration says: `database.url` (DATABASE_URL) for PostgreSQL, `s3.endpoint` \
    (S3_ENDPOINT) for S3. Neither instance may be running meanwhile. The same command again goes on where an \
    interrupted one stopped. Exit codes: 0 everything arrived and was verified, 1 something is damaged or in the way, \
    2 wrong usage or configuration, 130 interrupted."
)]
pub struct Args {
    /// Data directory of the embedded instance
    #[arg(long, value_name = "DIR")]
    from_embedded: PathBuf,
    /// Table prefix of the embedded instance's database
    #[arg(long, value_name = "PREFIX", default_value = "cloakroom")]
    from_table_prefix: String,
    /// Another name for a bucket in the target, where the old one is taken; may be repeated
    #[arg(long, value_name = "OLD=NEW", value_parser = buckets::parse)]
    bucket: Vec<(String, String)>,
    /// Objects at a time
    #[arg(long, short, default_value_t = 8, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    jobs: u16,
    /// Show what would be moved, and whether the target takes it; only the target's schema is brought up to date
    #[arg(long)]
    dry_run: bool,
    /// Move everything else although objects are damaged or missing
    #[arg(long)]
    skip_damaged: bool,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    config: ConfigArgs,
}

/// Does it.
pub async fn run(args: Args) -> Result<(), Failure> {
    let config = args.config.load(false)?;
    let names = BucketNames::new(&args.bucket).map_err(Failure::usage)?;
    logging::start(LogFormat::Text, "warn");
    let mut signals = StopSignals::listen().map_err(Failure::new)?;
    let held = Held::open(&args.from_embedded, &args.from_table_prefix)?;
    let target = Target::open(&config, &held).await?;
    let source = held.with_objects(target.objects_of_source()).await?;
    let import = Import {
        args: &args,
        names: &names,
        source: &source,
        target: &target,
        display: Display::new(args.output.json || args.output.quiet),
    };
    let outcome = tokio::select! {
        outcome = import.run() => outcome,
        signal = signals.next() => {
            import.display.finish();
            return Err(Failure::with_code(
                if signal == "SIGINT" { 130 } else { 143 },
                "interrupted; the same command goes on where this one stopped",
            ));
        }
    };
    import.display.finish();
    let report = outcome.map_err(Failure::new)?;
    print(&if args.output.json {
        report.json()
    } else {
        report.text()
    })?;
    target.close().await;
    source.close();
    if report.is_clean() {
        Ok(())
    } else {
        Err(Failure::silent(1))
    }
}

/// An import with everything that it needs.
struct Import<'a> {
    args: &'a Args,
    names: &'a BucketNames,
    source: &'a Source,
    target: &'a Target,
    display: Display,
}

impl Import<'_> {
    async fn run(&self) -> Result<Report, ImportError> {
        self.display.phase("reading the embedded instance", None);
        let mut index = Index::read(self.source.archive()).await?;
        let destination = format!("{} {}", self.target.objects_name(), self.names.summary());
        let begun = Place::load(self.target.metadata(), index.fingerprint(), &destination).await?;
        let mut place = if let Some(place) = begun {
            place
        } else {
            self.target.must_be_empty(self.names, self.source).await?;
            Place::new(index.fingerprint(), &destination)
        };
        let mut report = Report {
            multipart_uploads: self.source.open_multipart_uploads().await?,
            ..Report::default()
        };
        if let Some(finished_at) = &place.finished_at {
            report.outcome = Outcome::DoneBefore(finished_at.clone());
            return Ok(report);
        }
        let mover = ObjectMover {
            source: self.source,
            target: self.target,
            names: self.names,
            jobs: self.args.jobs.into(),
            display: &self.display,
        };
        let stock = self.take_stock(&mut index, &mut report).await?;
        self.must_have_rows(&stock).await?;
        if self.args.dry_run {
            report.outcome = Outcome::DryRun;
            self.count_source(&mut report).await?;
            return Ok(report);
        }
        if !self.same_objects() {
            mover.run(&index, &stock, &mut place, &mut report).await?;
        }
        if !report.damaged.is_empty() && !self.args.skip_damaged {
            report.outcome = Outcome::StoppedBeforeRows;
            return Ok(report);
        }
        rows::run(self, &mut place).await?;
        verification::run(self, &mut report).await?;
        if report.differs() {
            report.outcome = Outcome::Differs;
            // What was there and is gone: the next run looks at every object again.
            place.object = None;
            place.save(self.target.metadata()).await?;
        } else {
            report.outcome = Outcome::Moved;
            place.finish(self.target.metadata(), self.target.now()).await?;
        }
        report.next_steps(self.source.path(), self.target.description());
        Ok(report)
    }

    /// Both use one directory of objects: only the database moves.
    fn same_objects(&self) -> bool {
        self.target.shares_objects()
    }

    /// What there is to move, and what should be there and is not.
    async fn take_stock(&self, index: &mut Index, report: &mut Report) -> Result<Stock, ImportError> {
        let stock = objects::take_stock(self.source, index).await?;
        report.objects.source = stock.objects;
        report.objects.source_bytes = stock.bytes;
        report.damaged = index.missing(self.source.archive()).await?;
        Ok(stock)
    }

    /// Objects without any row: the rows are under another prefix.
    async fn must_have_rows(&self, stock: &Stock) -> Result<(), ImportError> {
        let archive = self.source.archive();
        let rows = archive.count(Section::Files).await? + archive.count(Section::Events).await?;
        if rows == 0 && stock.objects > 0 {
            return Err(ImportError::Refused(format!(
                "there are {} objects and no rows under the table prefix {}; --from-table-prefix names another one",
                stock.objects, self.args.from_table_prefix
            )));
        }
        Ok(())
    }

    async fn count_source(&self, report: &mut Report) -> Result<(), ImportError> {
        for section in Section::ALL {
            let rows = self.source.archive().count(*section).await?;
            report.rows.push((*section, rows, None));
        }
        Ok(())
    }
}
