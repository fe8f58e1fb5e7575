//! A file is in the archive or it is not: wherever whoever moves it dies or stands still, one place counts, and the bytes
//! there are the verified ones.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use cloakroom_core::access::{Principal, Role};
use cloakroom_core::collection::{Collection, Retention};
use cloakroom_core::derivative::DerivativeOutcome;
use cloakroom_core::error::ErrorCode;
use cloakroom_core::file::{File, FilePatch, FileState};
use cloakroom_core::format::sidecar_v1::SidecarV1;
use cloakroom_core::job::JobState;
use cloakroom_core::key::{KeyTemplate, sidecar_key};
use cloakroom_core::media::MediaType;
use cloakroom_core::ports::objects::{GetOptions, ListOptions, ObjectPath};
use cloakroom_core::ports::processor::{
    MadeDerivative, Processor, ProcessorError, ProcessorInput, ProcessorOutput,
};
use futures_util::StreamExt;
use jiff::SignedDuration;

use crate::app::{Process, Stores, ann, person};
use crate::interruptions::{POINTS_MAX, interrupted, points, run_doomed};

const CONTENT: &[u8] = b"the bytes of a bank";
const SMALL: &[u8] = b"small";
const DAY: SignedDuration = SignedDuration::from_hours(24);

fn olga() -> Principal {
    person("olga", Role::Operator)
}

struct Previews;

#[async_trait]
impl Processor for Previews {
    fn name(&self) -> &'static str {
        "previews"
    }

    fn accepts(&self, _: &MediaType) -> bool {
        true
    }

    async fn process(&self, _: ProcessorInput<'_>) -> Result<ProcessorOutput, ProcessorError> {
        let mut output = ProcessorOutput::default();
        output.derivatives.push(MadeDerivative {
            name: "preview".to_owned(),
            extension: "txt".to_owned(),
            content_type: MediaType::parse("text/plain").expect("a type"),
            bytes: Bytes::from_static(SMALL),
            width: None,
            height: None,
        });
        Ok(output)
    }
}

/// Stores with a collection that has an archive, whose bucket there is too.
struct Archive {
    stores: Stores,
    cold: String,
}

impl Archive {
    async fn new(archive_seconds: Option<u64>) -> Self {
        let mut stores = Stores::new().await;
        let cold = format!("{}-cold", stores.bucket);
        stores.objects.create_bucket(&cold).await.expect("a bucket");
        let retention = Retention {
            archive_seconds,
            archive_bucket: Some(cold.clone()),
            ..Retention::default()
        };
        stores.collections.push(Collection {
            retention,
            processors: vec!["previews".to_owned()],
            // Derivatives move to a directory of their own there as well.
            key_template: KeyTemplate::parse("papers/originals/{uuid}.{ext}").expect("a template"),
            ..Collection::new("papers", &stores.bucket)
        });
        Self { stores, cold }
    }

    async fn ready(&self) -> File {
        let stores = &self.stores;
        let process = stores.start_with(
            Arc::clone(&stores.metadata),
            Arc::clone(&stores.administration),
            Arc::clone(&stores.objects),
            vec![Arc::new(Previews)],
        );
        let signed = process.sign_in("papers", CONTENT).await;
        process.send(&signed, CONTENT).await;
        process.confirm(signed.file.id).await;
        process.work().await;
        let file = stores.file(signed.file.id).await;
        assert_eq!(file.state, FileState::Ready);
        file
    }

    async fn archived(&self) -> File {
        let file = self.ready().await;
        let process = self.stores.start();
        process.app.archive_file(&olga(), file.id).await.expect("asked");
        process.work().await;
        let file = self.stores.file(file.id).await;
        assert_eq!(file.state, FileState::Archived);
        file
    }

    async fn keys(&self, bucket: &str) -> Vec<String> {
        let options = ListOptions {
            limit: 1_000,
            ..ListOptions::default()
        };
        let page = self.stores.objects.list(bucket, &options).await.expect("a list");
        page.objects.into_iter().map(|object| object.key).collect()
    }

    async fn bytes(&self, path: &ObjectPath) -> Vec<u8> {
        let read = self.stores.objects.get(path, &GetOptions::default()).await;
        let mut read = read.unwrap_or_else(|error| panic!("{path:?}: {error}"));
        let mut bytes = Vec::new();
        while let Some(piece) = read.body.next().await {
            bytes.extend_from_slice(&piece.expect("a piece"));
        }
        bytes
    }

