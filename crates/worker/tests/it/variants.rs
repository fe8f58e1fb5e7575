//! Variants over real stores: one of each, whoever asks at the same time and wherever a process dies; a cache that nobody
//! misses when it is lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use cloakroom_core::access::Role;
use cloakroom_core::collection::{Collection, Retention};
use cloakroom_core::derivative::{Derivative, DerivativeOutcome};
use cloakroom_core::error::ErrorCode;
use cloakroom_core::file::{File, FileError, FileState};
use cloakroom_core::id::FileId;
use cloakroom_core::image::ImagePolicy;
use cloakroom_core::key::sidecar_key;
use cloakroom_core::media::MediaType;
use cloakroom_core::operation::OperationKind;
use cloakroom_core::ports::clock::Clock as _;
use cloakroom_core::ports::objects::{GetOptions, ObjectPath};
use cloakroom_core::ports::processor::{MadeDerivative, ProcessorError};
use cloakroom_core::ports::renderer::{Renderer, RendererInput};
use cloakroom_service::variants::{SignedVariant, VariantRequest};
use cloakroom_testkit::clock::WallClock;
use cloakroom_testkit::crashes::{CrashPlan, CrashingAdministration, CrashingMetadata, CrashingObjects};
use futures_util::StreamExt as _;
use futures_util::future::join_all;
use jiff::SignedDuration;
use serde_json::json;
use tokio::sync::Semaphore;

use crate::app::{Process, Stores, ann, person};

const CONTENT: &[u8] = b"the pixels of a photo";
/// More points than any scenario here has.
const POINTS_MAX: usize = 60;
/// How many variants of one file are kept.
const KEPT: u32 = 3;

/// Stands for the image processor: paints the same for the same, and counts.
#[derive(Default)]
struct Painter {
    painted: AtomicUsize,
    /// Refuses what has this width.
    refused_width: Option<u32>,
    /// Paints nothing until this is closed.
    gate: Option<Arc<Semaphore>>,
}

#[async_trait]
impl Renderer for Painter {
    fn accepts(&self, _: &MediaType) -> bool {
        true
    }

    async fn render(&self, input: RendererInput<'_>) -> Result<MadeDerivative, ProcessorError> {
        self.painted.fetch_add(1, Ordering::SeqCst);
        if input.rendition.width.is_some() && input.rendition.width == self.refused_width {
            return Err(ProcessorError::Rejected(FileError {
                code: "malformed_file".to_owned(),
                message: "Byte 7 is wrong.".to_owned(),
            }));
        }
        let mut bytes = Vec::new();
        let stream = input.source.read(None).await;
        let mut stream = stream.map_err(|error| ProcessorError::Retry(error.to_string()))?;
        while let Some(piece) = stream.next().await {
            bytes.extend(piece.map_err(|error| ProcessorError::Retry(error.to_string()))?);
        }
        // Others get to ask meanwhile.
        tokio::task::yield_now().await;
        if let Some(gate) = &self.gate {
            gate.acquire().await.expect_err("closed, never given");
        }
        bytes.extend_from_slice(input.rendition.query().as_bytes());
        Ok(MadeDerivative {
            name: input.name.to_owned(),
            extension: "webp".to_owned(),
            content_type: MediaType::parse("image/webp").expect("a type"),
            bytes: bytes.into(),
            width: input.rendition.width,
            height: None,
        })
    }
}

struct Gallery {
    stores: Stores,
    painter: Arc<Painter>,
}

impl Gallery {
    async fn new() -> Self {
        Self::with(Painter::default()).await
    }

    async fn with(painter: Painter) -> Self {
        let mut stores = Stores::new().await;
        // Objects have the age that the file system or the server says.
        stores.clock.set(WallClock.now());
        let cold = format!("{}-cold", stores.bucket);
        stores.objects.create_bucket(&cold).await.expect("a bucket");
        stores.collections.push(Collection {
            images: ImagePolicy {
                variants: true,
                variants_max: KEPT,
                ..ImagePolicy::default()
            },
            retention: Retention {
                archive_bucket: Some(cold),
                ..Retention::default()
            },
            ..Collection::new("photos", &stores.bucket)
        });
        let painter = Arc::new(painter);
        stores.renderer = Some(Arc::clone(&painter) as _);
        Self { stores, painter }
    }

