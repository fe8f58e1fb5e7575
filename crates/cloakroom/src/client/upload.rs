//! One file into an instance: sign, send, confirm, wait.
//!
//! The idempotency key is made from the file's path, size and time of modification together with the whole request,
//! so the same command signs the same upload again. That makes every upload resumable without a note on this side:
//! parts that have arrived are kept, a file that has arrived is only confirmed, and one that is there is found.

use std::path::PathBuf;
use std::time::Duration;

use cloakroom_core::checksum::Sha256Digest;
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use tokio::time::sleep;

use super::api::{Api, Signed};
use super::error::{ClientError, Result};
use super::multipart::Multipart;
use super::progress::Task;
use super::retry::Retry;
use super::source::{READ_BYTES, Source};
use super::status::wait_until_settled;
use super::transfer::{self, Span};
use super::wire::{FileAnswer, SignRequest, UploadAnswer, is_settled};

/// From this size on a file goes in parts, unless a method is named, in bytes.
pub const MULTIPART_BYTES_MIN: u64 = 64 * 1024 * 1024;
/// Up to this size the checksum is computed and declared unless told otherwise, in bytes. Reading a file twice costs
/// little while it fits the page cache, and lets the store refuse damaged bytes at once.
pub const CHECKSUM_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// How many earlier uploads of the same file that came to nothing are skipped.
const GENERATIONS_MAX: u32 = 50;
/// How often an expired signature is renewed.
const SIGN_AGAIN_MAX: u32 = 3;

/// How to upload.
#[derive(Clone, Debug)]
pub struct UploadOptions {
    /// What to declare; name, size, checksum and method are filled in for each file.
    pub request: SignRequest,
    /// Whether to declare the checksum; by default for small files.
    pub checksum: Option<bool>,
    /// Make a new file even if this one is there.
    pub fresh: bool,
    /// Parts in parallel.
    pub part_jobs: usize,
    /// How long to wait until the file is settled; `None` is not at all.
    pub wait: Option<Duration>,
}

/// What became of one file, as far as it came.
#[derive(Clone, Debug, Default, Serialize)]
pub struct UploadReport {
    /// The local file; `None` for standard input.
    pub path: Option<PathBuf>,
    /// The file in the instance.
    pub file_id: Option<String>,
    /// Where it stands.
    pub state: Option<String>,
    /// Its name there.
    pub filename: String,
    /// Its type there.
    pub content_type: Option<String>,
    /// Its size.
    pub size_bytes: Option<u64>,
    /// SHA-256 that the server measured, else the one that was declared.
    pub checksum_sha256: Option<String>,
    /// How it went.
    pub method: Option<String>,
    /// Parts that were sent now.
    pub parts_sent: usize,
    /// Parts that an earlier attempt had sent.
    pub parts_resumed: usize,
    /// The same file had been uploaded before, and no bytes were sent.
    pub already_there: bool,
}

impl UploadReport {
    fn take(&mut self, file: FileAnswer) {
        self.file_id = Some(file.file_id);
        self.filename = file.filename;
        self.content_type = Some(file.content_type);
        self.size_bytes = file.size_bytes.or(self.size_bytes);
        if file.checksum_sha256.is_some() {
            self.checksum_sha256 = file.checksum_sha256;
        }
        self.state = Some(file.state);
    }
}

/// What an upload that was signed before still needs.
enum Earlier {
    /// Bytes.
    Open,
    /// A confirm; the bytes have arrived.
    Arrived,
    /// Nothing.
    There(Box<FileAnswer>),
    /// It came to nothing; another upload must be signed.
    Over,
}

/// Uploads one file. The report tells how far it came, also when it fails.
pub async fn upload(
    api: &Api,
    source: &Source,
    options: &UploadOptions,
    task: &Task,
    report: &mut UploadReport,
) -> Result<()> {
    let mut request = options.request.clone();
    if request.filename.is_empty() {
        request.filename = source.name();
    }
    request.size_bytes = Some(source.size());
    if request.method.is_none() && source.size() >= MULTIPART_BYTES_MIN {
        request.method = Some("multipart".to_owned());
    }
    report.filename.clone_from(&request.filename);
    report.size_bytes = request.size_bytes;
    if options.checksum.unwrap_or(source.size() <= CHECKSUM_BYTES_MAX) {
        task.phase("checksum");
        let digest = source.sha256(|bytes| task.add(bytes)).await?.to_string();
        task.restart("");
        request.checksum_sha256 = Some(digest);
    }
    report.checksum_sha256.clone_from(&request.checksum_sha256);
    let confirmed = bring(api, source, options, &request, task, report).await?;
    report.take(confirmed);
    settle(
        api,
        options.wait,
        request.checksum_sha256.as_deref(),
        task,
        report,
    )
    .await
}