    /// The file stands where its row says, whole, and nowhere else.
    async fn assert_one_truth(&self, file: &File, point: usize) {
        let preview = self.assert_whole(file, point).await;
        let mut expected = vec![file.key.clone(), sidecar_key(&file.key, file.epoch), preview];
        expected.sort_unstable();
        let other = if file.bucket == self.cold {
            self.stores.bucket.clone()
        } else {
            self.cold.clone()
        };
        assert_eq!(self.keys(&file.bucket).await, expected, "at {point}");
        let none: [&str; 0] = [];
        assert_eq!(self.keys(&other).await, none, "at {point}");
        self.stores.assert_history(file.id).await;
        self.stores.assert_quiet().await;
        let usage = self.stores.metadata.usage("ann").await.expect("usage");
        assert_eq!((usage.files, usage.stored_bytes), (1, CONTENT.len() as u64));
    }

    /// Object, derivative and sidecar stand; returns the derivative's key.
    async fn assert_whole(&self, file: &File, point: usize) -> String {
        let at = |key: &str| ObjectPath::new(&file.bucket, key);
        assert_eq!(self.bytes(&at(&file.key)).await, CONTENT, "at {point}");
        let sidecar = self.bytes(&at(&sidecar_key(&file.key, file.epoch))).await;
        let sidecar = SidecarV1::decode(&sidecar).expect("a sidecar");
        assert_eq!(sidecar.state, file.state.as_str(), "at {point}");
        assert_eq!(sidecar.filename, file.filename, "at {point}");
        assert_eq!(sidecar.key, None, "it stands beside its object");
        let derivatives = self
            .stores
            .metadata
            .derivatives(file.id)
            .await
            .expect("derivatives");
        let DerivativeOutcome::Made { key, .. } = &derivatives[0].outcome else {
            panic!("the preview moved along");
        };
        assert_eq!(self.bytes(&at(key)).await, SMALL, "at {point}");
        key.clone()
    }

    /// Until the leases of the dead are over, nothing is left to do, and what they left is swept.
    async fn settle(&self) {
        let process = self.stores.start();
        process.recover().await;
        process.recover().await;
        process.work().await;
    }
}

fn renamed(name: &str) -> FilePatch {
    FilePatch {
        filename: Some(name.to_owned()),
        ..FilePatch::default()
    }
}

#[tokio::test]
async fn a_file_goes_there_and_comes_back() {
    let archive = Archive::new(None).await;
    let process = archive.stores.start();
    let ready = archive.ready().await;
    let refused = process.app.archive_file(&ann(), ready.id).await;
    assert_eq!(
        refused.expect_err("refused").code(),
        ErrorCode::InsufficientPermissions
    );
    process.app.archive_file(&olga(), ready.id).await.expect("asked");
    process
        .app
        .archive_file(&olga(), ready.id)
        .await
        .expect("asked again");
    process.work().await;
    let archived = archive.stores.file(ready.id).await;
    assert_eq!(
        (archived.state, &archived.bucket),
        (FileState::Archived, &archive.cold)
    );
    archive.assert_one_truth(&archived, 0).await;
    let refused = process.app.download(&ann(), ready.id, false).await;
    let refused = refused.expect_err("refused");
    assert_eq!(refused.code(), ErrorCode::ArchivedFile);

    let renamed = process
        .app
        .update_file(&ann(), ready.id, renamed("b.bin"), None)
        .await
        .expect("metadata may change");
    archive.assert_one_truth(&renamed, 0).await;

    process
        .app
        .unarchive_file(&olga(), ready.id)
        .await
        .expect("asked");
    process.work().await;
    let back = archive.stores.file(ready.id).await;
    assert_eq!(back.state, FileState::Ready);
    assert_eq!(back.bucket, archive.stores.bucket);
    assert!(back.unarchived_at.is_some() && back.key != ready.key);
    archive.assert_one_truth(&back, 0).await;
    process
        .app
        .download(&ann(), ready.id, false)
        .await
        .expect("a URL");
    process
        .app
        .archive_file(&olga(), ready.id)
        .await
        .expect("and again");
    process.work().await;
    archive
        .assert_one_truth(&archive.stores.file(ready.id).await, 0)
        .await;
}

#[tokio::test]
async fn a_purge_removes_every_place() {
    let archive = Archive::new(None).await;
    let process = archive.stores.start();
    let file = archive.archived().await;
    process.app.unarchive_file(&olga(), file.id).await.expect("asked");
    process.work().await;
    process.app.delete_file(&ann(), file.id).await.expect("deleted");
    for _ in 0..3 {
        archive.stores.clock.advance(DAY * 8);
        process.recover().await;
    }
    assert_eq!(
        archive.stores.metadata.file(file.id).await.expect("an answer"),
        None
    );
    for bucket in [&archive.cold, &archive.stores.bucket] {
        assert_eq!(archive.keys(bucket).await, [""; 0]);
    }
    archive.stores.assert_quiet().await;
}

