//! Connections: limits, timeouts, reuse, and ends.

use std::sync::Arc;
use std::time::{Duration, Instant};

use cloakroom_gateway::Timeouts;
use cloakroom_signing::PayloadHash;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::{Answer, Harness};

const SOON: Duration = Duration::from_millis(100);
const NEVER: Duration = Duration::from_mins(10);

/// Reads until the answer's head and its body have come.
async fn read_answer(stream: &mut TcpStream) -> Answer {
    let mut bytes = Vec::new();
    loop {
        if bytes.windows(4).any(|window| window == b"\r\n\r\n") {
            let answer = Answer::read(&bytes);
            let length = answer
                .headers
                .get("content-length")
                .map_or(0, |text| text.parse().expect("a length"));
            if answer.body.len() >= length {
                return answer;
            }
        }
        assert!(
            stream.read_buf(&mut bytes).await.expect("readable") > 0,
            "the connection ended"
        );
    }
}

fn kept_alive(harness: &Harness, method: &str, target: &str, body: &[u8], payload: PayloadHash) -> Vec<u8> {
    let signed = harness.sign(method, target, &[], payload);
    let mut head = format!(
        "{method} {target} HTTP/1.1\r\nhost: {}\r\ncontent-length: {}\r\n",
        harness.address,
        body.len()
    );
    for (name, value) in &signed.headers {
        head.extend([name, ": ", value, "\r\n"]);
    }
    [head.as_bytes(), b"\r\n", body].concat()
}

#[tokio::test]
async fn a_connection_serves_many_requests_without_delay() {
    let harness = Harness::start().await;
    harness.place("k", vec![7; 10_000]).await;
    let mut stream = TcpStream::connect(harness.address).await.expect("a connection");
    let request = kept_alive(&harness, "GET", "/bucket/k", b"", PayloadHash::Unsigned);
    let mut took = Vec::new();
    for _ in 0..50 {
        let started = Instant::now();
        stream.write_all(&request).await.expect("sent");
        assert_eq!(read_answer(&mut stream).await.body.len(), 10_000);
        took.push(started.elapsed());
    }
    // With Nagle's algorithm and delayed acknowledgements each of these takes 40 ms, but for the first ones, which a new
    // connection acknowledges at once. A busy machine delays some of them, not all.
    assert!(
        took[20..].iter().any(|took| *took < Duration::from_millis(40)),
        "{took:?}"
    );
}

#[tokio::test]
async fn the_verdict_comes_before_the_body() {
    let harness = Harness::start().await;
    let expecting = |request: Vec<u8>| {
        let text = String::from_utf8(request).expect("a head");
        text.replacen(
            "content-length: 0\r\n",
            "content-length: 5\r\nexpect: 100-continue\r\n",
            1,
        )
        .into_bytes()
    };
    let mut stream = TcpStream::connect(harness.address).await.expect("a connection");
    stream
        .write_all(&expecting(harness.request("PUT", "/bucket/k", &[], b"")))
        .await
        .expect("sent");
    assert_eq!(read_answer(&mut stream).await.status, 403);

    let mut stream = TcpStream::connect(harness.address).await.expect("a connection");
    let request = kept_alive(&harness, "PUT", "/bucket/k", b"", PayloadHash::Unsigned);
    stream.write_all(&expecting(request)).await.expect("sent");
    let mut interim = [0; 25];
    stream.read_exact(&mut interim).await.expect("an answer");
    assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"hello").await.expect("sent");
    assert_eq!(read_answer(&mut stream).await.status, 200);
    assert_eq!(harness.held("k").await.as_deref(), Some(b"hello".as_slice()));
}

#[tokio::test]
async fn a_refusal_is_readable_although_the_body_was_not_read() {
    let harness = Harness::start().await;
    let large = vec![0; 8 * 1024 * 1024];
    let mut stream = TcpStream::connect(harness.address).await.expect("a connection");
    // A client that cannot send all of its request does not look for an answer.
    stream
        .write_all(&harness.request("PUT", "/bucket/k", &[], &large))
        .await
        .expect("all is taken");
    read_answer(&mut stream).await.assert_refused(403, "AccessDenied");
}

