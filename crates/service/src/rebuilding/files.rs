//! Rows of verified files out of their sidecars.

use std::collections::{BTreeMap, HashMap, HashSet};

use cloakroom_core::derivative::{Derivative, DerivativeOutcome};
use cloakroom_core::event::{Event, EventKind};
use cloakroom_core::file::{FROM_BUCKET, FROM_KEY, File, FileState};
use cloakroom_core::format::sidecar_v1::{SIDECAR_BYTES_MAX, SidecarV1};
use cloakroom_core::id::{FileId, JobId};
use cloakroom_core::intent::Intent;
use cloakroom_core::job::{JobKind, NewJob};
use cloakroom_core::key::Beside;
use cloakroom_core::key::{
    STAGING_PREFIX, SYSTEM_PREFIX, attribute_file_of, beside, derivative_base, ids_in, sidecar_key,
};
use cloakroom_core::media::MediaType;
use cloakroom_core::ports::administration::Adoption;
use cloakroom_core::ports::objects::{GetOptions, ListedObject, ObjectError, ObjectPath};
use cloakroom_core::record::Record;
use cloakroom_core::upload::{Upload, UploadMethod};
use futures_util::FutureExt;
use jiff::Timestamp;

use super::families::{Families, Family};
use super::outcome::Outcome;
use super::place::{Phase, Place};
use super::{PENDING_MAX, REBUILD, side_by_side};
use crate::app::App;
use crate::error::Result;
use crate::operations::Run;

/// How often a family is looked at again when it changes while it is read.
const LOOKS_MAX: u32 = 4;
/// Most rows asked for at once.
const IDS_MAX: usize = 1_000;

/// What the database says about the families of a page.
#[derive(Default)]
struct Known {
    rows: HashMap<FileId, File>,
    purged: HashSet<FileId>,
    pending: Vec<Intent>,
}

/// A sidecar that was read, with what stands beside it.
struct Witness {
    sidecar: SidecarV1,
    /// Where it stands.
    path: ObjectPath,
    /// Where the object is.
    object: ObjectPath,
    /// Its size in bytes; `None` when it is not there.
    size_bytes: Option<u64>,
}

impl App {
    pub(super) async fn rebuild_files(
        &self,
        run: &mut Run<'_>,
        bucket: &str,
        mut after: Option<String>,
    ) -> Result<()> {
        let mut families = Families::default();
        loop {
            let Some(page) = self.rebuild_page(bucket, "", after).await? else {
                return Ok(());
            };
            let looked_at = page.objects.len() as u64;
            let mut whole = Vec::new();
            for object in &page.objects {
                if !object.key.starts_with(STAGING_PREFIX) && !object.key.starts_with(SYSTEM_PREFIX) {
                    families.push(object, &mut whole);
                }
            }
            if page.next.is_none() {
                families.finish(&mut whole);
            }
            self.restore_families(run, bucket, whole).await?;
            let place = Place {
                phase: Phase::Files,
                bucket: bucket.to_owned(),
                key: families.place().map(str::to_owned),
            };
            run.advance(run.done() + looked_at, place.to_string()).await?;
            after = page.next;
            if after.is_none() {
                return Ok(());
            }
        }
    }

