//! One file out of an instance: into `<name>.part`, verified, made durable, and only then under its name.
//!
//! A download that broke off goes on where it stopped. Beside the partial file lies a note that says of which file,
//! and of which bytes (`ETag`), it is a part; without a matching note it starts over.

use std::io::SeekFrom;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cloakroom_core::checksum::Sha256Digest;
use reqwest::header::{CONTENT_RANGE, ETAG, IF_MATCH, RANGE};
use reqwest::{Response, StatusCode};
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::{sleep, timeout};

use super::api::{Api, success};
use super::error::{ClientError, Result};
use super::partial::{Note, Partial, exists, resumable};
use super::progress::Task;
use super::retry::Retry;
use super::source::READ_BYTES;
use super::wire::{Confidential, FileAnswer};

/// A download in which nothing arrives for so long is broken.
const SILENCE_MAX: Duration = Duration::from_mins(1);
/// How often a refused URL is asked for again before the refusal is believed.
const SIGN_AGAIN_MAX: u32 = 3;
/// How often a file that is not the one we began with is begun again.
const RESTARTS_MAX: u32 = 3;

/// What became of one download.
#[derive(Clone, Debug, Default, Serialize)]
pub struct DownloadReport {
    /// The file in the instance.
    pub file_id: String,
    /// Where it is now; `None` for standard output.
    pub path: Option<PathBuf>,
    /// Its size.
    pub size_bytes: u64,
    /// Its SHA-256, verified.
    pub checksum_sha256: Option<String>,
    /// Bytes that an earlier attempt had brought.
    pub resumed_from_bytes: u64,
}

/// What an answer means for what is there already.
#[derive(Debug, PartialEq, Eq)]
enum Continuation {
    /// The bytes go on at this position.
    Append,
    /// The answer is the file from its beginning.
    FromStart,
    /// What is there belongs to other bytes; ask again without it.
    Changed,
}

fn continuation(status: StatusCode, content_range: Option<&str>, position: u64) -> Result<Continuation> {
    let begins_at =
        |range: &str| -> Option<u64> { range.strip_prefix("bytes ")?.split('-').next()?.parse().ok() };
    match status {
        StatusCode::OK => Ok(Continuation::FromStart),
        StatusCode::PARTIAL_CONTENT if content_range.and_then(begins_at) == Some(position) => {
            Ok(Continuation::Append)
        }
        StatusCode::PARTIAL_CONTENT | StatusCode::PRECONDITION_FAILED | StatusCode::RANGE_NOT_SATISFIABLE => {
            Ok(Continuation::Changed)
        }
        other => Err(ClientError::Failed(format!(
            "the object store answers {other} where bytes were expected"
        ))),
    }
}

/// Downloads to standard output. What was written cannot be taken back, so the checksum is told by the exit code.
pub async fn download_to_stdout(api: &Api, file: &FileAnswer, task: &Task) -> Result<DownloadReport> {
    let mut transfer = Transfer::new(api, file, task);
    transfer.run(&mut Stdout(tokio::io::stdout())).await?;
    transfer.verified()?;
    Ok(transfer.report())
}

/// Downloads to a file.
pub async fn download_to_file(
    api: &Api,
    file: &FileAnswer,
    target: &Path,
    force: bool,
    task: &Task,
) -> Result<DownloadReport> {
    if !force && std::fs::symlink_metadata(target).is_ok() {
        return Err(exists(target));
    }
    let mut partial = Partial::open(target)?;
    let mut transfer = Transfer::new(api, file, task);
    let there = partial
        .file
        .metadata()
        .map_err(ClientError::file(&partial.path))?
        .len();
    let mut sink = OnDisk::new(&partial, &file.file_id)?;
    match resumable(partial.note(), &file.file_id, there, file.size_bytes) {
        Some(note) => transfer
            .resume(&mut sink.file, note)
            .await
            .map_err(ClientError::file(&partial.path))?,
        None => partial.discard().map_err(ClientError::file(&partial.path))?,
    }
    let outcome = transfer.run(&mut sink).await;
    if outcome.is_err() && transfer.position == 0 {
        partial.remove();
    }
    outcome?;
    if let Err(error) = transfer.verified() {
        partial.remove();
        return Err(error);
    }
    partial.publish(target, force)?;
    Ok(DownloadReport {
        path: Some(target.to_owned()),
        ..transfer.report()
    })
}

