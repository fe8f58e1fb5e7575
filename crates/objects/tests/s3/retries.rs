//! What is sent again, and what is not.

use std::time::Duration;

use cloakroom_core::ports::objects::{
    Circuit, CopyOptions, GetOptions, ListOptions, MultipartOptions, ObjectError, ObjectPath, ObjectStore,
    PutBody, PutOptions, WriteConditions,
};

use cloakroom_objects::s3::{CircuitPolicy, S3Options};

use crate::scripted::{Reply, Scripted, answer, error, object};

fn path() -> ObjectPath {
    ObjectPath::new("bucket", "key")
}

fn there() -> Reply {
    answer("200 OK", &[], "")
}

fn count(scripted: &Scripted, start: &str) -> usize {
    scripted
        .asked()
        .iter()
        .filter(|head| head.starts_with(start))
        .count()
}

#[tokio::test]
async fn what_may_be_done_twice_is_tried_three_times() {
    for (status, code) in [
        ("503 Slow Down", "SlowDown"),
        ("500 Oops", "InternalError"),
        ("502 Bad Gateway", ""),
        ("504 Gateway Timeout", ""),
        ("429 Too Many Requests", "TooManyRequests"),
        ("400 Bad Request", "RequestTimeout"),
    ] {
        let none = "<ListAllMyBucketsResult><Buckets/></ListAllMyBucketsResult>";
        let scripted = Scripted::new([
            error(status, code),
            error(status, code),
            answer("200 OK", &[], none),
        ])
        .await;
        assert!(scripted.store.buckets().await.unwrap().is_empty());
        let scripted = Scripted::new((0..5).map(|_| error(status, code))).await;
        let refused = scripted.store.buckets().await;
        assert!(
            matches!(refused, Err(ObjectError::Unavailable(_))),
            "{status}: {refused:?}"
        );
        assert_eq!(scripted.asked().len(), 3, "{status}");
    }
}

#[tokio::test]
async fn what_the_store_refuses_is_not_tried_again() {
    for (status, code) in [
        ("403 Forbidden", "AccessDenied"),
        ("400 Bad Request", "InvalidArgument"),
        ("501 Not Implemented", "NotImplemented"),
    ] {
        let scripted = Scripted::new((0..5).map(|_| error(status, code))).await;
        scripted.store.buckets().await.unwrap_err();
        assert_eq!(scripted.asked().len(), 1, "{status}");
    }
}

/// After a lost answer the second try would find the first one's object.
#[tokio::test]
async fn a_conditional_write_is_repeated_only_if_it_was_not_done() {
    let if_absent = || PutOptions {
        conditions: WriteConditions {
            if_absent: true,
            ..WriteConditions::default()
        },
        ..PutOptions::default()
    };
    let lost = Reply::Bytes(Vec::new());
    for reply in [
        lost,
        error("500 Oops", "InternalError"),
        error("504 Gateway Timeout", ""),
    ] {
        let scripted = Scripted::new([there(), reply.clone(), reply]).await;
        let put = scripted
            .store
            .put(&path(), if_absent(), PutBody::from_bytes("v"))
            .await;
        assert!(matches!(put, Err(ObjectError::Unavailable(_))), "{put:?}");
        assert_eq!(count(&scripted, "PUT"), 1);
    }
    let busy = error("503 Slow Down", "SlowDown");
    let done = answer("200 OK", &[("etag", "\"e\"")], "");
    let scripted = Scripted::new([there(), busy, done, object("1", "")]).await;
    scripted
        .store
        .put(&path(), if_absent(), PutBody::from_bytes("v"))
        .await
        .unwrap();
    assert_eq!(count(&scripted, "PUT"), 2);
    // What Ceph calls an unknown error is a lost race, and no outage.
    let scripted = Scripted::new([there(), error("500 Oops", "UnknownError")]).await;
    let put = scripted
        .store
        .put(&path(), if_absent(), PutBody::from_bytes("v"))
        .await;
    assert!(matches!(put, Err(ObjectError::PreconditionFailed(_))), "{put:?}");
}

#[tokio::test]
async fn a_stream_is_not_sent_twice() {
    let scripted = Scripted::new([there(), error("500 Oops", "InternalError"), there(), there()]).await;
    let body = PutBody::from_bytes(vec![7; 2_000_000]);
    let put = scripted.store.put(&path(), PutOptions::default(), body).await;
    assert!(matches!(put, Err(ObjectError::Unavailable(_))), "{put:?}");
    assert_eq!(count(&scripted, "PUT"), 1);
}

/// Longer than the whole call may take: it is not waited for.
#[tokio::test]
async fn a_wait_that_the_store_asks_for_does_not_outlive_the_deadline() {
    let busy = answer(
        "503 Slow Down",
        &[("retry-after", "30")],
        "<Error><Code>SlowDown</Code></Error>",
    );
    let scripted = Scripted::with([busy, object("1", "")], |options| S3Options {
        request_timeout: Duration::from_secs(25),
        ..options
    })
    .await;
    let begun = std::time::Instant::now();
    let head = scripted.store.head(&path(), &GetOptions::default()).await;
    assert!(matches!(head, Err(ObjectError::Unavailable(_))), "{head:?}");
    assert!(begun.elapsed() < Duration::from_secs(30));
    assert_eq!(scripted.asked().len(), 1);
}

