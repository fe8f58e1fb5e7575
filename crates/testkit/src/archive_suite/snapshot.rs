//! Every read of the metadata port, taken together, so that two stores can be compared.

use cloakroom_core::audit::AuditEntry;
use cloakroom_core::derivative::Derivative;
use cloakroom_core::event::Event;
use cloakroom_core::file::{File, FileState};
use cloakroom_core::garbage::{Garbage, GarbageState};
use cloakroom_core::id::FileId;
use cloakroom_core::intent::Intent;
use cloakroom_core::job::{Job, JobState};
use cloakroom_core::ports::administration::AdministrationStore;
use cloakroom_core::ports::metadata::{Cursor, FileQuery, MetadataStore, ServiceToken, Statistics, Usage};
use cloakroom_core::record::Record;
use cloakroom_core::storage::StoreState;
use cloakroom_core::upload::Upload;
use jiff::Timestamp;
use serde_json::json;

use super::Contents;
use crate::fixtures::record_key;

/// What a store answers to every question.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    /// Every file in the order of lists, with its upload and derivatives.
    pub files: Vec<(File, Option<Upload>, Vec<Derivative>)>,
    /// Ids found by each of many queries, in order.
    pub found: Vec<(String, Vec<FileId>)>,
    /// Timelines.
    pub timelines: Vec<(FileId, Vec<Event>)>,
    /// Open uploads by their end, and trashed files by theirs.
    pub overdue: (Vec<FileId>, Vec<FileId>),
    /// Usage by owner.
    pub usage: Vec<Usage>,
    /// Records with their children.
    pub records: Vec<(Option<Record>, Vec<Record>)>,
    /// Service tokens, all and one by one.
    pub tokens: (Vec<ServiceToken>, Vec<Option<ServiceToken>>),
    /// Settings.
    pub settings: Vec<Option<cloakroom_core::JsonObject>>,
    /// Jobs, all and by state.
    pub jobs: Vec<Vec<Job>>,
    /// When the next job becomes ready.
    pub next_job_at: Option<Timestamp>,
    /// Pending intents.
    pub intents: Vec<Intent>,
    /// Counts.
    pub statistics: Statistics,
    /// Kept garbage.
    pub kept: Vec<Garbage>,
    /// Stores.
    pub stores: Vec<StoreState>,
    /// The audit log.
    pub audit: Vec<AuditEntry>,
}

/// Asks a store everything about these contents.
pub async fn snapshot(
    store: &(impl MetadataStore + AdministrationStore + ?Sized),
    contents: &Contents,
) -> Snapshot {
    let mut files = Vec::new();
    for file in list(store, FileQuery::default(), 7).await {
        assert_eq!(
            store.file(file.id).await.expect("file").as_ref(),
            Some(&file),
            "a list and a row are one"
        );
        let upload = store.upload(file.id).await.expect("upload");
        let derivatives = store.derivatives(file.id).await.expect("derivatives");
        files.push((file, upload, derivatives));
    }
    let mut found = Vec::new();
    for query in queries(contents) {
        let ids = list(store, query.clone(), 1000).await;
        found.push((format!("{query:?}"), ids.iter().map(|file| file.id).collect()));
    }
    let mut timelines = Vec::new();
    for id in &contents.files {
        let page = store.timeline(*id, None, 1000).await.expect("timeline");
        timelines.push((*id, page.items));
    }
    let (mut usage, mut records, mut settings) = (Vec::new(), Vec::new(), Vec::new());
    for owner in &contents.owners {
        usage.push(store.usage(owner).await.expect("usage"));
    }
    for key in &contents.records {
        records.push((
            store.record(key).await.expect("record"),
            store.child_records(key).await.expect("child_records"),
        ));
    }
    for name in &contents.settings {
        settings.push(store.setting(name).await.expect("setting"));
    }
    let mut secrets = Vec::new();
    for secret in &contents.secrets {
        secrets.push(store.service_token(secret).await.expect("service_token"));
    }
    let mut jobs = Vec::new();
    for state in [
        None,
        Some(JobState::Ready),
        Some(JobState::Running),
        Some(JobState::Dead),
    ] {
        jobs.push(store.jobs(state, None, 1000).await.expect("jobs").items);
    }
    let ever = Timestamp::MAX;
    let mut statistics = store.statistics().await.expect("statistics");
    statistics.files.sort_by_key(|(state, _)| state.as_str());
    statistics.jobs.sort_by_key(|(state, _)| state.as_str());
    Snapshot {
        files,
        found,
        timelines,
        overdue: (
            store.expired_uploads(ever, 1000).await.expect("expired_uploads"),
            store.purgeable_files(ever, 1000).await.expect("purgeable_files"),
        ),
        usage,
        records,
        tokens: (store.service_tokens().await.expect("service_tokens"), secrets),
        settings,
        jobs,
        next_job_at: store.next_job_at(&[]).await.expect("next_job_at"),
        intents: store.stale_intents(ever, 1000).await.expect("stale_intents"),
        statistics,
        kept: store
            .garbage(Some(GarbageState::Kept), None, 1000)
            .await
            .expect("garbage")
            .items,
        stores: store.stores().await.expect("stores"),
        audit: store.audit(None, 1000).await.expect("audit").items,
    }
}