    async fn photo(&self) -> File {
        let process = self.stores.start();
        let signed = process.sign_in("photos", CONTENT).await;
        process.send(&signed, CONTENT).await;
        process.confirm(signed.file.id).await;
        process.work().await;
        let file = self.stores.file(signed.file.id).await;
        assert_eq!(file.state, FileState::Ready);
        file
    }

    fn doomed(&self, plan: &Arc<CrashPlan>) -> Process {
        let stores = &self.stores;
        stores.start_with(
            Arc::new(CrashingMetadata {
                inner: Arc::clone(&stores.metadata),
                crash: Arc::clone(plan),
            }),
            Arc::new(CrashingAdministration {
                inner: Arc::clone(&stores.administration),
                crash: Arc::clone(plan),
            }),
            Arc::new(CrashingObjects {
                inner: Arc::clone(&stores.objects),
                crash: Arc::clone(plan),
            }),
            vec![],
        )
    }

    fn painted(&self) -> usize {
        self.painter.painted.load(Ordering::SeqCst)
    }

    async fn variants(&self, id: FileId) -> Vec<Derivative> {
        let mut found = self.stores.metadata.derivatives(id).await.expect("derivatives");
        found.retain(Derivative::is_variant);
        found
    }

    /// Keys in the bucket that are of variants.
    async fn variant_keys(&self) -> Vec<String> {
        let mut keys = self.stores.keys().await;
        keys.retain(|key| key.contains(".v-"));
        keys
    }

    /// Rows and objects agree, and nothing else stands beside the file.
    async fn assert_agreed(&self, id: FileId) {
        let mut rows: Vec<String> = self.variants(id).await.iter().filter_map(made_key).collect();
        rows.sort_unstable();
        assert_eq!(self.variant_keys().await, rows);
        let process = self.stores.start();
        process.run_operations().await;
        let verified = process
            .operate(OperationKind::Verify, json!({"deep": true}))
            .await;
        assert_eq!(verified.lines(), []);
        let scanned = process.operate(OperationKind::Orphans, json!({})).await;
        assert_eq!(scanned.lines(), []);
    }
}

fn made_key(variant: &Derivative) -> Option<String> {
    match &variant.outcome {
        DerivativeOutcome::Made { key, .. } => Some(key.clone()),
        DerivativeOutcome::Failed { .. } => None,
    }
}

/// What was trashed goes when its time is over.
async fn purge_garbage(stores: &Stores, process: &Process) {
    stores.clock.advance(SignedDuration::from_hours(24 * 8));
    for _ in 0..2 {
        process.recover().await;
        process.run_operations().await;
    }
}

async fn signed(process: &Process, id: FileId, width: u32) -> SignedVariant {
    let request = VariantRequest {
        width: Some(width),
        ..VariantRequest::default()
    };
    process
        .app
        .sign_variant(&ann(), id, request)
        .await
        .expect("signed")
}

/// Where the picture is.
async fn fetched(process: &Process, asked: &SignedVariant) -> String {
    process.app.variant(asked).await.expect("a picture").url
}

async fn refused(process: &Process, asked: &SignedVariant) -> ErrorCode {
    process.app.variant(asked).await.expect_err("refused").code()
}

#[tokio::test]
async fn a_variant_is_made_once_and_changes_nothing_of_its_file() {
    let gallery = Gallery::new().await;
    let (stores, file) = (&gallery.stores, gallery.photo().await);
    let process = stores.start();
    let asked = signed(&process, file.id, 320).await;
    assert_eq!(gallery.painted(), 0, "nothing is made by signing");
    let url = fetched(&process, &asked).await;
    assert_eq!(fetched(&process, &asked).await, url, "one address, for caches");
    assert_eq!(
        fetched(&stores.start(), &asked).await,
        url,
        "of whichever process"
    );
    assert_eq!(gallery.painted(), 1);

    let variants = gallery.variants(file.id).await;
    assert_eq!((variants.len(), &variants[0].name), (1, &asked.name()));
    let key = made_key(&variants[0]).expect("made");
    assert!(url.contains(&key), "{url}");
    let expected = [CONTENT, b"w=320&fit=contain&format=auto&quality=80"].concat();
    assert_eq!(stores.bytes(&key).await, expected);
    assert_eq!(stores.file(file.id).await, file);
    stores.assert_history(file.id).await;
    stores.assert_quiet().await;
    gallery.assert_agreed(file.id).await;
}