/// Signs, sends and confirms.
async fn bring(
    api: &Api,
    source: &Source,
    options: &UploadOptions,
    request: &SignRequest,
    task: &Task,
    report: &mut UploadReport,
) -> Result<FileAnswer> {
    let key = IdempotencyKey::new(api, source, request, options.fresh);
    for generation in 0..GENERATIONS_MAX {
        let (signed, repeated) = api.sign(request, &key.of(generation)).await?;
        report.file_id = Some(signed.answer.file_id.clone());
        report.method = Some(signed.answer.method.clone());
        let earlier = if repeated {
            earlier(api, &signed.answer.file_id).await?
        } else {
            Earlier::Open
        };
        let id = signed.answer.file_id.clone();
        let confirmed = match earlier {
            Earlier::Over => continue,
            Earlier::There(file) => {
                report.already_there = true;
                return Ok(*file);
            }
            Earlier::Arrived if signed.answer.method == "multipart" => api.complete(&id, &[]).await,
            Earlier::Arrived => api.confirm(&id).await,
            Earlier::Open if signed.answer.method == "multipart" => {
                send_parts(api, source, options, signed, repeated, task, report).await
            }
            Earlier::Open => {
                send_whole(api, source, request, &key.of(generation), signed.answer, task).await?;
                still_the_same(api, source, &id).await?;
                task.phase("confirm");
                api.confirm(&id).await
            }
        };
        return confirmed;
    }
    Err(ClientError::Failed(format!(
        "{GENERATIONS_MAX} earlier uploads of this file came to nothing; use --new to start another one"
    )))
}

async fn earlier(api: &Api, id: &str) -> Result<Earlier> {
    let file = match api.file(id).await {
        Ok(file) => file,
        // Purged since.
        Err(error) if error.status() == Some(404) => return Ok(Earlier::Over),
        Err(error) => return Err(error),
    };
    Ok(match file.state.as_str() {
        "pending" | "uploading" => Earlier::Open,
        "uploaded" => Earlier::Arrived,
        "confirmed" | "processing" | "ready" | "archived" => Earlier::There(Box::new(file)),
        _ => Earlier::Over,
    })
}

/// Sends the file in one request, by PUT or by form, with retries; an expired signature is renewed.
async fn send_whole(
    api: &Api,
    source: &Source,
    request: &SignRequest,
    key: &str,
    mut ticket: UploadAnswer,
    task: &Task,
) -> Result<()> {
    let mut retry = Retry::default();
    let mut signed_again = 0;
    loop {
        let error = match send_once(api, source, &ticket, task).await {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        source.unchanged()?;
        if error.status() == Some(403) && signed_again < SIGN_AGAIN_MAX {
            signed_again += 1;
            ticket = api.sign(request, key).await?.0.answer;
            continue;
        }
        match retry.next_delay(&api.policy(), &error, rand::random()) {
            Some(delay) => sleep(delay).await,
            None => return Err(error),
        }
    }
}

async fn send_once(api: &Api, source: &Source, ticket: &UploadAnswer, task: &Task) -> Result<()> {
    let incomplete = || {
        ClientError::Failed(format!(
            "the server signed a {} upload that lacks its address",
            ticket.method
        ))
    };
    let url = ticket.upload_url.as_ref().ok_or_else(incomplete)?.expose();
    match ticket.method.as_str() {
        "put" => {
            let whole = Span {
                offset: 0,
                length: source.size(),
            };
            transfer::put(api, url, &ticket.headers, source, whole, task)
                .await
                .map(drop)
        }
        "post" => {
            let fields = ticket.form_fields.as_ref().ok_or_else(incomplete)?;
            transfer::post(api, url, fields.expose(), source, task)
                .await
                .map(drop)
        }
        method => Err(ClientError::Failed(format!(
            "the server signed an upload of a kind that is not known here: {method}"
        ))),
    }
}

async fn send_parts(
    api: &Api,
    source: &Source,
    options: &UploadOptions,
    signed: Signed,
    repeated: bool,
    task: &Task,
    report: &mut UploadReport,
) -> Result<FileAnswer> {
    let Signed { answer, lifetime } = signed;
    let id = &answer.file_id;
    let (arrived, part_size) = if repeated {
        let arrived = api.arrived_parts(id).await?;
        (arrived.parts, arrived.part_size_bytes)
    } else {
        (Vec::new(), answer.part_size_bytes.unwrap_or_default())
    };
    let multipart = Multipart {
        api,
        source,
        id,
        part_size,
        jobs: options.part_jobs,
        task,
    };
    let parts = match multipart
        .send(&arrived, answer.parts.unwrap_or_default(), lifetime)
        .await
    {
        Ok(delivery) => {
            (report.parts_sent, report.parts_resumed) = (delivery.sent, delivery.resumed);
            delivery.parts
        }
        // Put together by an earlier attempt that did not live to hear of it: the server has the whole.
        Err(error) if repeated && error.code() == Some("NoSuchUpload") => Vec::new(),
        Err(error) => return Err(error),
    };
    still_the_same(api, source, id).await?;
    task.phase("complete");
    api.complete(id, &parts).await
}

/// Bytes of two versions of a file must not become one: the upload is given up.
async fn still_the_same(api: &Api, source: &Source, id: &str) -> Result<()> {
    let Err(changed) = source.unchanged() else {
        return Ok(());
    };
    // If this fails too, the server gives the upload up by itself when it expires.
    let _ = api.abort(id).await;
    Err(changed)
}

/// Waits for the verdict on a confirmed file, and compares what the server measured.
pub async fn settle(
    api: &Api,
    wait: Option<Duration>,
    declared: Option<&str>,
    task: &Task,
    report: &mut UploadReport,
) -> Result<()> {
    let Some(id) = report.file_id.clone() else {
        return Ok(());
    };
    let Some(wait) = wait else { return Ok(()) };
    if !report.state.as_deref().is_some_and(is_settled) {
        task.phase("verifying");
        let status = wait_until_settled(api, &id, wait, |_| ()).await?;
        report.state = Some(status.state);
    }
    let file = api.file(&id).await?;
    let (state, error) = (file.state.clone(), file.error.clone());
    report.take(file);
    if !matches!(state.as_str(), "ready" | "archived") {
        let why = error.map_or_else(String::new, |error| {
            format!(": {} ({})", error.message, error.code)
        });
        return Err(ClientError::Failed(format!("file {id} is {state}{why}")));
    }
    match (declared, &report.checksum_sha256) {
        (Some(declared), Some(measured)) if declared != measured => Err(ClientError::Failed(format!(
            "file {id} has another checksum than the local one: {measured} there, {declared} here"
        ))),
        _ => Ok(()),
    }
}

/// A file through the service itself, from standard input: size and checksum are found out on the way.
pub async fn upload_stdin(
    api: &Api,
    request: &SignRequest,
    task: &Task,
    report: &mut UploadReport,
) -> Result<Sha256Digest> {
    use futures_util::TryStreamExt as _;
    report.filename.clone_from(&request.filename);
    report.method = Some("stream".to_owned());
    let mut form = reqwest::multipart::Form::new()
        .text("collection", request.collection.clone())
        .text("filename", request.filename.clone());
    let optional = [
        ("content_type", request.content_type.clone()),
        ("description", request.description.clone()),
        ("record", request.record.as_ref().map(ToString::to_string)),
        (
            "metadata",
            (!request.metadata.is_empty())
                .then(|| serde_json::Value::Object(request.metadata.clone()).to_string()),
        ),
    ];
    for (name, value) in optional {
        if let Some(value) = value {
            form = form.text(name, value);
        }
    }
    let hash = std::sync::Arc::new(std::sync::Mutex::new(Sha256::new()));
    let (seen, moved) = (std::sync::Arc::clone(&hash), task.clone());
    let stream = tokio_util::io::ReaderStream::with_capacity(tokio::io::stdin(), READ_BYTES).inspect_ok(
        move |chunk| {
            seen.lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner)
                .update(chunk);
            moved.add(chunk.len() as u64);
        },
    );
    let part = reqwest::multipart::Part::stream(reqwest::Body::wrap_stream(stream))
        .file_name(request.filename.clone());
    report.take(api.post_file(form.part("file", part)).await?);
    let hash = hash
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
        .clone();
    Ok(Sha256Digest(hash.finalize().into()))
}

