//! The steps themselves: every way into an instance, every way out, and what must not work.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cloakroom_core::checksum::Sha256Digest;
use cloakroom_service::specimen::pdf;
use reqwest::Url;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::document::noise;
use super::send;
use super::steps::{Steps, ensure, refused};
use crate::client::api::{Api, Signed};
use crate::client::error::{ClientError, Result};
use crate::client::status::wait_until_settled;
use crate::client::wire::{FileAnswer, RecordRef, SignRequest, UploadAnswer};

/// Ids of the files that a run has made, for cleaning up.
pub type Made = Arc<Mutex<Vec<String>>>;

/// Beginning of every PDF.
const PDF_MAGIC: &[u8] = b"%PDF";
/// A file that makes two parts of the smallest size a store uses, and a bit.
const LARGE_BYTES: usize = 9 * 1024 * 1024 + 3;

/// One run.
pub struct Pipeline<'a> {
    api: &'a Api,
    stranger: Option<&'a Api>,
    collection: &'a str,
    wait: Duration,
    /// A word that only files of this run have.
    word: String,
    seed: u64,
    made: Made,
}

/// A step that failed ends its chain; the next chain still runs.
type Chain = Option<()>;

impl<'a> Pipeline<'a> {
    /// A run against this instance. `stranger` is another user of it, where there is one.
    pub fn new(api: &'a Api, stranger: Option<&'a Api>, collection: &'a str, wait: Duration) -> Self {
        let seed = rand::random();
        Self {
            api,
            stranger,
            collection,
            wait,
            word: format!("smoke{seed:016x}"),
            seed,
            made: Made::default(),
        }
    }

    /// The files it has made so far, shared.
    pub fn made(&self) -> Made {
        Arc::clone(&self.made)
    }

    /// Every step. An error means that the rest makes no sense; a failed step is in `steps`.
    pub async fn run(&self, steps: &mut Steps) -> Result<()> {
        if let Err(error) = self.api.health().await
            && matches!(error, ClientError::Transport { .. })
        {
            return Err(error);
        }
        steps
            .step("health", "GET /health/ready answers 200", self.api.health())
            .await;
        self.put(steps).await;
        self.post(steps).await;
        self.multipart(steps).await;
        self.stream(steps).await;
        Ok(())
    }

    fn request(&self, filename: &str, bytes: &[u8], method: &str) -> SignRequest {
        SignRequest {
            collection: self.collection.to_owned(),
            filename: filename.to_owned(),
            size_bytes: Some(bytes.len() as u64),
            record: Some(self.record()),
            description: Some(format!("Smoke test {}", self.word)),
            method: Some(method.to_owned()),
            ..SignRequest::default()
        }
    }

    fn record(&self) -> RecordRef {
        RecordRef {
            kind: "smoke".to_owned(),
            id: self.word.clone(),
        }
    }

    async fn sign(&self, request: &SignRequest) -> Result<(Signed, bool)> {
        let key = format!("{}-{}", self.word, request.filename);
        let (signed, repeated) = self.api.sign(request, &key).await?;
        if !repeated {
            self.made
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(signed.answer.file_id.clone());
        }
        Ok((signed, repeated))
    }