/// A hundred requests on one node, as many on another: one is made on each at most, and one is kept.
#[tokio::test]
async fn a_crowd_makes_one_variant() {
    let gallery = Gallery::new().await;
    let file = gallery.photo().await;
    let (one, other) = (gallery.stores.start(), gallery.stores.start());
    let asked = signed(&one, file.id, 64).await;
    let crowd = |process: &Process| {
        let (process, asked) = (process.clone(), asked.clone());
        (0..100).map(move |_| {
            let (process, asked) = (process.clone(), asked.clone());
            async move { fetched(&process, &asked).await }
        })
    };
    let urls = join_all(crowd(&one)).await;
    assert_eq!(gallery.painted(), 1, "single flight");
    assert!(urls.iter().all(|url| *url == urls[0]));
    gallery.assert_agreed(file.id).await;

    let asked_again = signed(&one, file.id, 65).await;
    let both = join_all([&one, &other].map(|process| {
        let (process, asked) = (process.clone(), asked_again.clone());
        async move { fetched(&process, &asked).await }
    }));
    let urls = both.await;
    assert_eq!(urls[0], urls[1], "the loser gives what the winner made");
    assert!(gallery.painted() <= 3);
    assert_eq!(gallery.variants(file.id).await.len(), 2);
    gallery.assert_agreed(file.id).await;
}

/// Whoever goes away does not take the picture from those who stay.
#[tokio::test]
async fn who_asked_first_may_leave() {
    let gate = Arc::new(Semaphore::new(0));
    let gallery = Gallery::with(Painter {
        gate: Some(Arc::clone(&gate)),
        ..Painter::default()
    })
    .await;
    let file = gallery.photo().await;
    let process = gallery.stores.start();
    let asked = signed(&process, file.id, 64).await;
    let mut first = Box::pin(process.app.variant(&asked));
    // Until the making has begun. Nothing of it is stored before the gate opens.
    while gallery.painted() == 0 {
        tokio::select! {
            biased;
            _ = &mut first => panic!("the gate is closed"),
            () = tokio::task::yield_now() => {}
        }
    }
    let second = process.app.variant(&asked);
    let (second, ()) = tokio::join!(second, async {
        drop(first);
        gate.close();
    });
    second.expect("a picture");
    // It was the first one's if the second came in time to wait for it.
    assert!((1..=2).contains(&gallery.painted()));
    assert_eq!(gallery.variants(file.id).await.len(), 1);
    gallery.assert_agreed(file.id).await;
}

/// Nobody waits any more: nothing is made, and who comes later begins anew.
#[tokio::test]
async fn a_process_may_die_at_any_point() {
    for point in 0..POINTS_MAX {
        let gallery = Gallery::new().await;
        let stores = &gallery.stores;
        let file = gallery.photo().await;
        let asked = signed(&stores.start(), file.id, 64).await;
        let plan = CrashPlan::at(point);
        let doomed = gallery.doomed(&plan);
        let ended = tokio::select! {
            url = fetched(&doomed, &asked) => { assert!(url.contains(".v-")); true }
            () = plan.crashed() => false,
        };
        drop(doomed);
        let process = stores.start();
        let url = fetched(&process, &asked).await;
        let variants = gallery.variants(file.id).await;
        assert_eq!(variants.len(), 1, "died at {point}");
        assert!(url.contains(&made_key(&variants[0]).expect("made")));
        // What nobody names is found once it is not young any more, and goes.
        stores.clock.advance(SignedDuration::from_hours(2));
        process
            .operate(OperationKind::Orphans, json!({"trash": true}))
            .await;
        purge_garbage(stores, &process).await;
        gallery.assert_agreed(file.id).await;
        if ended {
            assert!(point >= 4, "there is something to die at");
            return;
        }
    }
    panic!("it never ended by itself");
}

