//! I12: any bytes get a clear refusal; never a 5xx but the honest 501, never a panic, never a change.

use std::sync::OnceLock;

use cloakroom_signing::PayloadHash;
use proptest::prelude::*;
use tokio::runtime::Runtime;

use crate::harness::Harness;

/// One endpoint for all cases: each must leave it as it was.
fn room() -> &'static (Runtime, Harness) {
    static ROOM: OnceLock<(Runtime, Harness)> = OnceLock::new();
    ROOM.get_or_init(|| {
        let runtime = Runtime::new().expect("a runtime");
        let harness = runtime.block_on(async {
            let harness = Harness::start().await;
            harness.place("kept", "kept").await;
            harness
        });
        (runtime, harness)
    })
}

/// Sends bytes, closes the sending side by way of `connection: close` or an end, and holds what comes back against I12.
fn check(request: &[u8]) -> Result<(), TestCaseError> {
    let (runtime, harness) = room();
    runtime.block_on(async {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let mut stream = tokio::net::TcpStream::connect(harness.address)
            .await
            .expect("a connection");
        let _ = stream.write_all(request).await;
        let _ = stream.shutdown().await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        if let Some(status) = answer.get(9..12) {
            let status = String::from_utf8_lossy(status).into_owned();
            prop_assert!(
                status.starts_with('4') || status == "501",
                "{status}: {}",
                String::from_utf8_lossy(&answer)
            );
        }
        prop_assert_eq!(harness.keys().await, ["kept"]);
        let held = harness.held("kept").await;
        prop_assert_eq!(held.as_deref(), Some(b"kept".as_slice()));
        Ok(())
    })
}

/// A request that is signed for exactly what it says, however odd that is.
fn signed(
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    payload: PayloadHash,
    body: &[u8],
) -> Vec<u8> {
    let (_, harness) = room();
    let signed = harness.sign(method, target, headers, payload);
    let mut all = headers.to_vec();
    all.extend(signed.headers.iter().map(|(name, value)| (*name, value.as_str())));
    harness.request(method, target, &all, body)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn random_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        check(&bytes)?;
    }

    #[test]
    fn random_heads(
        method in "(GET|PUT|POST|DELETE|HEAD|OPTIONS|PATCH|TRACE|CONNECT|[A-Z]{1,8})",
        target in "(/|/bucket|/bucket/|/bucket/kept|\\*|http://x/bucket/kept)?[/%a-f0-9?&=.+-]{0,30}",
        headers in "((authorization|x-amz-date|content-length|range|x-amz-content-sha256|transfer-encoding): [ -~]{0,40}\r\n){0,4}",
        body in proptest::collection::vec(any::<u8>(), 0..100),
    ) {
        let head = format!("{method} {target} HTTP/1.1\r\nhost: x\r\n{headers}\r\n");
        check(&[head.as_bytes(), &body].concat())?;
    }

    #[test]
    fn random_presigned_queries(
        query in "(X-Amz-(Algorithm|Credential|Date|Expires|SignedHeaders|Signature|Security-Token)=(AWS4-HMAC-SHA256|AKIDEXAMPLE%2F20260102%2Fus-east-1%2Fs3%2Faws4_request|20260102T030405Z|300|host|[!-~]{0,20})&?){0,8}",
    ) {
        check(room().1.request("PUT", &format!("/bucket/kept?{query}"), &[], b"x").as_slice())?;
    }

    #[test]
    fn signed_nonsense(
        method in "(PUT|POST)",
        query in "(uploads|uploadId|partNumber|delete|acl|x)=?[0-9a-z]{0,3}(&(uploadId|partNumber|versionId)=[0-9a-z]{0,3})?",
        key in "(/[a-z]{0,2})?",
        body in "[<>/a-zA-Z&;\"= ]{0,60}|(<(Delete|CompleteMultipartUpload|Object|Part|Key)/?>){0,5}",
    ) {
        let target = format!("/nowhere{key}?{query}");
        check(&signed(&method, &target, &[], PayloadHash::of(body.as_bytes()), body.as_bytes()))?;
    }

    #[test]
    fn signed_reads_with_odd_headers(
        name in "(range|if-range|if-match|if-none-match|if-modified-since|x-amz-object-attributes|x-amz-copy-source|x-amz-checksum-mode)",
        value in "[!-~]{1,30}",
        query in "(partNumber|max-keys|list-type|encoding-type|continuation-token|response-content-type|versionId)=[!-%'-~]{0,20}",
    ) {
        let query: String = query.replace(['%', '#', '"', '<', '>', '\\', '^', '`', '{', '|', '}', '[', ']'], "x");
        for path in ["/nowhere", "/bucket/nothing"] {
            check(&signed("GET", &format!("{path}?{query}"), &[(&name, &value)], PayloadHash::Unsigned, b""))?;
        }
    }

    #[test]
    fn random_chunked_bodies(
        body in prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..200),
            "([0-9a-f]{1,3}(;chunk-signature=[0-9a-f]{0,64})?\r\n[a-z]{0,9}\r\n){0,4}(x-amz-checksum-crc32:[A-Za-z=]{0,9}\r\n)?(\r\n)?".prop_map(String::into_bytes),
        ],
        payload in prop_oneof![
            Just(PayloadHash::SignedChunks), Just(PayloadHash::SignedChunksTrailer), Just(PayloadHash::UnsignedChunksTrailer)
        ],
    ) {
        let headers = [("x-amz-decoded-content-length", "5"), ("x-amz-trailer", "x-amz-checksum-crc32")];
        let headers = if payload.has_trailer() { &headers[..] } else { &headers[..1] };
        check(&signed("PUT", "/bucket/new", headers, payload, &body))?;
    }

    #[test]
    fn random_forms(
        boundary in "[a-z-]{0,10}",
        body in prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..200),
            "((\r\n)?--b(--)?\r\n(Content-Disposition: form-data; name=\"?(key|policy|file|x-amz-signature|x-amz-credential)\"?(; filename=[\"a-z/]{0,5})?\r\n)?\r\n[ -~]{0,20}){0,6}".prop_map(String::into_bytes),
        ],
    ) {
        for boundary in [boundary.as_str(), "b"] {
            let content_type = format!("multipart/form-data; boundary={boundary}");
            check(&room().1.request("POST", "/bucket", &[("content-type", &content_type)], &body))?;
        }
    }
}
