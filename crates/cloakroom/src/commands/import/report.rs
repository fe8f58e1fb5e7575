//! What an import says at its end, to people and to machines.

use std::fmt::Write as _;
use std::path::Path;

use cloakroom_core::ports::archive::Section;
use serde_json::{Value, json};

use crate::client::error::printable;
use crate::client::output::{human_size, table};

/// Damaged objects that a person is shown; the machine gets all.
const SHOWN_MAX: usize = 20;

/// An object that could not be moved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Damage {
    /// Its bucket in the embedded instance.
    pub(super) bucket: String,
    /// Its key.
    pub(super) key: String,
    /// What is wrong with it.
    pub(super) reason: String,
}

/// How an import ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Everything is in the target, and counted there.
    Moved,
    /// It was done before, then.
    DoneBefore(String),
    /// Nothing was to be done.
    DryRun,
    /// Objects are damaged; no row was moved.
    #[default]
    StoppedBeforeRows,
    /// The two sides are not alike.
    Differs,
}

impl Outcome {
    const fn as_str(&self) -> &'static str {
        match self {
            Self::Moved => "moved",
            Self::DoneBefore(_) => "done_before",
            Self::DryRun => "dry_run",
            Self::StoppedBeforeRows => "stopped_before_rows",
            Self::Differs => "differs",
        }
    }
}

/// Counts of objects.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ObjectCounts {
    /// In the embedded instance.
    pub(super) source: u64,
    /// Their bytes.
    pub(super) source_bytes: u64,
    /// Of these, in the target.
    pub(super) target: Option<u64>,
    /// Sent by this run.
    pub(super) sent: u64,
    /// Their bytes.
    pub(super) sent_bytes: u64,
    /// Found in the target, and verified by this run.
    pub(super) were_there: u64,
    /// Verified by an earlier run.
    pub(super) verified_before: u64,
}

/// What happened.
#[derive(Clone, Debug, Default)]
pub(super) struct Report {
    pub(super) outcome: Outcome,
    pub(super) objects: ObjectCounts,
    /// Rows by section: in the embedded instance, in the target.
    pub(super) rows: Vec<(Section, u64, Option<u64>)>,
    pub(super) damaged: Vec<Damage>,
    /// Objects that should be in the target and are not.
    pub(super) lost: Vec<Damage>,
    /// Multipart uploads under way, whose parts cannot move.
    pub(super) multipart_uploads: u64,
    pub(super) next: Option<String>,
}

impl Report {
    /// Whether everything is as it should be.
    pub(super) fn is_clean(&self) -> bool {
        self.damaged.is_empty()
            && self.lost.is_empty()
            && !matches!(self.outcome, Outcome::Differs | Outcome::StoppedBeforeRows)
    }

    /// Whether an object is known not to be in the target.
    pub(super) fn is_damaged(&self, bucket: &str, key: &str) -> bool {
        self.damaged
            .iter()
            .any(|one| one.bucket == bucket && one.key == key)
    }

    /// An object that should be in the target and is not.
    pub(super) fn lost(&mut self, bucket: &str, key: &str, reason: &str) {
        self.lost.push(Damage {
            bucket: bucket.to_owned(),
            key: key.to_owned(),
            reason: reason.to_owned(),
        });
    }

    /// Whether the two sides are not alike.
    pub(super) fn differs(&self) -> bool {
        let rows_differ = self.rows.iter().any(|(section, source, target)| {
            let own = has_its_own(*section);
            target.is_none_or(|target| if own { target < *source } else { target != *source })
        });
        rows_differ || !self.lost.is_empty()
    }

    /// What the target has beside what was moved, for people: `settings 1`.
    fn of_the_target(&self) -> String {
        let more = |(section, source, target): &(Section, u64, Option<u64>)| {
            let more = target.unwrap_or_default().saturating_sub(*source);
            (more > 0).then(|| format!("{} {more}", section.as_str()))
        };
        self.rows.iter().filter_map(more).collect::<Vec<_>>().join(", ")
    }

    /// Says what to do now.
    pub(super) fn next_steps(&mut self, source: &Path, stores: &str) {
        if self.outcome != Outcome::Moved {
            return;
        }
        self.next = Some(format!(
            "Start the server with the configuration of this command ({stores}). Keep {} until you have seen it work, \
             and do not start it again: what it takes in from now on does not come along.",
            source.display()
        ));
    }

