//! Every change of a verified file, at every point: whole or not at all, in the row and in the store, and the store alone
//! is enough at every moment.

use cloakroom_core::access::{Principal, Role};
use cloakroom_core::file::{File, FilePatch, FileState};
use cloakroom_core::format::sidecar_v1::SidecarV1;
use cloakroom_core::id::FileId;
use cloakroom_core::key::{Beside, beside, sidecar_key};
use cloakroom_service::Result;

use super::scene::{rebuild, start};
use crate::app::{Process, Stores, ann, person};
use crate::interruptions::{POINTS_MAX, interrupted, run_doomed};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Change {
    Update,
    Delete,
    Restore,
    Hold,
    Release,
}

const CHANGES: [Change; 5] = [
    Change::Update,
    Change::Delete,
    Change::Restore,
    Change::Hold,
    Change::Release,
];

fn counsel() -> Principal {
    person("counsel", Role::Admin)
}

impl Change {
    async fn make(self, process: &Process, id: FileId) -> Result<()> {
        let app = &process.app;
        match self {
            Self::Update => {
                let patch = FilePatch {
                    filename: Some("new.bin".to_owned()),
                    ..FilePatch::default()
                };
                app.update_file(&ann(), id, patch, None).await.map(drop)
            }
            Self::Delete => app.delete_file(&ann(), id).await,
            Self::Restore => app.restore_file(&ann(), id).await.map(drop),
            Self::Hold => app.hold_file(&counsel(), id, "case 7").await.map(drop),
            Self::Release => app.release_file(&counsel(), id, "closed").await.map(drop),
        }
    }

    /// What must have been done before.
    const fn needs(self) -> Option<Self> {
        match self {
            Self::Restore => Some(Self::Delete),
            Self::Release => Some(Self::Hold),
            _ => None,
        }
    }

    fn is_made(self, file: &File) -> bool {
        match self {
            Self::Update => file.filename == "new.bin",
            Self::Delete => file.state == FileState::Trashed,
            Self::Restore => file.state == FileState::Ready,
            Self::Hold => file.hold.is_some(),
            Self::Release => file.hold.is_none(),
        }
    }
}

async fn prepared(change: Change) -> (Stores, FileId) {
    let stores = Stores::new().await;
    let process = stores.start();
    let id = process.upload(b"the bytes of a bank").await;
    process.work().await;
    if let Some(first) = change.needs() {
        first.make(&process, id).await.expect("done");
    }
    (stores, id)
}

/// As a sidecar gives it back.
fn restored(mut file: File) -> File {
    if let Some(staged) = &mut file.staged {
        staged.generation.clone_from(&staged.etag);
    }
    file
}

/// The sidecar that counts says what the row says.
async fn assert_agree(stores: &Stores, id: FileId, when: &str) {
    let file = stores.file(id).await;
    let bytes = stores.bytes(&sidecar_key(&file.key, file.epoch)).await;
    let sidecar = SidecarV1::decode(&bytes).expect("a sidecar");
    let back = sidecar.file(&file.bucket, &file.key).expect("a row");
    assert_eq!(back, restored(file.clone()), "{when}");
    for other in stores.keys().await {
        if let Some(Beside::Sidecar(epoch)) = beside(&file.key, &other) {
            assert!(epoch <= file.epoch, "{when}: {other}");
        }
    }
    let fresh = stores.with_fresh_database().await;
    rebuild(&start(&fresh)).await;
    assert_eq!(fresh.file(id).await, restored(file), "{when}");
    stores.assert_history(id).await;
    stores.assert_quiet().await;
}

#[tokio::test]
async fn a_change_is_made_whole_or_not_at_all() {
    for change in CHANGES {
        for point in 0..POINTS_MAX {
            let (stores, id) = prepared(change).await;
            let ended = run_doomed(&stores, point, async |process| {
                change.make(process, id).await.expect("done");
            })
            .await;
            let when = format!("{change:?} died at {point}");
            // The database is lost at this very moment.
            let fresh = stores.with_fresh_database().await;
            rebuild(&start(&fresh)).await;
            let back = fresh.file(id).await;
            assert!(
                change.is_made(&back) || !ended,
                "{when}: what was acknowledged is kept"
            );

            stores.start().recover().await;
            let file = stores.file(id).await;
            assert!(
                change.is_made(&file) || !ended,
                "{when}: what was acknowledged is kept"
            );
            assert_agree(&stores, id, &when).await;
            if ended {
                assert!(point >= 6, "the change has points to die at");
                break;
            }
        }
    }
}

#[tokio::test]
async fn a_change_that_stood_still_does_not_undo_a_later_one() {
    for change in CHANGES {
        for point in 0..POINTS_MAX {
            let (stores, id) = prepared(change).await;
            let healthy = stores.start();
            let mut names = Vec::new();
            let paused = interrupted(
                &stores,
                point,
                async |process| {
                    // Refused or done: both are answers.
                    let _ = change.make(process, id).await;
                },
                async || {
                    // Taken for dead or not: whoever comes next need not wait for it.
                    if point % 2 == 0 {
                        healthy.recover().await;
                    }
                    let file = stores.file(id).await;
                    if file.state == FileState::Trashed {
                        let _ = healthy.app.restore_file(&ann(), id).await;
                    }
                    let patch = FilePatch {
                        description: Some(Some("later".to_owned())),
                        ..FilePatch::default()
                    };
                    if healthy.app.update_file(&ann(), id, patch, None).await.is_ok() {
                        names.push("later");
                    }
                },
            )
            .await;
            healthy.recover().await;
            let when = format!("{change:?} stood still at {point}");
            let file = stores.file(id).await;
            assert!(
                names.is_empty() || file.description.as_deref() == Some("later"),
                "{when}"
            );
            assert_agree(&stores, id, &when).await;
            if !paused {
                break;
            }
        }
    }
}
