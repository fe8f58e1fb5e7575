//! Usage, counted anew: drift is found and set right, and nobody's change is lost over it.

use std::sync::Arc;

use cloakroom_core::event::EventKind;
use cloakroom_core::file::{File, FileError};
use cloakroom_core::ports::administration::UsageCheck;
use cloakroom_core::ports::metadata::Usage;
use cloakroom_core::transition::{Transition, UsageDelta};
use futures_util::future::join_all;

use super::{Store, stage};
use crate::fixtures::{SAMPLE_BYTES, SAMPLE_OWNER};
use crate::metadata_store_suite::stage::Stage;
use crate::metadata_store_suite::transitions::TRASH;

/// A change that counts what is not there: what a defect or a restored backup leaves behind.
async fn drift(stage: &Stage, file: &File, usage: UsageDelta) -> File {
    let mut next = file.clone();
    next.version += 1;
    let event = stage.occasion().event(&next, EventKind::Updated);
    let transition = Transition {
        usage,
        ..Transition::new(file.version, next, event)
    };
    stage.apply(transition).await
}

fn stored(files: u64) -> Usage {
    Usage {
        reserved_bytes: 0,
        stored_bytes: files * SAMPLE_BYTES,
        files,
    }
}

async fn check(store: &Store, repair: bool) -> Vec<UsageCheck> {
    let mut found = store.check_usage(repair).await.expect("check_usage");
    found.sort_by(|a, b| a.owner.cmp(&b.owner));
    found
}

/// A file on every way that it may take leaves the counters right.
pub async fn what_is_counted_is_what_there_is(store: Store) {
    let stage = stage(&store);
    assert_eq!(check(&store, true).await, []);
    stage.sign().await;
    let (open, upload) = stage.sign().await;
    let reaping = stage
        .apply(
            open.reap(&upload, "upload_expired", &stage.occasion())
                .expect("open"),
        )
        .await;
    assert_eq!(check(&store, false).await, [], "reaping");
    stage
        .apply(reaping.reaped(&stage.occasion()).expect("reaping"))
        .await;
    let (file, upload) = stage.sign().await;
    let confirmed = stage.confirm(&file, &upload).await;
    assert_eq!(check(&store, false).await, [], "confirmed");
    let processing = stage.process(&confirmed).await;
    let error = FileError {
        code: "checksum_mismatch".to_owned(),
        message: "The bytes differ.".to_owned(),
    };
    let failed = stage
        .apply(processing.fail(error, &stage.occasion()).expect("processing"))
        .await;
    assert_eq!(check(&store, false).await, [], "failed");
    let trashed = stage
        .apply(failed.trash(TRASH, &stage.occasion()).expect("failed"))
        .await;
    assert_eq!(check(&store, false).await, [], "trashed after it failed");
    stage
        .apply(trashed.purge(&stage.occasion()).expect("trashed"))
        .await;
    let ready = stage.ready(stage.new_file()).await;
    assert_eq!(check(&store, false).await, [], "ready");
    let trashed = stage
        .apply(ready.trash(TRASH, &stage.occasion()).expect("ready"))
        .await;
    assert_eq!(check(&store, false).await, [], "trashed");
    stage
        .apply(trashed.purge(&stage.occasion()).expect("trashed"))
        .await;
    assert_eq!(check(&store, true).await, [], "purging");
}

/// Too much, too little and what belongs to nobody; those that are right are left alone.
pub async fn drift_is_found_and_repaired(store: Store) {
    let stage = stage(&store);
    let mut files = Vec::new();
    for owner in ["ann", "bob", "eve", ""] {
        let new = stage.new_file_with(|file| owner.clone_into(&mut file.owner));
        files.push(stage.ready(new).await);
    }
    let much = UsageDelta {
        reserved_bytes: 70,
        stored_bytes: 7,
        files: 0,
    };
    let little = UsageDelta {
        reserved_bytes: 0,
        stored_bytes: -5,
        files: -1,
    };
    drift(&stage, &files[0], much).await;
    drift(&stage, &files[2], little).await;
    drift(&stage, &files[3], much).await;
    let too_much = Usage {
        reserved_bytes: 70,
        stored_bytes: SAMPLE_BYTES + 7,
        files: 1,
    };
    let wanted = [
        ("", too_much),
        ("ann", too_much),
        (
            "eve",
            Usage {
                stored_bytes: SAMPLE_BYTES - 5,
                ..Usage::default()
            },
        ),
    ]
    .map(|(owner, counted)| UsageCheck {
        owner: owner.to_owned(),
        counted,
        found: stored(1),
    });
    assert_eq!(check(&store, false).await, wanted);
    assert_eq!(check(&store, false).await, wanted, "looking repairs nothing");
    assert_eq!(check(&store, true).await, wanted);
    assert_eq!(check(&store, true).await, []);
    for owner in ["ann", "bob", "eve", ""] {
        assert_eq!(store.usage(owner).await.expect("usage"), stored(1), "{owner}");
    }
}

/// More owners than anybody looks at in one go.
pub async fn many_owners_are_all_checked(store: Store) {
    let stage = Arc::new(stage(&store));
    let runs = (0..230).map(|n| {
        let stage = Arc::clone(&stage);
        async move {
            let owner = format!("owner-{n:03}");
            let new = stage.new_file_with(|file| file.owner.clone_from(&owner));
            let (file, upload) = stage.insert(new).await;
            stage.confirm(&file, &upload).await
        }
    });
    let files = join_all(runs).await;
    let mut wanted = Vec::new();
    for file in files.iter().step_by(7) {
        let more = UsageDelta {
            files: 2,
            ..UsageDelta::default()
        };
        drift(&stage, file, more).await;
        wanted.push(file.owner.clone());
    }
    wanted.sort_unstable();
    let found: Vec<String> = check(&store, true)
        .await
        .into_iter()
        .map(|check| check.owner)
        .collect();
    assert_eq!(found, wanted);
    assert_eq!(check(&store, false).await, []);
}

/// Uploads are confirmed and files leave while one and the same owner is repaired, again and again.
pub async fn a_repair_does_not_undo_what_happens_meanwhile(store: Store) {
    let stage = stage(&store);
    let mut signed = Vec::new();
    for _ in 0..24 {
        signed.push(stage.sign().await);
    }
    let wrong = stage.ready(stage.new_file()).await;
    let mut wrong = drift(
        &stage,
        &wrong,
        UsageDelta {
            stored_bytes: 1_000_000,
            files: 1000,
            reserved_bytes: 0,
        },
    )
    .await;
    let confirmations: Vec<Transition> = signed
        .iter()
        .map(|(file, upload)| stage.confirmation(file, upload))
        .collect();
    let runs = confirmations.into_iter().map(|confirmation| {
        let metadata = Arc::clone(&stage.store);
        tokio::spawn(async move { metadata.apply(confirmation).await.expect("apply") })
    });
    let repairs = async {
        for _ in 0..10 {
            store.check_usage(true).await.expect("check_usage");
            let more = UsageDelta {
                files: 3,
                ..UsageDelta::default()
            };
            wrong = drift(&stage, &wrong, more).await;
        }
        store.check_usage(true).await.expect("check_usage");
    };
    let (confirmed, ()) = tokio::join!(join_all(runs.collect::<Vec<_>>()), repairs);
    for run in confirmed {
        run.expect("no panic");
    }
    assert_eq!(check(&store, true).await, []);
    assert_eq!(store.usage(SAMPLE_OWNER).await.expect("usage"), stored(25));
}
