//! Clients that upload, change, delete, restore and download, and remember what they were told.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::ledger::{Entry, Ledger, sha256};
use super::plant::Nodes;
use crate::client::api::Api;
use crate::client::error::{ClientError, Result};
use crate::client::wire::SignRequest;
use crate::commands::smoke::document::noise;
use crate::commands::smoke::send;

/// Sizes of files, small ones more often: many confirms find more than many bytes.
const SIZES: &[usize] = &[1, 200, 200, 5_000, 5_000, 70_000, 300_000];
/// Size of a file that is sent in parts: one part of the usual size and a bit.
const PARTS_BYTES: usize = 8 * 1024 * 1024 + 17;
/// Wait while no server answers.
const NOBODY_WAIT: Duration = Duration::from_millis(5);
/// A file of its own that a client goes on with.
const OWN_MAX: usize = 40;

/// Clients at work.
pub struct Load {
    clients: JoinSet<()>,
    stop: CancellationToken,
}

impl Load {
    /// Sets so many to work.
    pub fn start(clients: u32, seed: u64, nodes: &Nodes, ledger: &Arc<Ledger>) -> Self {
        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        for number in 0..clients {
            let client = Client {
                nodes: Arc::clone(nodes),
                ledger: Arc::clone(ledger),
                random: StdRng::seed_from_u64(seed.wrapping_add(number.into())),
                own: Vec::new(),
            };
            let stop = stop.clone();
            tasks.spawn(client.work(stop));
        }
        Self { clients: tasks, stop }
    }

    /// Waits until each has an answer, or none, to what it asked last.
    pub async fn stop(mut self) {
        self.stop.cancel();
        while self.clients.join_next().await.is_some() {}
    }
}

struct Client {
    nodes: Nodes,
    ledger: Arc<Ledger>,
    random: StdRng,
    own: Vec<String>,
}

/// What a client knows of its request.
enum Told {
    Yes,
    /// Refused: nothing has changed.
    No,
    /// The answer was lost.
    Nothing,
}

fn told<T>(outcome: &Result<T>) -> Told {
    match outcome {
        Ok(_) => Told::Yes,
        Err(error)
            if error
                .status()
                .is_some_and(|status| (400..500).contains(&status) && status != 409) =>
        {
            Told::No
        }
        Err(_) => Told::Nothing,
    }
}

impl Client {
    async fn work(mut self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let Some(api) = self.some_node() else {
                sleep(NOBODY_WAIT).await;
                continue;
            };
            if self.own.is_empty() || self.random.random_bool(0.5) {
                // What became of it is in the ledger.
                let _ = self.upload(&api).await;
            } else {
                self.go_on(&api).await;
            }
        }
    }

    fn some_node(&mut self) -> Option<Arc<Api>> {
        let nodes = self.nodes.read().unwrap_or_else(PoisonError::into_inner);
        let index = (!nodes.is_empty()).then(|| self.random.random_range(0..nodes.len()))?;
        nodes.get(index).cloned()
    }

    async fn upload(&mut self, api: &Api) -> Result<()> {
        let in_parts = self.random.random_bool(0.01);
        let size = if in_parts {
            PARTS_BYTES
        } else {
            SIZES[self.random.random_range(0..SIZES.len())]
        };
        let bytes = noise(self.random.random(), size);
        let fleeting = self.random.random_bool(0.3);
        let declared = self.random.random_bool(0.3);
        let digest = sha256(&bytes);
        let request = SignRequest {
            collection: if fleeting { "fleeting" } else { "lasting" }.to_owned(),
            filename: "torture.bin".to_owned(),
            size_bytes: Some(bytes.len() as u64),
            checksum_sha256: (declared && !in_parts).then(|| digest.clone()),
            method: Some(if in_parts { "multipart" } else { "put" }.to_owned()),
            ..SignRequest::default()
        };
        let key = format!("{:016x}", self.random.random::<u64>());
        let (signed, _) = api.sign(&request, &key).await?;
        let id = signed.answer.file_id.clone();
        let entry = Entry {
            sha256: digest,
            confirmed: false,
            deleted: Some(false),
            name: Some("torture.bin".to_owned()),
            fleeting,
            seen: false,
        };
        self.ledger.insert(&id, entry);
        if in_parts {
            let parts = send::parts(api, &signed.answer, &bytes).await?;
            api.complete(&id, &parts).await?;
        } else {
            send::put(api, &signed.answer, bytes).await?;
            api.confirm(&id).await?;
        }
        self.ledger.update(&id, |entry| entry.confirmed = true);
        self.own.push(id);
        if self.own.len() > OWN_MAX {
            self.own.remove(0);
        }
        Ok(())
    }

    /// Something with a file of its own.
    async fn go_on(&mut self, api: &Api) {
        let id = self.own[self.random.random_range(0..self.own.len())].clone();
        match self.random.random_range(0..10) {
            0..=3 => self.read(api, &id).await,
            4..=6 => self.rename(api, &id).await,
            7 | 8 => self.delete(api, &id).await,
            _ => self.restore(api, &id).await,
        }
    }

    /// Whoever gets bytes gets the right ones.
    async fn read(&self, api: &Api, id: &str) {
        let Some(entry) = self.ledger.entry(id) else {
            return;
        };
        if let Ok(bytes) = download(api, id).await
            && sha256(&bytes) != entry.sha256
        {
            self.ledger.update(id, |entry| {
                entry.sha256 = format!("{} (other bytes were served)", entry.sha256);
            });
        }
    }

    async fn rename(&mut self, api: &Api, id: &str) {
        let name = format!("torture-{:08x}.bin", self.random.random::<u32>());
        let outcome = api.update(id, &json!({ "filename": name })).await;
        match told(&outcome) {
            Told::Yes => self.ledger.update(id, |entry| entry.name = Some(name)),
            Told::No => {}
            Told::Nothing => self.ledger.update(id, |entry| entry.name = None),
        }
    }

    async fn delete(&mut self, api: &Api, id: &str) {
        match told(&api.delete_file(id).await) {
            Told::Yes => self.ledger.update(id, |entry| entry.deleted = Some(true)),
            Told::No => {}
            Told::Nothing => self.ledger.update(id, |entry| entry.deleted = None),
        }
        if self.ledger.entry(id).is_some_and(|entry| entry.fleeting) {
            self.own.retain(|own| own != id);
        }
    }

    async fn restore(&self, api: &Api, id: &str) {
        let Some(entry) = self.ledger.entry(id) else {
            return;
        };
        if entry.deleted == Some(false) {
            return;
        }
        match told(&api.restore(id).await) {
            Told::Yes => self.ledger.update(id, |entry| entry.deleted = Some(false)),
            Told::No => {}
            Told::Nothing => self.ledger.update(id, |entry| entry.deleted = None),
        }
    }
}

/// The bytes of a file, by the URL that a client gets.
pub async fn download(api: &Api, id: &str) -> Result<Vec<u8>> {
    let answer = api.download(id).await?;
    send::get(api, answer.download_url.expose()).await
}

/// Whether the file is not there at all.
pub fn is_missing(error: &ClientError) -> bool {
    error.status() == Some(404)
}