/// Fails with the first part that differs, rather than with two whole databases.
pub(super) fn assert_equal(was: &Snapshot, is: &Snapshot) {
    assert_eq!(was.files.len(), is.files.len());
    for (was, is) in was.files.iter().zip(&is.files) {
        assert_eq!(was, is);
    }
    for (was, is) in was.found.iter().zip(&is.found) {
        assert_eq!(was, is);
    }
    assert_eq!(was.timelines, is.timelines);
    assert_eq!(was.overdue, is.overdue);
    assert_eq!(was.usage, is.usage);
    assert_eq!(was.records, is.records);
    assert_eq!(was.jobs, is.jobs);
    assert_eq!(was.statistics, is.statistics);
    assert_eq!(was, is);
}

async fn list(store: &(impl MetadataStore + ?Sized), query: FileQuery, limit: u32) -> Vec<File> {
    let mut query = FileQuery { limit, ..query };
    let mut found = Vec::new();
    loop {
        let page = store.files(&query).await.expect("files");
        query.after = page.items.last().map(|last| Cursor {
            created_at: last.created_at,
            id: last.id,
        });
        found.extend(page.items);
        if !page.more {
            return found;
        }
    }
}

fn queries(contents: &Contents) -> Vec<FileQuery> {
    let any = FileQuery::default;
    let words = |words: &[&str]| FileQuery {
        words: words.iter().map(|word| (*word).to_owned()).collect(),
        ..any()
    };
    let metadata = |name: &str, value| FileQuery {
        metadata: vec![(name.to_owned(), value)],
        ..any()
    };
    let mut queries = vec![
        words(&["отчет"]),
        words(&["отчет", "1"]),
        words(&["naive", "fig"]),
        words(&["again"]),
        words(&["nothing"]),
        metadata("parity", json!(1)),
        metadata("n", json!(15)),
        metadata("text", json!("it's \"é\"")),
        FileQuery {
            words: vec!["отчет".to_owned()],
            ..metadata("parity", json!(0))
        },
        FileQuery {
            record: Some(record_key("message/1")),
            ..any()
        },
        FileQuery {
            collections: Some(vec!["documents".to_owned()]),
            ..any()
        },
        FileQuery {
            content_type: Some("application/*".to_owned()),
            ..any()
        },
        FileQuery {
            states: vec![FileState::Pending, FileState::Ready],
            ..any()
        },
    ];
    queries.extend(FileState::ALL.iter().map(|state| FileQuery {
        states: vec![*state],
        ..any()
    }));
    for owner in &contents.owners {
        queries.push(FileQuery {
            owner: Some(owner.clone()),
            ..any()
        });
        queries.push(FileQuery {
            owner: Some(owner.clone()),
            words: vec!["отчет".to_owned()],
            ..any()
        });
    }
    queries
}
