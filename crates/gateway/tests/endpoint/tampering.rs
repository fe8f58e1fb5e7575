//! A signature permits exactly what was signed. Each row changes one thing about a request that is good without it.

use cloakroom_signing::{Credentials, PayloadHash, Region, Signer};
use jiff::SignedDuration;

use crate::harness::{Harness, Headers};

/// A request to be tampered with.
#[derive(Clone)]
struct Request {
    method: String,
    target: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Request {
    fn new(method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Self {
        Self {
            method: method.into(),
            target: target.into(),
            headers: headers
                .iter()
                .map(|(name, value)| ((*name).into(), (*value).into()))
                .collect(),
            body: body.to_vec(),
        }
    }

    fn method(&mut self, method: &str) {
        self.method = method.into();
    }

    fn target(&mut self, from: &str, to: &str) {
        assert!(self.target.contains(from), "{from} is not in the request");
        self.target = self.target.replacen(from, to, 1);
    }

    fn add(&mut self, parameter: &str) {
        self.target.push('&');
        self.target.push_str(parameter);
    }

    fn set(&mut self, name: &str, value: &str) {
        self.headers.retain(|(given, _)| given != name);
        self.headers.push((name.into(), value.into()));
    }

    fn unset(&mut self, name: &str) {
        self.headers.retain(|(given, _)| given != name);
    }

    fn bytes(&self, harness: &Harness) -> Vec<u8> {
        let headers: Vec<_> = self
            .headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        harness.request(&self.method, &self.target, &headers, &self.body)
    }
}

type Change = (&'static str, fn(&mut Request));

/// What changes nothing that is good: any signed query.
const ANY: &[Change] = &[
    ("another key", |r| r.target("ticket", "victim")),
    ("a key below it", |r| r.target("ticket", "ticket/x")),
    ("another bucket", |r| r.target("/bucket/", "/bucke2/")),
    ("DELETE", |r| r.method("DELETE")),
    ("POST", |r| r.method("POST")),
    ("PATCH", |r| r.method("PATCH")),
    ("no signature", |r| {
        r.target("&X-Amz-Signature=", "&X-Amz-Signatur=");
    }),
    ("an empty signature", |r| r.target.truncate(r.target.len() - 64)),
    ("a shorter signature", |r| r.target.truncate(r.target.len() - 1)),
    ("a signature twice", |r| {
        let signature = r.target[r.target.len() - 64..].to_owned();
        r.add(&format!("X-Amz-Signature={signature}"));
    }),
    ("an upper-case signature", |r| {
        let at = r.target.len() - 64;
        r.target = format!("{}{}", &r.target[..at], r.target[at..].to_uppercase());
    }),
    ("a longer life", |r| {
        r.target("X-Amz-Expires=300", "X-Amz-Expires=3000");
    }),
    ("eight days", |r| {
        r.target("X-Amz-Expires=300", "X-Amz-Expires=691200");
    }),
    ("a second life", |r| r.add("X-Amz-Expires=3000")),
    ("another day", |r| r.target("X-Amz-Date=2026", "X-Amz-Date=2027")),
    ("another scope's day", |r| {
        r.target("%2F20260102%2F", "%2F20260103%2F");
    }),
    ("another region", |r| r.target("us-east-1", "eu-west-1")),
    ("another service", |r| r.target("%2Fs3%2F", "%2Fsts%2F")),
    ("another account", |r| r.target("AKIDEXAMPLE", "AKIDEXAMPLF")),
    ("another algorithm", |r| {
        r.target("AWS4-HMAC-SHA256", "AWS4-HMAC-SHA512");
    }),
    ("fewer signed headers", |r| {
        r.target("SignedHeaders=", "SignedHeaders=x%3B");
    }),
    ("an added subresource", |r| r.add("acl")),
    ("an added upload", |r| r.add("uploads=")),
    ("an added part", |r| r.add("partNumber=1&uploadId=2")),
    ("an added version", |r| r.add("versionId=null")),
    ("an added override", |r| {
        r.add("response-content-type=text%2Fhtml");
    }),
    ("an added anything", |r| r.add("x=1")),
    ("a copy by header", |r| {
        r.set("x-amz-copy-source", "/bucket/victim");
    }),
    ("a copy by query", |r| {
        r.add("x-amz-copy-source=%2Fbucket%2Fvictim");
    }),
    ("an unsigned acl", |r| r.set("x-amz-acl", "private")),
    ("unsigned metadata", |r| r.set("x-amz-meta-role", "admin")),
    ("an unsigned checksum", |r| {
        r.set("x-amz-checksum-crc32", "NhCmhg==");
    }),
    ("an unsigned payload kind", |r| {
        r.set("x-amz-content-sha256", "UNSIGNED-PAYLOAD");
    }),
    ("an unsigned token", |r| r.set("x-amz-security-token", "token")),
    ("a second authorization", |r| {
        r.set("authorization", "AWS4-HMAC-SHA256 Credential=a");
    }),
    ("signature version 2 beside it", |r| {
        r.add("AWSAccessKeyId=AKIDEXAMPLE&Signature=x&Expires=9999999999");
    }),
];

async fn try_all(harness: &Harness, good: &Request, changes: &[Change]) {
    for (name, change) in ANY.iter().chain(changes) {
        let mut request = good.clone();
        change(&mut request);
        let answer = harness.send(&request.bytes(harness)).await;
        assert!(
            matches!(answer.status, 400 | 403),
            "{name}: {:?} {}",
            answer.verdict(),
            answer.text()
        );
        assert!(!answer.text().contains("secret of the victim"), "{name}");
        assert_eq!(
            harness.held("victim").await.as_deref(),
            Some(b"secret of the victim".as_slice()),
            "{name}"
        );
        assert_eq!(harness.held("ticket").await, None, "{name}");
        assert_eq!(harness.keys().await, ["victim"], "{name}");
    }
}

async fn with_victim() -> Harness {
    let harness = Harness::start().await;
    harness.place("victim", "secret of the victim").await;
    harness
}

#[tokio::test]
async fn a_presigned_put() {
    let harness = with_victim().await;
    let signed = [("content-type", "text/plain"), ("content-length", "5")];
    let good = Request::new(
        "PUT",
        &harness.presign("PUT", "ticket", &[], &signed),
        &signed,
        b"hello",
    );
    let changes: &[Change] = &[
        ("GET", |r| r.method("GET")),
        ("HEAD", |r| r.method("HEAD")),
        ("a larger body", |r| {
            r.set("content-length", "6");
            r.body = b"hello!".to_vec();
        }),
        ("a smaller body", |r| {
            r.set("content-length", "4");
            r.body = b"hell".to_vec();
        }),
        ("an unknown length", |r| {
            r.unset("content-length");
            r.set("transfer-encoding", "chunked");
            r.body = b"5\r\nhello\r\n0\r\n\r\n".to_vec();
        }),
        ("two lengths", |r| {
            r.headers.push(("content-length".into(), "50".into()));
        }),
        ("a length and chunks", |r| r.set("transfer-encoding", "chunked")),
        ("another type", |r| r.set("content-type", "text/html")),
        ("two types", |r| {
            r.headers.push(("content-type".into(), "text/html".into()));
        }),
        ("no type", |r| r.unset("content-type")),
        ("aws-chunked framing", |r| {
            r.set("x-amz-content-sha256", "STREAMING-UNSIGNED-PAYLOAD-TRAILER");
            r.set("x-amz-decoded-content-length", "5");
        }),
    ];
    try_all(&harness, &good, changes).await;
    assert_eq!(harness.send(&good.bytes(&harness)).await.status, 200);
    assert_eq!(harness.held("ticket").await.as_deref(), Some(b"hello".as_slice()));
    let info = harness.signed("HEAD", "/bucket/ticket", &[], b"").await;
    assert_eq!(info.headers["content-type"], "text/plain");
}

#[tokio::test]
async fn a_presigned_get() {
    let harness = with_victim().await;
    let target = harness.presign(
        "GET",
        "ticket",
        &[("response-content-disposition", "attachment")],
        &[],
    );
    let good = Request::new("GET", &target, &[], b"");
    let changes: &[Change] = &[
        ("PUT", |r| r.method("PUT")),
        ("HEAD", |r| r.method("HEAD")),
        ("another disposition", |r| r.target("=attachment", "=inline")),
        ("no disposition", |r| {
            r.target("response-content-disposition=attachment&", "");
        }),
    ];
    try_all(&harness, &good, changes).await;
    harness.place("ticket", "content").await;
    let answer = harness.send(&good.bytes(&harness)).await;
    assert_eq!(
        (answer.status, answer.body.as_slice()),
        (200, b"content".as_slice())
    );
    assert_eq!(answer.headers["content-disposition"], "attachment");
}

#[tokio::test]
async fn a_presigned_part() {
    let harness = with_victim().await;
    let begun = harness.signed("POST", "/bucket/ticket?uploads=", &[], b"").await;
    let id = begun.element("UploadId").expect("an id");
    let signed = [("content-length", "5")];
    let target = harness.presign(
        "PUT",
        "ticket",
        &[("partNumber", "1"), ("uploadId", &id)],
        &signed,
    );
    let good = Request::new("PUT", &target, &signed, b"hello");
    let changes: &[Change] = &[
        ("GET", |r| r.method("GET")),
        ("without its query", |r| {
            let (path, query) = r.target.split_once('?').expect("a query");
            let (_, signature) = query.split_once("&X-Amz-Algorithm").expect("a signature");
            r.target = format!("{path}?X-Amz-Algorithm{signature}");
        }),
        ("another part", |r| r.target("partNumber=1", "partNumber=2")),
        ("a second part number", |r| r.add("partNumber=2")),
        ("another upload", |r| r.target("uploadId=", "uploadId=x")),
        ("a smaller body", |r| {
            r.set("content-length", "4");
            r.body = b"hell".to_vec();
        }),
    ];
    try_all(&harness, &good, changes).await;
    let list = format!("/bucket/ticket?uploadId={id}");
    assert!(
        !harness
            .signed("GET", &list, &[], b"")
            .await
            .text()
            .contains("<Part>"),
        "no part was written"
    );
    assert_eq!(harness.send(&good.bytes(&harness)).await.status, 200);
    assert_eq!(
        harness
            .signed("GET", &list, &[], b"")
            .await
            .element("Size")
            .as_deref(),
        Some("5")
    );
}

#[tokio::test]
async fn a_header_signature() {
    let harness = with_victim().await;
    let headers = [("content-type", "text/plain"), ("x-amz-meta-a", "1")];
    let signed = harness.sign(
        "PUT",
        "/bucket/ticket?x-id=PutObject",
        &headers,
        PayloadHash::of(b"hello"),
    );
    let mut all = headers.to_vec();
    all.extend(signed.headers.iter().map(|(name, value)| (*name, value.as_str())));
    let good = Request::new("PUT", "/bucket/ticket?x-id=PutObject", &all, b"hello");
    let changes: &[Change] = &[
        ("another key", |r| r.target("ticket", "victim")),
        ("another method", |r| r.method("DELETE")),
        ("an added parameter", |r| r.add("acl")),
        ("another body", |r| r.body = b"hellO".to_vec()),
        ("another body with its digest", |r| {
            r.body = b"hellO".to_vec();
            let digest = PayloadHash::of(b"hellO");
            r.set("x-amz-content-sha256", &digest.header_value());
        }),
        ("an unsigned payload", |r| {
            r.set("x-amz-content-sha256", "UNSIGNED-PAYLOAD");
        }),
        ("other metadata", |r| r.set("x-amz-meta-a", "2")),
        ("more metadata", |r| r.set("x-amz-meta-b", "2")),
        ("more of the same metadata", |r| {
            r.headers.push(("x-amz-meta-a".into(), "2".into()));
        }),
        ("another type", |r| r.set("content-type", "text/html")),
        ("a copy", |r| r.set("x-amz-copy-source", "/bucket/victim")),
        ("another date", |r| r.set("x-amz-date", "20260102T030406Z")),
        ("no date", |r| r.unset("x-amz-date")),
        ("no signature", |r| r.unset("authorization")),
        ("version 2", |r| {
            r.set("authorization", "AWS AKIDEXAMPLE:c2lnbmF0dXJl");
        }),
        ("another scheme", |r| r.set("authorization", "Bearer x")),
    ];
    for (name, change) in changes {
        let mut request = good.clone();
        change(&mut request);
        let answer = harness.send(&request.bytes(&harness)).await;
        assert!(
            matches!(answer.status, 400 | 403),
            "{name}: {:?} {}",
            answer.verdict(),
            answer.text()
        );
        assert_eq!(harness.keys().await, ["victim"], "{name}");
    }
    assert_eq!(harness.send(&good.bytes(&harness)).await.status, 200);
}

#[tokio::test]
async fn the_host_that_was_signed_is_the_host_that_is_asked() {
    let harness = with_victim().await;
    let target = harness.presign("GET", "victim", &[], &[]);
    for host in [
        "evil.example.com",
        "127.0.0.1:1",
        &format!("{}, evil", harness.address),
    ] {
        let request = format!("GET {target} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
        harness
            .send(request.as_bytes())
            .await
            .assert_refused(403, "SignatureDoesNotMatch");
    }
}

#[tokio::test]
async fn what_was_signed_and_is_not_sent_is_named() {
    let harness = Harness::start().await;
    let kind = ("content-type", "image/png");
    let length = ("content-length", "5");
    let target = harness.presign("PUT", "k", &[], &[kind, length]);
    let put = async |headers: Headers<'_>| {
        let answer = harness
            .send(&harness.request("PUT", &target, headers, b"hello"))
            .await;
        let code = answer.element("Code").unwrap_or_default();
        (answer.status, code, answer.element("Message").unwrap_or_default())
    };
    let (status, code, message) = put(&[]).await;
    assert_eq!((status, code.as_str()), (403, "SignatureDoesNotMatch"));
    assert!(
        message.ends_with("does not have; send them as they were signed: content-type."),
        "{message}"
    );
    let (status, code, message) = put(&[("content-type", "text/plain")]).await;
    assert_eq!((status, code.as_str()), (403, "SignatureDoesNotMatch"));
    assert!(
        message.ends_with("as they were signed: content-length, content-type, host."),
        "{message}"
    );
    assert_eq!(put(&[kind]).await.0, 200);
    let expected = harness.presign("PUT", "k", &[], &[("content-type", "text/plain"), length]);
    let (_, expected) = expected.split_once("X-Amz-Signature=").expect("a signature");
    assert!(!message.contains(expected), "{message}");
}

#[tokio::test]
async fn signatures_have_their_time() {
    let harness = with_victim().await;
    let target = harness.presign("GET", "victim", &[], &[]);
    let request = harness.request("GET", &target, &[], b"");
    assert_eq!(harness.send(&request).await.status, 200);
    harness.clock.advance(SignedDuration::from_secs(299));
    assert_eq!(harness.send(&request).await.status, 200, "the last second counts");
    harness.clock.advance(SignedDuration::from_secs(2));
    harness.send(&request).await.assert_refused(403, "AccessDenied");

    let signed = harness.sign("GET", "/bucket/victim", &[], PayloadHash::of(b""));
    let headers: Vec<_> = signed
        .headers
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    let request = harness.request("GET", "/bucket/victim", &headers, b"");
    assert_eq!(harness.send(&request).await.status, 200);
    harness.clock.advance(SignedDuration::from_mins(16));
    harness
        .send(&request)
        .await
        .assert_refused(403, "RequestTimeTooSkewed");
    harness.clock.advance(SignedDuration::from_mins(-32));
    harness
        .send(&request)
        .await
        .assert_refused(403, "RequestTimeTooSkewed");
}

#[tokio::test]
async fn strangers_are_told_nothing() {
    let mut harness = with_victim().await;
    for (method, target) in [
        ("GET", "/"),
        ("GET", "/bucket"),
        ("HEAD", "/bucket"),
        ("PUT", "/other"),
        ("DELETE", "/bucket"),
        ("GET", "/bucket/victim"),
        ("GET", "/bucket/nothing"),
        ("GET", "/nowhere/nothing"),
        ("PUT", "/bucket/victim"),
        ("DELETE", "/bucket/victim"),
        ("POST", "/bucket?delete"),
        ("POST", "/bucket/victim?uploads"),
        ("PUT", "/bucket/victim?acl"),
        ("PATCH", "/bucket/victim"),
        ("GET", "/bucket?website"),
    ] {
        let answer = harness.send(&harness.request(method, target, &[], b"")).await;
        let code = if method == "HEAD" { "" } else { "AccessDenied" };
        assert_eq!(answer.verdict(), (403, code.to_owned()), "{method} {target}");
    }
    assert_eq!(harness.keys().await, ["victim"]);
    harness.signer = Signer::new(Credentials::new("AKIDEXAMPLE", "guessed"), Region::default());
    harness
        .signed("GET", "/bucket/victim", &[], b"")
        .await
        .assert_refused(403, "SignatureDoesNotMatch");
    harness.signer = Signer::new(Credentials::new("NOBODY", "guessed"), Region::default());
    harness
        .signed("GET", "/bucket/victim", &[], b"")
        .await
        .assert_refused(403, "InvalidAccessKeyId");
}
