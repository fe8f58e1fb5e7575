//! Conditions of writes and reads.

use std::time::Duration;

use cloakroom_core::ports::objects::{GetOptions, ObjectError, ReadConditions, WriteConditions};
use futures_util::future::join_all;

use super::Subject;

fn if_absent() -> WriteConditions {
    WriteConditions {
        if_absent: true,
        ..WriteConditions::default()
    }
}

fn if_match(etag: &str) -> WriteConditions {
    WriteConditions {
        if_match: Some(etag.to_owned()),
        ..WriteConditions::default()
    }
}

fn if_generation(generation: &str) -> WriteConditions {
    WriteConditions {
        if_generation: Some(generation.to_owned()),
        ..WriteConditions::default()
    }
}

async fn status(subject: &Subject, conditions: ReadConditions) -> u16 {
    let options = GetOptions {
        conditions,
        ..GetOptions::default()
    };
    let head = subject.store.head(&subject.path("k"), &options).await.map(drop);
    let get = subject.store.get(&subject.path("k"), &options).await.map(drop);
    let code = |result: Result<(), ObjectError>| match result {
        Ok(()) => 200,
        Err(ObjectError::NotModified { .. }) => 304,
        Err(ObjectError::PreconditionFailed(_)) => 412,
        Err(error) => panic!("{error}"),
    };
    let code_of_head = code(head);
    assert_eq!(code(get), code_of_head, "get and head agree: {options:?}");
    code_of_head
}

fn is_refused<T: std::fmt::Debug>(result: &Result<T, ObjectError>) -> bool {
    matches!(result, Err(ObjectError::PreconditionFailed(_)))
}

/// `If-None-Match: *` never overwrites.
pub async fn if_absent_writes_once(subject: &Subject) {
    if !subject.store.capabilities().conditional_put {
        return;
    }
    subject.put_if("k", "one", if_absent()).await.unwrap();
    assert!(is_refused(&subject.put_if("k", "two", if_absent()).await));
    assert_eq!(subject.read("k").await, b"one");
    subject.store.delete(&subject.path("k")).await.unwrap();
    subject.put_if("k", "three", if_absent()).await.unwrap();
}

/// However many try at once.
pub async fn one_of_many_if_absent_wins(subject: &Subject) {
    if !subject.store.capabilities().conditional_put {
        return;
    }
    for round in 0..5 {
        let key = format!("new-{round}/k");
        let writers = (0..10).map(|writer| subject.put_if(&key, writer.to_string(), if_absent()));
        let results = join_all(writers).await;
        let winners: Vec<_> = results
            .iter()
            .enumerate()
            .filter(|(_, result)| result.is_ok())
            .collect();
        assert_eq!(winners.len(), 1, "{results:?}");
        assert!(results.iter().all(|result| result.is_ok() || is_refused(result)));
        assert_eq!(subject.read(&key).await, winners[0].0.to_string().as_bytes());
    }
}

/// `If-Match` replaces exactly the object that the client has seen.
pub async fn if_match_replaces_only_that_object(subject: &Subject) {
    if !subject.store.capabilities().conditional_put {
        return;
    }
    let one = subject.put("k", "one").await;
    let two = subject.put_if("k", "two", if_match(&one.etag)).await.unwrap();
    assert!(is_refused(
        &subject.put_if("k", "three", if_match(&one.etag)).await
    ));
    subject
        .put_if("k", "three", if_match(&format!("\"{}\"", two.etag)))
        .await
        .unwrap();
    subject.put_if("k", "four", if_match("*")).await.unwrap();
    assert_eq!(subject.read("k").await, b"four");
}

/// As on S3, there is nothing that could match.
pub async fn if_match_of_a_missing_object_is_not_found(subject: &Subject) {
    if !subject.store.capabilities().conditional_put {
        return;
    }
    for etag in ["*", "abc"] {
        let refused = subject.put_if("k", "x", if_match(etag)).await;
        assert!(matches!(refused, Err(ObjectError::NotFound)), "{refused:?}");
    }
    subject.assert_missing("k").await;
}

/// A generation is one write, not its bytes.
pub async fn if_generation_replaces_only_that_write(subject: &Subject) {
    if !subject.store.capabilities().conditional_put {
        return;
    }
    assert!(is_refused(&subject.put_if("k", "x", if_generation("none")).await));
    let one = subject.put("k", "same").await;
    let two = subject.put("k", "same").await;
    if subject.store.capabilities().generations {
        assert!(is_refused(
            &subject.put_if("k", "three", if_generation(&one.generation)).await
        ));
    }
    subject
        .put_if("k", "three", if_generation(&two.generation))
        .await
        .unwrap();
    assert_eq!(subject.read("k").await, b"three");
}

/// A refusal leaves bytes, attributes and generation alone.
pub async fn a_refused_write_changes_nothing(subject: &Subject) {
    if !subject.store.capabilities().conditional_put {
        return;
    }
    let before = subject.put("k", "old").await;
    for conditions in [if_absent(), if_match("x"), if_generation("x")] {
        assert!(is_refused(
            &subject.put_if("k", vec![1; 700_000], conditions).await
        ));
        assert_eq!(subject.head("k").await, before);
    }
}

/// Many clients that add one, each with `If-Match`, arrive at the right sum.
pub async fn compare_and_set_loses_no_update(subject: &Subject) {
    if !subject.store.capabilities().conditional_put {
        return;
    }
    subject.put("k", "0").await;
    let (clients, rounds) = (4, 10);
    let add_all = (0..clients).map(|_| async {
        let mut done = 0;
        while done < rounds {
            let (read, bytes) = subject.read_with("k", &GetOptions::default()).await.unwrap();
            let count: u32 = std::str::from_utf8(&bytes).unwrap().parse().unwrap();
            match subject
                .put_if("k", (count + 1).to_string(), if_match(&read.info.etag))
                .await
            {
                Ok(_) => done += 1,
                Err(ObjectError::PreconditionFailed(_)) => {}
                Err(error) => panic!("{error}"),
            }
        }
    });
    join_all(add_all).await;
    assert_eq!(subject.read("k").await, (clients * rounds).to_string().as_bytes());
}