#[tokio::test]
async fn ambiguous_framing_is_refused() {
    let harness = Harness::start().await;
    let smuggled = b"0\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: x\r\n\r\n";
    for framing in [
        &["content-length: 5", "transfer-encoding: chunked"][..],
        &["transfer-encoding: chunked", "content-length: 5"],
        &["content-length: 5", "content-length: 6"],
        &["content-length: +5"],
        &["content-length: 5, 6"],
        &["content-length : 5"],
        &["transfer-encoding: chunked, identity"],
        &["transfer-encoding: x"],
        &["transfer-encoding: x, chunked", "content-length: 5"],
    ] {
        let signed = harness.sign("PUT", "/bucket/k", &[], PayloadHash::Unsigned);
        let mut request = format!("PUT /bucket/k HTTP/1.1\r\nhost: {}\r\n", harness.address);
        for line in framing {
            request.extend([line, "\r\n"]);
        }
        for (name, value) in &signed.headers {
            request.extend([name, ": ", value, "\r\n"]);
        }
        let bytes = harness
            .exchange(&[request.as_bytes(), b"\r\n", smuggled].concat())
            .await;
        let status = Answer::read(&bytes).status;
        assert!(matches!(status, 400 | 411), "{framing:?}: {status}");
        let answers = bytes.windows(9).filter(|window| window == b"HTTP/1.1 ").count();
        assert_eq!(answers, 1, "{framing:?}: the rest is not a second request");
        assert_eq!(harness.keys().await, [""; 0], "{framing:?}");
    }
}