    /// One query for them all; those whose row is not as new are read, a few at a time.
    async fn restore_families(&self, run: &mut Run<'_>, bucket: &str, families: Vec<Family>) -> Result<()> {
        let mut ids: Vec<FileId> = families.iter().flat_map(|family| ids_in(&family.key)).collect();
        ids.sort_unstable();
        ids.dedup();
        let mut known = Known::default();
        for some in ids.chunks(IDS_MAX) {
            let rows = self.administration.files_by_id(some).await?;
            known.rows.extend(rows.into_iter().map(|row| (row.id, row)));
        }
        let mut open = Vec::new();
        for family in families {
            let row = ids_in(&family.key)
                .into_iter()
                .filter_map(|id| known.rows.get(&id))
                .find(|row| row.bucket == bucket && row.key == family.key);
            match judge(&family, row) {
                Verdict::Read => open.push(family),
                Verdict::Done(name) => run.count(name, 1),
                Verdict::Report(kind, detail) => {
                    let path = ObjectPath::new(bucket, &family.key);
                    Outcome::found(kind, &path, row.map(|row| row.id), detail).report(run);
                }
            }
        }
        if open.is_empty() {
            return Ok(());
        }
        let rowless: Vec<FileId> = open
            .iter()
            .flat_map(|family| ids_in(&family.key))
            .filter(|id| !known.rows.contains_key(id))
            .collect();
        for some in rowless.chunks(IDS_MAX) {
            known.purged.extend(self.administration.purged_files(some).await?);
        }
        known.pending = self.metadata.stale_intents(Timestamp::MAX, PENDING_MAX).await?;
        let known = &known;
        let work = open
            .into_iter()
            .map(|family| self.restore_family(bucket, family, known).boxed());
        side_by_side(work.collect(), run).await
    }

    async fn restore_family(&self, bucket: &str, mut family: Family, known: &Known) -> Result<Outcome> {
        self.add_derivatives_elsewhere(bucket, &mut family).await?;
        for look in 0..LOOKS_MAX {
            let path = ObjectPath::new(
                bucket,
                sidecar_key(&family.key, family.epoch().unwrap_or_default()),
            );
            match self.witness(&path, &family).await? {
                Some(Ok(witness)) => {
                    let restored = self.restore(witness, &family, known, look == 0).await?;
                    if let Some(outcome) = restored {
                        return Ok(outcome);
                    }
                    // The row was changed at the same time.
                }
                Some(Err(reason)) => {
                    return Ok(Outcome::found("invalid_attribute_file", &path, None, reason));
                }
                // Replaced by a newer one since it was listed, or purged.
                None => {}
            }
            match self.family(bucket, &family.key).await? {
                Some(now) if !now.tombstone && !now.epochs.is_empty() => family = now,
                _ => return Ok(Outcome::counted("changed_meanwhile")),
            }
        }
        Ok(Outcome::counted("changed_meanwhile"))
    }

