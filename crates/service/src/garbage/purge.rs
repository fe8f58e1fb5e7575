//! Emptying the trash on demand: files and garbage whose deadline is over, or a list of what would go.

use cloakroom_core::file::{File, FileState};
use cloakroom_core::garbage::{Garbage, GarbageState};
use cloakroom_core::id::FileId;
use cloakroom_core::ports::metadata::{Cursor, FileQuery, MetadataError};
use cloakroom_core::ports::objects::ObjectPath;
use cloakroom_core::storage::StorageAction;
use jiff::Timestamp;

use super::finding;
use crate::app::App;
use crate::error::Result;
use crate::operations::Run;

/// Rows read in one step.
const PAGE: u32 = 500;

impl App {
    /// Removes everything in the trash that is over its deadline and may go. With the option `dry_run` it only lists what
    /// would go, and how many bytes that is.
    pub(crate) async fn run_purge(&self, run: &mut Run<'_>) -> Result<()> {
        let dry_run = run.flag("dry_run");
        if run.place() != Some("garbage") {
            self.purge_files(run, dry_run).await?;
            run.advance(run.done(), "garbage".to_owned()).await?;
        }
        self.purge_garbage(run, dry_run).await
    }

    async fn purge_files(&self, run: &mut Run<'_>, dry_run: bool) -> Result<()> {
        let mut query = FileQuery {
            states: vec![FileState::Trashed],
            after: run.place().and_then(read_place),
            limit: PAGE,
            ..FileQuery::default()
        };
        let actor = run.operation().actor.clone();
        loop {
            let page = self.metadata.files(&query).await?;
            for file in &page.items {
                self.purge_one(run, file, &actor, dry_run).await?;
            }
            let Some(last) = page.items.last().filter(|_| page.more) else {
                return Ok(());
            };
            let cursor = Cursor {
                created_at: last.created_at,
                id: last.id,
            };
            run.advance(run.done() + page.items.len() as u64, place(cursor))
                .await?;
            query.after = Some(cursor);
        }
    }

    async fn purge_one(&self, run: &mut Run<'_>, file: &File, actor: &str, dry_run: bool) -> Result<()> {
        let over = file.trash.is_some_and(|trash| trash.purge_at <= self.now());
        if !over {
            run.count("not_over", 1);
            return Ok(());
        }
        let path = ObjectPath::new(&file.bucket, &file.key);
        let bytes = file.size_bytes().unwrap_or_default();
        let line = |kind: &str, detail: String, action: &str| {
            let mut line = finding(kind, Some(&path), Some(file.id), detail);
            action.clone_into(&mut line.action);
            line
        };
        if let Err(refusal) = file.admit_removal() {
            run.find(line("legal_hold", refusal.message, "kept"));
            return Ok(());
        }
        if let Err(refusal) = self.admit(StorageAction::Delete, &file.bucket) {
            run.find(line("store_closed", refusal.message, "kept"));
            return Ok(());
        }
        let detail = format!("{bytes} bytes of {}", file.filename);
        if dry_run {
            run.find(line("file", detail, "would_go"));
        } else {
            let transition = file.purge(&self.occasion(actor))?;
            match self.metadata.apply(transition).await {
                Ok(()) => run.find(line("file", detail, "purged")),
                // Restored, or claimed by the sweep.
                Err(MetadataError::Conflict) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
        run.count("bytes", bytes);
        Ok(())
    }

    async fn purge_garbage(&self, run: &mut Run<'_>, dry_run: bool) -> Result<()> {
        if !dry_run {
            let removed = self.sweep_garbage().await?;
            run.count("garbage", removed);
            return Ok(());
        }
        let mut after: Option<(ObjectPath, String)> = None;
        let now = self.now();
        loop {
            let from = after.as_ref().map(|(path, upload)| (path, upload.as_str()));
            let page = self
                .administration
                .garbage(Some(GarbageState::Trashed), from, PAGE)
                .await?;
            for garbage in page.items {
                if garbage.purge_at <= now {
                    run.find(would_go(&garbage));
                    run.count("bytes", garbage.size_bytes);
                }
                after = Some((garbage.path, garbage.upload_id));
            }
            if !page.more {
                return Ok(());
            }
        }
    }
}

fn would_go(garbage: &Garbage) -> cloakroom_core::operation::Finding {
    let detail = format!("{} bytes, {}", garbage.size_bytes, garbage.reason.as_str());
    let mut line = finding("garbage", Some(&garbage.path), garbage.file_id, detail);
    "would_go".clone_into(&mut line.action);
    line
}

fn place(cursor: Cursor) -> String {
    format!("files/{}/{}", cursor.created_at, cursor.id)
}

fn read_place(text: &str) -> Option<Cursor> {
    let (created_at, id) = text.strip_prefix("files/")?.split_once('/')?;
    Some(Cursor {
        created_at: created_at.parse::<Timestamp>().ok()?,
        id: id.parse::<FileId>().ok()?,
    })
}
