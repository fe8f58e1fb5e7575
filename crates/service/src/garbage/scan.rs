//! The scan: every key of every bucket, every multipart upload, every row, every mark.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use cloakroom_core::JsonObject;
use cloakroom_core::derivative::DerivativeOutcome;
use cloakroom_core::error::ErrorCode;
use cloakroom_core::file::{File, FileState};
use cloakroom_core::garbage::{Garbage, GarbageReason, GarbageState, KeyKind, Verdict, relation};
use cloakroom_core::id::FileId;
use cloakroom_core::key::{ids_in, staging_deadline, staging_file_id};
use cloakroom_core::operation::OperationKind;
use cloakroom_core::ports::objects::{ListOptions, ListedObject, MultipartUpload, ObjectError, ObjectPath};
use jiff::{SignedDuration, Timestamp};

use super::{REPORTED, TRASHED, finding};
use crate::app::App;
use crate::error::Result;
use crate::operations::Run;
use crate::purging::sweeper;

/// Lines about foreign objects in one report; all are counted.
const FOREIGN_MAX: u64 = 10_000;
/// A multipart upload at a final key belongs to a copy, and no copy takes longer.
const COPY_MAX: SignedDuration = SignedDuration::from_hours(48);
/// The setting that remembers when garbage was last looked for.
const SCANNED: &str = "garbage_scan";

/// How far a scan is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    /// In the objects of a bucket, after a key.
    Objects { bucket: String, after: Option<String> },
    /// Before the multipart uploads of a bucket.
    Multiparts { bucket: String },
    /// In the rows, after one.
    Rows { after: Option<FileId> },
    /// Before the marks.
    Marks,
}

impl Place {
    fn parse(text: &str) -> Option<Self> {
        let mut pieces = text.splitn(3, '/');
        Some(match (pieces.next()?, pieces.next(), pieces.next()) {
            ("objects", Some(bucket), after) => Self::Objects {
                bucket: bucket.to_owned(),
                after: after.map(str::to_owned),
            },
            ("multiparts", Some(bucket), None) => Self::Multiparts {
                bucket: bucket.to_owned(),
            },
            ("rows", after, None) => Self::Rows {
                after: after.and_then(|id| id.parse().ok()),
            },
            ("marks", None, None) => Self::Marks,
            _ => return None,
        })
    }

    fn text(&self) -> String {
        match self {
            Self::Objects { bucket, after: None } => format!("objects/{bucket}"),
            Self::Objects {
                bucket,
                after: Some(after),
            } => format!("objects/{bucket}/{after}"),
            Self::Multiparts { bucket } => format!("multiparts/{bucket}"),
            Self::Rows { after: None } => "rows".to_owned(),
            Self::Rows { after: Some(id) } => format!("rows/{id}"),
            Self::Marks => "marks".to_owned(),
        }
    }
}

/// What a scan remembers from page to page.
pub(super) struct Scan {
    /// Whether what is found is marked.
    trash: bool,
    /// What an administrator wants kept: path and upload.
    kept: HashSet<(ObjectPath, String)>,
    /// Where the report goes on, and how much was looked at.
    done: u64,
}

impl App {
    /// Looks for garbage, both ways. With the option `trash`, what is found is marked, with a deadline.
    pub(crate) async fn run_orphans(&self, run: &mut Run<'_>) -> Result<()> {
        let mut scan = Scan {
            trash: run.flag("trash"),
            kept: self.kept_garbage().await?,
            done: run.done(),
        };
        let buckets: Vec<String> = self.scanned_buckets().into_iter().collect();
        let first = || match buckets.first() {
            Some(bucket) => Place::Objects {
                bucket: bucket.clone(),
                after: None,
            },
            None => Place::Rows { after: None },
        };
        let mut place = run.place().and_then(Place::parse).unwrap_or_else(first);
        loop {
            let next = match &place {
                Place::Objects { bucket, after } => {
                    let (bucket, after) = (bucket.clone(), after.clone());
                    self.scan_objects(run, &mut scan, &bucket, after).await?;
                    Place::Multiparts { bucket }
                }
                Place::Multiparts { bucket } => {
                    self.scan_multiparts(run, &mut scan, bucket).await?;
                    match buckets.iter().find(|other| *other > bucket) {
                        Some(bucket) => Place::Objects {
                            bucket: bucket.clone(),
                            after: None,
                        },
                        None => Place::Rows { after: None },
                    }
                }
                Place::Rows { after } => {
                    scan.done = self.scan_rows(run, scan.done, *after).await?;
                    Place::Marks
                }
                Place::Marks => return self.forget_vanished(run).await,
            };
            run.advance(scan.done, next.text()).await?;
            place = next;
        }
    }