#[tokio::test]
async fn the_oldest_gives_way_when_its_time_is_over() {
    let gallery = Gallery::new().await;
    let stores = &gallery.stores;
    let (file, process) = (gallery.photo().await, stores.start());
    for width in 1..=KEPT {
        fetched(&process, &signed(&process, file.id, width).await).await;
        stores.clock.advance(SignedDuration::from_secs(60));
    }
    let oldest = signed(&process, file.id, 1).await;
    let more = signed(&process, file.id, 100).await;
    assert_eq!(refused(&process, &more).await, ErrorCode::TooManyVariants);
    assert_eq!(
        gallery.painted(),
        KEPT as usize,
        "refused before anything is made"
    );
    fetched(&process, &oldest).await;
    // An hour after the first was made, nobody who was sent there is still on his way.
    stores
        .clock
        .advance(SignedDuration::from_secs(3600 - 60 * i64::from(KEPT) + 1));
    fetched(&process, &signed(&process, file.id, 100).await).await;
    let names: Vec<_> = gallery
        .variants(file.id)
        .await
        .into_iter()
        .map(|one| one.name)
        .collect();
    assert_eq!(names.len(), KEPT as usize);
    assert!(!names.contains(&oldest.name()));
    gallery.assert_agreed(file.id).await;
}

#[tokio::test]
async fn what_cannot_be_made_is_not_tried_all_the_time() {
    let gallery = Gallery::with(Painter {
        refused_width: Some(7),
        ..Painter::default()
    })
    .await;
    let stores = &gallery.stores;
    let (file, process) = (gallery.photo().await, stores.start());
    for _ in 0..3 {
        let asked = signed(&process, file.id, 7).await;
        let error = process.app.variant(&asked).await.expect_err("refused");
        assert_eq!(error.code(), ErrorCode::VariantFailed);
        assert!(error.to_string().contains("Byte 7 is wrong."), "{error}");
    }
    assert_eq!(gallery.painted(), 1);
    stores.clock.advance(SignedDuration::from_mins(61));
    let asked = signed(&process, file.id, 7).await;
    assert_eq!(refused(&process, &asked).await, ErrorCode::VariantFailed);
    assert_eq!(gallery.painted(), 2);
    gallery.assert_agreed(file.id).await;
}

/// I1: with the file its variants are not served any more, from one request to the next; and with it they are purged.
#[tokio::test]
async fn variants_go_with_their_file() {
    let gallery = Gallery::new().await;
    let stores = &gallery.stores;
    let (file, process) = (gallery.photo().await, stores.start());
    let day = SignedDuration::from_hours(24);
    let there = signed(&process, file.id, 64).await;
    let not_yet = signed(&process, file.id, 65).await;
    fetched(&process, &there).await;
    process.app.delete_file(&ann(), file.id).await.expect("deleted");
    for asked in [&there, &not_yet] {
        assert_eq!(refused(&process, asked).await, ErrorCode::FileNotReady);
    }
    process.app.restore_file(&ann(), file.id).await.expect("restored");
    fetched(&process, &there).await;
    fetched(&process, &not_yet).await;
    assert_eq!(gallery.painted(), 2);
    gallery.assert_agreed(file.id).await;

    process.app.delete_file(&ann(), file.id).await.expect("deleted");
    stores.clock.advance(day * 8);
    process.recover().await;
    assert_eq!(gallery.variant_keys().await, [""; 0]);
    // A URL that is younger than the file's end.
    let late = SignedVariant {
        expires_at: stores.clock.now() + SignedDuration::from_secs(60),
        ..there
    };
    assert_eq!(refused(&process, &late).await, ErrorCode::InvalidSignature);
}

/// A file that is on its way to the archive takes none along, and has them made again when it comes back.
#[tokio::test]
async fn variants_stay_behind_when_their_file_moves() {
    let gallery = Gallery::new().await;
    let stores = &gallery.stores;
    let (file, process) = (gallery.photo().await, stores.start());
    let olga = person("olga", Role::Operator);
    let asked = signed(&process, file.id, 64).await;
    fetched(&process, &asked).await;
    process.app.archive_file(&olga, file.id).await.expect("asked");
    process.work().await;
    process.work().await;
    assert_eq!(stores.file(file.id).await.state, FileState::Archived);
    assert_eq!(refused(&process, &asked).await, ErrorCode::ArchivedFile);
    gallery.assert_nothing_shown(file.id).await;
    process.app.unarchive_file(&olga, file.id).await.expect("asked");
    process.work().await;
    process.work().await;
    let back = stores.file(file.id).await;
    assert_eq!(back.state, FileState::Ready);
    let url = fetched(&process, &asked).await;
    assert!(url.contains(&back.key) && back.key != file.key, "{url}");
    assert_eq!(gallery.painted(), 2);
    gallery.assert_agreed(file.id).await;
}

