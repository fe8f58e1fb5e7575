//! Bodies on their way in: framing, digests, parts; and nothing to be seen of those that are not what they say.

use cloakroom_signing::PayloadHash;
use sha2::{Digest as _, Sha256};

use crate::harness::{Answer, Harness, Headers};

const CONTENT: &[u8] = b"123456789";
const CRC32: &str = "y/Q5Jg==";

/// Frames the content in chunks of four bytes, signs them if the payload says so, and sends it.
async fn send_chunked(
    harness: &Harness,
    payload: PayloadHash,
    headers: Headers<'_>,
    trailer: Option<(&str, &str)>,
    change: impl FnOnce(&mut Vec<u8>),
) -> Answer {
    let mut headers = headers.to_vec();
    headers.push(("content-encoding", "aws-chunked"));
    headers.push(("x-amz-decoded-content-length", "9"));
    let signed = harness.sign("PUT", "/bucket/k", &headers, payload);
    let mut chain = signed.chunk_chain();
    let mut body = Vec::new();
    for chunk in CONTENT.chunks(4).chain([&b""[..]]) {
        body.extend_from_slice(format!("{:x}", chunk.len()).as_bytes());
        if payload.has_signed_chunks() {
            let signature = chain.sign_chunk(&Sha256::digest(chunk).into());
            body.extend_from_slice(format!(";chunk-signature={signature}").as_bytes());
        }
        body.extend_from_slice(b"\r\n");
        body.extend_from_slice(chunk);
        if !chunk.is_empty() {
            body.extend_from_slice(b"\r\n");
        }
    }
    if let Some((name, value)) = trailer {
        body.extend_from_slice(format!("{name}:{value}\r\n").as_bytes());
        if payload.has_signed_chunks() {
            let signature = chain.sign_trailer(&[(name, value)]);
            body.extend_from_slice(format!("x-amz-trailer-signature:{signature}\r\n").as_bytes());
        }
    }
    body.extend_from_slice(b"\r\n");
    change(&mut body);
    headers.extend(signed.headers.iter().map(|(name, value)| (*name, value.as_str())));
    harness
        .send(&harness.request("PUT", "/bucket/k", &headers, &body))
        .await
}

const ANNOUNCED: (&str, &str) = ("x-amz-trailer", "x-amz-checksum-crc32");
const TRAILER: Option<(&str, &str)> = Some(("x-amz-checksum-crc32", CRC32));

#[tokio::test]
async fn chunked_bodies_are_unframed() {
    let harness = Harness::start().await;
    for (payload, headers, trailer) in [
        (PayloadHash::SignedChunks, &[][..], None),
        (PayloadHash::SignedChunksTrailer, &[ANNOUNCED][..], TRAILER),
        (PayloadHash::UnsignedChunksTrailer, &[ANNOUNCED][..], TRAILER),
    ] {
        let answer = send_chunked(&harness, payload, headers, trailer, |_| {}).await;
        assert_eq!(answer.status, 200, "{payload:?} {}", answer.text());
        assert_eq!(
            answer.headers.get("x-amz-checksum-crc32").map(String::as_str),
            trailer.map(|(_, crc)| crc)
        );
        assert_eq!(harness.held("k").await.as_deref(), Some(CONTENT), "{payload:?}");
        let head = harness
            .signed("HEAD", "/bucket/k", &[("x-amz-checksum-mode", "ENABLED")], b"")
            .await;
        assert!(
            !head.headers.contains_key("content-encoding"),
            "the framing is not the object's"
        );
        assert_eq!(harness.signed("DELETE", "/bucket/k", &[], b"").await.status, 204);
    }
}

