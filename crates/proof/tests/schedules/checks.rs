//! The invariants, asked of the stores themselves.

use std::collections::BTreeSet;

use cloakroom_core::checksum::Sha256Digest;
use cloakroom_core::event::{Event, EventKind};
use cloakroom_core::file::{File, FileState};
use cloakroom_core::format::sidecar_v1::SidecarV1;
use cloakroom_core::id::FileId;
use cloakroom_core::key::{STAGING_PREFIX, sidecar_key, staging_file_id};
use cloakroom_core::ports::metadata::{FileQuery, Usage};
use sha2::{Digest as _, Sha256};

use crate::reference::{Known, PRESENT, TRASHED, explains};
use crate::world::{OWNER, World};

/// The state that counts: of a file in the trash, the one it returns to.
fn standing(file: &File) -> FileState {
    file.trash.map_or(file.state, |trash| trash.from)
}

fn digest(bytes: &[u8]) -> Sha256Digest {
    Sha256Digest(Sha256::digest(bytes).into())
}

/// What holds between any two steps: a verified file has its bytes (I1, I2) and the sidecar of its epoch (I6).
pub async fn at_any_moment(world: &World) {
    let known = world.known.borrow().clone();
    for known in known {
        if let Some(file) = world.row(known.id).await {
            whole(world, &file, &known).await;
        }
    }
}

/// A file that is shown as ready has what it needs.
async fn whole(world: &World, file: &File, known: &Known) {
    let id = file.id;
    let stands = matches!(standing(file), FileState::Ready | FileState::Archived)
        && !matches!(file.state, FileState::Purging);
    if !stands {
        return;
    }
    let Some(verified) = &file.verified else {
        world.violated(format!("{id} is {:?} and was never verified (I1)", file.state));
        return;
    };
    match world.bytes(&file.key).await {
        None => world.violated(format!("{id} is {:?} and has no bytes (I3, I5)", file.state)),
        Some(bytes) if digest(&bytes) != verified.sha256 => {
            world.violated(format!("{id} has other bytes than were verified (I2)"));
        }
        Some(bytes) => {
            if !known.sent.iter().any(|deed| deed.value.as_bytes() == bytes) {
                world.violated(format!("{id} has bytes that nobody sent (I2)"));
            }
        }
    }
    match world.bytes(&sidecar_key(&file.key, file.epoch)).await {
        None => world.violated(format!("{id} has no sidecar of its epoch {} (I6)", file.epoch)),
        Some(bytes) => match SidecarV1::decode(&bytes) {
            Err(reason) => world.violated(format!("the sidecar of {id} cannot be read: {reason} (I6)")),
            Ok(sidecar) => agrees(world, file, &sidecar),
        },
    }
}

fn agrees(world: &World, file: &File, sidecar: &SidecarV1) {
    let id = file.id;
    if sidecar.filename != file.filename {
        world.violated(format!(
            "{id}: the row says {:?}, the sidecar of its epoch {:?} (I6)",
            file.filename, sidecar.filename
        ));
    }
    if sidecar.owner != file.owner || sidecar.metadata != file.metadata {
        world.violated(format!("{id}: row and sidecar disagree (I6)"));
    }
    if file
        .verified
        .as_ref()
        .is_some_and(|verified| verified.sha256.to_string() != sidecar.sha256)
    {
        world.violated(format!("{id}: the sidecar tells of other bytes (I6)"));
    }
}

/// What holds when everything has come to rest.
pub async fn at_rest(world: &World) {
    let known = world.known.borrow().clone();
    for known in &known {
        promised(world, known).await;
    }
    let rows = all_rows(world).await;
    for file in &rows {
        let of = known.iter().find(|known| known.id == file.id);
        match of {
            Some(known) => whole(world, file, known).await,
            // Signed, and the answer was lost: nobody can have sent anything.
            None if matches!(file.state, FileState::Pending | FileState::Expired) => {}
            None => world.violated(format!("{} is {:?} and nobody asked for it", file.id, file.state)),
        }
        history(world, file).await;
        if matches!(
            file.state,
            FileState::Confirmed | FileState::Processing | FileState::Reaping | FileState::Purging
        ) {
            world.violated(format!(
                "{} is still {:?} after recovery (I3)",
                file.id, file.state
            ));
        }
    }
    usage(world, &rows).await;
    drift(world, &rows, &known).await;
}

