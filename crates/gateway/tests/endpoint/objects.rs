//! Operations on buckets and objects, as they go over the wire. The Python suites hold real clients to the rest.

use cloakroom_core::ports::objects::ObjectStore;
use http::StatusCode;

use crate::harness::{BUCKET, Harness};

#[tokio::test]
async fn an_object_comes_back_as_it_was_put() {
    let harness = Harness::start().await;
    let headers = [
        ("content-type", "text/plain"),
        ("cache-control", "no-store"),
        ("x-amz-meta-a", "b"),
    ];
    let put = harness
        .signed("PUT", "/bucket/a//b/../c%20d", &headers, b"content")
        .await;
    assert_eq!(put.status, 200, "{}", put.text());
    assert_eq!(harness.keys().await, ["a//b/../c d"]);
    for method in ["GET", "HEAD"] {
        let got = harness.signed(method, "/bucket/a//b/../c%20d", &[], b"").await;
        assert_eq!(got.status, 200);
        assert_eq!(
            got.body,
            if method == "GET" {
                b"content".as_slice()
            } else {
                b""
            }
        );
        assert_eq!(got.headers["content-length"], "7");
        assert_eq!(got.headers["etag"], put.headers["etag"]);
        assert_eq!(got.headers["accept-ranges"], "bytes");
        for (name, value) in headers {
            assert_eq!(got.headers[name], value);
        }
    }
    assert_eq!(
        harness
            .signed("DELETE", "/bucket/a//b/../c%20d", &[], b"")
            .await
            .status,
        204
    );
    assert_eq!(
        harness
            .signed("DELETE", "/bucket/a//b/../c%20d", &[], b"")
            .await
            .status,
        204,
        "again"
    );
    harness
        .signed("GET", "/bucket/a//b/../c%20d", &[], b"")
        .await
        .assert_refused(404, "NoSuchKey");
}

#[tokio::test]
async fn every_answer_carries_who_and_when() {
    let harness = Harness::start().await;
    let ok = harness.signed("GET", "/", &[], b"").await;
    let refused = harness.send(&harness.request("GET", "/", &[], b"")).await;
    for answer in [&ok, &refused] {
        assert_eq!(answer.headers["server"], "cloakroom");
        assert_eq!(answer.headers["x-amz-request-id"].len(), 16);
        assert!(answer.headers["date"].ends_with("GMT"));
        assert_eq!(answer.headers["content-type"], "application/xml");
    }
    assert_ne!(
        ok.headers["x-amz-request-id"],
        refused.headers["x-amz-request-id"]
    );
    refused.assert_refused(403, "AccessDenied");
    assert_eq!(refused.element("Resource").as_deref(), Some("/"));
}

#[tokio::test]
async fn a_subresource_never_overwrites_the_object() {
    let harness = Harness::start().await;
    harness.place("k", "kept").await;
    for name in [
        "acl",
        "tagging",
        "retention",
        "legal-hold",
        "restore",
        "torrent",
        "policy",
        "lifecycle",
        "website",
    ] {
        for (method, path) in [
            ("PUT", "/bucket/k"),
            ("DELETE", "/bucket/k"),
            ("PUT", "/bucket"),
            ("DELETE", "/bucket"),
        ] {
            let answer = harness
                .signed(method, &format!("{path}?{name}="), &[], b"<x/>")
                .await;
            answer.assert_refused(501, "NotImplemented");
        }
    }
    let unknown = harness.signed("PUT", "/bucket/k?anything=1", &[], b"gone").await;
    unknown.assert_refused(400, "InvalidArgument");
    assert_eq!(harness.held("k").await.as_deref(), Some(b"kept".as_slice()));
    for path in ["/bucket/k?acl=", "/bucket?acl="] {
        let acl = harness.signed("GET", path, &[], b"").await;
        assert_eq!(acl.element("Permission").as_deref(), Some("FULL_CONTROL"));
    }
    harness
        .signed("GET", "/bucket/nothing?acl=", &[], b"")
        .await
        .assert_refused(404, "NoSuchKey");
    assert!(
        harness
            .signed("GET", "/bucket/k?tagging=", &[], b"")
            .await
            .text()
            .contains("<TagSet></TagSet>")
    );
    harness
        .signed("GET", "/bucket?lifecycle=", &[], b"")
        .await
        .assert_refused(501, "NotImplemented");
    let versioning = harness.signed("GET", "/bucket?versioning=", &[], b"").await;
    assert!(versioning.text().contains("VersioningConfiguration") && !versioning.text().contains("Status"));
    assert_eq!(
        harness.signed("GET", "/bucket?location=", &[], b"").await.status,
        200
    );
}

