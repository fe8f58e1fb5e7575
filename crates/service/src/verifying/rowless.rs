//! Objects that no row knows of: files whose row was lost, and what is not ours.

use cloakroom_core::error::{ErrorCode, Refusal};
use cloakroom_core::format::sidecar_v1::{SIDECAR_BYTES_MAX, SidecarV1};
use cloakroom_core::garbage::{KeyKind, relation};
use cloakroom_core::id::FileId;
use cloakroom_core::key::{confirm_note_file_id, ids_in, tombstone_key};
use cloakroom_core::operation::Finding;
use cloakroom_core::ports::objects::{ListOptions, ObjectPath};

use super::{ADOPTED, Depth, finding_at};
use crate::app::App;
use crate::error::Result;

/// Keys beside a file's key, at most in one page.
const PAGE_MAX: u32 = 1_000;

impl App {
    /// Looks at an object without a row; `None` when there is nothing to say about it. A file whose row was lost is told
    /// of once, at its newest sidecar.
    pub(super) async fn look_at_rowless_object(
        &self,
        path: &ObjectPath,
        depth: Depth,
    ) -> Result<Option<Finding>> {
        if let Some(id) = confirm_note_file_id(&path.key) {
            return self.look_at_rowless_note(path, id).await;
        }
        let ids = ids_in(&path.key);
        match KeyKind::of(&path.key) {
            KeyKind::Tombstone { .. } if !ids.is_empty() => Ok(None),
            KeyKind::Sidecar { of, epoch } if !ids.is_empty() => {
                self.look_at_rowless_sidecar(path, of, epoch, &ids, depth).await
            }
            kind => self.look_at_stranger(path, kind, &ids).await,
        }
    }

    /// The note about a confirmed upload that is not verified yet.
    async fn look_at_rowless_note(&self, path: &ObjectPath, id: FileId) -> Result<Option<Finding>> {
        if self.metadata.file(id).await?.is_some()
            || !self.administration.purged_files(&[id]).await?.is_empty()
            || self.size_of(path).await?.is_none()
        {
            return Ok(None);
        }
        Ok(Some(finding_at(
            "row_missing",
            path,
            Some(id),
            "A confirmed upload waits here, and no row knows of it; `cloakroom rebuild` brings it back.",
        )))
    }

    /// What is neither a sidecar nor a tombstone: not ours, unless one of them stands beside it.
    async fn look_at_stranger(
        &self,
        path: &ObjectPath,
        kind: KeyKind<'_>,
        ids: &[FileId],
    ) -> Result<Option<Finding>> {
        let Some(size_bytes) = self.size_of(path).await? else {
            return Ok(None);
        };
        if ids.is_empty() {
            let detail = format!("{size_bytes} bytes that are not ours.");
            return Ok(Some(finding_at("object_unknown", path, None, detail)));
        }
        for owner in kind.owners(&path.key) {
            let owner = &*owner;
            let tombstone = ObjectPath::new(&path.bucket, tombstone_key(owner));
            if self.newest_epoch(&path.bucket, owner).await?.is_some()
                || self.size_of(&tombstone).await?.is_some()
            {
                return Ok(None);
            }
        }
        let rows = self.administration.files_by_id(ids).await?;
        // Left behind by a purge, or of a row that came meanwhile: not ours to tell of.
        if rows.iter().any(|file| relation(file, path).is_some())
            || !self.administration.purged_files(ids).await?.is_empty()
        {
            return Ok(None);
        }
        let detail = format!(
            "{size_bytes} bytes that are not ours, as far as can be said: the key names a file that has no row, and no sidecar \
             stands beside it."
        );
        Ok(Some(finding_at(
            "object_unknown",
            path,
            ids.last().copied(),
            detail,
        )))
    }

    async fn look_at_rowless_sidecar(
        &self,
        path: &ObjectPath,
        of: &str,
        epoch: u32,
        ids: &[FileId],
        depth: Depth,
    ) -> Result<Option<Finding>> {
        if self.newest_epoch(&path.bucket, of).await? > Some(epoch) {
            return Ok(None);
        }
        let Some(bytes) = self.read_document(path, SIDECAR_BYTES_MAX).await? else {
            return Ok(None);
        };
        let sidecar = SidecarV1::decode(&bytes).and_then(|sidecar| {
            if ids.contains(&FileId(sidecar.file_id)) {
                Ok(sidecar)
            } else {
                Err(foreign_id())
            }
        });
        let sidecar = match sidecar {
            Ok(sidecar) => sidecar,
            Err(refusal) => {
                let detail = format!("{}: {}", refusal.code.as_str(), refusal.message);
                return Ok(Some(finding_at(
                    "sidecar_invalid",
                    path,
                    ids.last().copied(),
                    detail,
                )));
            }
        };
        let id = FileId(sidecar.file_id);
        let tombstone = ObjectPath::new(&path.bucket, tombstone_key(of));
        // Deleted, or back meanwhile, or about to be.
        if self.size_of(&tombstone).await?.is_some()
            || self.metadata.file(id).await?.is_some()
            || !self.administration.purged_files(&[id]).await?.is_empty()
            || self.size_of(path).await?.is_none()
        {
            return Ok(None);
        }
        // A file that has just moved says where to.
        let object = ObjectPath::new(
            sidecar.bucket.as_deref().unwrap_or(&path.bucket),
            sidecar.key.as_deref().unwrap_or(of),
        );
        if self.size_of(&object).await?.is_none() {
            let detail = "A sidecar stands here, but neither the object nor a row.";
            return Ok(Some(finding_at("object_missing", path, Some(id), detail)));
        }
        let mut finding = finding_at(
            "row_missing",
            path,
            Some(id),
            "The file stands here, and no row knows of it.",
        );
        if depth.fix {
            match self.adopt_lost_row(path).await? {
                Ok(()) => ADOPTED.clone_into(&mut finding.action),
                Err(reason) => {
                    finding.detail.push_str(" Not repaired: ");
                    finding.detail.push_str(&reason);
                }
            }
        }
        Ok(Some(finding))
    }

    /// The newest revision of a sidecar beside a key.
    async fn newest_epoch(&self, bucket: &str, of: &str) -> Result<Option<u32>> {
        let mut options = ListOptions {
            prefix: format!("{of}."),
            limit: PAGE_MAX,
            ..ListOptions::default()
        };
        let mut newest = None;
        loop {
            let page = self.objects.list(bucket, &options).await?;
            let epochs = page
                .objects
                .iter()
                .filter_map(|object| match KeyKind::of(&object.key) {
                    KeyKind::Sidecar { of: key, epoch } if key == of => Some(epoch),
                    _ => None,
                });
            newest = newest.max(epochs.max());
            match page.next {
                Some(next) => options.after = Some(next),
                None => return Ok(newest),
            }
        }
    }
}

fn foreign_id() -> Refusal {
    Refusal::new(
        ErrorCode::InvalidAttributeFile,
        "It names another file than its key does.",
    )
}