    /// The main road: a PDF by presigned PUT, and everything that can be asked about it.
    async fn put(&self, steps: &mut Steps) -> Chain {
        let bytes = pdf(&format!("Smoke test {}", self.word));
        let request = self.request("smoke.pdf", &bytes, "put");
        let (signed, _) = steps
            .step("sign", "a new upload with a presigned PUT", async {
                let (signed, repeated) = self.sign(&request).await?;
                ensure(!repeated && signed.answer.method == "put", || {
                    format!("method {}", signed.answer.method)
                })?;
                Ok((signed, repeated))
            })
            .await?;
        let id = signed.answer.file_id.clone();
        steps
            .step(
                "sign again with the same Idempotency-Key",
                "the same file id",
                async {
                    let (again, repeated) = self.sign(&request).await?;
                    ensure(repeated && again.answer.file_id == id, || {
                        format!("file {}", again.answer.file_id)
                    })
                },
            )
            .await?;
        let confirm = async { refused(self.api.confirm(&id).await, 409) };
        steps
            .step(
                "confirm before the upload is refused",
                "409 upload_incomplete",
                confirm,
            )
            .await?;
        let upload = send::put(self.api, &signed.answer, bytes.clone());
        steps
            .step(
                "upload by presigned PUT",
                "the object store takes the bytes",
                upload,
            )
            .await?;
        let early = async { refused(self.api.download(&id).await, 409) };
        steps
            .step(
                "download before verification is refused",
                "409 file_not_ready",
                early,
            )
            .await?;
        let confirmed = steps
            .step("confirm", "200 with the file", self.api.confirm(&id))
            .await?;
        steps
            .step("confirm again", "the same answer", async {
                let again = self.api.confirm(&id).await?;
                ensure(
                    again.file_id == id && again.confirmed_at == confirmed.confirmed_at,
                    || {
                        format!(
                            "confirmed at {:?}, before {:?}",
                            again.confirmed_at, confirmed.confirmed_at
                        )
                    },
                )
            })
            .await?;
        self.ready(steps, "ready", &id, &bytes).await?;
        self.found_by(steps, &id).await;
        self.download(steps, "download, compare bytes and %PDF", &id, &bytes)
            .await?;
        self.tampering(steps, &id).await;
        self.second_put(steps, &signed.answer, &id, &bytes).await;
        self.strangers(steps, &id).await;
        self.trash(steps, &id, &bytes).await
    }

    async fn ready(&self, steps: &mut Steps, name: &str, id: &str, bytes: &[u8]) -> Chain {
        steps
            .step(
                name,
                "state ready, with the SHA-256 and size of what was sent",
                async {
                    let status = wait_until_settled(self.api, id, self.wait, |_| ()).await?;
                    let why = status
                        .error
                        .map(|error| format!(": {}", error.message))
                        .unwrap_or_default();
                    ensure(status.state == "ready", || format!("state {}{why}", status.state))?;
                    same(&self.api.file(id).await?, bytes)
                },
            )
            .await
    }

    async fn found_by(&self, steps: &mut Steps, id: &str) -> Chain {
        let has = |files: &[Value]| files.iter().any(|file| file["file_id"] == id);
        let queries = [
            (
                "list",
                vec![
                    ("limit", "10".to_owned()),
                    ("collection", self.collection.to_owned()),
                    ("record", self.record().to_string()),
                ],
            ),
            ("search", vec![("q", self.word.clone())]),
        ];
        for (name, query) in queries {
            steps
                .step(name, "the file is found", async {
                    let page = self.api.files(&query).await?;
                    ensure(has(&page.files), || format!("{} other files", page.files.len()))
                })
                .await;
        }
        steps
            .step("list of my own files", "the file is found", async {
                let page = self
                    .api
                    .my_files(&[("record", self.record().to_string())])
                    .await?;
                ensure(has(&page.files), || format!("{} other files", page.files.len()))
            })
            .await
    }

    async fn download(&self, steps: &mut Steps, name: &str, id: &str, bytes: &[u8]) -> Chain {
        steps
            .step(name, "the bytes that were sent", async {
                let url = self.api.download(id).await?.download_url;
                let got = send::get(self.api, url.expose()).await?;
                ensure(got == bytes, || {
                    format!("{} bytes, not the {} that were sent", got.len(), bytes.len())
                })?;
                ensure(
                    !bytes.starts_with(PDF_MAGIC) || got.starts_with(PDF_MAGIC),
                    || "no %PDF at the beginning".to_owned(),
                )
            })
            .await
    }

