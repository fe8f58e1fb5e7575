//! Who works on the stores: clients, workers, janitors.

use std::rc::Rc;
use std::sync::Arc;

use cloakroom_core::error::ErrorCode;
use cloakroom_core::file::FilePatch;
use cloakroom_core::id::FileId;
use cloakroom_core::ports::clock::Clock as _;
use cloakroom_core::ports::objects::{ObjectPath, PutBody};
use cloakroom_service::uploads::{ConfirmUpload, SignUpload};
use cloakroom_service::{App, ServiceError};
use cloakroom_testkit::random::SeededRandom;
use cloakroom_worker::{janitor, runner};

use crate::checks;
use crate::reference::{Deed, Known, PRESENT, TRASHED};
use crate::scheduler::{Actor, Gate, Point, below, happens};
use crate::world::{BUCKET, OWNER, World, ann, put_options, worker};

/// Bytes of a file.
const CONTENT_BYTES: usize = 24;
/// Files in a schedule.
const FILES_MAX: usize = 3;

/// A worker that runs what is due, again and again.
pub fn working(world: &Rc<World>, name: &str) -> Actor {
    let gate = Arc::new(Gate::default());
    let (own, world, options) = (Arc::clone(&gate), Rc::clone(world), worker(name));
    Actor::new(name, false, gate, async move {
        loop {
            let app = world.app(Some(&own));
            own.pass(Point::Idle).await;
            own.process(runner::run_due(&app, &options)).await;
        }
    })
}

/// A janitor that sweeps in any order.
pub fn sweeping(world: &Rc<World>, name: &str, seed: u64) -> Actor {
    let gate = Arc::new(Gate::default());
    let (own, world, random) = (Arc::clone(&gate), Rc::clone(world), SeededRandom::new(seed));
    Actor::new(name, false, gate, async move {
        loop {
            let app = world.app(Some(&own));
            own.pass(Point::Idle).await;
            let sweep = &janitor::SWEEPS[below(&random, janitor::SWEEPS.len() as u64) as usize];
            // A failing sweep is tried again in its next round.
            own.process((sweep.run)(&app)).await;
        }
    })
}

/// A client that asks for so many things.
pub fn asking(world: &Rc<World>, name: &str, seed: u64, requests: u32) -> Actor {
    let gate = Arc::new(Gate::default());
    let client = Client {
        world: Rc::clone(world),
        gate: Arc::clone(&gate),
        random: SeededRandom::new(seed),
        name: name.to_owned(),
    };
    Actor::new(name, true, gate, async move {
        for number in 0..requests {
            client.gate.pass(Point::Idle).await;
            client.ask(number).await;
            checks::at_any_moment(&client.world).await;
        }
    })
}

struct Client {
    world: Rc<World>,
    gate: Arc<Gate>,
    random: SeededRandom,
    name: String,
}

/// What a client knows of its request.
enum Told<T> {
    Yes(T),
    /// Certainly not.
    No,
    /// The answer was lost.
    Nothing,
}

impl Client {
    /// Asks a process that may be killed while it answers.
    ///
    /// Who waits for longer than an intent's lease may be refused what a recovery has meanwhile done for it.
    async fn told<T>(&self, work: impl AsyncFnOnce(&App) -> Result<T, ServiceError>) -> Told<T> {
        let app = self.world.app(Some(&self.gate));
        let lease_end = self.world.now_plus(app.policy.intent_lease);
        let answer = self.gate.process(work(&app)).await;
        let late = self.world.clock.now() >= lease_end;
        match answer {
            Some(Ok(answer)) => Told::Yes(answer),
            Some(Err(ServiceError::Refused(refusal))) if refusal.code != ErrorCode::Conflict && !late => {
                Told::No
            }
            Some(Err(ServiceError::Internal(reason))) => {
                self.world
                    .violated(format!("{}: internal error: {reason}", self.name));
                Told::Nothing
            }
            Some(Err(_)) | None => Told::Nothing,
        }
    }

    async fn ask(&self, number: u32) {
        let files = self.world.known.borrow().len();
        if files == 0 || files < FILES_MAX && happens(&self.random, 200) {
            self.sign(number).await;
            return;
        }
        let index = below(&self.random, files as u64) as usize;
        let (id, sent, confirmed) = {
            let known = &self.world.known.borrow()[index];
            (known.id, known.sent.is_empty(), known.confirms.is_empty())
        };
        // Mostly what comes next, now and then anything.
        let choice = match (sent, confirmed, happens(&self.random, 750)) {
            (true, _, true) => 0,
            (false, true, true) => 4,
            _ => below(&self.random, 12),
        };
        match choice {
            0..=2 => self.send(index, number).await,
            3..=5 => self.confirm(index, id).await,
            6 | 7 => self.patch(index, id, number).await,
            8 => self.delete(index, id).await,
            9 => self.restore(index, id).await,
            10 => self.download(id).await,
            _ => self.endpoint(index).await,
        }
    }