#[tokio::test]
async fn chunked_bodies_that_lie_leave_nothing() {
    let harness = Harness::start().await;
    let flip = |from: &'static str, to: &'static str| {
        move |body: &mut Vec<u8>| {
            let at = body
                .windows(from.len())
                .position(|window| window == from.as_bytes())
                .expect("in the body");
            body[at..at + from.len()].copy_from_slice(to.as_bytes());
        }
    };
    let signed = PayloadHash::SignedChunksTrailer;
    let unsigned = PayloadHash::UnsignedChunksTrailer;
    let announced = &[ANNOUNCED][..];
    for (name, answer, code) in [
        (
            "data",
            send_chunked(&harness, signed, announced, TRAILER, flip("1234", "1235")).await,
            "SignatureDoesNotMatch",
        ),
        (
            "trailer",
            send_chunked(&harness, signed, announced, TRAILER, flip("y/Q5", "y/Q6")).await,
            "SignatureDoesNotMatch",
        ),
        (
            "unsigned data",
            send_chunked(&harness, unsigned, announced, TRAILER, flip("1234", "1235")).await,
            "BadDigest",
        ),
        (
            "checksum",
            send_chunked(&harness, unsigned, announced, TRAILER, flip("y/Q5", "y/Q6")).await,
            "BadDigest",
        ),
        (
            "no trailer",
            send_chunked(&harness, unsigned, announced, None, |_| {}).await,
            "MalformedTrailerError",
        ),
        (
            "unannounced",
            send_chunked(&harness, unsigned, &[], TRAILER, |_| {}).await,
            "MalformedTrailerError",
        ),
        (
            "size",
            send_chunked(&harness, unsigned, announced, TRAILER, flip("4\r\n", "3\r\n")).await,
            "InvalidRequest",
        ),
        (
            "cut",
            send_chunked(&harness, unsigned, announced, TRAILER, |body| body.truncate(20)).await,
            "IncompleteBody",
        ),
        (
            "more",
            send_chunked(&harness, unsigned, announced, TRAILER, |body| body.push(b'x')).await,
            "InvalidRequest",
        ),
    ] {
        assert_eq!(answer.verdict().1, code, "{name}: {}", answer.text());
        assert!(matches!(answer.status, 400 | 403), "{name}");
        assert_eq!(harness.keys().await, [""; 0], "{name}");
    }
}