/// What clients were told is so (I3), and a file's last name and whether it is deleted are ones that somebody gave it.
async fn promised(world: &World, known: &Known) {
    let id = known.id;
    let Some(file) = world.row(id).await else {
        // A lost database takes along what was never confirmed, and what failed: of both there are no bytes.
        let failed = known.may_be_exchanged(world.auto_confirm);
        let unconfirmed = world.lost.get() && (!known.is_acknowledged() || failed);
        if known.signed && !unconfirmed && !(known.may_be_deleted() && world.trash_was_due.get()) {
            world.violated(format!("{id} is gone (I3)"));
        }
        if known.signed && !unconfirmed && !explains(&known.presence, PRESENT, TRASHED) {
            world.violated(format!("{id} was purged though it was restored (I3)"));
        }
        if !world.lost.get() {
            purged(world, id).await;
        }
        return;
    };
    // What was never confirmed, and what failed, has nothing in the store that would tell of its changes.
    let failed = known.may_be_exchanged(world.auto_confirm);
    let forgotten = world.lost.get() && (!known.is_acknowledged() || failed);
    if !known.patches.is_empty() || file.filename != "a.bin" {
        let initial = "a.bin";
        if !forgotten && !explains(&known.patches, initial, &file.filename) {
            world.violated(format!(
                "{id} is named {:?}, which {:?} do not explain",
                file.filename, known.patches
            ));
        }
    }
    let deleted = matches!(
        file.state,
        FileState::Trashed | FileState::Purging | FileState::Reaping | FileState::Expired
    );
    let expired = matches!(file.state, FileState::Reaping | FileState::Expired);
    let found = if deleted { TRASHED } else { PRESENT };
    if !expired && !forgotten && !explains(&known.presence, PRESENT, found) {
        world.violated(format!(
            "{id} is {:?}, which {:?} do not explain",
            file.state, known.presence
        ));
    }
    if !known.is_acknowledged() {
        return;
    }
    match standing(&file) {
        FileState::Ready | FileState::Archived | FileState::Quarantined => {}
        FileState::Confirmed if file.state == FileState::Trashed => {}
        FileState::Failed if known.may_be_exchanged(world.auto_confirm) => {}
        state => world.violated(format!(
            "{id} was confirmed to its client and is {:?} (from {state:?}, error {:?}) (I3)",
            file.state, file.error
        )),
    }
}

/// A purged file says so, and nothing of it is left but its tombstone.
async fn purged(world: &World, id: FileId) {
    let events = world
        .metadata()
        .timeline(id, None, 1_000)
        .await
        .expect("a timeline")
        .items;
    if let Some(last) = events.last()
        && last.kind != EventKind::Purged
    {
        world.violated(format!(
            "{id} has no row and its last event is {:?} (I4)",
            last.kind
        ));
    }
}

/// One event for each version, each a legal step (I4).
async fn history(world: &World, file: &File) {
    let id = file.id;
    let events = world
        .metadata()
        .timeline(id, None, 1_000)
        .await
        .expect("a timeline")
        .items;
    let versions: Vec<u64> = events.iter().map(|event| event.version).collect();
    // A row that was brought back begins, or goes on, where the store says.
    let adopted = |version: u64| {
        let at = |event: &&Event| event.version == version;
        events
            .iter()
            .find(at)
            .is_some_and(|event| event.kind == EventKind::Adopted)
    };
    let begins = versions
        .first()
        .is_some_and(|first| *first == 1 || adopted(*first));
    let goes_on = versions
        .windows(2)
        .all(|pair| pair[1] == pair[0] + 1 || pair[1] > pair[0] && adopted(pair[1]));
    if !begins || !goes_on || versions.last() != Some(&file.version) {
        world.violated(format!(
            "{id} v{} has events of the versions {versions:?} (I4)",
            file.version
        ));
    }
    if events.last().map(|event| event.state) != Some(file.state) {
        world.violated(format!(
            "{id} is {:?} and its last event says otherwise (I4)",
            file.state
        ));
    }
    for pair in events.windows(2) {
        let (before, after) = (&pair[0], &pair[1]);
        let unchanged = after.kind == EventKind::Updated && before.state == after.state
            || after.kind == EventKind::Adopted && world.lost.get();
        if !unchanged && !before.state.may_become(after.kind, after.state) {
            world.violated(format!(
                "{id} went from {:?} by {:?} to {:?}",
                before.state, after.kind, after.state
            ));
        }
    }
}

async fn all_rows(world: &World) -> Vec<File> {
    let query = FileQuery {
        states: FileState::ALL.to_vec(),
        limit: 1_000,
        ..FileQuery::default()
    };
    world.metadata().files(&query).await.expect("rows").items
}

