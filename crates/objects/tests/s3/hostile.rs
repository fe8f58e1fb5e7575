//! Answers that no good service gives: they are errors, in time, and take no memory.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use cloakroom_core::ports::objects::{
    ByteRange, Circuit, GetOptions, ListOptions, ObjectError, ObjectPath, ObjectStore,
};
use cloakroom_objects::s3::{CircuitPolicy, S3Options, S3Store};
use cloakroom_testkit::object_store_suite::collect;
use tokio::sync::oneshot;

use crate::scripted::{Reply, Scripted, answer, object, options_at};
use crate::stand::impatient;

/// Longer than any call may take that gives up, on a slow machine: what it would wait for never comes.
const ENOUGH: Duration = Duration::from_mins(1);

fn path() -> ObjectPath {
    ObjectPath::new("bucket", "key")
}

async fn list(scripted: &Scripted) -> Result<(), ObjectError> {
    let options = ListOptions {
        limit: 10,
        ..ListOptions::default()
    };
    scripted.store.list("bucket", &options).await.map(drop)
}

#[tokio::test]
async fn lists_that_cannot_be_read_are_refused() {
    let deep = format!("{}{}", "<a>".repeat(100_000), "</a>".repeat(100_000));
    let entities = "<!DOCTYPE l [<!ENTITY a \"aaaaaaaaaa\"><!ENTITY b \"&a;&a;&a;&a;\">]>\
                    <ListBucketResult><Contents><Key>&b;</Key></Contents></ListBucketResult>";
    let outside = "<!DOCTYPE l [<!ENTITY a SYSTEM \"file:///etc/passwd\">]>\
                   <ListBucketResult><Prefix>&a;</Prefix><Contents><Key>&a;</Key></Contents></ListBucketResult>";
    let bad_size = "<ListBucketResult><Contents><Key>k</Key><Size>-1</Size><ETag>e</ETag>\
                    <LastModified>2026-11-21T12:00:00Z</LastModified></Contents></ListBucketResult>";
    let bad_time = bad_size
        .replace("-1", "1")
        .replace("2026-11-21T12:00:00Z", "tomorrow");
    for body in [
        "",
        "no",
        "<",
        "\u{0}",
        "<html>maintenance</html>",
        &deep,
        entities,
        outside,
        bad_size,
        &bad_time,
    ] {
        let scripted = Scripted::new((0..3).map(|_| answer("200 OK", &[], body))).await;
        let listed = list(&scripted).await;
        // A page of another kind holds no keys that could be taken for the bucket's.
        let is_empty_page = listed.is_ok() && !body.contains("<Contents>");
        assert!(listed.is_err() || is_empty_page, "{body:.80}");
    }
    let not_text = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n\xff\xfe".to_vec();
    let scripted = Scripted::new((0..3).map(|_| Reply::Bytes(not_text.clone()))).await;
    list(&scripted).await.unwrap_err();
}

#[tokio::test]
async fn an_answer_without_end_is_not_read_to_it() {
    let head = "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n<ListBucketResult>".to_owned();
    let large = Reply::Bytes((head + &" ".repeat(17 * 1024 * 1024)).into());
    let scripted = Scripted::new((0..3).map(|_| large.clone())).await;
    let listed = list(&scripted).await;
    assert!(
        matches!(&listed, Err(ObjectError::Unavailable(reason)) if reason.contains("an answer of more than")),
        "{listed:?}"
    );
    let dripping = Reply::Drip(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n<ListBucketResult> ".to_vec());
    let scripted = Scripted::with((0..3).map(|_| dripping.clone()), impatient).await;
    let begun = Instant::now();
    list(&scripted).await.unwrap_err();
    assert!(begun.elapsed() < ENOUGH);
}

#[tokio::test]
async fn an_error_without_end_still_is_that_error() {
    let head = "HTTP/1.1 404 Not Found\r\nconnection: close\r\n\r\n<Error>".to_owned();
    let large = Reply::Bytes((head + &"x".repeat(1024 * 1024)).into());
    let dripping = Reply::Drip(b"HTTP/1.1 404 Not Found\r\nconnection: close\r\n\r\n<Error>x".to_vec());
    for reply in [large, dripping] {
        let scripted = Scripted::with([reply, answer("200 OK", &[], "")], impatient).await;
        let begun = Instant::now();
        let read = scripted.store.get(&path(), &GetOptions::default()).await.err();
        assert!(matches!(read, Some(ObjectError::NotFound)), "{read:?}");
        assert!(begun.elapsed() < ENOUGH);
    }
}

#[tokio::test]
async fn silence_ends_in_time() {
    let scripted = Scripted::with((0..3).map(|_| Reply::Silence), impatient).await;
    let begun = Instant::now();
    let head = scripted.store.head(&path(), &GetOptions::default()).await;
    assert!(matches!(head, Err(ObjectError::Unavailable(_))), "{head:?}");
    assert!(begun.elapsed() < ENOUGH);
}

/// A suspended machine, a host with too much to do: the time is over before the answer is looked at.
#[tokio::test]
async fn an_answer_that_came_while_the_process_stood_still_counts() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut options = impatient(options_at(&format!("http://{}", listener.local_addr().unwrap())));
    options.retry.attempts_max = 1;
    let patience = options.request_timeout / 3;
    let (asked, was_asked) = oneshot::channel();
    let (stopped, has_stopped) = mpsc::channel();
    let (answered, was_answered) = mpsc::channel();
    // Not in the runtime that stands still.
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            head.extend(byte);
        }
        asked.send(()).unwrap();
        has_stopped.recv().unwrap();
        let Reply::Bytes(answer) = object("1", "") else {
            unreachable!()
        };
        stream.write_all(&answer).unwrap();
        answered.send(()).unwrap();
        let _ = stream.read_to_end(&mut head);
    });
    let standstill = tokio::spawn(async move {
        was_asked.await.unwrap();
        stopped.send(()).unwrap();
        was_answered.recv().unwrap();
        let begun = Instant::now();
        while begun.elapsed() <= patience {
            std::thread::park_timeout(patience);
        }
    });
    let store = S3Store::new(options).unwrap();
    let head = store.head(&path(), &GetOptions::default()).await;
    assert_eq!(head.unwrap().size_bytes, 1);
    standstill.await.unwrap();
    drop(store);
    server.join().unwrap();
}