/// Where bytes go.
trait Sink {
    /// The bytes.
    fn writer(&mut self) -> &mut (dyn AsyncWrite + Send + Unpin);
    /// Begins again with other bytes; `etag` names them.
    async fn begin(&mut self, etag: &str, position: u64) -> Result<()>;
    /// An error of the writer.
    fn failed(&self, error: std::io::Error) -> ClientError;
}

struct Stdout(tokio::io::Stdout);

impl Sink for Stdout {
    fn writer(&mut self) -> &mut (dyn AsyncWrite + Send + Unpin) {
        &mut self.0
    }

    async fn begin(&mut self, _: &str, position: u64) -> Result<()> {
        if position == 0 {
            return Ok(());
        }
        Err(ClientError::Failed(
            "the file changed while it was on its way to standard output".to_owned(),
        ))
    }

    fn failed(&self, error: std::io::Error) -> ClientError {
        ClientError::Failed(format!("cannot write to standard output: {error}"))
    }
}

struct OnDisk {
    file: tokio::fs::File,
    path: PathBuf,
    note_path: PathBuf,
    file_id: String,
}

impl OnDisk {
    fn new(partial: &Partial, file_id: &str) -> Result<Self> {
        let file = partial
            .file
            .try_clone()
            .map_err(ClientError::file(&partial.path))?;
        Ok(Self {
            file: tokio::fs::File::from_std(file),
            path: partial.path.clone(),
            note_path: partial.note_path.clone(),
            file_id: file_id.to_owned(),
        })
    }
}

impl Sink for OnDisk {
    fn writer(&mut self) -> &mut (dyn AsyncWrite + Send + Unpin) {
        &mut self.file
    }

    async fn begin(&mut self, etag: &str, _: u64) -> Result<()> {
        self.file
            .set_len(0)
            .await
            .map_err(ClientError::file(&self.path))?;
        self.file.rewind().await.map_err(ClientError::file(&self.path))?;
        let note = serde_json::json!(Note {
            file_id: self.file_id.clone(),
            etag: etag.to_owned()
        });
        tokio::fs::write(&self.note_path, note.to_string())
            .await
            .map_err(ClientError::file(&self.note_path))
    }

    fn failed(&self, error: std::io::Error) -> ClientError {
        ClientError::File {
            path: self.path.clone(),
            source: error,
        }
    }
}

/// The state of one download.
struct Transfer<'a> {
    api: &'a Api,
    file: &'a FileAnswer,
    task: &'a Task,
    hash: Sha256,
    position: u64,
    etag: Option<String>,
    resumed_from: u64,
}

impl<'a> Transfer<'a> {
    fn new(api: &'a Api, file: &'a FileAnswer, task: &'a Task) -> Self {
        Self {
            api,
            file,
            task,
            hash: Sha256::new(),
            position: 0,
            etag: None,
            resumed_from: 0,
        }
    }

    /// Takes over what is in a partial file.
    async fn resume(&mut self, partial: &mut tokio::fs::File, note: Note) -> std::io::Result<()> {
        partial.rewind().await?;
        let mut buffer = vec![0; READ_BYTES];
        loop {
            let read = partial.read(&mut buffer).await?;
            if read == 0 {
                break;
            }
            self.hash.update(&buffer[..read]);
            self.position += read as u64;
        }
        partial.seek(SeekFrom::Start(self.position)).await?;
        self.task.add(self.position);
        self.resumed_from = self.position;
        self.etag = Some(note.etag);
        Ok(())
    }

    /// Fetches until everything is there.
    async fn run(&mut self, sink: &mut impl Sink) -> Result<()> {
        let mut url = None;
        let mut retry = Retry::default();
        let (mut signed_again, mut restarts) = (0, 0);
        while self.position == 0 || self.file.size_bytes.is_none_or(|size| self.position < size) {
            let before = self.position;
            let error = match self.fetch(&mut url, sink, &mut restarts).await {
                Ok(true) => break,
                Ok(false) => continue,
                Err(error) => error,
            };
            if error.status() == Some(403) && signed_again < SIGN_AGAIN_MAX {
                signed_again += 1;
                url = None;
                continue;
            }
            if self.position > before {
                retry.progressed();
            }
            match retry.next_delay(&self.api.policy(), &error, rand::random()) {
                Some(delay) => sleep(delay).await,
                None => return Err(error),
            }
        }
        sink.writer().flush().await.map_err(|error| sink.failed(error))
    }