#[tokio::test]
async fn ranges_and_conditions() {
    let harness = Harness::start().await;
    let etag = harness.place("k", "0123456789").await.etag;
    let quoted = format!("\"{etag}\"");
    for (headers, status, body) in [
        (vec![("range", "bytes=2-4")], 206, "234"),
        (vec![("range", "bytes=7-")], 206, "789"),
        (vec![("range", "bytes=-3")], 206, "789"),
        (vec![("range", "bytes=0-1,4-6")], 200, "0123456789"),
        (vec![("range", "bytes=4-2")], 200, "0123456789"),
        (
            vec![("range", "bytes=2-4"), ("if-range", quoted.as_str())],
            206,
            "234",
        ),
        (
            vec![("range", "bytes=2-4"), ("if-range", "\"other\"")],
            200,
            "0123456789",
        ),
        (
            vec![
                ("range", "bytes=2-4"),
                ("if-range", "Sat, 29 Oct 1994 19:43:31 GMT"),
            ],
            200,
            "0123456789",
        ),
        (vec![("if-match", quoted.as_str())], 200, "0123456789"),
        (vec![("if-none-match", "\"other\"")], 200, "0123456789"),
    ] {
        let answer = harness.signed("GET", "/bucket/k", &headers, b"").await;
        assert_eq!(
            (answer.status, answer.text()),
            (status, body.to_owned()),
            "{headers:?}"
        );
        let head = harness.signed("HEAD", "/bucket/k", &headers, b"").await;
        assert_eq!(
            (head.status, head.headers.get("content-range")),
            (status, answer.headers.get("content-range"))
        );
        assert_eq!(head.headers["content-length"], body.len().to_string());
    }
    let outside = harness
        .signed("GET", "/bucket/k", &[("range", "bytes=10-")], b"")
        .await;
    outside.assert_refused(416, "InvalidRange");
    assert_eq!(outside.headers["content-range"], "bytes */10");
    let current = harness
        .signed("GET", "/bucket/k", &[("if-none-match", &quoted)], b"")
        .await;
    assert_eq!(
        (current.status, current.body.as_slice(), &current.headers["etag"]),
        (304, b"".as_slice(), &quoted)
    );
    harness
        .signed("GET", "/bucket/k", &[("if-match", "\"x\"")], b"")
        .await
        .assert_refused(412, "PreconditionFailed");
    let both = harness
        .signed("GET", "/bucket/k?partNumber=1", &[("range", "bytes=0-1")], b"")
        .await;
    both.assert_refused(400, "InvalidRequest");
}

#[tokio::test]
async fn overrides_are_signed_and_sendable() {
    let harness = Harness::start().await;
    harness.place("k", "x").await;
    let target = "/bucket/k?response-content-type=text%2Fcsv&response-expires=never";
    let answer = harness.signed("GET", target, &[], b"").await;
    assert_eq!(
        (
            answer.headers["content-type"].as_str(),
            answer.headers["expires"].as_str()
        ),
        ("text/csv", "never")
    );
    let split = harness
        .signed("GET", "/bucket/k?response-content-type=a%0D%0Ab%3A%20c", &[], b"")
        .await;
    split.assert_refused(400, "InvalidArgument");
    let unsigned = harness.request("GET", "/bucket/k?response-content-type=text%2Fhtml", &[], b"");
    harness.send(&unsigned).await.assert_refused(403, "AccessDenied");
}

#[tokio::test]
async fn writes_under_conditions() {
    let harness = Harness::start().await;
    let etag = format!("\"{}\"", harness.place("k", "first").await.etag);
    for (key, header, status) in [
        ("k", ("if-none-match", "*"), 412),
        ("k", ("if-none-match", etag.as_str()), 412),
        ("k", ("if-match", "\"other\""), 412),
        ("nothing", ("if-match", "*"), 412),
    ] {
        let answer = harness
            .signed("PUT", &format!("/bucket/{key}"), &[header], b"second")
            .await;
        answer.assert_refused(status, "PreconditionFailed");
    }
    assert_eq!(harness.held("k").await.as_deref(), Some(b"first".as_slice()));
    for (key, header) in [
        ("k", ("if-none-match", "\"other\"")),
        ("k2", ("if-none-match", "*")),
        ("k3", ("if-none-match", "\"other\"")),
    ] {
        assert_eq!(
            harness
                .signed("PUT", &format!("/bucket/{key}"), &[header], b"second")
                .await
                .status,
            200
        );
    }
    assert_eq!(harness.keys().await, ["k", "k2", "k3"]);
}