    /// A presigned URL is good for exactly what was signed.
    async fn tampering(&self, steps: &mut Steps, id: &str) -> Chain {
        let tampered = |url: &Url, name: &str, change: &dyn Fn(&str) -> String| {
            let mut other = url.clone();
            let pairs: Vec<(String, String)> = url
                .query_pairs()
                .map(|(k, v)| (k.into_owned(), v.into_owned()))
                .collect();
            let changed = pairs
                .iter()
                .map(|(k, v)| (k.clone(), if k == name { change(v) } else { v.clone() }));
            other.query_pairs_mut().clear().extend_pairs(changed);
            other
        };
        let other_end = |text: &str| {
            let last = if text.ends_with('0') { '1' } else { '0' };
            format!("{}{last}", &text[..text.len().saturating_sub(1)])
        };
        steps
            .step(
                "a tampered download URL is refused",
                "403 for another signature, expiry and key",
                async {
                    let url = self.api.download(id).await?.download_url;
                    let mut other_key = url.expose().clone();
                    other_key.set_path(&format!("{}x", url.expose().path()));
                    let urls = [
                        tampered(url.expose(), "X-Amz-Signature", &other_end),
                        tampered(url.expose(), "X-Amz-Expires", &|seconds| format!("{seconds}0")),
                        other_key,
                    ];
                    for url in urls {
                        refused(send::get(self.api, &url).await, 403)?;
                    }
                    Ok(())
                },
            )
            .await
    }

    /// What was verified is what is served, whatever the owner of the upload URL does afterwards (I2).
    async fn second_put(&self, steps: &mut Steps, ticket: &UploadAnswer, id: &str, bytes: &[u8]) -> Chain {
        // In an instance that others use this would leave bytes in staging until they are swept.
        self.stranger?;
        let mut other = bytes.to_vec();
        other.reverse();
        // Taken or refused: what counts is what is served.
        let _ = send::put(self.api, ticket, other).await;
        self.download(steps, "the upload URL used again changes nothing", id, bytes)
            .await
    }

    async fn strangers(&self, steps: &mut Steps, id: &str) -> Chain {
        let Some(stranger) = self.stranger else {
            steps.skip("another user gets 404", "needs an instance of its own");
            return None;
        };
        steps
            .step(
                "another user gets 404",
                "404 for the file, its download and its deletion; an empty list",
                async {
                    refused(stranger.file(id).await, 404)?;
                    refused(stranger.download(id).await, 404)?;
                    refused(stranger.delete_file(id).await, 404)?;
                    let page = stranger.files(&[("q", self.word.clone())]).await?;
                    ensure(page.files.is_empty(), || {
                        format!("{} files in the list", page.files.len())
                    })
                },
            )
            .await
    }

    async fn trash(&self, steps: &mut Steps, id: &str, bytes: &[u8]) -> Chain {
        steps.step("delete", "204", self.api.delete_file(id)).await?;
        steps
            .step(
                "a deleted file is not served",
                "state trashed, download refused, not in the list",
                async {
                    let file = self.api.file(id).await?;
                    ensure(file.state == "trashed", || format!("state {}", file.state))?;
                    refused(self.api.download(id).await, 409)?;
                    let page = self.api.files(&[("record", self.record().to_string())]).await?;
                    ensure(page.files.iter().all(|file| file["file_id"] != id), || {
                        "it is in the list".to_owned()
                    })
                },
            )
            .await?;
        steps
            .step("restore", "state ready", async {
                let file = self.api.restore(id).await?;
                ensure(file.state == "ready", || format!("state {}", file.state))
            })
            .await?;
        self.download(steps, "download after restore", id, bytes).await
    }

    /// The browser's way in: a form with a POST policy.
    async fn post(&self, steps: &mut Steps) -> Chain {
        let bytes = noise(self.seed, 70_000);
        let request = self.request("smoke-form.bin", &bytes, "post");
        let ticket = self
            .signed_or_skipped(steps, "sign a form (POST policy)", &request)
            .await?;
        let id = ticket.file_id.clone();
        steps
            .step(
                "upload by form",
                "the object store takes the form",
                send::post(self.api, &ticket, bytes.clone()),
            )
            .await?;
        steps
            .step("confirm the form", "200 with the file", self.api.confirm(&id))
            .await?;
        self.ready(steps, "the form's file is ready", &id, &bytes).await?;
        self.download(steps, "download the form's file", &id, &bytes)
            .await
    }

