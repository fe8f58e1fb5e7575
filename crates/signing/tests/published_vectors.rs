//! The worked examples of the S3 API reference ("Authenticating Requests (AWS Signature Version 4)"), on both sides.

use cloakroom_signing::{
    Addressing, AuthMethod, ChunkChain, Credentials, Endpoint, IncomingRequest, OutgoingRequest, PayloadHash,
    PresignRequest, Region, Signer, Verifier, VerifyError,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use jiff::Timestamp;
use sha2::{Digest, Sha256};

const ACCESS_KEY_ID: &str = "AKIAIOSFODNN7EXAMPLE";
const HOST: &str = "examplebucket.s3.amazonaws.com";

fn credentials() -> Credentials {
    Credentials::new(ACCESS_KEY_ID, "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
}

fn lookup(access_key_id: &str) -> Option<Credentials> {
    (access_key_id == ACCESS_KEY_ID).then(credentials)
}

fn now() -> Timestamp {
    "2013-05-24T00:00:00Z".parse().expect("valid")
}

fn signer() -> Signer {
    Signer::new(credentials(), Region::default())
}

fn owned(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

/// Signs, compares the signature with the published one, then verifies what was signed.
fn check_header_example(
    host: &'static str,
    method: &Method,
    path_and_query: &str,
    headers: &[(&str, &str)],
    payload: PayloadHash,
    signature: &str,
) -> (ChunkChain, ChunkChain) {
    let url = format!("https://{host}{path_and_query}");
    let headers = owned(headers);
    let request = OutgoingRequest {
        method,
        url: &url,
        headers: &headers,
        payload,
        now: now(),
    };
    let signed = signer().sign_headers(&request).expect("can be signed");
    let authorization = &signed.headers[0].1;
    assert!(
        authorization.ends_with(&format!("Signature={signature}")),
        "{authorization}"
    );

    let mut map = HeaderMap::new();
    map.insert("host", HeaderValue::from_static(host));
    let all = headers
        .iter()
        .map(|(name, value)| (name.as_str(), value))
        .chain(signed.headers.iter().map(|(name, value)| (*name, value)));
    for (name, value) in all {
        let name: HeaderName = name.parse().expect("a header name");
        map.insert(name, value.parse().expect("a header value"));
    }
    let (path, query) = path_and_query
        .split_once('?')
        .map_or((path_and_query, None), |(p, q)| (p, Some(q)));
    let incoming = IncomingRequest {
        method,
        path,
        query,
        headers: &map,
    };
    let verified = Verifier::new(Region::default())
        .verify(&incoming, &lookup, now())
        .expect("is valid");
    assert_eq!(verified.access_key_id, ACCESS_KEY_ID);
    assert_eq!(verified.method, AuthMethod::Header);
    assert_eq!(verified.payload, payload);
    assert_eq!(verified.scope(), "20130524/us-east-1/s3/aws4_request");
    let verifying = verified.chunk_chain().unwrap_or_else(|| signed.chunk_chain());
    (signed.chunk_chain(), verifying)
}

#[test]
fn get_object_with_range() {
    check_header_example(
        HOST,
        &Method::GET,
        "/test.txt",
        &[("range", "bytes=0-9")],
        PayloadHash::of(b""),
        "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
    );
}

#[test]
fn put_object() {
    check_header_example(
        HOST,
        &Method::PUT,
        "/test%24file.text",
        &[
            ("date", "Fri, 24 May 2013 00:00:00 GMT"),
            ("x-amz-storage-class", "REDUCED_REDUNDANCY"),
        ],
        PayloadHash::of(b"Welcome to Amazon S3."),
        "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
    );
}

#[test]
fn get_bucket_lifecycle() {
    check_header_example(
        HOST,
        &Method::GET,
        "/?lifecycle",
        &[],
        PayloadHash::of(b""),
        "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
    );
}

#[test]
fn list_objects() {
    check_header_example(
        HOST,
        &Method::GET,
        "/?max-keys=2&prefix=J",
        &[],
        PayloadHash::of(b""),
        "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
    );
}

#[test]
fn presigned_get() {
    let endpoint = Endpoint::parse("https://s3.amazonaws.com", Addressing::VirtualHost).expect("valid");
    let request = PresignRequest {
        method: Method::GET,
        endpoint: &endpoint,
        bucket: "examplebucket",
        key: "test.txt",
        query: &[],
        headers: &[],
        expires_in_seconds: 86_400,
        now: now(),
    };
    let url = signer().presign(&request).expect("can be signed");
    assert_eq!(
        url,
        "https://examplebucket.s3.amazonaws.com/test.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256\
         &X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Date=20130524T000000Z\
         &X-Amz-Expires=86400&X-Amz-SignedHeaders=host\
         &X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"
    );

    let mut headers = HeaderMap::new();
    headers.insert("host", HeaderValue::from_static(HOST));
    let query = url.split_once('?').map(|(_, query)| query);
    let incoming = IncomingRequest {
        method: &Method::GET,
        path: "/test.txt",
        query,
        headers: &headers,
    };
    let verified = Verifier::new(Region::default())
        .verify(&incoming, &lookup, now())
        .expect("is valid");
    assert_eq!(verified.method, AuthMethod::Query);
    assert_eq!(verified.payload, PayloadHash::Unsigned);
    assert_eq!(
        verified.expires_at.map(|at| at.to_string()).as_deref(),
        Some("2013-05-25T00:00:00Z")
    );
    assert!(verified.chunk_chain().is_none());
}

#[test]
fn chunked_upload() {
    let (signing, verifying) = check_header_example(
        "s3.amazonaws.com",
        &Method::PUT,
        "/examplebucket/chunkObject.txt",
        &[
            ("content-encoding", "aws-chunked"),
            ("content-length", "66824"),
            ("x-amz-decoded-content-length", "66560"),
            ("x-amz-storage-class", "REDUCED_REDUNDANCY"),
        ],
        PayloadHash::SignedChunks,
        "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9",
    );
    check_chunks(
        signing,
        verifying,
        [
            "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648",
            "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497",
            "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9",
        ],
    );
}

#[test]
fn chunked_upload_with_trailer() {
    let (signing, verifying) = check_header_example(
        "s3.amazonaws.com",
        &Method::PUT,
        "/examplebucket/chunkObject.txt",
        &[
            ("content-encoding", "aws-chunked"),
            ("x-amz-decoded-content-length", "66560"),
            ("x-amz-storage-class", "REDUCED_REDUNDANCY"),
            ("x-amz-trailer", "x-amz-checksum-crc32c"),
        ],
        PayloadHash::SignedChunksTrailer,
        "106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e",
    );
    let (mut signing, mut verifying) = check_chunks(
        signing,
        verifying,
        [
            "b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2",
            "1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7",
            "2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992",
        ],
    );
    let trailers = [("x-amz-checksum-crc32c", "sOO8/Q==")];
    let signature = "d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435";
    assert_eq!(signing.sign_trailer(&trailers), signature);
    assert_eq!(verifying.verify_trailer(&trailers, signature.as_bytes()), Ok(()));
}

/// The body of both examples: 65 KiB of `a` in chunks of 64 KiB, 1 KiB and nothing.
fn check_chunks(
    mut signing: ChunkChain,
    mut verifying: ChunkChain,
    signatures: [&str; 3],
) -> (ChunkChain, ChunkChain) {
    for (length, signature) in [65_536, 1_024, 0].into_iter().zip(signatures) {
        let digest: [u8; 32] = Sha256::digest(vec![b'a'; length]).into();
        assert_eq!(signing.sign_chunk(&digest), signature);
        let wrong = signatures[1].replace('0', "1");
        assert_eq!(
            verifying.verify_chunk(&digest, wrong.as_bytes()),
            Err(VerifyError::SignatureDoesNotMatch)
        );
        assert_eq!(verifying.verify_chunk(&digest, signature.as_bytes()), Ok(()));
    }
    (signing, verifying)
}