#[tokio::test]
async fn callers_who_give_up_on_a_silent_store_open_the_circuit() {
    for (silence, expected) in [
        (Duration::ZERO, Circuit::Open),
        (Duration::from_hours(1), Circuit::Closed),
    ] {
        let circuit = CircuitPolicy {
            failures_max: 3,
            silence,
            open_for: ENOUGH,
            ..CircuitPolicy::default()
        };
        let silent = (0..3).map(|_| Reply::Silence);
        let scripted = Scripted::with(silent, |options| S3Options { circuit, ..options }).await;
        for count in 1..=3 {
            let options = GetOptions::default();
            let path = path();
            let head = scripted.store.head(&path, &options);
            let is_asked = async {
                while scripted.asked().len() < count {
                    tokio::task::yield_now().await;
                }
            };
            tokio::select! {
                head = head => panic!("it is silent: {head:?}"),
                () = is_asked => {}
            }
        }
        assert_eq!(scripted.store.circuit(), expected, "{silence:?}");
    }
}

#[tokio::test]
async fn fewer_bytes_than_announced_are_an_error() {
    // What follows is asked for again, and the answers are of no use.
    let rest = (0..3).map(|_| object("10", "12345"));
    let scripted = Scripted::new([object("10", "12345")].into_iter().chain(rest)).await;
    let read = scripted.store.get(&path(), &GetOptions::default()).await.unwrap();
    assert_eq!(collect(read.body).await.unwrap_err().code, "IncompleteBody");
}

#[tokio::test]
async fn another_range_than_the_one_asked_for_is_an_error() {
    let range = |text: &str| {
        Reply::Bytes(
            format!(
                "HTTP/1.1 206 Partial Content\r\ncontent-length: 2\r\ncontent-range: {text}\r\netag: \"e\"\r\n\
                 last-modified: Sat, 21 Nov 2026 12:00:00 GMT\r\nconnection: close\r\n\r\nab"
            )
            .into(),
        )
    };
    let options = GetOptions {
        range: Some(ByteRange::FromTo(2, 3)),
        ..GetOptions::default()
    };
    let scripted = Scripted::new([range("bytes 2-3/10")]).await;
    assert!(scripted.store.get(&path(), &options).await.is_ok());
    for reply in [
        range("bytes 3-4/10"),
        range("bytes 2-3/*"),
        range("bytes"),
        object("10", "0123456789"),
    ] {
        let scripted = Scripted::new([reply]).await;
        assert!(scripted.store.get(&path(), &options).await.is_err());
    }
}

/// I7: some services repeat what they were sent.
#[tokio::test]
async fn errors_and_debug_output_repeat_no_signature() {
    let repeated = "<Error><Code>SignatureDoesNotMatch</Code><Message>Signature=abc of hush-hush is wrong</Message>\
                    <StringToSign>AWS4 hush-hush</StringToSign></Error>";
    let scripted = Scripted::new([answer("403 Forbidden", &[], repeated)]).await;
    let error = scripted.store.buckets().await.unwrap_err().to_string();
    assert!(error.contains("SignatureDoesNotMatch"), "{error}");
    assert!(!error.contains("hush") && !error.contains("abc"), "{error}");
    assert!(!format!("{:?}", scripted.store).contains("hush"));
}
