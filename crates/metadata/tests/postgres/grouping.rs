//! Grouped inserts: nobody suffers for a neighbour, and nobody waits without end.

use std::sync::Arc;
use std::time::Duration;

use cloakroom_core::ports::clock::Clock as _;
use cloakroom_core::ports::metadata::{Inserted, MetadataError, MetadataStore, NewFile};
use cloakroom_metadata::postgres::{PostgresOptions, PostgresStore};
use cloakroom_testkit::clock::MockClock;
use cloakroom_testkit::fixtures::{SAMPLE_BYTES, sample_new_file};
use cloakroom_testkit::random::SeededRandom;
use futures_util::future::join_all;

use crate::database::{Prefix, client, options, store};

fn new_file(random: &SeededRandom) -> NewFile {
    sample_new_file(random, MockClock::new().now())
}

/// Text that no index entry holds, however it is compressed.
fn endless(random: &SeededRandom) -> String {
    let parts: Vec<String> = (0..2000).map(|_| format!("{:016x}", random.next_u64())).collect();
    parts.concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poisonous_row_fails_alone() {
    let (store, _prefix) = store().await;
    let random = SeededRandom::default();
    let mut news: Vec<NewFile> = (0..60).map(|_| new_file(&random)).collect();
    for poisoned in [7, 31] {
        news[poisoned].file.owner = endless(&random);
    }
    for fresh in &mut news[20..] {
        fresh.upload.request_digest = None;
    }
    let answers = join_all(news.iter().cloned().map(|new| store.insert(new))).await;
    for (n, (answer, new)) in answers.into_iter().zip(&news).enumerate() {
        if [7, 31].contains(&n) {
            assert!(matches!(answer, Err(MetadataError::Internal(_))), "{answer:?}");
            assert_eq!(store.file(new.file.id).await.unwrap(), None);
        } else {
            assert_eq!(answer.unwrap(), Inserted::New);
            assert_eq!(store.file(new.file.id).await.unwrap().as_ref(), Some(&new.file));
        }
    }
}

/// Known ids, doubles, an owner over quota, a settled file and numbers that no column holds, all in one group with
/// plain ones.
#[tokio::test(flavor = "multi_thread")]
async fn a_mixed_group_answers_each_as_if_it_were_alone() {
    let (store, _prefix) = store().await;
    let random = SeededRandom::default();
    let known = new_file(&random);
    store.insert(known.clone()).await.unwrap();
    let plain: Vec<NewFile> = (0..20).map(|_| new_file(&random)).collect();
    let double = plain[3].clone();
    let mut over = new_file(&random);
    over.file.owner = "poor".to_owned();
    over.quota_bytes = Some(SAMPLE_BYTES - 1);
    let mut fits: Vec<NewFile> = (0..4).map(|_| new_file(&random)).collect();
    for new in &mut fits {
        new.file.owner = "modest".to_owned();
        new.quota_bytes = Some(2 * SAMPLE_BYTES);
    }
    let mut huge = new_file(&random);
    huge.upload.reserved_bytes = u64::MAX;
    let mut news = plain.clone();
    news.extend([known.clone(), double.clone(), over, huge]);
    news.extend(fits);
    let answers = join_all(news.into_iter().map(|new| store.insert(new))).await;
    let mut answers = answers.into_iter();
    let mut of_plain: Vec<_> = answers.by_ref().take(20).map(Result::unwrap).collect();
    let existing = |new: &NewFile| Inserted::Existing(Box::new((new.file.clone(), new.upload.clone())));
    assert_eq!(answers.next().unwrap().unwrap(), existing(&known));
    // Either of the two may have come first; together they make one row.
    let mut pair = [of_plain.remove(3), answers.next().unwrap().unwrap()];
    pair.sort_by_key(|answer| *answer != Inserted::New);
    assert_eq!(pair, [Inserted::New, existing(&double)]);
    assert!(of_plain.iter().all(|answer| *answer == Inserted::New));
    assert!(matches!(
        answers.next().unwrap().unwrap(),
        Inserted::QuotaExceeded(usage) if usage.reserved_bytes == 0
    ));
    assert!(matches!(answers.next().unwrap(), Err(MetadataError::Internal(_))));
    let accepted = answers
        .filter(|answer| matches!(answer, Ok(Inserted::New)))
        .count();
    assert_eq!(accepted, 2);
    assert_eq!(
        store.usage("modest").await.unwrap().reserved_bytes,
        2 * SAMPLE_BYTES
    );
    assert_eq!(store.usage("poor").await.unwrap().reserved_bytes, 0);
    let owner = &plain[0].file.owner;
    assert_eq!(
        store.usage(owner).await.unwrap().reserved_bytes,
        21 * SAMPLE_BYTES
    );
}

/// Ids made from keys may be known, and fresh ones by no right; either way their neighbours are committed with them.
#[tokio::test(flavor = "multi_thread")]
async fn known_ids_do_not_hold_up_their_neighbours() {
    for (keyed, outbox) in [(true, true), (true, false), (false, true), (false, false)] {
        let prefix = Prefix::new();
        let store = PostgresStore::connect(PostgresOptions {
            outbox,
            ..options(&prefix)
        })
        .await
        .unwrap();
        let random = SeededRandom::default();
        let mut news: Vec<NewFile> = (0..32).map(|_| new_file(&random)).collect();
        for new in news.iter_mut().filter(|_| !keyed) {
            new.upload.request_digest = None;
        }
        for known in &news[30..] {
            assert_eq!(store.insert(known.clone()).await.unwrap(), Inserted::New);
        }
        // Purged: its events stay.
        let sql = format!("DELETE FROM {}_files WHERE id = $1", prefix.0);
        client()
            .await
            .execute(&sql, &[&news[31].file.id.0])
            .await
            .unwrap();

        let answers = join_all(news.iter().cloned().map(|new| store.insert(new))).await;
        for (answer, new) in answers[..30].iter().zip(&news) {
            assert_eq!(answer.as_ref().unwrap(), &Inserted::New);
            assert_eq!(store.file(new.file.id).await.unwrap().as_ref(), Some(&new.file));
            let upload = store.upload(new.file.id).await.unwrap();
            assert_eq!(upload.as_ref(), Some(&new.upload));
            let events = store.timeline(new.file.id, None, 10).await.unwrap().items;
            assert_eq!(events, std::slice::from_ref(&new.event));
        }
        let known = &news[30];
        let rows = Box::new((known.file.clone(), known.upload.clone()));
        assert_eq!(answers[30].as_ref().unwrap(), &Inserted::Existing(rows));
        assert!(
            matches!(answers[31], Err(MetadataError::Conflict)),
            "{:?}",
            answers[31]
        );
        let usage = store.usage(&known.file.owner).await.unwrap();
        assert_eq!(usage.reserved_bytes, 32 * SAMPLE_BYTES, "reserved once for each");
        let sql = format!("SELECT count(*) FROM {}_outbox", prefix.0);
        let waiting: i64 = client().await.query_one(&sql, &[]).await.unwrap().get(0);
        assert_eq!(waiting, if outbox { 32 } else { 0 }, "one event for each");
    }
}

/// The database stands still: what is too much is refused at once, and what was accepted is done afterwards.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_says_so_and_what_was_accepted_is_done() {
    let prefix = Prefix::new();
    let store = PostgresStore::connect(PostgresOptions {
        statement_timeout: Duration::from_mins(1),
        ..options(&prefix)
    })
    .await
    .unwrap();
    let store = Arc::new(store);
    let random = SeededRandom::default();
    let mut holder = client().await;
    let hold = holder.transaction().await.unwrap();
    hold.batch_execute(&format!("LOCK TABLE {}_files IN EXCLUSIVE MODE", prefix.0))
        .await
        .unwrap();
    let inserts: Vec<_> = (0..6000)
        .map(|_| {
            let (store, new) = (Arc::clone(&store), new_file(&random));
            tokio::spawn(async move { store.insert(new).await })
        })
        .collect();
    // Those that are refused end while the others wait: in the queue, or in one of two groups.
    while inserts.iter().filter(|insert| insert.is_finished()).count() < 6000 - 4096 - 2 * 512 {
        tokio::task::yield_now().await;
    }
    hold.rollback().await.unwrap();
    let (mut made, mut refused) = (0, 0);
    for insert in inserts {
        match insert.await.unwrap() {
            Ok(Inserted::New) => made += 1,
            Err(MetadataError::Unavailable(text)) => {
                assert!(text.contains("waiting already"), "{text}");
                refused += 1;
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(made >= 4096 && refused > 0, "{made} made, {refused} refused");
    let sql = format!("SELECT count(*) FROM {}_files", prefix.0);
    let rows: i64 = holder.query_one(&sql, &[]).await.unwrap().get(0);
    assert_eq!(rows, made);
}

/// Closing waits for what was accepted.
#[tokio::test(flavor = "multi_thread")]
async fn closing_finishes_what_waits() {
    let (store, prefix) = store().await;
    let random = SeededRandom::default();
    let news: Vec<NewFile> = (0..50).map(|_| new_file(&random)).collect();
    let answers = join_all(news.iter().cloned().map(|new| store.insert(new))).await;
    assert!(answers.iter().all(|answer| matches!(answer, Ok(Inserted::New))));
    store.close().await.unwrap();
    let store = PostgresStore::connect(options(&prefix)).await.unwrap();
    for new in news {
        assert!(store.file(new.file.id).await.unwrap().is_some());
    }
}
