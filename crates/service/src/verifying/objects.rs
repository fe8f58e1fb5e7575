//! The first pass: every object of every bucket, in order, against the rows.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};

use cloakroom_core::derivative::{Derivative, DerivativeOutcome};
use cloakroom_core::file::{File, FileState};
use cloakroom_core::format::sidecar_v1::SIDECAR_BYTES_MAX;
use cloakroom_core::garbage::{KeyKind, relation};
use cloakroom_core::id::FileId;
use cloakroom_core::key::{confirm_note_file_id, ids_in};
use cloakroom_core::ports::objects::{ListOptions, ListedObject, ObjectError, ObjectList, ObjectPath};
use futures_util::{StreamExt, TryStreamExt, stream};

use super::seen::{Seen, Sight};
use super::{Depth, Place};
use crate::app::App;
use crate::error::Result;
use crate::operations::Run;

/// Keys in a page of the listing, and rows in a lookup.
const PAGE_MAX: u32 = 1_000;
/// Objects looked at closely at the same time.
const LOOKS: usize = 16;

/// What the database says about the objects of a page.
struct Known {
    rows: HashMap<FileId, File>,
    derivatives: HashMap<FileId, Vec<Derivative>>,
}

impl App {
    /// Every bucket that this instance keeps files in.
    fn verified_buckets(&self) -> BTreeSet<String> {
        let collections = self.collections.values().map(|collection| &collection.bucket);
        let stores = self.stores.definitions().flat_map(|store| &store.buckets);
        collections.chain(stores).cloned().collect()
    }

    /// Goes through the buckets, from a key of one of them on.
    pub(super) async fn verify_objects(
        &self,
        run: &mut Run<'_>,
        depth: Depth,
        seen: &mut Seen,
        first: String,
        after: Option<String>,
    ) -> Result<()> {
        let mut after = after;
        for bucket in self.verified_buckets().range(first.clone()..) {
            let mut options = ListOptions {
                after: after.take().filter(|_| *bucket == first),
                limit: PAGE_MAX,
                ..ListOptions::default()
            };
            while let Some(page) = self.list_page(bucket, &options).await? {
                self.verify_page(run, depth, seen, bucket, &page.objects).await?;
                // Nothing is behind the last place: to save it again would be no step forward.
                if let Some(last) = page.objects.last() {
                    let place = Place::Objects {
                        bucket: bucket.clone(),
                        after: Some(last.key.clone()),
                    };
                    run.advance(run.done() + page.objects.len() as u64, place.text())
                        .await?;
                }
                let Some(next) = page.next else { break };
                options.after = Some(next);
            }
        }
        let place = Place::Files(None);
        run.advance(run.done(), place.text()).await
    }

    /// A page of a bucket; `None` when there is no such bucket (yet).
    async fn list_page(&self, bucket: &str, options: &ListOptions) -> Result<Option<ObjectList>> {
        match self.objects.list(bucket, options).await {
            Ok(page) => Ok(Some(page)),
            Err(ObjectError::NoSuchBucket(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    async fn verify_page(
        &self,
        run: &mut Run<'_>,
        depth: Depth,
        seen: &mut Seen,
        bucket: &str,
        objects: &[ListedObject],
    ) -> Result<()> {
        run.count("objects", objects.len() as u64);
        let mut known = Known {
            rows: self.rows_of(objects).await?,
            derivatives: HashMap::new(),
        };
        let mut rowless = Vec::new();
        for object in objects {
            let path = ObjectPath::new(bucket, object.key.clone());
            if !self.see(object, &path, &mut known, seen).await? {
                rowless.push(path);
            }
        }
        let looks = stream::iter(rowless)
            .map(|path| async move { self.look_at_rowless_object(&path, depth).await })
            .buffered(LOOKS);
        let found: Vec<_> = looks.try_collect().await?;
        for finding in found.into_iter().flatten() {
            run.find(finding);
        }
        Ok(())
    }

    /// Marks an object at its file; `false` when no row knows of it.
    async fn see(
        &self,
        object: &ListedObject,
        path: &ObjectPath,
        known: &mut Known,
        seen: &mut Seen,
    ) -> Result<bool> {
        let kind = KeyKind::of(&object.key);
        match (kind, confirm_note_file_id(&object.key)) {
            // Of staging the note alone: it says that there must be a row.
            (KeyKind::Staging { .. }, Some(id)) => return Ok(known.rows.contains_key(&id)),
            (KeyKind::System | KeyKind::Staging { .. }, _) => return Ok(true),
            _ => {}
        }
        let row = ids_in(&object.key)
            .iter()
            .filter_map(|id| known.rows.get(id))
            .find_map(|file| Some((file, relation(file, path)?)));
        let Some((file, relation)) = row else {
            return Ok(false);
        };
        if !relation.here {
            // What is left at an old place is garbage, and garbage is the orphan scan's.
            return Ok(true);
        }
        match (kind, relation.rest) {
            (KeyKind::Sidecar { .. } | KeyKind::Tombstone { .. }, _) => {
                if let Some(sight) = sidecar_sight(file, kind, object.size_bytes) {
                    seen.mark(file, sight);
                }
            }
            (_, None) => seen.mark(file, object_sight(file, object.size_bytes)),
            (_, Some(_)) => {
                let list = match known.derivatives.entry(file.id) {
                    Entry::Occupied(entry) => entry.into_mut(),
                    Entry::Vacant(entry) => entry.insert(self.metadata.derivatives(file.id).await?),
                };
                if names(list, object) {
                    seen.mark(file, Sight::Derivative);
                }
            }
        }
        Ok(true)
    }

    /// The rows of all files that the keys name.
    async fn rows_of(&self, objects: &[ListedObject]) -> Result<HashMap<FileId, File>> {
        let ids: BTreeSet<FileId> = objects.iter().flat_map(|object| ids_in(&object.key)).collect();
        let ids: Vec<FileId> = ids.into_iter().collect();
        let mut rows = HashMap::new();
        for ids in ids.chunks(PAGE_MAX as usize) {
            let files = self.administration.files_by_id(ids).await?;
            rows.extend(files.into_iter().map(|file| (file.id, file)));
        }
        Ok(rows)
    }
}

fn object_sight(file: &File, size_bytes: u64) -> Sight {
    match &file.verified {
        Some(verified) if verified.size_bytes == size_bytes => Sight::Object,
        _ => Sight::Strange,
    }
}

fn sidecar_sight(file: &File, kind: KeyKind<'_>, size_bytes: u64) -> Option<Sight> {
    match kind {
        KeyKind::Sidecar { epoch, .. } if epoch == file.epoch => {
            let fits = (1..=SIDECAR_BYTES_MAX as u64).contains(&size_bytes);
            Some(if fits { Sight::Sidecar } else { Sight::Strange })
        }
        // An older one is garbage; a newer one is a change under way, or a row that is behind.
        KeyKind::Sidecar { epoch, .. } if epoch < file.epoch => None,
        KeyKind::Tombstone { .. } if file.state == FileState::Purging => None,
        _ => Some(Sight::Strange),
    }
}

/// Whether one of these derivatives is this object.
fn names(derivatives: &[Derivative], object: &ListedObject) -> bool {
    derivatives.iter().any(|derivative| {
        matches!(
            &derivative.outcome,
            DerivativeOutcome::Made { key, size_bytes, .. } if *key == object.key && *size_bytes == object.size_bytes
        )
    })
}