#[tokio::test]
async fn nothing_is_believed_behind_ambiguous_framing() {
    // Hyper goes by the chunks, as RFC 9112 (section 6.1) allows, and must then close the connection.
    let harness = Harness::start().await;
    harness.place("k", "content").await;
    let signed = harness.sign("GET", "/bucket/k", &[], PayloadHash::Unsigned);
    let mut request = format!("GET /bucket/k HTTP/1.1\r\nhost: {}\r\n", harness.address);
    request.push_str("content-length: 5\r\ntransfer-encoding: chunked\r\n");
    for (name, value) in &signed.headers {
        request.extend([name, ": ", value, "\r\n"]);
    }
    request.push_str("\r\n0\r\n\r\n");
    request.push_str("GET /smuggled HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    let bytes = harness.exchange(request.as_bytes()).await;
    let answer = Answer::read(&bytes);
    assert_eq!(
        (answer.status, answer.body.as_slice()),
        (200, b"content".as_slice())
    );
    assert_eq!(answer.headers["connection"], "close");
}

#[tokio::test]
async fn heads_are_bounded() {
    let harness = Harness::start().await;
    let long = "x".repeat(100 * 1024);
    for headers in [&[("x-long", long.as_str())][..], &vec![("a", "b"); 200]] {
        let answer = harness.send(&harness.request("GET", "/", headers, b"")).await;
        assert_eq!(answer.status, 431);
    }
    let answer = harness
        .send(&harness.request("GET", &format!("/{long}"), &[], b""))
        .await;
    assert!(matches!(answer.status, 414 | 431 | 400), "{}", answer.status);
}

/// Waits for a head as long as it takes to send one on a busy machine, and hardly for anything after it.
fn impatient(options: &mut cloakroom_gateway::GatewayOptions) {
    options.timeouts = Timeouts {
        header: Duration::from_mins(1),
        idle: SOON,
        drain: SOON,
    };
}

#[tokio::test]
async fn silence_is_not_waited_for() {
    let hasty = Harness::start_with(|options| options.timeouts.header = SOON).await;
    let harness = Harness::start_with(impatient).await;
    let request = kept_alive(&harness, "PUT", "/bucket/k", b"hello", PayloadHash::Unsigned);
    for (name, harness, sent, answered) in [
        ("nothing", &hasty, &b""[..], None),
        ("half a head", &hasty, b"GET / HTTP/1.1\r\nhost:", None),
        ("half a body", &harness, &request[..request.len() - 2], Some(400)),
    ] {
        let mut stream = TcpStream::connect(harness.address).await.expect("a connection");
        // A connection may be given up before anything is sent.
        let _ = stream.write_all(sent).await;
        let mut answer = Vec::new();
        // It ends, or the test does not.
        let _ = stream.read_to_end(&mut answer).await;
        if let Some(status) = answered {
            Answer::read(&answer).assert_refused(status, "RequestTimeout");
        }
        assert_eq!(harness.keys().await, [""; 0], "{name}");
    }
}

#[tokio::test]
async fn a_reader_that_stops_reading_is_given_up() {
    let harness = Harness::start_with(|options| {
        impatient(options);
        options.connections_max = 1;
    })
    .await;
    let bytes = 64 * 1024 * 1024;
    harness.place("k", vec![0; bytes]).await;
    let mut stopped = TcpStream::connect(harness.address).await.expect("a connection");
    stopped
        .write_all(&kept_alive(
            &harness,
            "GET",
            "/bucket/k",
            b"",
            PayloadHash::Unsigned,
        ))
        .await
        .expect("sent");
    stopped.readable().await.expect("an answer begins");
    // There is room for another one only once the first is given up.
    assert_eq!(harness.signed("GET", "/", &[], b"").await.status, 200);
    let mut received = 0;
    let mut buffer = vec![0; 1024 * 1024];
    while let Ok(count @ 1..) = stopped.read(&mut buffer).await {
        received += count;
    }
    assert!(received < bytes, "the rest was not sent");
}

#[tokio::test]
async fn connections_above_the_limit_wait() {
    let harness = Harness::start_with(|options| options.connections_max = 1).await;
    harness.place("k", "content").await;
    let request = kept_alive(&harness, "GET", "/bucket/k", b"", PayloadHash::Unsigned);
    let mut first = TcpStream::connect(harness.address).await.expect("a connection");
    first.write_all(&request).await.expect("sent");
    read_answer(&mut first).await;
    let mut second = TcpStream::connect(harness.address).await.expect("in the backlog");
    second.write_all(&request).await.expect("sent");
    assert!(
        tokio::time::timeout(SOON, second.readable()).await.is_err(),
        "it has to wait"
    );
    drop(first);
    assert_eq!(read_answer(&mut second).await.status, 200);
}

#[tokio::test]
async fn a_drain_lets_requests_end_and_takes_no_new_ones() {
    let mut harness = Harness::start_with(|options| options.timeouts.drain = NEVER).await;
    let request = kept_alive(&harness, "PUT", "/bucket/k", b"hello", PayloadHash::Unsigned);
    let (begin, end) = request.split_at(request.len() - 2);
    let mut busy = TcpStream::connect(harness.address).await.expect("a connection");
    busy.write_all(begin).await.expect("sent");
    let mut idle = TcpStream::connect(harness.address).await.expect("a connection");
    idle.write_all(&kept_alive(&harness, "GET", "/", b"", PayloadHash::Unsigned))
        .await
        .expect("sent");
    read_answer(&mut idle).await;
    let witness = Arc::clone(&harness.witness);
    while witness.told().is_empty() {
        tokio::task::yield_now().await;
    }

    harness.stop.take().expect("running").send(()).expect("running");
    assert_eq!(
        idle.read(&mut [0; 1]).await.expect("an end"),
        0,
        "an idle connection is closed"
    );
    drop(idle);
    assert!(
        TcpStream::connect(harness.address).await.is_err(),
        "nobody listens"
    );
    assert!(!harness.serving.is_finished());
    busy.write_all(end).await.expect("sent");
    let answer = read_answer(&mut busy).await;
    assert_eq!(
        (answer.status, answer.headers["connection"].as_str()),
        (200, "close")
    );
    drop(busy);
    (&mut harness.serving).await.expect("it ends");
    assert_eq!(harness.held("k").await.as_deref(), Some(b"hello".as_slice()));
}

#[tokio::test]
async fn a_drain_has_an_end() {
    let mut harness = Harness::start_with(|options| options.timeouts.drain = SOON).await;
    let request = kept_alive(&harness, "PUT", "/bucket/k", b"hello", PayloadHash::Unsigned);
    let mut stuck = TcpStream::connect(harness.address).await.expect("a connection");
    stuck
        .write_all(&request[..request.len() - 2])
        .await
        .expect("sent");
    let witness = Arc::clone(&harness.witness);
    while witness.told().is_empty() {
        tokio::task::yield_now().await;
    }
    harness.stop.take().expect("running").send(()).expect("running");
    tokio::time::timeout(Duration::from_mins(1), &mut harness.serving)
        .await
        .expect("it ends")
        .expect("it ends");
    assert!(
        !matches!(stuck.read(&mut [0; 1]).await, Ok(1..)),
        "the connection is cut"
    );
    assert_eq!(harness.keys().await, [""; 0]);
}

/// A client that waits for `100 Continue` and is refused keeps its body, so what comes next on the connection must not
/// be taken for it: clients are told to use another connection.
#[tokio::test]
async fn a_refusal_instead_of_continue_ends_the_connection() {
    let harness = Harness::start().await;
    let target = "/bucket/k?partNumber=1&uploadId=none";
    let request = kept_alive(&harness, "PUT", target, b"x", PayloadHash::Unsigned);
    // Everything but the body, which the client holds back.
    let mut head = String::from_utf8(request[..request.len() - 3].to_vec()).expect("a head in ASCII");
    head.push_str("expect: 100-continue\r\n\r\n");
    let mut stream = TcpStream::connect(harness.address).await.expect("a connection");
    stream.write_all(head.as_bytes()).await.expect("sent");
    let answer = read_answer(&mut stream).await;
    answer.assert_refused(404, "NoSuchUpload");
    assert_eq!(
        answer.headers.get("connection").map(String::as_str),
        Some("close")
    );
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.expect("the end");
    assert!(rest.is_empty());
}