    /// Large files: parts, sent last one first.
    async fn multipart(&self, steps: &mut Steps) -> Chain {
        let bytes = noise(self.seed.rotate_left(17), LARGE_BYTES);
        let request = self.request("smoke-parts.bin", &bytes, "multipart");
        let ticket = self
            .signed_or_skipped(steps, "sign a multipart upload", &request)
            .await?;
        let id = ticket.file_id.clone();
        let parts = steps
            .step(
                "upload the parts",
                "the object store takes every part",
                send::parts(self.api, &ticket, &bytes),
            )
            .await?;
        steps
            .step("list the parts", "every part with its size", async {
                let arrived = self.api.arrived_parts(&id).await?;
                let total: u64 = arrived.parts.iter().map(|part| part.size_bytes).sum();
                ensure(
                    arrived.parts.len() == parts.len() && total == bytes.len() as u64,
                    || format!("{} parts with {total} bytes", arrived.parts.len()),
                )
            })
            .await?;
        steps
            .step("complete", "200 with the file", self.api.complete(&id, &parts))
            .await?;
        self.ready(steps, "the file of parts is ready", &id, &bytes)
            .await?;
        self.download(steps, "download the file of parts", &id, &bytes)
            .await
    }

    /// Through the service itself.
    async fn stream(&self, steps: &mut Steps) -> Chain {
        let bytes = noise(self.seed.rotate_left(31), 100_000);
        let upload = async {
            let form = reqwest::multipart::Form::new()
                .text("collection", self.collection.to_owned())
                .text("filename", "smoke-stream.bin")
                .text("record", self.record().to_string())
                .part(
                    "file",
                    reqwest::multipart::Part::bytes(bytes.clone()).file_name("smoke-stream.bin"),
                );
            let file = self.api.post_file(form).await?;
            self.made
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(file.file_id.clone());
            Ok(file.file_id)
        };
        let id = steps
            .step(
                "upload through the service (POST /files)",
                "201 with the confirmed file",
                upload,
            )
            .await?;
        self.ready(steps, "the streamed file is ready", &id, &bytes)
            .await?;
        self.download(steps, "download the streamed file", &id, &bytes)
            .await
    }

    /// Signs; a store that does not offer the method is no failure.
    async fn signed_or_skipped(
        &self,
        steps: &mut Steps,
        name: &str,
        request: &SignRequest,
    ) -> Option<UploadAnswer> {
        let sign = async { Ok(self.sign(request).await?.0.answer) };
        steps.step_if_offered(name, "a new upload", sign).await
    }
}

/// Whether the instance measured what was sent.
fn same(file: &FileAnswer, bytes: &[u8]) -> Result<()> {
    let expected = Sha256Digest(Sha256::digest(bytes).into()).to_string();
    let (checksum, size) = (file.checksum_sha256.as_deref(), file.size_bytes);
    ensure(
        checksum == Some(&expected) && size == Some(bytes.len() as u64),
        || {
            format!(
                "{checksum:?} and {size:?} bytes; sent were {} bytes with {expected}",
                bytes.len()
            )
        },
    )
}

/// Deletes what a run has made, however it ended.
pub async fn clean_up(api: &Api, made: &Made, steps: &mut Steps) {
    let ids = std::mem::take(&mut *made.lock().unwrap_or_else(PoisonError::into_inner));
    if ids.is_empty() {
        return;
    }
    let delete = async {
        for id in &ids {
            api.delete_file(id).await?;
        }
        Ok(())
    };
    steps
        .step(
            "delete everything again",
            "204 for every file of this run",
            delete,
        )
        .await;
}