impl Gallery {
    async fn assert_nothing_shown(&self, id: FileId) {
        let process = self.stores.start();
        let (_, derivatives) = process
            .app
            .file_with_derivatives(&ann(), id)
            .await
            .expect("a file");
        assert_eq!(derivatives, []);
        process.run_operations().await;
        let verified = process
            .operate(OperationKind::Verify, json!({"deep": true}))
            .await;
        assert_eq!(verified.lines(), []);
    }
}

/// I6: what is lost with the database is the cache alone; what it leaves is garbage, and what is asked for is made again.
#[tokio::test]
async fn a_rebuild_forgets_variants() {
    let mut gallery = Gallery::new().await;
    let file = gallery.photo().await;
    let process = gallery.stores.start();
    let asked = signed(&process, file.id, 64).await;
    fetched(&process, &asked).await;
    process
        .app
        .update_file(
            &ann(),
            file.id,
            cloakroom_core::file::FilePatch {
                description: Some(Some("With variants.".to_owned())),
                ..Default::default()
            },
            None,
        )
        .await
        .expect("updated");
    let file = gallery.stores.file(file.id).await;
    let sidecar = gallery.stores.bytes(&sidecar_key(&file.key, file.epoch)).await;
    assert!(!String::from_utf8_lossy(&sidecar).contains("variant-"));
    gallery.assert_agreed(file.id).await;
    let left = gallery.variant_keys().await;

    gallery.stores = gallery.stores.with_fresh_database().await;
    let stores = &gallery.stores;
    let process = stores.start();
    process.run_operations().await;
    process.operate(OperationKind::Rebuild, json!({})).await;
    assert_eq!(stores.file(file.id).await.state, FileState::Ready);
    assert_eq!(gallery.variants(file.id).await, []);
    stores.clock.advance(SignedDuration::from_hours(2));
    let scanned = process
        .operate(OperationKind::Orphans, json!({"trash": true}))
        .await;
    assert_eq!(
        scanned.lines(),
        [("unlisted_derivative", left[0].as_str(), "trashed")]
    );

    // Made again beside it: the garbage goes, and nothing else.
    let asked = signed(&process, file.id, 64).await;
    fetched(&process, &asked).await;
    assert_eq!(gallery.painted(), 2);
    purge_garbage(stores, &process).await;
    assert!(!gallery.variant_keys().await.contains(&left[0]));
    gallery.assert_agreed(file.id).await;
}

/// A file that went away while its variant was made: the object goes as well.
#[tokio::test]
async fn a_variant_of_a_file_that_was_deleted_meanwhile_is_not_kept() {
    let gallery = Gallery::new().await;
    let stores = &gallery.stores;
    let (file, process) = (gallery.photo().await, stores.start());
    let asked = signed(&process, file.id, 64).await;
    for point in 0..4 {
        let plan = CrashPlan::pausing_at(point);
        let paused = gallery.doomed(&plan);
        let (outcome, ()) = tokio::join!(paused.app.variant(&asked), async {
            plan.crashed().await;
            process.app.delete_file(&ann(), file.id).await.expect("deleted");
            plan.resume();
        });
        // After the row was added it is too late, and the purge takes it.
        if let Err(error) = outcome {
            assert_eq!(error.code(), ErrorCode::FileNotReady, "paused at {point}");
            assert_eq!(gallery.variants(file.id).await, []);
            assert_eq!(gallery.variant_keys().await, [""; 0], "paused at {point}");
        } else {
            assert_eq!(point, 3);
        }
        process.app.restore_file(&ann(), file.id).await.expect("restored");
    }
    let path = ObjectPath::new(&stores.bucket, &file.key);
    assert!(stores.objects.head(&path, &GetOptions::default()).await.is_ok());
    gallery.assert_agreed(file.id).await;
}