#[tokio::test]
async fn what_is_announced_must_be_so() {
    let harness = Harness::start().await;
    for (headers, code) in [
        (&[("content-md5", "AAAAAAAAAAAAAAAAAAAAAA==")][..], "BadDigest"),
        (&[("content-md5", "x")], "InvalidDigest"),
        (&[("x-amz-checksum-crc32", "AAAAAA==")], "BadDigest"),
        (
            &[(
                "x-amz-checksum-sha256",
                "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
            )],
            "BadDigest",
        ),
        (&[("x-amz-checksum-crc32", "AAAA")], "InvalidRequest"),
        (
            &[
                ("x-amz-checksum-crc32", CRC32),
                ("x-amz-checksum-crc32c", "4waSgw=="),
            ],
            "InvalidRequest",
        ),
        (&[("x-amz-sdk-checksum-algorithm", "CRC32")], "InvalidRequest"),
    ] {
        let answer = harness.signed("PUT", "/bucket/k", headers, CONTENT).await;
        answer.assert_refused(400, code);
        assert_eq!(harness.keys().await, [""; 0], "{headers:?}");
    }
    for headers in [
        [("content-md5", "JfnnlDI7RTiF9RgfG2JNCw==")],
        [("x-amz-checksum-crc64nvme", "rosUhgp5mIg=")],
    ] {
        let answer = harness.signed("PUT", "/bucket/k", &headers, CONTENT).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    let signed = harness.sign("PUT", "/bucket/k2", &[], PayloadHash::of(b"other"));
    let headers: Vec<_> = signed
        .headers
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    let answer = harness
        .send(&harness.request("PUT", "/bucket/k2", &headers, CONTENT))
        .await;
    answer.assert_refused(400, "XAmzContentSHA256Mismatch");
    assert_eq!(harness.keys().await, ["k"]);
    assert_eq!(*harness.witness.told().last().expect("told"), "begun bucket/k2");
}

#[tokio::test]
async fn a_length_is_needed_and_held() {
    let harness = Harness::start().await;
    let signed = harness.sign("PUT", "/bucket/k", &[], PayloadHash::Unsigned);
    let signed: Vec<_> = signed
        .headers
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    let with = |header| [&signed[..], &[header]].concat();
    let chunked = harness.request(
        "PUT",
        "/bucket/k",
        &with(("transfer-encoding", "chunked")),
        b"1\r\nx\r\n0\r\n\r\n",
    );
    harness
        .send(&chunked)
        .await
        .assert_refused(411, "MissingContentLength");
    let large = harness.request("PUT", "/bucket/k", &with(("content-length", "5368709121")), b"");
    harness.send(&large).await.assert_refused(400, "EntityTooLarge");
    assert_eq!(harness.keys().await, [""; 0]);
}

#[tokio::test]
async fn parts_make_an_object() {
    let harness = Harness::start().await;
    let begun = harness
        .signed(
            "POST",
            "/bucket/k?uploads=",
            &[("content-type", "text/plain")],
            b"",
        )
        .await;
    let id = begun.element("UploadId").expect("an id");
    let part = harness
        .signed(
            "PUT",
            &format!("/bucket/k?partNumber=1&uploadId={id}"),
            &[("x-amz-checksum-crc32", CRC32)],
            CONTENT,
        )
        .await;
    assert_eq!(part.headers["x-amz-checksum-crc32"], CRC32);
    let etag = part.headers["etag"].trim_matches('"').to_owned();

    for (query, code) in [
        (format!("partNumber=0&uploadId={id}"), "InvalidArgument"),
        (format!("partNumber=10001&uploadId={id}"), "InvalidArgument"),
        (format!("uploadId={id}"), "InvalidArgument"),
        ("partNumber=1".to_owned(), "NoSuchUpload"),
        ("partNumber=1&uploadId=".to_owned(), "NoSuchUpload"),
        ("partNumber=1&uploadId=..%2F..%2Fx".to_owned(), "NoSuchUpload"),
    ] {
        let answer = harness
            .signed("PUT", &format!("/bucket/k?{query}"), &[], b"x")
            .await;
        assert_eq!(answer.verdict().1, code, "{query}");
    }
    let target = format!("/bucket/k?uploadId={id}");
    let list = format!(
        "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{etag}</ETag></Part></CompleteMultipartUpload>"
    );
    let wrong = list.replace(&etag, "other");
    harness
        .signed("POST", &target, &[], wrong.as_bytes())
        .await
        .assert_refused(400, "InvalidPart");
    harness
        .signed("POST", &target, &[], b"<CompleteMultipartUpload/>")
        .await
        .assert_refused(400, "MalformedXML");
    let size = [("x-amz-mp-object-size", "8")];
    harness
        .signed("POST", &target, &size, list.as_bytes())
        .await
        .assert_refused(400, "InvalidRequest");
    let other_key = format!("/bucket/other?uploadId={id}");
    harness
        .signed("POST", &other_key, &[], list.as_bytes())
        .await
        .assert_refused(404, "NoSuchUpload");
    assert_eq!(harness.keys().await, [""; 0]);

    let done = harness.signed("POST", &target, &[], list.as_bytes()).await;
    assert_eq!(done.status, 200, "{}", done.text());
    assert_eq!(
        done.element("Location"),
        Some(format!("http://{}/bucket/k", harness.address))
    );
    assert_eq!(harness.held("k").await.as_deref(), Some(CONTENT));
    let again = harness.signed("POST", &target, &[], list.as_bytes()).await;
    assert_eq!(
        (again.status, again.element("ETag")),
        (200, done.element("ETag")),
        "a lost answer is given again"
    );
    assert!(harness.witness.told().contains(&"done bucket/k 9".to_owned()));
}
