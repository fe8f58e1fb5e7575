//! A look at everything after a round: what was acknowledged is there, with the right bytes, and nothing is half made.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream;
use tokio::time::{Instant, sleep};

use super::ledger::{Entry, Ledger, sha256};
use super::load::{download, is_missing};
use crate::client::api::Api;
use crate::client::error::{ClientError, Result};
use crate::client::wire::FileAnswer;

/// How long files may take to come to rest: leases of the dead, recovery, their work.
const SETTLE_MAX: Duration = Duration::from_mins(3);
/// How often to look.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How many files are asked for at the same time.
const AT_ONCE: usize = 8;
/// Of the files that earlier rounds have seen whole, one in so many is read again.
const SAMPLE: usize = 20;
/// States that a file leaves by itself.
const PASSING: &[&str] = &["confirmed", "processing", "reaping", "purging"];

/// What a look found.
#[derive(Debug, Default)]
pub struct Found {
    /// Files whose bytes were compared.
    pub read: usize,
    /// What must not be.
    pub violations: Vec<String>,
}

/// One look.
pub struct Audit {
    api: Arc<Api>,
    ledger: Arc<Ledger>,
    deadline: Instant,
}

impl Audit {
    /// Through this server.
    pub fn new(api: Arc<Api>, ledger: Arc<Ledger>) -> Self {
        Self {
            api,
            ledger,
            deadline: Instant::now() + SETTLE_MAX,
        }
    }

    /// Looks at every file; the bytes of new ones and of some of the others, or of all.
    pub async fn run(self, all: bool) -> Found {
        let audit = &self;
        let entries = self.ledger.all();
        let chosen = entries
            .into_iter()
            .enumerate()
            .filter(|(number, (_, entry))| all || !entry.seen || number % SAMPLE == 0);
        let looks = chosen.map(async |(_, (id, entry))| audit.look(&id, &entry).await);
        let mut found = Found::default();
        let mut results = stream::iter(looks).buffer_unordered(AT_ONCE);
        while let Some(result) = results.next().await {
            match result {
                Ok(read) => found.read += usize::from(read),
                Err(violation) => found.violations.push(violation),
            }
        }
        drop(results);
        if let Err(error) = self.listing(&mut found).await {
            found
                .violations
                .push(format!("the list of files cannot be read: {error}"));
        }
        found
    }

    /// The file when it has come to rest; `None` when there is none.
    async fn settled(&self, id: &str) -> std::result::Result<Option<FileAnswer>, String> {
        loop {
            let why = match self.api.file(id).await {
                Ok(file) if !PASSING.contains(&file.state.as_str()) => return Ok(Some(file)),
                Ok(file) => format!("still {}", file.state),
                Err(error) if is_missing(&error) => return Ok(None),
                Err(error) => error.to_string(),
            };
            if Instant::now() >= self.deadline {
                return Err(format!("{id}: {why} after {} s", SETTLE_MAX.as_secs()));
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// Whether its bytes were compared, or what is wrong with it.
    async fn look(&self, id: &str, entry: &Entry) -> std::result::Result<bool, String> {
        let Some(file) = self.settled(id).await? else {
            let may_be_gone = entry.fleeting && entry.deleted != Some(false);
            return if may_be_gone || !entry.confirmed && entry.fleeting {
                Ok(false)
            } else {
                Err(format!(
                    "{id} is gone (confirmed: {}, deleted: {:?})",
                    entry.confirmed, entry.deleted
                ))
            };
        };
        match (file.state.as_str(), entry.deleted) {
            // Nobody was told anything, or only of the signature.
            ("pending" | "uploading" | "uploaded" | "expired", _) if !entry.confirmed => return Ok(false),
            ("trashed", Some(true) | None) => return Ok(false),
            ("ready", Some(false) | None) => {}
            (state, deleted) => {
                return Err(format!(
                    "{id} is {state} (confirmed: {}, deleted: {deleted:?}, error: {:?})",
                    entry.confirmed,
                    file.error.as_ref().map(|error| &error.code)
                ));
            }
        }
        if let Some(name) = &entry.name
            && *name != file.filename
        {
            return Err(format!(
                "{id} is named {:?} and was last named {name:?}",
                file.filename
            ));
        }
        if file.checksum_sha256.as_deref() != Some(entry.sha256.as_str()) {
            return Err(format!(
                "{id} has the checksum {:?}, sent was {}",
                file.checksum_sha256, entry.sha256
            ));
        }
        let bytes = self.bytes(id).await?;
        if sha256(&bytes) != entry.sha256 {
            return Err(format!("{id} is served with other bytes ({} bytes)", bytes.len()));
        }
        self.ledger.update(id, |entry| entry.seen = true);
        Ok(true)
    }

    async fn bytes(&self, id: &str) -> std::result::Result<Vec<u8>, String> {
        loop {
            match download(&self.api, id).await {
                Ok(bytes) => return Ok(bytes),
                Err(ClientError::Transport { .. }) if Instant::now() < self.deadline => {
                    sleep(LOOK_EVERY).await;
                }
                Err(error) => return Err(format!("{id} cannot be read: {error}")),
            }
        }
    }

    /// Nothing is listed as ready that was not sent like that.
    async fn listing(&self, found: &mut Found) -> Result<()> {
        let known: BTreeMap<String, Entry> = self.ledger.all().into_iter().collect();
        let mut cursor: Option<String> = None;
        loop {
            let mut query = vec![("limit", "1000".to_owned()), ("state", "ready".to_owned())];
            query.extend(cursor.map(|cursor| ("cursor", cursor)));
            let page = self.api.my_files(&query).await?;
            for file in &page.files {
                let id = file["file_id"].as_str().unwrap_or_default();
                let sent = known.get(id).map(|entry| entry.sha256.as_str());
                if sent.is_none() || sent != file["checksum_sha256"].as_str() {
                    found
                        .violations
                        .push(format!("{id} is listed as ready and was not sent so"));
                }
            }
            cursor = page.next_cursor;
            if cursor.is_none() {
                return Ok(());
            }
        }
    }
}
