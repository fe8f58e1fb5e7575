//! What there is to know about one object, read afresh: the object, what stands beside it, then the rows.

use cloakroom_core::derivative::Derivative;
use cloakroom_core::event::EventKind;
use cloakroom_core::file::File;
use cloakroom_core::format::sidecar_v1::{SIDECAR_BYTES_MAX, SidecarV1};
use cloakroom_core::format::tombstone_v1::TombstoneV1;
use cloakroom_core::garbage::{Evidence, KeyKind, Verdict, judge, relation};
use cloakroom_core::id::FileId;
use cloakroom_core::key::{
    base_key, beside, confirm_note_key, derivative_base, ids_in, original_of, sidecar_key, tombstone_key,
};
use cloakroom_core::ports::objects::{GetOptions, ListOptions, ObjectError, ObjectInfo, ObjectPath};
use jiff::SignedDuration;

use crate::app::App;
use crate::error::Result;

/// An object, and whose it is.
pub(crate) struct Look {
    pub(crate) verdict: Verdict,
    /// The row of its file.
    pub(crate) file: Option<File>,
    /// The file that its key names.
    pub(crate) file_id: Option<FileId>,
    /// Whether events say that this file was purged.
    pub(crate) purged: bool,
    /// Whether it is of a move that the row does not know of.
    pub(crate) ahead: bool,
    pub(crate) info: ObjectInfo,
}

/// What stands beside a file's key.
#[derive(Default)]
struct Neighbours {
    /// Revisions, ascending.
    epochs: Vec<u32>,
    tombstone: bool,
    others: bool,
}