#[tokio::test]
async fn files_are_archived_at_their_age_and_again_after_they_came_back() {
    let archive = Archive::new(Some(30 * 24 * 60 * 60)).await;
    let process = archive.stores.start();
    let id = archive.ready().await.id;
    archive.stores.clock.advance(DAY * 29);
    process.recover().await;
    assert_eq!(archive.stores.file(id).await.state, FileState::Ready);
    archive.stores.clock.advance(DAY * 2);
    process.recover().await;
    assert_eq!(archive.stores.file(id).await.state, FileState::Archived);
    process.app.unarchive_file(&olga(), id).await.expect("asked");
    process.work().await;
    archive.stores.clock.advance(DAY * 29);
    process.recover().await;
    assert_eq!(
        archive.stores.file(id).await.state,
        FileState::Ready,
        "its time begins anew"
    );
    archive.stores.clock.advance(DAY * 2);
    process.recover().await;
    let file = archive.stores.file(id).await;
    assert_eq!(file.state, FileState::Archived);
    archive.assert_one_truth(&file, 0).await;
}

#[tokio::test]
async fn a_damaged_object_does_not_move() {
    let archive = Archive::new(None).await;
    let process = archive.stores.start();
    let file = archive.ready().await;
    archive.stores.send_to(&file.key, b"the bytes of a bunk").await;
    process.app.archive_file(&olga(), file.id).await.expect("asked");
    for _ in 0..4 {
        process.work().await;
        archive.stores.clock.advance(SignedDuration::from_mins(1));
    }
    let now = archive.stores.file(file.id).await;
    assert_eq!((now.state, now.version), (FileState::Ready, file.version));
    assert_eq!(
        archive.keys(&archive.cold).await,
        [""; 0],
        "nothing half or wrong is left"
    );
    let jobs = archive.stores.metadata.jobs(Some(JobState::Dead), None, 10).await;
    assert_eq!(jobs.expect("jobs").items.len(), 1, "an administrator is told");
}

#[tokio::test]
async fn what_cannot_be_archived_is_not_tried_for_ever() {
    let archive = Archive::new(Some(24 * 60 * 60)).await;
    let process = archive.stores.start();
    let (damaged, whole) = (archive.ready().await, archive.ready().await);
    archive.stores.send_to(&damaged.key, b"the bytes of a bunk").await;
    archive.stores.clock.advance(DAY * 2);
    for _ in 0..3 {
        process.recover().await;
        archive.stores.clock.advance(DAY);
    }
    let jobs = archive.stores.metadata.jobs(None, None, 10).await;
    let jobs: Vec<_> = jobs
        .expect("jobs")
        .items
        .iter()
        .map(|job| (job.file_id, job.state))
        .collect();
    assert_eq!(jobs, [(damaged.id, JobState::Dead)]);
    let moved = archive.stores.file(whole.id).await;
    assert_eq!(moved.state, FileState::Archived, "one does not hold up the other");
}

#[tokio::test]
async fn without_an_archive_nothing_is_archived() {
    let archive = Archive::new(None).await;
    let process = archive.stores.start();
    let id = process.upload(CONTENT).await;
    let early = process.app.archive_file(&olga(), id).await.expect_err("refused");
    assert_eq!(early.code(), ErrorCode::InvalidState, "it is not ready");
    process.work().await;
    let refused = process.app.archive_file(&olga(), id).await.expect_err("refused");
    assert_eq!(refused.code(), ErrorCode::InvalidState);
    let back = process
        .app
        .unarchive_file(&olga(), id)
        .await
        .expect("it is there");
    assert_eq!(back.state, FileState::Ready);
}

/// Whoever moves the file dies at any point, there or back.
async fn dies_anywhere(back: bool) {
    for point in points() {
        let archive = Archive::new(None).await;
        let (file, expected) = if back {
            (archive.archived().await, FileState::Ready)
        } else {
            (archive.ready().await, FileState::Archived)
        };
        let ask = async |process: &Process| {
            let asked = if back {
                process.app.unarchive_file(&olga(), file.id).await
            } else {
                process.app.archive_file(&olga(), file.id).await
            };
            asked.expect("asked");
        };
        ask(&archive.stores.start()).await;
        let ended = run_doomed(&archive.stores, point, async |process| process.work().await).await;
        archive.settle().await;
        let now = archive.stores.file(file.id).await;
        assert_eq!(now.state, expected, "died at {point}");
        archive.assert_one_truth(&now, point).await;
        if ended {
            assert!(point > 12, "there are changes to die at");
            return;
        }
    }
    panic!("the scenario never ended by itself");
}

#[tokio::test]
async fn an_archiving_that_dies_anywhere_leaves_one_truth() {
    dies_anywhere(false).await;
}

#[tokio::test]
async fn a_return_that_dies_anywhere_leaves_one_truth() {
    dies_anywhere(true).await;
}