    /// Every bucket that a collection names. Others are none of ours.
    fn scanned_buckets(&self) -> BTreeSet<String> {
        let mut buckets = BTreeSet::new();
        for collection in self.collections.values() {
            buckets.insert(collection.bucket.clone());
            buckets.extend(collection.retention.archive_bucket.clone());
        }
        buckets
    }

    async fn kept_garbage(&self) -> Result<HashSet<(ObjectPath, String)>> {
        let mut kept = HashSet::new();
        let mut after: Option<(ObjectPath, String)> = None;
        loop {
            let from = after.as_ref().map(|(path, upload)| (path, upload.as_str()));
            let page = self
                .administration
                .garbage(Some(GarbageState::Kept), from, 1_000)
                .await?;
            for garbage in page.items {
                after = Some((garbage.path.clone(), garbage.upload_id.clone()));
                kept.insert((garbage.path, garbage.upload_id));
            }
            if !page.more {
                return Ok(kept);
            }
        }
    }

    async fn scan_objects(
        &self,
        run: &mut Run<'_>,
        scan: &mut Scan,
        bucket: &str,
        after: Option<String>,
    ) -> Result<()> {
        let mut options = ListOptions {
            after,
            limit: 1_000,
            ..ListOptions::default()
        };
        loop {
            let page = match self.objects.list(bucket, &options).await {
                Ok(page) => page,
                Err(ObjectError::NoSuchBucket(_)) => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            for object in self.suspects(bucket, &page.objects).await? {
                self.report_object(run, scan, ObjectPath::new(bucket, &object.key))
                    .await?;
            }
            scan.done += page.objects.len() as u64;
            let Some(next) = page.next else { return Ok(()) };
            let place = Place::Objects {
                bucket: bucket.to_owned(),
                after: Some(next.clone()),
            };
            run.advance(scan.done, place.text()).await?;
            options.after = Some(next);
        }
    }

    /// Objects of a page that its rows do not account for at first sight. A row is read once for the whole page.
    async fn suspects<'a>(&self, bucket: &str, objects: &'a [ListedObject]) -> Result<Vec<&'a ListedObject>> {
        let ids: BTreeSet<FileId> = objects.iter().flat_map(|object| ids_in(&object.key)).collect();
        let ids: Vec<FileId> = ids.into_iter().collect();
        let rows = self.administration.files_by_id(&ids).await?;
        let rows: BTreeMap<FileId, File> = rows.into_iter().map(|file| (file.id, file)).collect();
        let mut derivatives: BTreeMap<FileId, HashSet<String>> = BTreeMap::new();
        let mut suspects = Vec::new();
        for object in objects {
            let path = ObjectPath::new(bucket, &object.key);
            let files: Vec<&File> = ids_in(&object.key).iter().filter_map(|id| rows.get(id)).collect();
            let known = match KeyKind::of(&object.key) {
                KeyKind::System => true,
                KeyKind::Staging { .. } => !files.is_empty(),
                kind => match files.iter().find(|file| relation(file, &path).is_some()) {
                    None => false,
                    Some(file) => {
                        let listed = if let Some(listed) = derivatives.get(&file.id) {
                            listed
                        } else {
                            let listed = self.derivative_keys(file.id).await?;
                            derivatives.entry(file.id).or_insert(listed)
                        };
                        is_accounted_for(file, &path, kind, listed)
                    }
                },
            };
            if !known {
                suspects.push(object);
            }
        }
        Ok(suspects)
    }

    async fn derivative_keys(&self, id: FileId) -> Result<HashSet<String>> {
        let derivatives = self.metadata.derivatives(id).await?;
        let keys = derivatives.into_iter().filter_map(|one| match one.outcome {
            DerivativeOutcome::Made { key, .. } => Some(key),
            DerivativeOutcome::Failed { .. } => None,
        });
        Ok(keys.collect())
    }

    /// Looks at a suspect afresh, because rows change while a list is read, and reports what it then is.
    async fn report_object(&self, run: &mut Run<'_>, scan: &Scan, path: ObjectPath) -> Result<()> {
        if scan.kept.contains(&(path.clone(), String::new())) {
            run.count("kept", 1);
            return Ok(());
        }
        let Some(look) = self.look_at(&path).await? else {
            return Ok(());
        };
        let detail = format!("{} bytes of {}", look.info.size_bytes, look.info.modified_at);
        let (kind, reason) = match look.verdict {
            Verdict::Known => return Ok(()),
            Verdict::RowMissing => ("row_missing", None),
            Verdict::RowBehind => ("row_behind", None),
            Verdict::Foreign => ("foreign", None),
            Verdict::Garbage(reason) => (reason.as_str(), Some(reason)),
        };
        if reason.is_some() {
            run.count("garbage_bytes", look.info.size_bytes);
        }
        if look.verdict == Verdict::Foreign && run.counted("foreign") >= FOREIGN_MAX {
            run.count("foreign", 1);
            return Ok(());
        }
        let mut line = finding(kind, Some(&path), look.file_id, detail);
        if let Some(reason) = reason {
            let found = Found {
                path,
                upload_id: String::new(),
                reason,
                etag: look.info.etag,
                size_bytes: look.info.size_bytes,
                file_id: look.file_id,
            };
            line.action = self.mark(scan, found).await?.to_owned();
        }
        run.find(line);
        Ok(())
    }

    /// Marks what was found, if the scan is to; says what was done.
    async fn mark(&self, scan: &Scan, found: Found) -> Result<&'static str> {
        if !scan.trash {
            return Ok(REPORTED);
        }
        let found_at = self.now();
        let garbage = Garbage {
            path: found.path,
            upload_id: found.upload_id,
            reason: found.reason,
            state: GarbageState::Trashed,
            etag: found.etag,
            size_bytes: found.size_bytes,
            file_id: found.file_id,
            found_at,
            purge_at: found_at
                .checked_add(self.policy.garbage_keep_for)
                .unwrap_or(Timestamp::MAX),
        };
        self.administration.put_garbage(&[garbage]).await?;
        Ok(TRASHED)
    }

    async fn scan_multiparts(&self, run: &mut Run<'_>, scan: &mut Scan, bucket: &str) -> Result<()> {
        let uploads = match self.objects.multiparts(bucket, "").await {
            Ok(uploads) => uploads,
            Err(ObjectError::NoSuchBucket(_)) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        for upload in uploads {
            scan.done += 1;
            let path = ObjectPath::new(bucket, &upload.key);
            if scan.kept.contains(&(path.clone(), upload.id.clone())) {
                run.count("kept", 1);
                continue;
            }
            let (kind, action, file_id) = match self.judge_multipart(&path, &upload).await? {
                (Verdict::Garbage(reason), file_id) => {
                    let found = Found {
                        path: path.clone(),
                        upload_id: upload.id.clone(),
                        reason,
                        etag: String::new(),
                        size_bytes: 0,
                        file_id,
                    };
                    (reason.as_str(), self.mark(scan, found).await?, file_id)
                }
                (Verdict::Foreign, file_id) => ("foreign_multipart", REPORTED, file_id),
                _ => continue,
            };
            let detail = format!("begun {}", upload.initiated_at);
            let mut line = finding(kind, Some(&path), file_id, detail);
            action.clone_into(&mut line.action);
            run.find(line);
        }
        Ok(())
    }

    /// Whose a multipart upload is. One in staging is its row's, or over; one at a final key belongs to a copy of ours, and
    /// is done anew by whoever finds it gone.
    pub(super) async fn judge_multipart(
        &self,
        path: &ObjectPath,
        upload: &MultipartUpload,
    ) -> Result<(Verdict, Option<FileId>)> {
        let now = self.now();
        let garbage = Verdict::Garbage(GarbageReason::Multipart);
        if let (Some(id), Some(deadline)) = (staging_file_id(&path.key), staging_deadline(&path.key)) {
            let file = self.metadata.file(id).await?;
            let over = now.duration_since(deadline) >= self.longest_grace();
            let needed = file.is_some_and(|file| {
                let at_work = |state| {
                    matches!(
                        state,
                        FileState::Confirmed
                            | FileState::Processing
                            | FileState::Reaping
                            | FileState::Purging
                    )
                };
                file.state.is_open() || at_work(file.state) || at_work(file.state_below_trash())
            });
            let verdict = if over && !needed { garbage } else { Verdict::Known };
            return Ok((verdict, Some(id)));
        }
        let rows = self.administration.files_by_id(&ids_in(&path.key)).await?;
        let Some(file) = rows.iter().find(|file| relation(file, path).is_some()) else {
            return Ok((Verdict::Foreign, None));
        };
        let old = now.duration_since(upload.initiated_at) >= COPY_MAX;
        Ok((if old { garbage } else { Verdict::Known }, Some(file.id)))
    }

    /// Has garbage looked for when that was last done long ago, by whichever worker takes such work. Returns how many
    /// scans were begun.
    pub async fn scan_garbage_when_due(&self) -> Result<u64> {
        let every = self.policy.garbage_scan_every;
        let now = self.now();
        if every.is_zero() {
            return Ok(0);
        }
        let last = self.metadata.setting(SCANNED).await?.and_then(|setting| {
            let at = setting.get("at")?.as_str()?;
            at.parse::<Timestamp>().ok()
        });
        // A new instance has nothing to look for yet.
        let Some(last) = last else {
            self.remember_scan(now).await?;
            return Ok(0);
        };
        if now.duration_since(last) < every {
            return Ok(0);
        }
        let options = JsonObject::from_iter([("trash".to_owned(), true.into())]);
        let begun = match self
            .start_operation(&sweeper(), OperationKind::Orphans, options)
            .await
        {
            Ok(_) => 1,
            // Somebody asked for one just now.
            Err(error) if error.code() == ErrorCode::OperationRunning => 0,
            Err(error) => return Err(error),
        };
        self.remember_scan(now).await?;
        Ok(begun)
    }

    async fn remember_scan(&self, at: Timestamp) -> Result<()> {
        let setting = JsonObject::from_iter([("at".to_owned(), at.to_string().into())]);
        Ok(self.metadata.put_setting(SCANNED, &setting).await?)
    }
}