#[tokio::test]
async fn copies_are_signed_on_both_sides() {
    let harness = Harness::start().await;
    harness.place("a b", "content").await;
    let source = [("x-amz-copy-source", "bucket/a%20b")];
    let copied = harness.signed("PUT", "/bucket/copy", &source, b"").await;
    assert_eq!(copied.status, 200, "{}", copied.text());
    assert!(copied.text().contains("<CopyObjectResult") && copied.element("LastModified").is_some());
    assert_eq!(harness.held("copy").await.as_deref(), Some(b"content".as_slice()));
    harness
        .signed("PUT", "/bucket/a%20b", &source, b"")
        .await
        .assert_refused(400, "InvalidRequest");
    let replaced = [
        source[0],
        ("x-amz-metadata-directive", "REPLACE"),
        ("content-type", "image/png"),
    ];
    assert_eq!(
        harness
            .signed("PUT", "/bucket/a%20b", &replaced, b"")
            .await
            .status,
        200
    );
    let head = harness.signed("HEAD", "/bucket/a%20b", &[], b"").await;
    assert_eq!(head.headers["content-type"], "image/png");
    let version = [("x-amz-copy-source", "bucket/a%20b?versionId=3")];
    harness
        .signed("PUT", "/bucket/copy", &version, b"")
        .await
        .assert_refused(404, "NoSuchVersion");
    // A presigned URL may carry it in its query, where it is signed with the rest.
    let target = harness.presign("PUT", "hoisted", &[("x-amz-copy-source", "bucket/a%20b")], &[]);
    assert_eq!(
        harness
            .send(&harness.request("PUT", &target, &[], b""))
            .await
            .status,
        200
    );
    assert_eq!(
        harness.held("hoisted").await.as_deref(),
        Some(b"content".as_slice())
    );
}

#[tokio::test]
async fn many_are_deleted_at_once() {
    let harness = Harness::start().await;
    harness.place("a<&>", "x").await;
    harness.place("b", "x").await;
    harness.place("kept", "x").await;
    let long = "k".repeat(1025);
    let request = format!(
        "<Delete><Object><Key>a&lt;&amp;&gt;</Key></Object><Object><Key>b</Key></Object><Object><Key>{long}</Key></Object>\
         <Object><Key>kept</Key><ETag>other</ETag></Object></Delete>"
    );
    let answer = harness
        .signed("POST", "/bucket?delete=", &[], request.as_bytes())
        .await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.text().matches("<Deleted>").count(), 2);
    assert!(answer.text().contains("<Key>a&lt;&amp;&gt;</Key>"));
    assert!(answer.text().contains("<Code>KeyTooLongError</Code>"));
    assert!(
        answer
            .text()
            .contains("<Key>kept</Key><Code>PreconditionFailed</Code>")
    );
    assert_eq!(harness.keys().await, ["kept"]);
    let many = format!(
        "<Delete>{}</Delete>",
        "<Object><Key>kept</Key></Object>".repeat(1001)
    );
    harness
        .signed("POST", "/bucket?delete=", &[], many.as_bytes())
        .await
        .assert_refused(400, "MalformedXML");
    let huge = format!("<Delete>{}</Delete>", " ".repeat(3 * 1024 * 1024));
    let answer = harness
        .signed("POST", "/bucket?delete=", &[], huge.as_bytes())
        .await;
    answer.assert_refused(400, "MaxMessageLengthExceeded");
    let entity = b"<!DOCTYPE d [<!ENTITY a \"kept\">]><Delete><Object><Key>&a;</Key></Object></Delete>";
    harness
        .signed("POST", "/bucket?delete=", &[], entity)
        .await
        .assert_refused(400, "MalformedXML");
    assert_eq!(harness.keys().await, ["kept"]);
}

#[tokio::test]
async fn lists_page_and_encode() {
    let harness = Harness::start().await;
    for key in ["a b", "dir/1", "dir/2", "\u{1}z", "z"] {
        harness.place(key, "x").await;
    }
    let first = harness
        .signed(
            "GET",
            "/bucket?list-type=2&max-keys=2&encoding-type=url&delimiter=%2F",
            &[],
            b"",
        )
        .await;
    assert_eq!(first.element("IsTruncated").as_deref(), Some("true"));
    assert!(first.text().contains("<Key>%01z</Key>") && first.text().contains("<Key>a%20b</Key>"));
    assert!(!first.text().contains("<Owner>"));
    let token = first.element("NextContinuationToken").expect("a token");
    let second = harness
        .signed(
            "GET",
            &format!("/bucket?list-type=2&delimiter=%2F&fetch-owner=true&continuation-token={token}"),
            &[],
            b"",
        )
        .await;
    assert_eq!(second.element("KeyCount").as_deref(), Some("2"));
    assert!(
        second
            .text()
            .contains("<CommonPrefixes><Prefix>dir/</Prefix></CommonPrefixes>")
    );
    assert!(second.text().contains("<Owner>"));
    let plain = harness.signed("GET", "/bucket?max-keys=1", &[], b"").await;
    assert!(plain.text().contains("<Key>&#x1;z</Key>"), "{}", plain.text());
    for query in [
        "list-type=2&continuation-token=x",
        "max-keys=x",
        "encoding-type=base64",
    ] {
        harness
            .signed("GET", &format!("/bucket?{query}"), &[], b"")
            .await
            .assert_refused(400, "InvalidArgument");
    }
}