/// A delete beside a write that replaces the object: whichever is first, nothing is left.
pub async fn a_delete_beside_a_conditional_write_leaves_nothing(subject: &Subject) {
    if !subject.store.capabilities().conditional_put || !subject.store.capabilities().ordered_deletes {
        return;
    }
    for _ in 0..40 {
        let etag = subject.put("k", "old").await.etag;
        let path = subject.path("k");
        let (written, deleted) = tokio::join!(
            subject.put_if("k", "new", if_match(&etag)),
            subject.store.delete(&path)
        );
        deleted.unwrap();
        assert!(
            matches!(written, Ok(_) | Err(ObjectError::NotFound)),
            "{written:?}"
        );
        subject.assert_missing("k").await;
    }
}

/// `If-Match` on a read.
pub async fn reading_if_match(subject: &Subject) {
    let etag = subject.put("k", "v").await.etag;
    let conditions = |tag: &str| ReadConditions {
        if_match: Some(tag.to_owned()),
        ..ReadConditions::default()
    };
    for (tag, expected) in [
        (etag.as_str(), 200),
        (&format!("\"{etag}\""), 200),
        ("*", 200),
        ("\"x\"", 412),
    ] {
        assert_eq!(status(subject, conditions(tag)).await, expected, "{tag}");
    }
}

/// `If-None-Match` on a read; the answer "not modified" carries what is known.
pub async fn reading_if_none_match(subject: &Subject) {
    let info = subject.put("k", "v").await;
    let conditions = |tag: &str| ReadConditions {
        if_none_match: Some(tag.to_owned()),
        ..ReadConditions::default()
    };
    for (tag, expected) in [
        (info.etag.as_str(), 304),
        (&format!("\"{}\"", info.etag), 304),
        ("*", 304),
        ("\"x\"", 200),
    ] {
        assert_eq!(status(subject, conditions(tag)).await, expected, "{tag}");
    }
    let options = GetOptions {
        conditions: conditions("*"),
        ..GetOptions::default()
    };
    match subject.store.head(&subject.path("k"), &options).await {
        Err(ObjectError::NotModified { info: current }) => assert_eq!(*current, info),
        other => panic!("{other:?}"),
    }
}

/// `If-Modified-Since` and `If-Unmodified-Since`, in whole seconds.
pub async fn reading_by_date(subject: &Subject) {
    let modified_at = subject.put("k", "v").await.modified_at;
    let second = jiff::Timestamp::from_second(modified_at.as_second()).unwrap();
    let hour = Duration::from_hours(1);
    for (since, modified, unmodified) in [
        (second - hour, 200, 412),
        (second, 304, 200),
        (second + hour, 304, 200),
    ] {
        let conditions = ReadConditions {
            if_modified_since: Some(since),
            ..ReadConditions::default()
        };
        assert_eq!(
            status(subject, conditions).await,
            modified,
            "modified since {since}"
        );
        let conditions = ReadConditions {
            if_unmodified_since: Some(since),
            ..ReadConditions::default()
        };
        assert_eq!(
            status(subject, conditions).await,
            unmodified,
            "unmodified since {since}"
        );
    }
}

/// RFC 9110 §13.2.2: an entity tag decides, where there is one, before a date.
pub async fn match_beats_date(subject: &Subject) {
    let info = subject.put("k", "v").await;
    let hour = Duration::from_hours(1);
    let conditions = ReadConditions {
        if_match: Some(info.etag.clone()),
        if_unmodified_since: Some(info.modified_at - hour),
        ..ReadConditions::default()
    };
    assert_eq!(status(subject, conditions).await, 200);
    let conditions = ReadConditions {
        if_none_match: Some("\"x\"".into()),
        if_modified_since: Some(info.modified_at + hour),
        ..ReadConditions::default()
    };
    assert_eq!(status(subject, conditions).await, 200);
    let conditions = ReadConditions {
        if_match: Some(info.etag.clone()),
        if_none_match: Some(info.etag),
        ..ReadConditions::default()
    };
    assert_eq!(status(subject, conditions).await, 304);
}

/// Lists of tags; weak tags match for `If-None-Match` only.
pub async fn lists_and_weak_tags(subject: &Subject) {
    let etag = subject.put("k", "v").await.etag;
    for (list, if_match, if_none_match) in [
        (format!("\"x\", \"{etag}\""), 200, 304),
        (format!("\"x\",\"{etag}\",\"y\""), 200, 304),
        (format!("W/\"{etag}\""), 412, 304),
        ("\"x\", W/\"y\"".to_owned(), 412, 200),
    ] {
        let conditions = ReadConditions {
            if_match: Some(list.clone()),
            ..ReadConditions::default()
        };
        assert_eq!(status(subject, conditions).await, if_match, "{list}");
        let conditions = ReadConditions {
            if_none_match: Some(list.clone()),
            ..ReadConditions::default()
        };
        assert_eq!(status(subject, conditions).await, if_none_match, "{list}");
    }
}

/// A read can insist on one write.
pub async fn reading_if_generation(subject: &Subject) {
    let one = subject.put("k", "one").await;
    let conditions = ReadConditions {
        if_generation: Some(one.generation),
        ..ReadConditions::default()
    };
    assert_eq!(status(subject, conditions.clone()).await, 200);
    subject.put("k", "two").await;
    assert_eq!(status(subject, conditions).await, 412);
}