    /// One JSON object on one line.
    pub(super) fn json(&self) -> String {
        let objects = &self.objects;
        let damage = |damage: &[Damage]| -> Vec<Value> {
            damage
                .iter()
                .map(|one| json!({ "bucket": one.bucket, "key": one.key, "reason": one.reason }))
                .collect()
        };
        let rows: serde_json::Map<String, Value> = self
            .rows
            .iter()
            .map(|(section, source, target)| {
                (
                    section.as_str().to_owned(),
                    json!({ "source": source, "target": target }),
                )
            })
            .collect();
        let finished_at = match &self.outcome {
            Outcome::DoneBefore(at) => Some(at),
            _ => None,
        };
        let report = json!({
            "outcome": self.outcome.as_str(),
            "finished_at": finished_at,
            "objects": {
                "source": objects.source,
                "source_bytes": objects.source_bytes,
                "target": objects.target,
                "sent": objects.sent,
                "sent_bytes": objects.sent_bytes,
                "were_there": objects.were_there,
                "verified_before": objects.verified_before,
            },
            "rows": rows,
            "damaged": damage(&self.damaged),
            "missing_in_target": damage(&self.lost),
            "open_multipart_uploads": self.multipart_uploads,
            "next": self.next,
        });
        format!("{report}\n")
    }

    /// For people.
    pub(super) fn text(&self) -> String {
        if let Outcome::DoneBefore(at) = &self.outcome {
            return format!("This instance was imported on {at}; there is nothing to do.\n");
        }
        let mut text = self.counts();
        self.name_damage(&mut text);
        if self.multipart_uploads > 0 {
            let uploads = match self.multipart_uploads {
                1 => "1 multipart upload is under way, and its parts cannot move; clients sign it again"
                    .to_owned(),
                many => format!(
                    "{many} multipart uploads are under way, and their parts cannot move; clients sign them again"
                ),
            };
            let _ = writeln!(
                text,
                "{uploads} (with the same Idempotency-Key it is the same file) and send the parts anew."
            );
        }
        let _ = writeln!(text, "{}", self.verdict());
        if let Some(next) = &self.next {
            let _ = writeln!(text, "Next: {next}");
        }
        text
    }

    fn counts(&self) -> String {
        let count = |count: Option<u64>| count.map_or_else(|| "-".to_owned(), |count| count.to_string());
        let mut lines = vec![vec![String::new(), "EMBEDDED".to_owned(), "TARGET".to_owned()]];
        for (section, source, target) in &self.rows {
            lines.push(vec![
                section.as_str().to_owned(),
                source.to_string(),
                count(*target),
            ]);
        }
        let objects = &self.objects;
        lines.push(vec![
            "objects".to_owned(),
            objects.source.to_string(),
            count(objects.target),
        ]);
        let mut text = table(&lines);
        let _ = writeln!(
            text,
            "{} of objects; sent {} ({}), found {}, verified before {}.",
            human_size(objects.source_bytes),
            objects.sent,
            human_size(objects.sent_bytes),
            objects.were_there,
            objects.verified_before,
        );
        text
    }

    fn name_damage(&self, text: &mut String) {
        for (what, damage) in [("damaged", &self.damaged), ("missing", &self.lost)] {
            for one in damage.iter().take(SHOWN_MAX) {
                let name = printable(&format!("{}/{}", one.bucket, one.key));
                let _ = writeln!(text, "{what}: {name}: {}", printable(&one.reason));
            }
            if damage.len() > SHOWN_MAX {
                let _ = writeln!(
                    text,
                    "{what}: {} more (--json names all)",
                    damage.len() - SHOWN_MAX
                );
            }
        }
    }

    fn verdict(&self) -> String {
        let said = match &self.outcome {
            Outcome::Moved if self.damaged.is_empty() => {
                let own = self.of_the_target();
                return if own.is_empty() {
                    "Everything was moved, and both sides are alike.".to_owned()
                } else {
                    format!(
                        "Everything was moved, and both sides are alike but for what the target has of its own ({own}; among the \
                         settings, that this import is done)."
                    )
                };
            }
            Outcome::Moved => "Everything but the damaged objects was moved.",
            Outcome::DryRun if self.damaged.is_empty() => "Nothing was moved: this was a dry run.",
            Outcome::DryRun => "Nothing was moved: this was a dry run. The damaged objects would not be.",
            Outcome::StoppedBeforeRows => {
                "No row was moved. Bring the damaged objects back from a backup and run the command again, or leave \
                 them behind with --skip-damaged."
            }
            Outcome::Differs => "The two sides are not alike. Nothing was deleted; run the command again.",
            Outcome::DoneBefore(_) => "There is nothing to do.",
        };
        said.to_owned()
    }
}

/// Whether the target may have rows of its own there: tokens, settings, stores and log entries.
const fn has_its_own(section: Section) -> bool {
    matches!(
        section,
        Section::ServiceTokens | Section::Settings | Section::Stores | Section::Audit
    )
}