    /// Signs, mostly with a key that makes repeating it safe.
    async fn sign(&self, number: u32) {
        let repeatable = happens(&self.random, 700);
        let key = repeatable.then(|| format!("{}-{number}", self.name));
        if let Some(key) = &key {
            let id = FileId::from_idempotency_key(OWNER, key);
            self.world.known.borrow_mut().push(Known::new(id));
        }
        let request = SignUpload {
            collection: "files".to_owned(),
            filename: "a.bin".to_owned(),
            size_bytes: happens(&self.random, 900).then_some(CONTENT_BYTES as u64),
            idempotency_key: key,
            ..SignUpload::default()
        };
        for _ in 0..2 {
            let asked = request.clone();
            match self.told(async |app| app.sign_upload(&ann(), asked).await).await {
                Told::Yes(signed) => {
                    let mut known = self.world.known.borrow_mut();
                    let index = known.iter().position(|known| known.id == signed.file.id);
                    let index = index.unwrap_or_else(|| {
                        known.push(Known::new(signed.file.id));
                        known.len() - 1
                    });
                    known[index].signed = true;
                    known[index].staging_key = Some(signed.upload.staging_key);
                    known[index].key = Some(signed.file.key);
                    known[index].expires_at = Some(signed.upload.expires_at);
                    return;
                }
                Told::Nothing if repeatable => {}
                _ => return,
            }
        }
    }

    /// Sends bytes: the client's own connection to the store.
    async fn send(&self, index: usize, number: u32) {
        let known = self.world.known.borrow()[index].clone();
        let (Some(key), Some(expires_at)) = (known.staging_key, known.expires_at) else {
            return;
        };
        if self.world.clock.now() > expires_at {
            return;
        }
        let length = if happens(&self.random, 950) {
            CONTENT_BYTES
        } else {
            7
        };
        let mut content = format!("{}{number}", self.name);
        content.extend(std::iter::repeat_n('.', length.saturating_sub(content.len())));
        content.truncate(length);
        let start = self.begin(index, content.clone(), |known| &mut known.sent);
        let app = self.world.app(Some(&self.gate));
        let sending = async {
            // The embedded endpoint asks first; a foreign store does not.
            if happens(&self.random, 500) && !app.admits_upload(&key).await.unwrap_or(true) {
                return None;
            }
            let path = ObjectPath::new(BUCKET, &key);
            let stored = app
                .objects
                .put(&path, put_options(), PutBody::from_bytes(content))
                .await;
            Some(stored.is_ok())
        };
        match self.gate.process(sending).await {
            Some(Some(true)) => self.end(index, start, |known| &mut known.sent),
            Some(None) => self.undo(index, start, |known| &mut known.sent),
            _ => {}
        }
    }

    async fn confirm(&self, index: usize, id: FileId) {
        let start = self.begin(index, String::new(), |known| &mut known.confirms);
        let told = self.told(async |app| app.confirm_upload(&ann(), id, ConfirmUpload::default()).await);
        match told.await {
            Told::Yes(_) => self.end(index, start, |known| &mut known.confirms),
            Told::No => self.undo(index, start, |known| &mut known.confirms),
            Told::Nothing => {}
        }
    }

    async fn patch(&self, index: usize, id: FileId, number: u32) {
        let filename = format!("{}-{number}.bin", self.name);
        let start = self.begin(index, filename.clone(), |known| &mut known.patches);
        let patch = FilePatch {
            filename: Some(filename),
            ..FilePatch::default()
        };
        match self
            .told(async |app| app.update_file(&ann(), id, patch, None).await)
            .await
        {
            Told::Yes(_) => self.end(index, start, |known| &mut known.patches),
            Told::No => self.undo(index, start, |known| &mut known.patches),
            Told::Nothing => {}
        }
    }

    async fn delete(&self, index: usize, id: FileId) {
        let start = self.begin(index, TRASHED.to_owned(), |known| &mut known.presence);
        match self.told(async |app| app.delete_file(&ann(), id).await).await {
            Told::Yes(()) => self.end(index, start, |known| &mut known.presence),
            Told::No => self.undo(index, start, |known| &mut known.presence),
            Told::Nothing => {}
        }
    }

    async fn restore(&self, index: usize, id: FileId) {
        let start = self.begin(index, PRESENT.to_owned(), |known| &mut known.presence);
        match self.told(async |app| app.restore_file(&ann(), id).await).await {
            Told::Yes(_) => self.end(index, start, |known| &mut known.presence),
            Told::No => self.undo(index, start, |known| &mut known.presence),
            Told::Nothing => {}
        }
    }

    /// Whoever gets a URL gets verified bytes (I1).
    async fn download(&self, id: FileId) {
        let told = self.told(async |app| app.download(&ann(), id, false).await).await;
        if let Told::Yes(_) = told
            && let Some(file) = self.world.row(id).await
            && file.verified.is_none()
        {
            self.world
                .violated(format!("{id} was handed out unverified (I1)"));
        }
    }

    /// What the embedded endpoint tells of a write.
    async fn endpoint(&self, index: usize) {
        let Some(key) = self.world.known.borrow()[index].staging_key.clone() else {
            return;
        };
        if self.world.auto_confirm {
            // It may be confirmed by this, and nobody is told.
            self.begin(index, String::new(), |known| &mut known.confirms);
        }
        self.told(async |app| app.observe_upload_done(&key).await).await;
    }

    fn begin(&self, index: usize, value: String, of: impl Fn(&mut Known) -> &mut Vec<Deed>) -> u64 {
        let start = self.world.tick();
        of(&mut self.world.known.borrow_mut()[index]).push(Deed {
            start,
            end: None,
            value,
        });
        start
    }

    fn end(&self, index: usize, start: u64, of: impl Fn(&mut Known) -> &mut Vec<Deed>) {
        let end = self.world.tick();
        let mut known = self.world.known.borrow_mut();
        if let Some(deed) = of(&mut known[index]).iter_mut().find(|deed| deed.start == start) {
            deed.end = Some(end);
        }
    }

    fn undo(&self, index: usize, start: u64, of: impl Fn(&mut Known) -> &mut Vec<Deed>) {
        of(&mut self.world.known.borrow_mut()[index]).retain(|deed| deed.start != start);
    }
}