/// Counters are what the rows add up to, and within the quota (I11).
async fn usage(world: &World, rows: &[File]) {
    let counted = world.metadata().usage(OWNER).await.expect("usage");
    let mut found = Usage::default();
    for file in rows {
        let state = standing(file);
        if state.is_open() {
            let upload = world.metadata().upload(file.id).await.expect("an upload");
            found.reserved_bytes += upload.map_or(0, |upload| upload.reserved_bytes);
        } else if !matches!(
            state,
            FileState::Reaping | FileState::Expired | FileState::Purging
        ) {
            found.files += 1;
            if state != FileState::Failed {
                let size = file.verified.as_ref().map(|verified| verified.size_bytes);
                found.stored_bytes += size
                    .or(file.staged.as_ref().map(|staged| staged.size_bytes))
                    .unwrap_or(0);
            }
        }
    }
    if counted != found {
        world.violated(format!("counted {counted:?}, found {found:?} (I11)"));
    }
    if let Some(quota) = world.quota_bytes
        && counted.reserved_bytes + counted.stored_bytes > quota
    {
        world.violated(format!("{counted:?} is above the quota of {quota} (I11)"));
    }
}

/// Every object has a row that needs it (I5).
async fn drift(world: &World, rows: &[File], known: &[Known]) {
    let mut expected = BTreeSet::new();
    for file in rows {
        if matches!(standing(file), FileState::Ready | FileState::Archived) {
            expected.insert(file.key.clone());
            expected.insert(sidecar_key(&file.key, file.epoch));
        }
    }
    for key in world.keys().await {
        if expected.contains(&key) {
            continue;
        }
        if key.starts_with(STAGING_PREFIX) {
            let of = staging_file_id(&key).and_then(|id| rows.iter().find(|file| file.id == id));
            let waits = of.is_some_and(|file| {
                let state = standing(file);
                state.is_open() || state == FileState::Confirmed
            });
            // A client may write to its URL whenever it likes: what it wrote after the end is swept, but a file that
            // failed for no fault of its bytes keeps them for another try.
            let kept = of.is_some_and(|file| {
                file.error
                    .as_ref()
                    .is_some_and(|error| error.code == cloakroom_service::processing::PROCESSING_FAILED)
            });
            let unconfirmed = of.is_none() && world.lost.get();
            if !waits && !kept && !unconfirmed {
                world.violated(format!(
                    "{key} is left over from {:?} (I5)",
                    of.map(|file| file.state)
                ));
            }
        } else if key.ends_with(".tomb.attr.json") {
            let gone = known.iter().any(|known| {
                known
                    .key
                    .as_ref()
                    .is_some_and(|own| key.starts_with(own.as_str()))
            });
            if !gone || rows.iter().any(|file| key.starts_with(&file.key)) {
                world.violated(format!("{key} is no tombstone of a purged file (I5)"));
            }
        } else if let Some(file) = rows.iter().find(|file| key.starts_with(&file.key)) {
            // What was promoted before its file was deleted is taken up again when it is restored, and goes with the
            // purge; a revision that a later one replaced counts for nothing and goes with the file.
            let superseded = sidecar_epoch(&file.key, &key).is_some_and(|epoch| epoch < file.epoch);
            let promoted = file.state == FileState::Trashed
                && standing(file) == FileState::Confirmed
                && (key == file.key
                    || sidecar_epoch(&file.key, &key).is_some_and(|epoch| epoch <= file.epoch));
            if !promoted && !superseded {
                world.violated(format!(
                    "{key} is no part of its file, {:?} at epoch {} (I5)",
                    file.state, file.epoch
                ));
            }
        } else if !world
            .keys()
            .await
            .iter()
            .any(|other| is_tombstone_beside(other, &key))
        {
            // Until a tombstone's deadline is over, what late writers leave beside it may stand.
            world.violated(format!("{key} has no row (I5)"));
        }
    }
}

/// The epoch of a sidecar of this object.
fn sidecar_epoch(object: &str, key: &str) -> Option<u32> {
    let middle = key.strip_prefix(object)?.strip_prefix('.')?;
    middle.strip_suffix(".attr.json")?.parse().ok()
}

/// Whether this is the tombstone of the object that the key belongs to.
fn is_tombstone_beside(tombstone: &str, key: &str) -> bool {
    tombstone
        .strip_suffix(".tomb.attr.json")
        .is_some_and(|object| key.starts_with(object))
}