#[tokio::test]
async fn buckets_come_and_go() {
    let harness = Harness::start().await;
    let europe = b"<CreateBucketConfiguration><LocationConstraint>eu-west-1</LocationConstraint></CreateBucketConfiguration>";
    harness
        .signed("PUT", "/other", &[], europe)
        .await
        .assert_refused(400, "InvalidLocationConstraint");
    assert_eq!(harness.signed("PUT", "/other", &[], b"").await.status, 200);
    assert_eq!(
        harness.signed("PUT", "/other", &[], b"").await.status,
        200,
        "in the first region"
    );
    let head = harness.signed("HEAD", "/other", &[], b"").await;
    assert_eq!(head.headers["x-amz-bucket-region"], "us-east-1");
    harness
        .signed("PUT", "/Not_a_name", &[], b"")
        .await
        .assert_refused(400, "InvalidBucketName");
    let list = harness.signed("GET", "/", &[], b"").await;
    assert_eq!(list.text().matches("<Bucket>").count(), 2);
    assert_eq!(harness.signed("DELETE", "/other", &[], b"").await.status, 204);
    harness
        .signed("DELETE", "/other", &[], b"")
        .await
        .assert_refused(404, "NoSuchBucket");
    harness.place("k", "x").await;
    harness
        .signed("DELETE", "/bucket", &[], b"")
        .await
        .assert_refused(409, "BucketNotEmpty");
    let missing = harness.signed("HEAD", "/missing", &[], b"").await;
    assert_eq!(
        (missing.status, missing.body.as_slice()),
        (StatusCode::NOT_FOUND.as_u16(), b"".as_slice())
    );
    assert!(harness.store.bucket(BUCKET).await.is_ok());
}

#[tokio::test]
async fn virtual_hosts_name_buckets() {
    let harness =
        Harness::start_with(|options| options.virtual_host_domain = Some("localhost".to_owned())).await;
    harness.place("k", "content").await;
    let endpoint = format!("http://localhost:{}", harness.address.port());
    let endpoint = cloakroom_signing::Endpoint::parse(&endpoint, cloakroom_signing::Addressing::VirtualHost)
        .expect("valid");
    let url = harness
        .signer
        .presign(&cloakroom_signing::PresignRequest {
            method: http::Method::GET,
            endpoint: &endpoint,
            bucket: BUCKET,
            key: "k",
            query: &[],
            headers: &[],
            expires_in_seconds: 60,
            now: cloakroom_core::ports::clock::Clock::now(&*harness.clock),
        })
        .expect("a URL");
    let (host, target) = url
        .strip_prefix("http://")
        .and_then(|rest| rest.split_once('/'))
        .expect("a URL");
    assert!(host.starts_with("bucket.localhost:"));
    let request = format!("GET /{target} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
    assert_eq!(harness.send(request.as_bytes()).await.body, b"content");
}

#[tokio::test]
async fn containers_are_asked_whether_they_live_as_minio_is() {
    let harness = Harness::start().await;
    for path in ["/minio/health/live", "/minio/health/ready"] {
        for method in ["GET", "HEAD"] {
            let probe = harness.send(&harness.request(method, path, &[], b"")).await;
            assert_eq!(
                (probe.status, probe.body.as_slice()),
                (200, &b""[..]),
                "{method} {path}"
            );
        }
        // With a signature it is a key in a bucket, as any other; without one nothing but this is answered.
        harness
            .signed("GET", path, &[], b"")
            .await
            .assert_refused(404, "NoSuchBucket");
        for (method, target) in [
            ("PUT", path.to_owned()),
            ("DELETE", path.to_owned()),
            ("GET", format!("{path}?acl")),
        ] {
            let refused = harness.send(&harness.request(method, &target, &[], b"")).await;
            refused.assert_refused(403, "AccessDenied");
        }
    }
    let refused = harness
        .send(&harness.request("GET", "/minio/health", &[], b""))
        .await;
    refused.assert_refused(403, "AccessDenied");
}
