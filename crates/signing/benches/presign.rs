//! How many URLs one core signs and verifies in a second: `cargo bench -p cloakroom-signing`.

use std::hint::black_box;
use std::time::{Duration, Instant};

use cloakroom_signing::{
    Addressing, Credentials, Endpoint, IncomingRequest, PolicyCondition, PostPolicyRequest, PresignRequest,
    Region, Signer, Verifier,
};
use http::{HeaderMap, HeaderValue, Method};
use jiff::Timestamp;

const RUN_TIME: Duration = Duration::from_secs(2);

fn main() {
    let credentials = Credentials::new("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY");
    let signer = Signer::new(credentials.clone(), Region::default());
    let endpoint = Endpoint::parse("http://localhost:9000", Addressing::Path).expect("a legal URL");
    let now: Timestamp = "2013-05-24T00:00:00Z".parse().expect("a legal time");
    let key = "staging/2013/05/24/018f2c7e-1c1b-7d3e-9a52-6f1f0f3b2c11.pdf";
    let headers = [("content-type", "application/pdf"), ("content-length", "1048576")]
        .map(|(n, v)| (n.to_owned(), v.to_owned()));
    let presign = |headers: &[(String, String)]| {
        let method = if headers.is_empty() {
            Method::GET
        } else {
            Method::PUT
        };
        let request = PresignRequest {
            method,
            endpoint: &endpoint,
            bucket: "uploads",
            key: black_box(key),
            query: &[],
            headers,
            expires_in_seconds: 300,
            now,
        };
        signer.presign(&request).expect("can be signed")
    };
    measure("presign GET", || presign(&[]));
    measure("presign PUT, two signed headers", || presign(&headers));

    let conditions = [
        PolicyCondition::Exact("Content-Type".into(), "application/pdf".into()),
        PolicyCondition::ContentLengthRange(1, 10_485_760),
    ];
    let fields = [("Content-Type".to_owned(), "application/pdf".to_owned())];
    measure("POST form", || {
        let request = PostPolicyRequest {
            endpoint: &endpoint,
            bucket: "uploads",
            key: black_box(key),
            conditions: &conditions,
            fields: &fields,
            expires_in_seconds: 600,
            now,
        };
        signer.post_policy(&request).expect("can be signed")
    });

    let url = presign(&[]);
    let (path, query) = url["http://localhost:9000".len()..]
        .split_once('?')
        .expect("a query");
    let mut received = HeaderMap::new();
    received.insert("host", HeaderValue::from_static("localhost:9000"));
    let request = IncomingRequest {
        method: &Method::GET,
        path,
        query: Some(query),
        headers: &received,
    };
    let verifier = Verifier::new(Region::default());
    measure("verify presigned GET", || {
        verifier
            .verify(black_box(&request), &|_: &str| Some(credentials.clone()), now)
            .expect("is valid")
    });
}

fn measure<T>(name: &str, mut work: impl FnMut() -> T) {
    for _ in 0..10_000 {
        black_box(work());
    }
    let start = Instant::now();
    let mut count = 0_u32;
    while start.elapsed() < RUN_TIME {
        for _ in 0..1_000 {
            black_box(work());
        }
        count += 1_000;
    }
    let per_second = f64::from(count) / start.elapsed().as_secs_f64();
    println!("{name:<32} {per_second:>10.0} /s  {:>6.0} ns", 1e9 / per_second);
}