/// S3 begins to answer a copy before it knows how it ends.
#[tokio::test]
async fn an_error_in_the_body_of_a_success_is_an_error() {
    let late = || {
        answer(
            "200 OK",
            &[],
            "<?xml version=\"1.0\"?>\n<Error><Code>InternalError</Code></Error>",
        )
    };
    let scripted = Scripted::new([object("3", ""), late(), late(), late()]).await;
    let to = ObjectPath::new("bucket", "to");
    let copied = scripted.store.copy(&path(), &to, CopyOptions::default()).await;
    assert!(matches!(copied, Err(ObjectError::Unavailable(_))), "{copied:?}");
    assert_eq!(count(&scripted, "PUT"), 3);
    let late = answer("200 OK", &[], "<Error><Code>PreconditionFailed</Code></Error>");
    let scripted = Scripted::new([object("3", ""), late]).await;
    let copied = scripted.store.copy(&path(), &to, CopyOptions::default()).await;
    assert!(
        matches!(copied, Err(ObjectError::PreconditionFailed(_))),
        "{copied:?}"
    );
}

/// An answer that breaks off says as little as none.
#[tokio::test]
async fn a_list_that_breaks_off_is_asked_for_again() {
    let whole = "<ListBucketResult><Contents><Key>k</Key><Size>1</Size><ETag>e</ETag>\
                 <LastModified>2026-11-21T12:00:00Z</LastModified></Contents></ListBucketResult>";
    let half = format!(
        "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{}",
        whole.len(),
        &whole[..90]
    );
    let scripted = Scripted::new([Reply::Bytes(half.into()), answer("200 OK", &[], whole)]).await;
    let options = ListOptions {
        limit: 10,
        ..ListOptions::default()
    };
    let page = scripted.store.list("bucket", &options).await.unwrap();
    assert_eq!(page.objects.len(), 1);
}

#[tokio::test]
async fn the_time_of_the_store_is_learned_once() {
    let skewed = || {
        answer(
            "403 Forbidden",
            &[("date", "Sat, 21 Nov 2020 12:00:00 GMT")],
            "<Error><Code>RequestTimeTooSkewed</Code></Error>",
        )
    };
    let begun = answer(
        "200 OK",
        &[],
        "<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>",
    );
    let scripted = Scripted::new([skewed(), begun.clone(), begun]).await;
    for _ in 0..2 {
        scripted
            .store
            .begin_multipart(&path(), MultipartOptions::default())
            .await
            .unwrap();
    }
    let dates: Vec<_> = scripted
        .asked()
        .iter()
        .map(|head| head.contains("x-amz-date: 20201121T12"))
        .collect();
    assert_eq!(dates, [false, true, true]);
    let scripted = Scripted::new((0..5).map(|_| skewed())).await;
    scripted
        .store
        .begin_multipart(&path(), MultipartOptions::default())
        .await
        .unwrap_err();
    assert_eq!(scripted.asked().len(), 2, "once is enough");
}

#[tokio::test]
async fn what_was_asked_and_asked_again_is_counted() {
    let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
    let counted = recorder.handle();
    // A test of its own thread: nobody else's calls are counted.
    let _guard = metrics::set_default_local_recorder(&recorder);
    let busy = || error("503 Slow Down", "SlowDown");
    let scripted = Scripted::with(
        [busy(), object("1", ""), error("403 Forbidden", "AccessDenied")],
        |options| S3Options {
            circuit: CircuitPolicy {
                failures_max: 4,
                ..CircuitPolicy::default()
            },
            ..options
        },
    )
    .await;
    scripted
        .store
        .head(&path(), &GetOptions::default())
        .await
        .unwrap();
    scripted.store.buckets().await.unwrap_err();
    let text = counted.render();
    for line in [
        "cloakroom_store_requests_total{operation=\"HeadObject\",outcome=\"success\"} 1",
        "cloakroom_store_requests_total{operation=\"ListBuckets\",outcome=\"refused\"} 1",
        "cloakroom_store_retries_total{operation=\"HeadObject\"} 1",
        "cloakroom_store_request_seconds_count{operation=\"HeadObject\"} 1",
        "cloakroom_store_circuit_state 0",
    ] {
        assert!(text.contains(line), "{line} in {text}");
    }
    // Whatever is asked now finds no answer.
    while scripted.store.circuit() == Circuit::Closed {
        scripted
            .store
            .head(&path(), &GetOptions::default())
            .await
            .unwrap_err();
    }
    let text = counted.render();
    assert!(text.contains("cloakroom_store_circuit_state 2"), "{text}");
    assert!(
        text.contains("operation=\"HeadObject\",outcome=\"unavailable\""),
        "{text}"
    );
}
