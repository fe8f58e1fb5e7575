//! Verifying: each kind of drift is made by hand, found, and repaired where it can be; nothing is found where nothing is.

mod changing;
mod drifts;
mod resuming;

use std::sync::Arc;

use async_trait::async_trait;
use cloakroom_core::file::{File, FileState};
use cloakroom_core::media::MediaType;
use cloakroom_core::operation::{OperationKind, OperationState};
use cloakroom_core::ports::objects::{ObjectPath, PutBody, PutOptions};
use cloakroom_core::ports::processor::{
    MadeDerivative, Processor, ProcessorError, ProcessorInput, ProcessorOutput,
};
use serde_json::json;

use crate::app::{Process, Report, Stores};

/// Makes a preview of everything.
struct Preview;

#[async_trait]
impl Processor for Preview {
    fn name(&self) -> &'static str {
        "preview"
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
            bytes: b"a preview".to_vec().into(),
            width: None,
            height: None,
        });
        Ok(output)
    }
}

/// A process that makes previews.
fn start(stores: &Stores) -> Process {
    stores.start_with(
        Arc::clone(&stores.metadata),
        Arc::clone(&stores.administration),
        Arc::clone(&stores.objects),
        vec![Arc::new(Preview)],
    )
}

/// A file that is ready.
async fn ready(stores: &Stores, process: &Process, content: &[u8]) -> File {
    let id = process.upload(content).await;
    process.work().await;
    let file = stores.file(id).await;
    assert_eq!(file.state, FileState::Ready);
    file
}

async fn verify(process: &Process) -> Report {
    verified(process, json!({})).await
}

async fn verify_deep(process: &Process) -> Report {
    verified(process, json!({"deep": true})).await
}

async fn fix(process: &Process) -> Report {
    verified(process, json!({"deep": true, "fix": true})).await
}

async fn verified(process: &Process, options: serde_json::Value) -> Report {
    let report = process.operate(OperationKind::Verify, options).await;
    assert_eq!(
        (report.operation.state, &report.operation.error),
        (OperationState::Done, &None)
    );
    report
}

/// Writes something that nobody of ours would.
async fn write(stores: &Stores, key: &str, bytes: impl Into<Vec<u8>>) {
    let path = ObjectPath::new(&stores.bucket, key);
    let body = PutBody::from_bytes(bytes.into());
    let written = stores.objects.put(&path, PutOptions::default(), body).await;
    written.expect("written");
}

async fn remove(stores: &Stores, key: &str) {
    let path = ObjectPath::new(&stores.bucket, key);
    stores.objects.delete(&path).await.expect("removed");
}
