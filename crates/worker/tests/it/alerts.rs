//! What wakes somebody: a dead job, a quarantined file, a URL that cannot be signed, a store that does not answer.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use cloakroom_core::collection::{Collection, ScanOversize, ScanPolicy};
use cloakroom_core::file::FileState;
use cloakroom_core::media::MediaType;
use cloakroom_core::ports::alerts::{Alert, AlertKind, Alerts};
use cloakroom_core::ports::objects::ObjectPath;
use cloakroom_core::ports::processor::{Processor, ProcessorError, ProcessorInput, ProcessorOutput};
use cloakroom_core::ports::signer::{
    CannotSign, DownloadPresentation, SignedForm, SignedRequest, Signer, UploadConstraints,
};
use cloakroom_testkit::outages::OutageObjects;
use jiff::{SignedDuration, Timestamp};

use crate::app::{Stores, ann};
use crate::scanning::script::{Script, infected};

/// Remembers alerts.
#[derive(Default)]
struct Recorder(Mutex<Vec<Alert>>);

impl Recorder {
    fn told(&self) -> Vec<Alert> {
        self.0.lock().expect("a lock").clone()
    }
}

impl Alerts for Recorder {
    fn send(&self, alert: Alert) {
        self.0.lock().expect("a lock").push(alert);
    }
}

async fn recorded() -> (Stores, Arc<Recorder>) {
    let recorder = Arc::new(Recorder::default());
    let mut stores = Stores::new().await;
    stores.alerts = recorder.clone();
    (stores, recorder)
}

struct OnFire;

#[async_trait]
impl Processor for OnFire {
    fn name(&self) -> &'static str {
        "on-fire"
    }

    fn accepts(&self, _: &MediaType) -> bool {
        true
    }

    async fn process(&self, _: ProcessorInput<'_>) -> Result<ProcessorOutput, ProcessorError> {
        Err(ProcessorError::Retry("the disk is on fire".to_owned()))
    }
}

#[tokio::test]
async fn a_dead_job() {
    let (stores, recorder) = recorded().await;
    let process = stores.start_with(
        Arc::clone(&stores.metadata),
        Arc::clone(&stores.administration),
        Arc::clone(&stores.objects),
        vec![Arc::new(OnFire)],
    );
    let id = process.upload(b"bytes").await;
    process.work().await;
    assert_eq!(recorder.told(), [], "it is tried again");
    for _ in 0..5 {
        stores.clock.advance(SignedDuration::from_mins(1));
        process.work().await;
    }
    let told = recorder.told();
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0].kind, AlertKind::JobDead);
    assert_eq!(told[0].details["file_id"], id.to_string());
    assert_eq!(told[0].details["operation"], "process_file");
    assert!(told[0].message.contains("on fire"), "{told:?}");
}

#[tokio::test]
async fn a_quarantined_file() {
    let (mut stores, recorder) = recorded().await;
    stores.scanner = Some(Script::saying(infected()));
    stores.collections.push(Collection {
        scan: ScanPolicy {
            required: true,
            oversize: ScanOversize::Quarantine,
        },
        ..Collection::new("scanned", &stores.bucket)
    });
    let process = stores.start();
    let signed = process.sign_in("scanned", b"a virus").await;
    process.send(&signed, b"a virus").await;
    process.confirm(signed.file.id).await;
    process.work().await;
    assert_eq!(stores.file(signed.file.id).await.state, FileState::Quarantined);
    let told = recorder.told();
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(
        (told[0].kind, told[0].kind.severity()),
        (AlertKind::FileQuarantined, "warning")
    );
    assert_eq!(told[0].details["error_code"], "infected");
    assert_eq!(told[0].details["file_id"], signed.file.id.to_string());
}

/// Signs nothing.
struct NoKey;

type Signed<T> = Result<T, CannotSign>;

impl Signer for NoKey {
    fn put(&self, _: &ObjectPath, _: &UploadConstraints, _: u32, _: Timestamp) -> Signed<SignedRequest> {
        Err(CannotSign("no key".to_owned()))
    }

    fn post(&self, _: &ObjectPath, _: &UploadConstraints, _: u32, _: Timestamp) -> Signed<SignedForm> {
        Err(CannotSign("no key".to_owned()))
    }

    fn part(&self, _: &ObjectPath, _: &str, _: u32, _: u32, _: Timestamp) -> Signed<SignedRequest> {
        Err(CannotSign("no key".to_owned()))
    }

    fn get(&self, _: &ObjectPath, _: &DownloadPresentation, _: u32, _: Timestamp) -> Signed<SignedRequest> {
        Err(CannotSign("no key".to_owned()))
    }
}

#[tokio::test]
async fn a_url_that_cannot_be_signed() {
    let (stores, recorder) = recorded().await;
    let id = stores.start().upload(b"bytes").await;
    stores.start().work().await;
    let mut process = stores.start();
    Arc::get_mut(&mut process.app).expect("nobody else has it").signer = Arc::new(NoKey);
    assert!(process.app.download(&ann(), id, false).await.is_err());
    let told = recorder.told();
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0].kind, AlertKind::PresignError);
    assert_eq!(told[0].details["file_id"], id.to_string());
    let request = cloakroom_service::uploads::SignUpload {
        collection: "files".to_owned(),
        filename: "a.bin".to_owned(),
        ..Default::default()
    };
    assert!(process.app.sign_upload(&ann(), request).await.is_err());
    assert_eq!(recorder.told().len(), 2);
}

#[tokio::test]
async fn a_store_that_does_not_answer() {
    let (stores, recorder) = recorded().await;
    let objects = OutageObjects::new(Arc::clone(&stores.objects));
    let process = stores.start_with(
        Arc::clone(&stores.metadata),
        Arc::clone(&stores.administration),
        objects.clone(),
        vec![],
    );
    let id = process.upload(b"bytes").await;
    objects.set_away(true);
    process.work().await;
    let told = recorder.told();
    assert!(
        !told.is_empty() && told.iter().all(|alert| alert.kind == AlertKind::Unavailable),
        "{told:?}"
    );
    objects.set_away(false);
    stores.clock.advance(SignedDuration::from_mins(1));
    process.work().await;
    assert_eq!(stores.file(id).await.state, FileState::Ready);
    assert_eq!(recorder.told().len(), told.len());
}
