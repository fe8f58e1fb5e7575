//! A change of state, as the rules return it and the metadata store commits it: whole or not at all.

use jiff::Timestamp;

use crate::JsonObject;
use crate::derivative::Derivative;
use crate::event::{Event, EventKind};
use crate::file::File;
use crate::id::{EventId, IntentId, JobId};
use crate::job::{JobKind, JobLease, NewJob};
use crate::ports::random::Random;
use crate::record::Record;
use crate::upload::Upload;

/// When and by whom something is done, and where fresh ids come from.
#[derive(Clone, Copy)]
pub struct Occasion<'a> {
    /// The time, from the clock port.
    pub now: Timestamp,
    /// A subject, or `worker`, `sweeper`.
    pub actor: &'a str,
    /// Fresh ids.
    pub random: &'a dyn Random,
}

impl Occasion<'_> {
    /// The event that makes this change known.
    pub fn event(&self, file: &File, kind: EventKind) -> Event {
        Event {
            id: EventId(self.random.uuid_v7(self.now)),
            file_id: file.id,
            kind,
            state: file.state,
            version: file.version,
            actor: self.actor.to_owned(),
            data: JsonObject::new(),
            at: self.now,
        }
    }
}

/// What a change adds to its owner's usage; may be negative (I11).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UsageDelta {
    /// Bytes reserved for signed uploads.
    pub reserved_bytes: i64,
    /// Bytes of confirmed files.
    pub stored_bytes: i64,
    /// Confirmed files.
    pub files: i64,
}

/// What a worker's claim has to do with a transition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fence {
    /// The claim must still hold.
    Hold(JobLease),
    /// The claim must still hold, and its job is done with this commit.
    Complete(JobLease),
}

impl Fence {
    /// The claim.
    pub const fn lease(self) -> JobLease {
        match self {
            Self::Hold(lease) | Self::Complete(lease) => lease,
        }
    }
}

/// One atomic change of a file: the new row if nobody changed the old one, and exactly one event (I4), with the
/// jobs, derivatives, usage and log entries that belong to it.
#[derive(Clone, Debug, PartialEq)]
pub struct Transition {
    /// The version that the row must still have.
    pub from_version: u64,
    /// The row as it is to be.
    pub file: File,
    /// What happened.
    pub event: Event,
    /// Work that this makes necessary.
    pub jobs: Vec<NewJob>,
    /// What it adds to the owner's usage.
    pub usage: UsageDelta,
    /// The upload, if it changes too.
    pub upload: Option<Upload>,
    /// Made or failed derivatives, replacing those of the same name.
    pub derivatives: Vec<Derivative>,
    /// The record that the file is linked to, to be created if it does not exist. If it exists and belongs to
    /// somebody else than `owner`, nothing is committed.
    pub record: Option<Record>,
    /// The intent that this commit completes.
    pub intent: Option<IntentId>,
    /// The claim under which this is done.
    pub fence: Option<Fence>,
}

impl Transition {
    /// A change of the row and its event alone.
    pub fn new(from_version: u64, file: File, event: Event) -> Self {
        Self {
            from_version,
            file,
            event,
            jobs: Vec::new(),
            usage: UsageDelta::default(),
            upload: None,
            derivatives: Vec::new(),
            record: None,
            intent: None,
            fence: None,
        }
    }

    /// Adds a job about this file.
    pub fn enqueue(&mut self, kind: JobKind, run_at: Timestamp, occasion: &Occasion<'_>) {
        let id = JobId(occasion.random.uuid_v7(occasion.now));
        self.jobs.push(NewJob {
            id,
            kind,
            file_id: self.file.id,
            run_at,
        });
    }
}