/// Whoever moves the file stands still at any point, long enough to be taken for dead, while the file is changed.
#[tokio::test]
async fn an_archiving_that_stood_still_harms_no_change() {
    for point in 0..POINTS_MAX {
        let archive = Archive::new(None).await;
        let file = archive.ready().await;
        let healthy = archive.stores.start();
        healthy.app.archive_file(&olga(), file.id).await.expect("asked");
        let paused = interrupted(
            &archive.stores,
            point,
            async |process| process.work().await,
            async || {
                // Refused while the move decides, or done: both are answers.
                let updated = healthy
                    .app
                    .update_file(&ann(), file.id, renamed("b.bin"), None)
                    .await;
                healthy.recover().await;
                if updated.is_err() {
                    let updated = healthy
                        .app
                        .update_file(&ann(), file.id, renamed("b.bin"), None)
                        .await;
                    updated.expect("after the recovery nothing is in the way");
                }
                healthy.recover().await;
            },
        )
        .await;
        archive.settle().await;
        let now = archive.stores.file(file.id).await;
        assert_eq!(now.state, FileState::Archived, "stood still at {point}");
        if paused {
            assert_eq!(now.filename, "b.bin", "stood still at {point}");
        }
        archive.assert_whole(&now, point).await;
        archive.stores.assert_history(now.id).await;
        archive.stores.assert_quiet().await;
        if !paused {
            assert!(point > 12);
            return;
        }
    }
    panic!("the scenario never ended");
}

/// What a move that died left is swept, and what a move that stood still may yet commit is not swept away from under it.
#[tokio::test]
async fn a_sweep_beside_a_move_that_stood_still_loses_nothing() {
    use cloakroom_core::operation::OperationKind;
    use cloakroom_core::ports::clock::Clock as _;
    for point in points() {
        let archive = Archive::new(None).await;
        let wall = cloakroom_testkit::clock::WallClock.now();
        archive.stores.clock.set(wall);
        let file = archive.ready().await;
        let healthy = archive.stores.start();
        healthy.app.archive_file(&olga(), file.id).await.expect("asked");
        let trash = || serde_json::json!({"trash": true});
        let paused = interrupted(
            &archive.stores,
            point,
            async |process| process.work().await,
            async || {
                for _ in 0..2 {
                    archive.stores.clock.advance(DAY * 8);
                    healthy.operate(OperationKind::Orphans, trash()).await;
                    healthy.app.sweep_garbage().await.expect("swept");
                }
            },
        )
        .await;
        for _ in 0..3 {
            archive.settle().await;
            healthy.run_operations().await;
            healthy.operate(OperationKind::Orphans, trash()).await;
            archive.stores.clock.advance(DAY * 8);
            healthy.app.sweep_garbage().await.expect("swept");
        }
        let now = archive.stores.file(file.id).await;
        assert_eq!(now.state, FileState::Archived, "stood still at {point}");
        archive.assert_one_truth(&now, point).await;
        if !paused {
            return;
        }
    }
    panic!("the scenario never ended");
}

/// The database is lost when the one who moves the file dies: a rebuild finds one place, and the whole file there.
#[tokio::test]
async fn a_move_that_dies_with_the_database_leaves_one_truth() {
    use cloakroom_core::operation::OperationKind;
    for point in points() {
        let mut archive = Archive::new(None).await;
        let file = archive.ready().await;
        let process = archive.stores.start();
        process.app.archive_file(&olga(), file.id).await.expect("asked");
        let ended = run_doomed(&archive.stores, point, async |process| process.work().await).await;
        archive.stores = archive.stores.with_fresh_database().await;
        let process = archive.stores.start();
        process
            .operate(OperationKind::Rebuild, serde_json::json!({}))
            .await;
        archive.settle().await;
        let now = archive.stores.file(file.id).await;
        let at = |key: &str| ObjectPath::new(&now.bucket, key);
        assert_eq!(archive.bytes(&at(&now.key)).await, CONTENT, "died at {point}");
        let expected = match now.state {
            FileState::Ready => &archive.stores.bucket,
            FileState::Archived => &archive.cold,
            other => panic!("died at {point}: {other:?}"),
        };
        assert_eq!(&now.bucket, expected, "died at {point}");
        let derivatives = archive
            .stores
            .metadata
            .derivatives(now.id)
            .await
            .expect("derivatives");
        let DerivativeOutcome::Made { key, .. } = &derivatives[0].outcome else {
            panic!("died at {point}: the preview is there");
        };
        assert_eq!(archive.bytes(&at(key)).await, SMALL, "died at {point}");
        assert!(now.state == FileState::Archived || !ended, "died at {point}");
        if ended {
            return;
        }
    }
    panic!("the scenario never ended by itself");
}