    /// One object's family, listed anew.
    async fn family(&self, bucket: &str, key: &str) -> Result<Option<Family>> {
        let (mut families, mut whole) = (Families::default(), Vec::new());
        let mut after = None;
        let path = ObjectPath::new(bucket, key);
        if let Some(size_bytes) = self.standing_bytes(&path).await? {
            let object = ListedObject {
                key: key.to_owned(),
                size_bytes,
                etag: String::new(),
                modified_at: self.now(),
            };
            families.push(&object, &mut whole);
        }
        loop {
            let Some(page) = self.rebuild_page(bucket, &format!("{key}."), after).await? else {
                return Ok(None);
            };
            for object in &page.objects {
                families.push(object, &mut whole);
            }
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        families.finish(&mut whole);
        let mut family = whole.into_iter().find(|family| family.key == key);
        if let Some(family) = &mut family {
            self.add_derivatives_elsewhere(bucket, family).await?;
        }
        Ok(family)
    }

    /// Derivatives of an original stand in a directory of their own, which a listing comes to long after it.
    async fn add_derivatives_elsewhere(&self, bucket: &str, family: &mut Family) -> Result<()> {
        let base = derivative_base(&family.key);
        if base == family.key {
            return Ok(());
        }
        let prefix = format!("{base}.");
        let mut after = None;
        while let Some(page) = self.rebuild_page(bucket, &prefix, after).await? {
            for object in &page.objects {
                family.take_derivative(object);
            }
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        Ok(())
    }

    async fn standing_bytes(&self, path: &ObjectPath) -> Result<Option<u64>> {
        match self.objects.head(path, &GetOptions::default()).await {
            Ok(info) => Ok(Some(info.size_bytes)),
            Err(ObjectError::NotFound | ObjectError::NoSuchBucket(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Reads a sidecar and looks where it says that the object is; `None` when it is not there, the inner error when it
    /// cannot be used.
    async fn witness(
        &self,
        path: &ObjectPath,
        family: &Family,
    ) -> Result<Option<std::result::Result<Witness, String>>> {
        let Some(bytes) = self.read_document(path, SIDECAR_BYTES_MAX).await? else {
            return Ok(None);
        };
        let sidecar = match SidecarV1::decode(&bytes) {
            Ok(sidecar) => sidecar,
            Err(refusal) => return Ok(Some(Err(refusal.message))),
        };
        let Some(base) = attribute_file_of(&path.key) else {
            return Ok(Some(Err("it is not named as a sidecar".to_owned())));
        };
        if beside(base, &path.key) != Some(Beside::Sidecar(sidecar.epoch)) {
            let detail = format!("it is revision {} under the name of another", sidecar.epoch);
            return Ok(Some(Err(detail)));
        }
        if !ids_in(base).contains(&FileId(sidecar.file_id)) {
            return Ok(Some(Err("it is of another file than its key".to_owned())));
        }
        let object = ObjectPath::new(
            sidecar.bucket.as_deref().unwrap_or(&path.bucket),
            sidecar.key.as_deref().unwrap_or(base),
        );
        let size_bytes = if object.bucket == path.bucket && object.key == family.key {
            family.object
        } else {
            self.standing_bytes(&object).await?
        };
        Ok(Some(Ok(Witness {
            sidecar,
            path: path.clone(),
            object,
            size_bytes,
        })))
    }

    /// The row, if it is to be; `None` when the database is not as it was thought to be. The first look believes what the
    /// page's query said: adopting compares it.
    async fn restore(
        &self,
        witness: Witness,
        family: &Family,
        known: &Known,
        first: bool,
    ) -> Result<Option<Outcome>> {
        let Witness {
            sidecar,
            path,
            object,
            size_bytes,
        } = witness;
        let id = FileId(sidecar.file_id);
        let Some(found) = size_bytes else {
            let detail = "The sidecar stands and its object does not.".to_owned();
            return Ok(Some(Outcome::found("object_missing", &path, Some(id), detail)));
        };
        if found != sidecar.size_bytes {
            // Not what was verified, so it is not handed out (I1).
            let detail = format!(
                "{} bytes were verified and {found} are there.",
                sidecar.size_bytes
            );
            return Ok(Some(Outcome::found("size_differs", &object, Some(id), detail)));
        }
        if known.purged.contains(&id) {
            return Ok(Some(Outcome::counted("purged")));
        }
        let row = if known.rows.contains_key(&id) || !first {
            self.metadata.file(id).await?
        } else {
            None
        };
        if let Some(row) = &row {
            if row.epoch >= sidecar.epoch {
                return Ok(Some(Outcome::counted("unchanged")));
            }
            if is_over(row) {
                return Ok(Some(Outcome::counted("over")));
            }
            let now = self.now();
            let under_way = known.pending.iter().any(|intent| {
                intent.file_id == Some(id) && intent.epoch == sidecar.epoch && intent.lease_until > now
            });
            if under_way {
                return Ok(Some(Outcome::counted("under_way")));
            }
        }
        let mut adoption = self
            .adoption(&sidecar, &path, &object, family, row.as_ref())
            .await?;
        if !first {
            adoption.file.version = self.free_version(&adoption.file, row.as_ref()).await?;
            adoption.event.version = adoption.file.version;
        }
        let mut outcome = Outcome::counted(if row.is_some() { "updated" } else { "adopted" });
        if sidecar.omits("facts") || sidecar.omits("long_facts") {
            outcome.count("facts_omitted");
        }
        for derivative in &adoption.derivatives {
            if let DerivativeOutcome::Made { key, .. } = &derivative.outcome
                && object.key == family.key
                && !family.derivatives.iter().any(|standing| standing.0 == *key)
            {
                let missing = ObjectPath::new(&object.bucket, key);
                let detail = format!("The derivative {:?} is not there.", derivative.name);
                outcome.note("derivative_missing", &missing, Some(id), detail, "reported");
            }
        }
        Ok(self.administration.adopt(&adoption).await?.then_some(outcome))
    }

    async fn adoption(
        &self,
        sidecar: &SidecarV1,
        path: &ObjectPath,
        object: &ObjectPath,
        family: &Family,
        row: Option<&File>,
    ) -> Result<Adoption> {
        let base = attribute_file_of(&path.key).unwrap_or(&path.key);
        let mut file = sidecar.file(&path.bucket, base)?;
        file.version = row.map_or(file.version, |row| file.version.max(row.version + 1));
        let derivatives = if sidecar.omits("derivatives") {
            self.standing_derivatives(&file, object, family).await?
        } else {
            sidecar.derivatives(&file)?
        };
        let record = match sidecar.linked_record()? {
            Some(record) => self.record_to_adopt(&file, record).await?,
            None => None,
        };
        let mut event = self.adoption_event(&file);
        let mut jobs = Vec::new();
        if (file.bucket.as_str(), file.key.as_str()) != (&path.bucket, base) {
            // It has just moved: what stands at the old place goes as it would have gone.
            event
                .data
                .insert(FROM_BUCKET.to_owned(), path.bucket.clone().into());
            event.data.insert(FROM_KEY.to_owned(), base.into());
            jobs.push(self.new_job(JobKind::RemoveMoved, file.id));
        }
        Ok(Adoption {
            upload: Some(upload_of(sidecar, &file)?),
            derivatives,
            record,
            event,
            jobs,
            replaces: row.map(|row| row.version),
            file,
        })
    }

    /// That of the sidecar, unless the row or the timeline has gone beyond it.
    pub(super) async fn free_version(&self, file: &File, row: Option<&File>) -> Result<u64> {
        let mut version = row.map_or(file.version, |row| file.version.max(row.version + 1));
        let mut after = version.checked_sub(1);
        loop {
            let page = self.metadata.timeline(file.id, after, 1_000).await?;
            let Some(last) = page.items.last() else {
                return Ok(version);
            };
            version = last.version + 1;
            after = Some(last.version);
            if !page.more {
                return Ok(version);
            }
        }
    }

    pub(super) fn new_job(&self, kind: JobKind, file_id: FileId) -> NewJob {
        let now = self.now();
        NewJob {
            id: JobId(self.random.uuid_v7(now)),
            kind,
            file_id,
            run_at: now,
        }
    }

    pub(super) fn adoption_event(&self, file: &File) -> Event {
        let mut event = self.occasion(REBUILD).event(file, EventKind::Adopted);
        event.data.insert("epoch".to_owned(), file.epoch.into());
        event
    }

    /// A record that was made by linking comes back with its files, unless it was deleted since: then no file hangs on it
    /// but in the trash.
    pub(super) async fn record_to_adopt(&self, file: &File, record: Record) -> Result<Option<Record>> {
        if file.state != FileState::Trashed || self.metadata.record(&record.key).await?.is_some() {
            return Ok(Some(record));
        }
        let deleted = self
            .record_document(&record.key)
            .await?
            .is_some_and(|document| document.deleted);
        Ok((!deleted).then_some(record))
    }

    /// The derivatives that stand beside an object whose sidecar had no room for their list: of each name the last one.
    async fn standing_derivatives(
        &self,
        file: &File,
        object: &ObjectPath,
        family: &Family,
    ) -> Result<Vec<Derivative>> {
        let moved;
        let family = if object.key == family.key {
            family
        } else {
            moved = self
                .family(&object.bucket, &object.key)
                .await?
                .unwrap_or_default();
            &moved
        };
        let mut last: BTreeMap<&str, (u32, &str, u64)> = BTreeMap::new();
        for (key, epoch, name, size_bytes) in &family.derivatives {
            let standing = last.entry(name).or_insert((*epoch, key, *size_bytes));
            if standing.0 < *epoch {
                *standing = (*epoch, key, *size_bytes);
            }
        }
        let mut derivatives = Vec::new();
        for (name, (_, key, size_bytes)) in last {
            let path = ObjectPath::new(&object.bucket, key);
            let content_type = match self.objects.head(&path, &GetOptions::default()).await {
                Ok(info) => info.attributes.content_type,
                Err(ObjectError::NotFound) => continue,
                Err(error) => return Err(error.into()),
            };
            let content_type = content_type.and_then(|text| MediaType::parse(&text).ok());
            derivatives.push(Derivative {
                file_id: file.id,
                name: name.to_owned(),
                outcome: DerivativeOutcome::Made {
                    key: key.to_owned(),
                    content_type: content_type.unwrap_or_else(MediaType::octet_stream),
                    size_bytes,
                    width: None,
                    height: None,
                },
                created_at: file.processed_at.unwrap_or(file.updated_at),
            });
        }
        Ok(derivatives)
    }

    /// Brings one file's row back, or up to date, from the sidecar that counts at a place. `true`: the row is as new as the
    /// sidecar now.
    ///
    /// # Errors
    /// `invalid_attribute_file` when the sidecar cannot be used; `conflict` when the file is changed at the same time.
    pub(crate) async fn adopt_file(&self, sidecar: &ObjectPath) -> Result<bool> {
        let Some(base) = attribute_file_of(&sidecar.key) else {
            return Ok(false);
        };
        let Some(family) = self.family(&sidecar.bucket, base).await? else {
            return Ok(false);
        };
        if family.tombstone || family.epochs.is_empty() {
            return Ok(false);
        }
        let ids = ids_in(base);
        let known = Known {
            purged: self
                .administration
                .purged_files(&ids)
                .await?
                .into_iter()
                .collect(),
            pending: self.metadata.stale_intents(Timestamp::MAX, PENDING_MAX).await?,
            ..Known::default()
        };
        let base = base.to_owned();
        let epoch = family.epoch().unwrap_or_default();
        Box::pin(self.restore_family(&sidecar.bucket, family, &known)).await?;
        for id in ids {
            if let Some(row) = self.metadata.file(id).await?
                && row.epoch >= epoch
                && (row.key == base || row.key.ends_with(&base))
            {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// What the listing and the rows alone tell.
enum Verdict {
    /// The sidecar must be read.
    Read,
    /// Nothing is to be done.
    Done(&'static str),
    /// Something is wrong.
    Report(&'static str, String),
}

fn judge(family: &Family, row: Option<&File>) -> Verdict {
    if family.tombstone {
        return match row {
            Some(row) if !is_over(row) => Verdict::Report(
                "tombstone_with_row",
                "A tombstone stands beside a file that has a row.".to_owned(),
            ),
            Some(_) => Verdict::Done("over"),
            None if family.object.is_some() || !family.epochs.is_empty() => Verdict::Report(
                "purge_unfinished",
                "A tombstone stands and not all that it condemns is gone; the orphan scan finds it."
                    .to_owned(),
            ),
            None => Verdict::Done("purged"),
        };
    }
    match (row, family.epoch()) {
        (Some(row), _) if is_over(row) => Verdict::Done("over"),
        (Some(row), Some(epoch)) if row.epoch >= epoch => Verdict::Done("unchanged"),
        (_, None) => Verdict::Done("unchanged"),
        _ => Verdict::Read,
    }
}

/// Whether a row says that its file ends.
fn is_over(row: &File) -> bool {
    matches!(
        row.state,
        FileState::Purging | FileState::Reaping | FileState::Expired
    )
}

/// The upload that brought the file; every row has one, and a repeated idempotency key asks for it.
fn upload_of(sidecar: &SidecarV1, file: &File) -> Result<Upload> {
    if let Some(upload) = sidecar.upload()? {
        return Ok(upload);
    }
    let expires_at = file.uploaded_at.unwrap_or(file.created_at);
    Ok(Upload {
        file_id: file.id,
        method: UploadMethod::Put,
        staging_key: cloakroom_core::key::staging_key(file.id, &file.filename, expires_at),
        expires_at,
        multipart_id: None,
        part_size_bytes: None,
        request_digest: None,
        reserved_bytes: file.declared.size_bytes.unwrap_or_default(),
    })
}