impl App {
    /// Looks at one object; `None` when it is gone.
    pub(crate) async fn look_at(&self, path: &ObjectPath) -> Result<Option<Look>> {
        let info = match self.objects.head(path, &GetOptions::default()).await {
            Ok(info) => info,
            Err(ObjectError::NotFound | ObjectError::NoSuchBucket(_)) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        match KeyKind::of(&path.key) {
            KeyKind::Staging { file_id, .. } => self.look_at_staged(path, info, file_id).await.map(Some),
            kind => self.look_at_final(path, info, kind).await.map(Some),
        }
    }

    async fn look_at_staged(&self, path: &ObjectPath, info: ObjectInfo, file_id: FileId) -> Result<Look> {
        let note = ObjectPath::new(&path.bucket, confirm_note_key(&path.key));
        let note = self.stands(&note).await?;
        let file = self.metadata.file(file_id).await?;
        let purged = file.is_none() && !self.administration.purged_files(&[file_id]).await?.is_empty();
        let evidence = Evidence {
            file: file.as_ref(),
            note,
            purged,
            ..Evidence::default()
        };
        let verdict = self.judge(path, &info, &evidence);
        Ok(Look {
            verdict,
            file_id: Some(file_id),
            purged,
            ahead: false,
            file,
            info,
        })
    }

    async fn look_at_final(&self, path: &ObjectPath, info: ObjectInfo, kind: KeyKind<'_>) -> Result<Look> {
        let ids = ids_in(&path.key);
        let rows = self.administration.files_by_id(&ids).await?;
        match rows.into_iter().find(|file| relation(file, path).is_some()) {
            Some(file) => self.look_at_known(path, info, file).await,
            None => self.look_at_rowless(path, info, kind, &ids).await,
        }
    }

    /// An object of a file that has a row.
    async fn look_at_known(&self, path: &ObjectPath, info: ObjectInfo, file: File) -> Result<Look> {
        let (ahead, rest) = match relation(&file, path) {
            Some(relation) => (relation.ahead, relation.rest.unwrap_or_default()),
            None => (false, ""),
        };
        let place = path
            .key
            .strip_suffix(rest)
            .map_or(path.key.as_str(), |place| place.trim_end_matches('.'));
        // A thumbnail in a directory of its own is of the original, whose sidecar tells.
        let original = original_of(place).filter(|_| base_key(place) != base_key(&file.key));
        let place = original.as_deref().unwrap_or(place);
        let neighbours = self.neighbours(&ObjectPath::new(&path.bucket, place)).await?;
        let derivatives: Vec<Derivative> = self.metadata.derivatives(file.id).await?;
        let whole = file.has_sidecar() && self.is_whole(&file).await?;
        let evidence = Evidence {
            file: Some(&file),
            derivatives: &derivatives,
            sidecar_epoch: neighbours.epochs.last().copied(),
            whole,
            ..Evidence::default()
        };
        let verdict = self.judge(path, &info, &evidence);
        Ok(Look {
            verdict,
            file_id: Some(file.id),
            purged: false,
            ahead,
            file: Some(file),
            info,
        })
    }

    /// An object whose key names files, none of which has a row that knows of it.
    async fn look_at_rowless(
        &self,
        path: &ObjectPath,
        info: ObjectInfo,
        kind: KeyKind<'_>,
        ids: &[FileId],
    ) -> Result<Look> {
        let owners = kind.owners(&path.key);
        let mut evidence = Evidence::default();
        let mut file_id = ids.last().copied();
        // Without an id of ours in its key nothing is ours.
        for owner in owners.into_iter().filter(|_| !ids.is_empty()) {
            let owner = &*owner;
            let place = ObjectPath::new(&path.bucket, owner);
            let neighbours = self.neighbours(&place).await?;
            let object = self.stands(&place).await?;
            for epoch in neighbours.epochs.iter().rev() {
                let sidecar = ObjectPath::new(&place.bucket, sidecar_key(owner, *epoch));
                if let Some(id) = self.file_of_sidecar(&sidecar).await?
                    && ids.contains(&id)
                {
                    evidence.sidecar_epoch = Some(*epoch);
                    file_id = Some(id);
                    break;
                }
            }
            if neighbours.tombstone {
                let tombstone = ObjectPath::new(&place.bucket, tombstone_key(owner));
                if let Some(id) = self.file_of_tombstone(&tombstone).await?
                    && ids.contains(&id)
                {
                    evidence.tombstone = true;
                    file_id = Some(id);
                }
            }
            evidence.accompanied |= object || !neighbours.epochs.is_empty() || neighbours.others;
            if let Some(id) = self.purged_at(ids, owner).await? {
                evidence.purged = true;
                file_id = Some(id);
            }
        }
        let purged = evidence.purged;
        let verdict = self.judge(path, &info, &evidence);
        Ok(Look {
            verdict,
            file: None,
            file_id,
            purged,
            ahead: false,
            info,
        })
    }

    fn judge(&self, path: &ObjectPath, info: &ObjectInfo, evidence: &Evidence<'_>) -> Verdict {
        judge(path, info.modified_at, evidence, self.longest_grace(), self.now())
    }

    /// How long after its deadline an upload of any collection may still be confirmed: a key in staging does not say of
    /// which one it is.
    pub(super) fn longest_grace(&self) -> SignedDuration {
        let graces = self.collections.values().map(|one| self.grace_of(one));
        graces
            .max()
            .unwrap_or(self.policy.upload_grace)
            .max(self.policy.upload_grace)
    }

    /// Whether an object stands.
    pub(super) async fn stands(&self, path: &ObjectPath) -> Result<bool> {
        match self.objects.head(path, &GetOptions::default()).await {
            Ok(_) => Ok(true),
            Err(ObjectError::NotFound | ObjectError::NoSuchBucket(_)) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether object and sidecar of a verified file stand where its row says.
    async fn is_whole(&self, file: &File) -> Result<bool> {
        let sidecar = ObjectPath::new(&file.bucket, sidecar_key(&file.key, file.epoch));
        Ok(self.stands(&ObjectPath::new(&file.bucket, &file.key)).await? && self.stands(&sidecar).await?)
    }

    async fn neighbours(&self, place: &ObjectPath) -> Result<Neighbours> {
        let mut options = ListOptions {
            prefix: format!("{}.", place.key),
            limit: 1_000,
            ..ListOptions::default()
        };
        let mut found = Neighbours::default();
        loop {
            let page = match self.objects.list(&place.bucket, &options).await {
                Ok(page) => page,
                Err(ObjectError::NoSuchBucket(_)) => return Ok(found),
                Err(error) => return Err(error.into()),
            };
            for object in &page.objects {
                match KeyKind::of(&object.key) {
                    KeyKind::Sidecar { of, epoch } if of == place.key => found.epochs.push(epoch),
                    KeyKind::Tombstone { of } if of == place.key => found.tombstone = true,
                    _ => found.others = true,
                }
            }
            let Some(next) = page.next else { break };
            options.after = Some(next);
        }
        // Keys sort by their text: 10 comes before 9.
        found.epochs.sort_unstable();
        found.others |= self.has_derivatives_elsewhere(place).await?;
        Ok(found)
    }

    /// Whether derivatives of an object stand where theirs do that are not beside it.
    async fn has_derivatives_elsewhere(&self, place: &ObjectPath) -> Result<bool> {
        let base = derivative_base(&place.key);
        if base == place.key {
            return Ok(false);
        }
        let options = ListOptions {
            prefix: format!("{base}."),
            limit: 100,
            ..ListOptions::default()
        };
        match self.objects.list(&place.bucket, &options).await {
            Ok(page) => Ok(page
                .objects
                .iter()
                .any(|object| beside(&place.key, &object.key).is_some())),
            Err(ObjectError::NoSuchBucket(_)) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    async fn file_of_sidecar(&self, path: &ObjectPath) -> Result<Option<FileId>> {
        let Some(bytes) = self.read_document(path, SIDECAR_BYTES_MAX).await? else {
            return Ok(None);
        };
        Ok(SidecarV1::decode(&bytes)
            .ok()
            .map(|sidecar| FileId(sidecar.file_id)))
    }

    async fn file_of_tombstone(&self, path: &ObjectPath) -> Result<Option<FileId>> {
        let Some(bytes) = self.read_document(path, SIDECAR_BYTES_MAX).await? else {
            return Ok(None);
        };
        Ok(TombstoneV1::decode(&bytes)
            .ok()
            .map(|tombstone| FileId(tombstone.file_id)))
    }

    /// The file among these that was purged and whose key this was, at whatever place.
    async fn purged_at(&self, ids: &[FileId], key: &str) -> Result<Option<FileId>> {
        for id in self.administration.purged_files(ids).await? {
            let mut after = None;
            loop {
                let page = self.metadata.timeline(id, after, 1_000).await?;
                for event in &page.items {
                    after = Some(event.version);
                    let tombstone = event.data.get("tombstone").and_then(serde_json::Value::as_str);
                    if let (EventKind::Purged, Some(tombstone)) = (event.kind, tombstone)
                        && let KeyKind::Tombstone { of } = KeyKind::of(tombstone)
                        && base_key(of) == base_key(key)
                    {
                        return Ok(Some(id));
                    }
                }
                if !page.more {
                    break;
                }
            }
        }
        Ok(None)
    }
}