/// Garbage, before it is marked.
struct Found {
    path: ObjectPath,
    upload_id: String,
    reason: GarbageReason,
    etag: String,
    size_bytes: u64,
    file_id: Option<FileId>,
}

/// Whether a row names this object itself. Everything else is looked at afresh.
fn is_accounted_for(
    file: &File,
    path: &ObjectPath,
    kind: KeyKind<'_>,
    derivatives: &HashSet<String>,
) -> bool {
    let Some(relation) = relation(file, path) else {
        return false;
    };
    let settled = matches!(
        file.state_below_trash(),
        FileState::Ready | FileState::Archived | FileState::Quarantined
    );
    settled
        && relation.here
        && match kind {
            KeyKind::Sidecar { epoch, .. } => epoch == file.epoch,
            KeyKind::Other => relation.rest.is_none() || derivatives.contains(&path.key),
            _ => false,
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_read_back() {
        let id: FileId = "00000000-0000-0000-0000-000000000007".parse().expect("an id");
        let bucket = || "b".to_owned();
        for place in [
            Place::Objects {
                bucket: bucket(),
                after: None,
            },
            Place::Objects {
                bucket: bucket(),
                after: Some("a/b/c".to_owned()),
            },
            Place::Multiparts { bucket: bucket() },
            Place::Rows { after: None },
            Place::Rows { after: Some(id) },
            Place::Marks,
        ] {
            assert_eq!(
                Place::parse(&place.text()),
                Some(place.clone()),
                "{}",
                place.text()
            );
        }
        assert_eq!(Place::parse("elsewhere"), None);
    }
}
