//! Whose an object is: what its key says, and what follows from that and from what the rows and its neighbours say.
//!
//! Pure, and asked twice: when garbage is looked for, and again at the moment of deleting. Whatever is not understood
//! here is foreign, and nobody touches it.

use std::borrow::Cow;

use jiff::{SignedDuration, Timestamp};

use super::GarbageReason;
use crate::derivative::{Derivative, DerivativeOutcome};
use crate::file::{File, FileState};
use crate::id::FileId;
use crate::key::{
    STAGING_PREFIX, SYSTEM_PREFIX, base_key, move_of, original_of, rest_of, staging_deadline, staging_file_id,
};
use crate::ports::objects::ObjectPath;

/// What was written so recently may be work under way that has not reached its row yet.
pub const YOUNG: SignedDuration = SignedDuration::from_hours(1);
/// How long a tombstone stands: longer than any late writer can be alive.
pub const TOMBSTONE_FOR: SignedDuration = SignedDuration::from_hours(24);

const SIDECAR_ENDING: &str = ".attr.json";
const TOMBSTONE_ENDING: &str = ".tomb.attr.json";

/// What the spelling of a key tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind<'a> {
    /// `staging/<deadline>/<file id>/...`: what a client uploads, and what is noted about it.
    Staging {
        /// Whose it is.
        file_id: FileId,
        /// When its URL ends.
        deadline: Timestamp,
    },
    /// `_cloakroom/...`: of the instance itself.
    System,
    /// `<key>.tomb.attr.json`.
    Tombstone {
        /// The key of the file that is gone.
        of: &'a str,
    },
    /// `<key>.<epoch>.attr.json`.
    Sidecar {
        /// The key of the file.
        of: &'a str,
        /// The revision.
        epoch: u32,
    },
    /// A final object, a derivative, or somebody else's.
    Other,
}

impl<'a> KeyKind<'a> {
    /// Reads a key.
    pub fn of(key: &'a str) -> Self {
        if key.starts_with(SYSTEM_PREFIX) {
            return Self::System;
        }
        if key.starts_with(STAGING_PREFIX) {
            return match (staging_file_id(key), staging_deadline(key)) {
                (Some(file_id), Some(deadline)) => Self::Staging { file_id, deadline },
                _ => Self::Other,
            };
        }
        if let Some(of) = key.strip_suffix(TOMBSTONE_ENDING) {
            return Self::Tombstone { of };
        }
        let revision = key
            .strip_suffix(SIDECAR_ENDING)
            .and_then(|rest| rest.rsplit_once('.'));
        match revision {
            Some((of, epoch)) if plain_number(epoch) => match epoch.parse() {
                Ok(epoch) => Self::Sidecar { of, epoch },
                Err(_) => Self::Other,
            },
            _ => Self::Other,
        }
    }

    /// The keys of the file that an object of this key may belong to: the key itself, the one that it is named after, or
    /// that of the original which it is a thumbnail of.
    pub fn owners(self, key: &'a str) -> Vec<Cow<'a, str>> {
        match self {
            Self::Tombstone { of } | Self::Sidecar { of, .. } => vec![Cow::Borrowed(of)],
            _ => {
                let named = derivative_owner(key);
                let original = named.and_then(original_of).map(Cow::Owned);
                let named = named.map(Cow::Borrowed);
                [Cow::Borrowed(key)]
                    .into_iter()
                    .chain(named)
                    .chain(original)
                    .collect()
            }
        }
    }
}

fn plain_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// The key before `.<epoch>.<name>.<extension>`, if it ends so.
fn derivative_owner(key: &str) -> Option<&str> {
    let mut pieces = key.rsplitn(4, '.');
    let (_extension, _name, epoch) = (pieces.next()?, pieces.next()?, pieces.next()?);
    pieces.next().filter(|_| plain_number(epoch))
}

/// How a key relates to the row of a file that it names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Relation<'a> {
    /// Whether it is at the place where the file is now.
    pub here: bool,
    /// Whether it is of a move that the row does not know of (yet).
    pub ahead: bool,
    /// What follows after the file's key, a dot left out; `None` for the object itself.
    pub rest: Option<&'a str>,
}

/// How `path` relates to `file`; `None` when it is not of this file at any of the places that it may ever have had.
pub fn relation<'a>(file: &File, path: &'a ObjectPath) -> Option<Relation<'a>> {
    let rest = rest_of(base_key(&file.key), base_key(&path.key))?;
    let rest = Some(rest).filter(|rest| !rest.is_empty());
    let version = |key: &str| move_of(key).map(|(version, _)| version);
    let (there, now) = (version(&path.key), version(&file.key));
    Some(Relation {
        here: path.bucket == file.bucket && there == now,
        ahead: there.is_some_and(|version| version > file.version),
        rest,
    })
}

/// What was found out about an object, beside its key.
#[derive(Clone, Debug, Default)]
pub struct Evidence<'a> {
    /// The row of the file that the key belongs to.
    pub file: Option<&'a File>,
    /// That file's derivatives.
    pub derivatives: &'a [Derivative],
    /// Events say that the file was purged.
    pub purged: bool,
    /// A tombstone stands at the file's key.
    pub tombstone: bool,
    /// The highest revision of a sidecar of ours that stands at the place of the key.
    pub sidecar_epoch: Option<u32>,
    /// The confirm note of a staging object stands.
    pub note: bool,
    /// The object of the row, and the sidecar of its epoch, stand where the row says.
    pub whole: bool,
    /// Something other than the tombstone stands at the file's key, or beside it.
    pub accompanied: bool,
}

