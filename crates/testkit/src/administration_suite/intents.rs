//! The write-ahead log, as administrators read it.

use cloakroom_core::id::{FileId, IntentId};
use cloakroom_core::intent::{Intent, IntentKind, IntentStatus};
use cloakroom_core::ports::administration::IntentQuery;
use cloakroom_core::ports::random::Random as _;

use super::{Store, stage};
use crate::fixtures::sample_intent;
use crate::metadata_store_suite::stage::Stage;

/// A pending one about a file, a second after the last.
async fn begun(store: &Store, stage: &Stage, kind: IntentKind, file_id: Option<FileId>) -> Intent {
    let now = stage.pass(1);
    let sample = stage.new_file().file;
    let intent = Intent {
        kind,
        file_id,
        ..sample_intent(&sample, &stage.random, now)
    };
    store.begin_intent(&intent).await.expect("begin_intent");
    intent
}

async fn ids(store: &Store, query: IntentQuery) -> (Vec<IntentId>, bool) {
    let page = store.intents(&query).await.expect("intents");
    (
        page.items.into_iter().map(|intent| intent.id).collect(),
        page.more,
    )
}

/// Pages by id, the newest first, with every field as it was written.
pub async fn the_write_ahead_log_is_read_newest_first(store: Store) {
    let stage = stage(&store);
    let file = FileId(stage.random.uuid_v7(stage.now()));
    let mut all = Vec::new();
    for kind in [
        IntentKind::FileCreate,
        IntentKind::FileDelete,
        IntentKind::ModeChange,
    ] {
        let about = (kind != IntentKind::ModeChange).then_some(file);
        all.push(begun(&store, &stage, kind, about).await);
    }
    let done_at = stage.pass(1);
    store
        .end_intent(all[0].id, IntentStatus::Failed, Some("no\u{e9}"), done_at)
        .await
        .expect("end_intent");
    (all[0].status, all[0].completed_at) = (IntentStatus::Failed, Some(done_at));
    all[0].error = Some("no\u{e9}".to_owned());
    all.reverse();
    let query = |before: Option<IntentId>, limit| IntentQuery {
        before,
        limit,
        ..IntentQuery::default()
    };
    let page = store.intents(&query(None, 10)).await.expect("intents");
    assert_eq!((page.items, page.more), (all.clone(), false));
    let expected: Vec<IntentId> = all.iter().map(|intent| intent.id).collect();
    assert_eq!(ids(&store, query(None, 2)).await, (expected[..2].to_vec(), true));
    assert_eq!(
        ids(&store, query(Some(expected[1]), 2)).await,
        (expected[2..].to_vec(), false)
    );
}

/// By status, by kind, by file, and all of it together.
pub async fn entries_are_found_by_what_they_say(store: Store) {
    let stage = stage(&store);
    let (one, other) = (
        FileId(stage.random.uuid_v7(stage.now())),
        FileId(stage.random.uuid_v7(stage.now())),
    );
    let create = begun(&store, &stage, IntentKind::FileCreate, Some(one)).await;
    let delete = begun(&store, &stage, IntentKind::FileDelete, Some(one)).await;
    let foreign = begun(&store, &stage, IntentKind::FileCreate, Some(other)).await;
    store
        .end_intent(create.id, IntentStatus::RolledBack, None, stage.pass(1))
        .await
        .expect("end_intent");
    let all = IntentQuery {
        limit: 10,
        ..IntentQuery::default()
    };
    let found = |query: IntentQuery| async { ids(&store, query).await.0 };
    let pending = IntentQuery {
        status: Some(IntentStatus::Pending),
        ..all.clone()
    };
    assert_eq!(found(pending.clone()).await, [foreign.id, delete.id]);
    let created = IntentQuery {
        kind: Some(IntentKind::FileCreate),
        ..all.clone()
    };
    assert_eq!(found(created).await, [foreign.id, create.id]);
    let of_one = IntentQuery {
        file_id: Some(one),
        ..all
    };
    assert_eq!(found(of_one).await, [delete.id, create.id]);
    let together = IntentQuery {
        kind: Some(IntentKind::FileCreate),
        file_id: Some(one),
        ..pending
    };
    assert_eq!(found(together).await, []);
}