/// Names an upload by what is uploaded where.
struct IdempotencyKey(String);

impl IdempotencyKey {
    fn new(api: &Api, source: &Source, request: &SignRequest, fresh: bool) -> Self {
        if fresh {
            return Self(uuid::Uuid::from_u128(rand::random()).to_string());
        }
        // Everything the server compares when it sees the key again is in it: another request is another upload.
        let request = serde_json::json!(request).to_string();
        let mut hash = Sha256::new();
        for text in [api.url().as_str(), &source.identity(), &request] {
            hash.update((text.len() as u64).to_be_bytes());
            hash.update(text.as_bytes());
        }
        Self(Sha256Digest(hash.finalize().into()).to_string())
    }

    fn of(&self, generation: u32) -> String {
        format!("put-{}-{generation}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::connection::Connection;

    #[test]
    fn the_same_command_names_the_same_upload() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("a.txt");
        std::fs::write(&path, "one").expect("written");
        let api = |url: &str| Api::new(Connection::new(url, "t").expect("a connection")).expect("a client");
        let key = |api: &Api, request: &SignRequest| {
            IdempotencyKey::new(api, &Source::open(&path).expect("a file"), request, false).of(0)
        };
        let (here, there) = (api("http://here"), api("http://there"));
        let request = SignRequest {
            collection: "files".to_owned(),
            ..SignRequest::default()
        };
        let other = SignRequest {
            collection: "documents".to_owned(),
            ..SignRequest::default()
        };
        let first = key(&here, &request);
        assert_eq!(first, key(&here, &request));
        assert_ne!(first, key(&there, &request));
        assert_ne!(first, key(&here, &other));
        let source = Source::open(&path).expect("a file");
        let fresh = || IdempotencyKey::new(&here, &source, &request, true).of(0);
        assert_ne!(fresh(), fresh());
        std::fs::write(&path, "other").expect("written");
        assert_ne!(first, key(&here, &request), "another content is another upload");
    }
}