/// Whose an object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// A row knows of it, or work that is under way, or it is so young that this may yet be.
    Known,
    /// A file whose row was lost stands here: it is to be rebuilt, never swept.
    RowMissing,
    /// What stands here is ahead of the row, or may be all that is left of the file: to be verified, never swept.
    RowBehind,
    /// Nothing refers to it, and nothing ever will.
    Garbage(GarbageReason),
    /// Not spelled by us, as far as can be said.
    Foreign,
}

/// Decides about one object. `grace` is how long after its deadline a staged upload may still be confirmed.
pub fn judge(
    path: &ObjectPath,
    modified_at: Timestamp,
    evidence: &Evidence<'_>,
    grace: SignedDuration,
    now: Timestamp,
) -> Verdict {
    let kind = KeyKind::of(&path.key);
    match kind {
        KeyKind::System => return Verdict::Known,
        KeyKind::Staging { deadline, .. } => return judge_staging(deadline, evidence, grace, now),
        _ => {}
    }
    let verdict = match evidence.file {
        Some(file) => match relation(file, path) {
            Some(relation) => judge_with_row(kind, path, relation, file, evidence),
            None => Verdict::Foreign,
        },
        None => judge_without_row(kind, modified_at, evidence, now),
    };
    let young = now.duration_since(modified_at) < YOUNG;
    match verdict {
        Verdict::Garbage(_) | Verdict::RowMissing | Verdict::RowBehind if young => Verdict::Known,
        settled => settled,
    }
}

fn judge_staging(
    deadline: Timestamp,
    evidence: &Evidence<'_>,
    grace: SignedDuration,
    now: Timestamp,
) -> Verdict {
    // With a row it is the row's: reaping, discarding and the sweep of staging go by states.
    if evidence.file.is_some() {
        return Verdict::Known;
    }
    if evidence.note && !evidence.purged {
        return Verdict::RowMissing;
    }
    if now.duration_since(deadline) < grace {
        return Verdict::Known;
    }
    Verdict::Garbage(GarbageReason::Staging)
}

fn judge_with_row(
    kind: KeyKind<'_>,
    path: &ObjectPath,
    relation: Relation<'_>,
    file: &File,
    evidence: &Evidence<'_>,
) -> Verdict {
    if file.state == FileState::Purging {
        return Verdict::Known;
    }
    // A revision beyond the row's: a change under way, or a row that is behind (a database out of a backup).
    let ahead = evidence.sidecar_epoch.is_some_and(|epoch| epoch > file.epoch);
    match file.state_below_trash() {
        FileState::Ready | FileState::Archived | FileState::Quarantined => {
            judge_settled(kind, path, relation, file, evidence, ahead)
        }
        _ if ahead => Verdict::RowBehind,
        FileState::Failed if file.is_kept_for_retry() || file.hold.is_some() => Verdict::Known,
        // The tombstone of what the row says is over is nobody's either, but it stands until its time.
        FileState::Failed | FileState::Expired if !matches!(kind, KeyKind::Tombstone { .. }) => {
            Verdict::Garbage(GarbageReason::LeftObject)
        }
        _ => Verdict::Known,
    }
}

fn judge_settled(
    kind: KeyKind<'_>,
    path: &ObjectPath,
    relation: Relation<'_>,
    file: &File,
    evidence: &Evidence<'_>,
    ahead: bool,
) -> Verdict {
    if !relation.here {
        return if ahead || !evidence.whole {
            Verdict::RowBehind
        } else {
            Verdict::Garbage(GarbageReason::LeftObject)
        };
    }
    match (kind, relation.rest) {
        (KeyKind::Tombstone { .. }, _) => Verdict::RowBehind,
        (KeyKind::Sidecar { epoch, .. }, _) if epoch == file.epoch => Verdict::Known,
        (KeyKind::Sidecar { epoch, .. }, _) if epoch > file.epoch || !evidence.whole => Verdict::RowBehind,
        (KeyKind::Sidecar { .. }, _) => Verdict::Garbage(GarbageReason::SupersededSidecar),
        (_, None) => Verdict::Known,
        (_, Some(rest)) => {
            let listed = evidence.derivatives.iter().any(|derivative| {
                matches!(&derivative.outcome, DerivativeOutcome::Made { key, .. } if *key == path.key)
            });
            match derivative_epoch(rest) {
                _ if listed => Verdict::Known,
                Some(epoch) if epoch <= file.epoch && !ahead => {
                    Verdict::Garbage(GarbageReason::UnlistedDerivative)
                }
                Some(_) => Verdict::RowBehind,
                None => Verdict::Foreign,
            }
        }
    }
}

/// The epoch in `<epoch>.<name>.<extension>`.
fn derivative_epoch(rest: &str) -> Option<u32> {
    let (epoch, name) = rest.split_once('.')?;
    name.split_once('.')?;
    epoch.parse().ok().filter(|_| plain_number(epoch))
}

fn judge_without_row(
    kind: KeyKind<'_>,
    modified_at: Timestamp,
    evidence: &Evidence<'_>,
    now: Timestamp,
) -> Verdict {
    let over = evidence.purged || evidence.tombstone;
    match kind {
        KeyKind::Tombstone { .. } if !evidence.tombstone => Verdict::Foreign,
        KeyKind::Tombstone { .. } => {
            if evidence.accompanied || now.duration_since(modified_at) < TOMBSTONE_FOR {
                Verdict::Known
            } else {
                Verdict::Garbage(GarbageReason::Tombstone)
            }
        }
        _ if over => Verdict::Garbage(GarbageReason::LeftObject),
        _ if evidence.sidecar_epoch.is_some() => Verdict::RowMissing,
        _ => Verdict::Foreign,
    }
}

#[cfg(test)]
mod tests;
