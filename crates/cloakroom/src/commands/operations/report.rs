//! What an operation found: a table for people, a JSON object a line for machines, CSV in a file.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};

use cloakroom_core::id::OperationId;
use cloakroom_core::operation::{Finding, Operation};
use cloakroom_core::ports::metadata::Page;
use cloakroom_service::App;
use cloakroom_service::operations::csv;
use serde_json::{Value, json};

use super::remote::Remote;
use crate::client::output::table;
use crate::commands::{Failure, print};

/// Findings read at a time.
const PAGE_MAX: u32 = 1_000;
/// Findings shown to people; the rest is counted.
const SHOWN_MAX: usize = 50;
/// What is not ours is told, and is no reason to do anything.
const STRANGERS: &[&str] = &["object_unknown", "foreign", "foreign_multipart"];

/// A file for the findings.
#[derive(Debug)]
pub(super) struct Csv {
    path: PathBuf,
    file: BufWriter<File>,
}

impl Csv {
    /// Makes it, with its header.
    pub(super) fn create(path: &Path) -> Result<Self, Failure> {
        let file = File::create(path).map_err(|error| unwritable(path, &error))?;
        let mut csv = Self {
            path: path.to_owned(),
            file: BufWriter::new(file),
        };
        csv.write(csv::HEADER)?;
        Ok(csv)
    }

    fn write(&mut self, text: &str) -> Result<(), Failure> {
        let written = self.file.write_all(text.as_bytes());
        written.map_err(|error| unwritable(&self.path, &error))
    }

    fn finish(mut self) -> Result<(), Failure> {
        let flushed = self.file.flush().and_then(|()| self.file.get_ref().sync_all());
        flushed.map_err(|error| unwritable(&self.path, &error))
    }
}

fn unwritable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::usage(format!("cannot write {}: {error}", path.display()))
}

/// Whether somebody has to do something about it.
fn is_left(finding: &Finding) -> bool {
    finding.action == "reported" && !STRANGERS.contains(&finding.kind.as_str())
}

/// Where the findings are.
pub(super) enum Findings<'a> {
    /// In the database.
    Here(&'a App),
    /// At a server.
    There(&'a Remote),
}

/// Where a page of findings begins.
#[derive(Default)]
struct Position {
    skip: u64,
    cursor: Option<String>,
}

impl Findings<'_> {
    async fn page(&self, id: OperationId, position: &mut Position) -> Result<Page<Finding>, Failure> {
        let page = match self {
            Self::Here(app) => {
                let page = app.administration.findings(id, position.skip, PAGE_MAX).await;
                page.map_err(Failure::new)?
            }
            Self::There(remote) => {
                let (page, next) = remote.findings(id, position.cursor.as_deref()).await?;
                position.cursor = next;
                page
            }
        };
        position.skip += page.items.len() as u64;
        Ok(page)
    }
}

/// Says what was found; `true` when findings are left.
pub(super) async fn tell(
    findings: Findings<'_>,
    operation: &Operation,
    mut csv: Option<Csv>,
    json: bool,
) -> Result<bool, Failure> {
    let (mut all, mut left) = (0_usize, 0_u64);
    let mut rows = Vec::new();
    let mut position = Position::default();
    loop {
        let page = findings.page(operation.id, &mut position).await?;
        let mut lines = String::new();
        for finding in &page.items {
            left += u64::from(is_left(finding));
            if let Some(csv) = &mut csv {
                csv.write(&csv::line(finding))?;
            }
            if json {
                // Writing to a String cannot fail.
                let _ = writeln!(lines, "{}", json_of(finding));
            } else if all < SHOWN_MAX {
                rows.push(row(finding));
            }
            all += 1;
        }
        print(&lines)?;
        if !page.more {
            break;
        }
    }
    if let Some(csv) = csv {
        csv.finish()?;
    }
    if json {
        print(&format!("{}\n", summary_json(operation, left)))?;
    } else {
        print(&text(operation, &rows, all, left))?;
    }
    Ok(left > 0)
}

fn row(finding: &Finding) -> Vec<String> {
    let object = match (&finding.bucket, &finding.key) {
        (Some(bucket), Some(key)) => format!("{bucket}/{key}"),
        _ => "-".to_owned(),
    };
    vec![
        finding.kind.clone(),
        finding.action.clone(),
        object,
        finding.detail.clone(),
    ]
}

fn json_of(finding: &Finding) -> Value {
    json!({
        "kind": finding.kind,
        "action": finding.action,
        "bucket": finding.bucket,
        "key": finding.key,
        "file_id": finding.file_id.map(|id| id.to_string()),
        "detail": finding.detail,
    })
}

fn summary_json(operation: &Operation, left: u64) -> Value {
    json!({
        "operation_id": operation.id.to_string(),
        "operation": operation.kind.as_str(),
        "state": operation.state.as_str(),
        "options": operation.options,
        "done": operation.done,
        "counts": operation.counts,
        "left": left,
        "created_at": operation.created_at.to_string(),
        "finished_at": operation.finished_at.map(|at| at.to_string()),
    })
}

fn text(operation: &Operation, rows: &[Vec<String>], all: usize, left: u64) -> String {
    let mut text = String::new();
    if !rows.is_empty() {
        let header = ["FOUND", "DONE", "OBJECT", "DETAIL"].map(str::to_owned).to_vec();
        text.push_str(&table(&[&[header], rows].concat()));
    }
    // Writing to a String cannot fail.
    if all > rows.len() {
        let _ = writeln!(
            text,
            "... and {} more; --csv and --json have them all.",
            all - rows.len()
        );
    }
    let counts: Vec<String> = operation
        .counts
        .iter()
        .map(|(name, count)| format!("{name} {count}"))
        .collect();
    let verdict = match left {
        0 => "nothing is left to do".to_owned(),
        1 => "1 finding is left".to_owned(),
        many => format!("{many} findings are left"),
    };
    let _ = writeln!(
        text,
        "{}: {verdict}. {}",
        operation.kind.as_str(),
        counts.join(", ")
    );
    text
}
