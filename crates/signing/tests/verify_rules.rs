//! What the server side refuses, and by which name. `botocore.rs` shows what it accepts.

use cloakroom_signing::{
    Addressing, Credentials, Endpoint, IncomingRequest, OutgoingRequest, PayloadHash, PresignRequest, Region,
    Signer, VerifiedRequest, Verifier, VerifyError, encode_component,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

const HOST: &str = "localhost:9000";

fn credentials() -> Credentials {
    Credentials::new("AKID", "secret")
}

fn lookup(access_key_id: &str) -> Option<Credentials> {
    (access_key_id == "AKID").then(credentials)
}

fn signer() -> Signer {
    Signer::new(credentials(), Region::default())
}

fn endpoint() -> Endpoint {
    Endpoint::parse(&format!("http://{HOST}"), Addressing::Path).expect("valid")
}

fn now() -> Timestamp {
    "2024-05-24T00:10:00Z".parse().expect("valid")
}

fn seconds(count: i64) -> SignedDuration {
    SignedDuration::from_secs(count)
}

fn owned(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

/// A request on its way: what a test changes before it arrives.
#[derive(Clone)]
struct Request {
    method: Method,
    path: String,
    query: String,
    headers: HeaderMap,
}

impl Request {
    fn presigned(query: &[(&str, &str)], headers: &[(&str, &str)]) -> Self {
        let url = signer()
            .presign(&PresignRequest {
                method: Method::PUT,
                endpoint: &endpoint(),
                bucket: "bucket",
                key: "e//f/./g",
                query: &owned(query),
                headers: &owned(headers),
                expires_in_seconds: 300,
                now: now(),
            })
            .expect("can be signed");
        let (path, query) = url[format!("http://{HOST}").len()..]
            .split_once('?')
            .expect("a query");
        Self {
            method: Method::PUT,
            path: path.to_owned(),
            query: query.to_owned(),
            headers: header_map(headers),
        }
    }

    fn header_signed(path_and_query: &str, headers: &[(&str, &str)], payload: PayloadHash) -> Self {
        let url = format!("http://{HOST}{path_and_query}");
        let given = owned(headers);
        let request = OutgoingRequest {
            method: &Method::PUT,
            url: &url,
            headers: &given,
            payload,
            now: now(),
        };
        let signed = signer().sign_headers(&request).expect("can be signed");
        let mut headers = header_map(headers);
        for (name, value) in signed.headers {
            headers.insert(name, value.parse().expect("legal"));
        }
        let (path, query) = path_and_query.split_once('?').unwrap_or((path_and_query, ""));
        Self {
            method: Method::PUT,
            path: path.to_owned(),
            query: query.to_owned(),
            headers,
        }
    }

    fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.insert(name, value.parse().expect("legal"));
        self
    }

    fn edit_authorization(mut self, from: &str, to: &str) -> Self {
        let value = self.headers["authorization"].to_str().expect("ASCII").to_owned();
        assert!(value.contains(from), "{value}");
        self.headers
            .insert("authorization", value.replace(from, to).parse().expect("legal"));
        self
    }

    fn edit_query(mut self, from: &str, to: &str) -> Self {
        assert!(self.query.contains(from), "{}", self.query);
        self.query = self.query.replace(from, to);
        self
    }

    fn verify_at(&self, now: Timestamp) -> Result<VerifiedRequest, VerifyError> {
        let request = IncomingRequest {
            method: &self.method,
            path: &self.path,
            query: Some(&self.query),
            headers: &self.headers,
        };
        Verifier::new(Region::default()).verify(&request, &lookup, now)
    }

    fn verify(&self) -> Result<VerifiedRequest, VerifyError> {
        self.verify_at(now())
    }

    fn refusal(&self) -> VerifyError {
        self.verify().expect_err("must be refused")
    }
}

fn header_map(headers: &[(&str, &str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    map.insert("host", HeaderValue::from_static(HOST));
    for (name, value) in headers {
        map.append(
            name.parse::<HeaderName>().expect("legal"),
            value.parse().expect("legal"),
        );
    }
    map
}

fn plain() -> Request {
    Request::header_signed("/bucket/key", &[], PayloadHash::of(b"body"))
}

#[test]
fn a_request_without_a_signature_is_told_apart() {
    let bare = Request {
        headers: header_map(&[]),
        ..plain()
    };
    assert_eq!(bare.refusal(), VerifyError::Unsigned);
    assert_eq!(
        (bare.refusal().code(), bare.refusal().status()),
        ("AccessDenied", 403)
    );
}

#[test]
fn signature_version_2_is_refused_clearly() {
    let header = plain().header("authorization", "AWS AKID:c2lnbmF0dXJl");
    assert_eq!(header.refusal(), VerifyError::UnsupportedAuthorization);
    let query = "AWSAccessKeyId=AKID&Signature=c2ln&Expires=1716509400".to_owned();
    let query = Request {
        headers: header_map(&[]),
        query,
        ..plain()
    };
    assert_eq!(query.refusal(), VerifyError::UnsupportedAuthorization);
    assert!(query.refusal().to_string().contains("AWS4-HMAC-SHA256"));
    assert_eq!(query.refusal().code(), "InvalidRequest");
}

#[test]
fn one_signature_is_enough() {
    let both = Request {
        query: Request::presigned(&[], &[]).query,
        ..plain()
    };
    assert_eq!(both.refusal(), VerifyError::SeveralAuthorizations);
    let mut twice = plain();
    let value = twice.headers["authorization"].clone();
    twice.headers.append("authorization", value);
    assert_eq!(twice.refusal(), VerifyError::SeveralAuthorizations);
}

#[test]
fn a_wrong_scope_is_named_with_the_right_region() {
    for (from, to) in [
        ("/us-east-1/", "/eu-west-1/"),
        ("/s3/", "/ec2/"),
        ("aws4_request", "aws5_request"),
        ("/20240524/", "/20240523/"),
        ("AKID/20240524", "20240524"),
        ("AKID/", "/"),
    ] {
        let header = plain().edit_authorization(from, to).refusal();
        assert_eq!(
            (header.code(), header.status()),
            ("AuthorizationHeaderMalformed", 400),
            "{to}"
        );
        let encoded = |text: &str| encode_component(text);
        let query = Request::presigned(&[], &[])
            .edit_query(&encoded(from), &encoded(to))
            .refusal();
        assert_eq!(
            (query.code(), query.status()),
            ("AuthorizationQueryParametersError", 400),
            "{to}"
        );
        let region = (to == "/eu-west-1/").then_some("us-east-1");
        assert_eq!(header.expected_region(), region);
        assert_eq!(query.expected_region(), region);
        assert!(region.is_none() || header.to_string().contains("expecting 'us-east-1'"));
    }
}

#[test]
fn header_signatures_live_fifteen_minutes_both_ways() {
    for offset in [-900, 0, 900] {
        assert!(plain().verify_at(now() + seconds(offset)).is_ok(), "{offset}");
    }
    for offset in [-901, 901, 86_400] {
        let refused = plain().verify_at(now() + seconds(offset)).map(|_| ());
        assert_eq!(refused, Err(VerifyError::RequestTimeTooSkewed), "{offset}");
    }
}

#[test]
fn presigned_urls_live_as_long_as_they_say() {
    let request = Request::presigned(&[], &[]);
    let at = |offset| {
        request
            .verify_at(now() + seconds(offset))
            .map(|verified| verified.expires_at)
    };
    let end = Ok(Some(now() + seconds(300)));
    assert_eq!(at(0), end);
    assert_eq!(at(300), end);
    assert_eq!(at(301), Err(VerifyError::Expired));
    assert_eq!(at(-900), end, "the signer's clock may be ahead");
    assert_eq!(at(-901), Err(VerifyError::NotYetValid));
    assert_eq!(VerifyError::Expired.to_string(), "Request has expired");
}

#[test]
fn expiries_out_of_range_are_refused() {
    for value in [
        "0",
        "604801",
        "-1",
        "1e3",
        "99999999999999999999",
        "",
        "+300",
        "300.0",
    ] {
        let request =
            Request::presigned(&[], &[]).edit_query("X-Amz-Expires=300", &format!("X-Amz-Expires={value}"));
        assert_eq!(
            request.refusal().code(),
            "AuthorizationQueryParametersError",
            "{value}"
        );
    }
}

#[test]
fn every_parameter_of_the_signature_is_required_once() {
    let request = Request::presigned(&[("partNumber", "1")], &[]);
    let parts: Vec<&str> = request.query.split('&').collect();
    for part in parts.iter().filter(|part| part.starts_with("X-Amz-")) {
        let rest: Vec<&str> = parts.iter().copied().filter(|other| other != part).collect();
        let missing = Request {
            query: rest.join("&"),
            ..request.clone()
        };
        assert_eq!(
            missing.refusal().code(),
            "AuthorizationQueryParametersError",
            "{part}"
        );
        for again in [(*part).to_owned(), part.to_ascii_lowercase()] {
            let doubled = Request {
                query: format!("{}&{again}", request.query),
                ..request.clone()
            };
            assert_eq!(
                doubled.refusal().code(),
                "AuthorizationQueryParametersError",
                "{part}"
            );
        }
    }
    let added = Request {
        query: format!("{}&uploadId=x", request.query),
        ..request
    };
    assert_eq!(added.refusal(), VerifyError::SignatureDoesNotMatch);
}

#[test]
fn headers_that_change_the_meaning_must_be_signed() {
    let unsigned =
        |names: &[&str]| VerifyError::HeadersNotSigned(names.iter().map(|&n| n.to_owned()).collect());
    for request in [plain(), Request::presigned(&[], &[])] {
        let two = request
            .clone()
            .header("x-amz-copy-source", "/b/secret")
            .header("x-amz-acl", "public-read");
        assert_eq!(two.refusal(), unsigned(&["x-amz-acl", "x-amz-copy-source"]));
        assert_eq!(
            (two.refusal().code(), two.refusal().status()),
            ("AccessDenied", 403)
        );
        let harmless = request
            .header("x-amz-cf-id", "added by CloudFront")
            .header("content-type", "text/plain");
        assert!(harmless.verify().is_ok(), "nothing is read from these");
    }
    let no_host = plain().edit_authorization("SignedHeaders=host;", "SignedHeaders=");
    assert_eq!(no_host.refusal(), unsigned(&["host"]));
}

#[test]
fn signed_headers_must_arrive() {
    let headers = [
        ("content-type", "text/plain"),
        ("content-length", "4"),
        ("x-amz-checksum-sha256", "AAAA"),
    ];
    let request = Request::presigned(&[], &headers);
    assert_eq!(
        request.verify().map(|verified| verified.signed_headers),
        Ok(owned(&[
            ("content-length", ""),
            ("content-type", ""),
            ("host", ""),
            ("x-amz-checksum-sha256", "")
        ])
        .into_iter()
        .map(|(name, _)| name)
        .collect())
    );
    for (name, _) in headers {
        let mut without = request.clone();
        without.headers.remove(name);
        assert_eq!(without.refusal(), VerifyError::SignatureDoesNotMatch, "{name}");
    }
    let mut empty = Request::presigned(&[], &[("x-amz-meta-note", "")]);
    assert!(empty.verify().is_ok());
    empty.headers.remove("x-amz-meta-note");
    assert_eq!(
        empty.refusal(),
        VerifyError::SignatureDoesNotMatch,
        "absent is not empty"
    );
    let longer = request.header("content-length", "5");
    assert_eq!(longer.refusal(), VerifyError::SignatureDoesNotMatch);
}

#[test]
fn lists_of_signed_headers_have_one_form() {
    for list in ["", ";host", "host;", "Host", "host;host", "host;a b"] {
        let to = format!("SignedHeaders={list}, ");
        let from = "SignedHeaders=host;x-amz-content-sha256;x-amz-date, ";
        let refused = plain().edit_authorization(from, &to).refusal();
        assert_eq!(refused.code(), "AuthorizationHeaderMalformed", "{list}");
    }
}

#[test]
fn the_payload_must_be_stated() {
    let mut silent = plain();
    silent.headers.remove("x-amz-content-sha256");
    assert_eq!(silent.refusal(), VerifyError::MissingContentSha256);
    assert_eq!(
        plain()
            .header("x-amz-content-sha256", "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD")
            .refusal(),
        VerifyError::InvalidContentSha256
    );
    let other = PayloadHash::of(b"other").header_value();
    assert_eq!(
        plain().header("x-amz-content-sha256", &other).refusal(),
        VerifyError::SignatureDoesNotMatch
    );
    for payload in [
        PayloadHash::Unsigned,
        PayloadHash::SignedChunks,
        PayloadHash::SignedChunksTrailer,
        PayloadHash::UnsignedChunksTrailer,
    ] {
        let verified = Request::header_signed("/bucket/key", &[], payload)
            .verify()
            .expect("is valid");
        assert_eq!(verified.payload, payload);
        assert_eq!(verified.chunk_chain().is_some(), payload.has_signed_chunks());
    }
}

#[test]
fn a_presigned_url_may_bind_its_body() {
    let digest = PayloadHash::of(b"body");
    let request = Request::presigned(&[], &[("x-amz-content-sha256", &digest.header_value())]);
    assert_eq!(request.verify().map(|verified| verified.payload), Ok(digest));
    let mut without = request.clone();
    without.headers.remove("x-amz-content-sha256");
    assert_eq!(without.refusal(), VerifyError::SignatureDoesNotMatch);
    let other = request.header("x-amz-content-sha256", "UNSIGNED-PAYLOAD");
    assert_eq!(other.refusal(), VerifyError::SignatureDoesNotMatch);
}

#[test]
fn one_verifier_serves_any_day() {
    let verifier = Verifier::new(Region::default());
    for days in [0, 1, 0] {
        let signed_at = now() + seconds(days * 86_400);
        let request = OutgoingRequest {
            method: &Method::GET,
            url: &format!("http://{HOST}/bucket/key"),
            headers: &[],
            payload: PayloadHash::Unsigned,
            now: signed_at,
        };
        let mut headers = header_map(&[]);
        for (name, value) in signer().sign_headers(&request).expect("can be signed").headers {
            headers.insert(name, value.parse().expect("legal"));
        }
        let incoming = IncomingRequest {
            method: &Method::GET,
            path: "/bucket/key",
            query: None,
            headers: &headers,
        };
        assert!(
            verifier.verify(&incoming, &lookup, signed_at).is_ok(),
            "day {days}"
        );
    }
}

#[test]
fn a_replaced_secret_takes_effect_at_once() {
    let request = plain();
    let incoming = IncomingRequest {
        method: &request.method,
        path: &request.path,
        query: None,
        headers: &request.headers,
    };
    let verifier = Verifier::new(Region::default());
    let with = |secret: &'static str| {
        let found = move |_: &str| Some(Credentials::new("AKID", secret));
        verifier.verify(&incoming, &found, now()).map(|_| ())
    };
    assert_eq!(with("secret"), Ok(()));
    assert_eq!(with("replaced"), Err(VerifyError::SignatureDoesNotMatch));
    assert_eq!(with("secret"), Ok(()));
}

#[test]
fn paths_are_compared_by_meaning_but_not_normalised() {
    let request = Request::header_signed("/bucket/a%20(b)/../c//d%7E%2B", &[], PayloadHash::Unsigned);
    for same in [
        "/bucket/a%20(b)/../c//d~+",
        "/bucket/a%20%28b%29/../c//d%7e%2b",
        "/bucket/%61 (b)/../c//d~+",
    ] {
        let spelled = Request {
            path: same.to_owned(),
            ..request.clone()
        };
        assert!(spelled.verify().is_ok(), "{same}");
    }
    for other in [
        "/bucket/c//d~+",
        "/bucket/a%20(b)/../c/d~+",
        "/bucket/a+(b)/../c//d~+",
        "/bucket/a%2520(b)/../c//d~+",
    ] {
        let changed = Request {
            path: other.to_owned(),
            ..request.clone()
        };
        assert_eq!(changed.refusal(), VerifyError::SignatureDoesNotMatch, "{other}");
    }
    let broken = Request {
        path: "/bucket/%zz".to_owned(),
        ..request.clone()
    };
    assert_eq!(broken.refusal(), VerifyError::InvalidUri);
    let broken = Request {
        query: "prefix=%f".to_owned(),
        ..request
    };
    assert_eq!(broken.refusal(), VerifyError::InvalidUri);
}

#[test]
fn queries_are_compared_by_meaning() {
    let request = Request::header_signed(
        "/bucket?prefix=a%20b%2Bc~&uploads&empty=",
        &[],
        PayloadHash::Unsigned,
    );
    for same in [
        "uploads=&empty&prefix=a+b%2bc%7E",
        "empty=&uploads&prefix=a%20b%2Bc~",
    ] {
        assert!(
            Request {
                query: same.to_owned(),
                ..request.clone()
            }
            .verify()
            .is_ok(),
            "{same}"
        );
    }
    let other = Request {
        query: "prefix=a+b+c~&uploads&empty=".to_owned(),
        ..request
    };
    assert_eq!(other.refusal(), VerifyError::SignatureDoesNotMatch);
}

#[test]
fn temporary_credentials_need_their_token_and_others_none() {
    let temporary = credentials().with_session_token("token");
    let request = plain();
    let incoming = IncomingRequest {
        method: &request.method,
        path: &request.path,
        query: None,
        headers: &request.headers,
    };
    let verifier = Verifier::new(Region::default());
    assert_eq!(
        verifier
            .verify(&incoming, &|_: &str| Some(temporary.clone()), now())
            .map(|_| ()),
        Err(VerifyError::InvalidToken)
    );
    let with_token = Request::presigned(&[], &[("x-amz-security-token", "uninvited")]);
    assert_eq!(with_token.refusal(), VerifyError::InvalidToken);
}

#[test]
fn nothing_secret_is_printed() {
    let request = plain();
    let verified = request.verify().expect("is valid");
    let authorization = request.headers["authorization"].to_str().expect("ASCII");
    let (_, signature) = authorization.rsplit_once("Signature=").expect("is there");
    assert!(!format!("{verified:?}").contains(signature));
}

proptest! {
    #[test]
    fn arbitrary_requests_never_panic_and_never_pass(
        path in any::<String>(),
        query in "(X-Amz-[A-Za-z]{4,13}=[A-Za-z0-9%/-]{0,20}&?){0,9}",
        authorization in "AWS4-HMAC-SHA256 Credential=[!-~]{0,40}, ?SignedHeaders=[!-~]{0,20}, ?Signature=[!-~]{0,64}",
        date in "[0-9TZ]{0,17}",
        headers in any::<bool>(),
    ) {
        let mut map = header_map(&[]);
        if headers {
            map.insert("authorization", authorization.parse().expect("ASCII"));
            map.insert("x-amz-date", date.parse().expect("ASCII"));
        }
        let request = Request { method: Method::GET, path, query, headers: map };
        let refusal = request.refusal();
        prop_assert!((400..500).contains(&refusal.status()));
    }
}