    /// One request. `false` is to ask again, from the start.
    async fn fetch(
        &mut self,
        url: &mut Option<Confidential<reqwest::Url>>,
        sink: &mut impl Sink,
        restarts: &mut u32,
    ) -> Result<bool> {
        let address = match url {
            Some(address) => address,
            None => url.insert(self.api.download(&self.file.file_id).await?.download_url),
        };
        let mut request = self.api.http().get(address.expose().clone());
        if let (Some(etag), true) = (&self.etag, self.position > 0) {
            request = request
                .header(RANGE, format!("bytes={}-", self.position))
                .header(IF_MATCH, etag);
        }
        let Ok(sent) = timeout(SILENCE_MAX, request.send()).await else {
            return Err(silent());
        };
        let response = sent.map_err(ClientError::transport)?;
        let response = match response.status() {
            StatusCode::PRECONDITION_FAILED | StatusCode::RANGE_NOT_SATISFIABLE if self.position > 0 => {
                response
            }
            _ => success(response).await?,
        };
        let text = |name| {
            response
                .headers()
                .get(name)
                .and_then(|value| value.to_str().ok())
                .map(str::to_owned)
        };
        let etag = text(ETAG).unwrap_or_default();
        match continuation(response.status(), text(CONTENT_RANGE).as_deref(), self.position)? {
            Continuation::Append => {}
            Continuation::FromStart => {
                sink.begin(&etag, self.position).await?;
                self.start_over(etag);
            }
            Continuation::Changed => {
                *restarts += 1;
                if *restarts > RESTARTS_MAX {
                    return Err(ClientError::Failed(
                        "the file keeps changing while it is downloaded".to_owned(),
                    ));
                }
                sink.begin("", self.position).await?;
                self.start_over(String::new());
                return Ok(false);
            }
        }
        self.take(response, sink).await?;
        Ok(true)
    }

    async fn take(&mut self, mut response: Response, sink: &mut impl Sink) -> Result<()> {
        loop {
            let Ok(chunk) = timeout(SILENCE_MAX, response.chunk()).await else {
                return Err(silent());
            };
            let Some(chunk) = chunk.map_err(ClientError::transport)? else {
                return Ok(());
            };
            sink.writer()
                .write_all(&chunk)
                .await
                .map_err(|error| sink.failed(error))?;
            self.hash.update(&chunk);
            self.position += chunk.len() as u64;
            self.task.add(chunk.len() as u64);
        }
    }

    fn start_over(&mut self, etag: String) {
        self.task.take_back(self.position);
        self.hash = Sha256::new();
        self.position = 0;
        self.resumed_from = 0;
        self.etag = Some(etag);
    }

    fn digest(&self) -> String {
        Sha256Digest(self.hash.clone().finalize().into()).to_string()
    }

    /// Whether the bytes are those of the file.
    fn verified(&self) -> Result<()> {
        if let Some(size) = self.file.size_bytes
            && size != self.position
        {
            return Err(ClientError::Failed(format!(
                "{} bytes arrived where the file has {size}",
                self.position
            )));
        }
        match &self.file.checksum_sha256 {
            Some(expected) if *expected != self.digest() => Err(ClientError::Failed(format!(
                "the bytes that arrived have SHA-256 {}, the file has {expected}; they were thrown away",
                self.digest()
            ))),
            _ => Ok(()),
        }
    }

    fn report(&self) -> DownloadReport {
        DownloadReport {
            file_id: self.file.file_id.clone(),
            path: None,
            size_bytes: self.position,
            checksum_sha256: Some(self.digest()),
            resumed_from_bytes: self.resumed_from,
        }
    }
}

fn silent() -> ClientError {
    ClientError::Transport {
        host: "the object store".to_owned(),
        reason: format!("nothing arrived for {} s", SILENCE_MAX.as_secs()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_appended_only_where_it_belongs() {
        let decide =
            |status, range| continuation(StatusCode::from_u16(status).expect("a status"), range, 5).ok();
        assert_eq!(decide(206, Some("bytes 5-9/10")), Some(Continuation::Append));
        assert_eq!(decide(206, Some("bytes 0-9/10")), Some(Continuation::Changed));
        assert_eq!(decide(206, None), Some(Continuation::Changed));
        assert_eq!(decide(200, None), Some(Continuation::FromStart));
        assert_eq!(decide(412, None), Some(Continuation::Changed));
        assert_eq!(decide(416, None), Some(Continuation::Changed));
        assert_eq!(decide(204, None), None);
    }
}
