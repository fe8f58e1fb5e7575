//! The oracle: botocore signs generated inputs (odd keys, Unicode, spaces, plus signs, dots) in a Python process, and we
//! must give the same bytes. What it signed must verify here, and not with anything changed.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use cloakroom_signing::{
    Addressing, AuthMethod, CloudFrontPolicy, CloudFrontSigner, Credentials, Endpoint, IncomingRequest,
    OutgoingRequest, PayloadHash, PolicyCondition, PostPolicyRequest, PresignRequest, Region, Signer,
    SigningError, VerifiedRequest, Verifier, VerifyError,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

/// Fixed, so that a failure can be seen again.
const SEED: &str = "20130524";
const CASES_PER_KIND: usize = 600;

fn cases(kind: &str) -> &'static [Value] {
    static OUTPUT: OnceLock<Value> = OnceLock::new();
    let output = OUTPUT.get_or_init(run_oracle);
    let cases = output[kind].as_array().expect("a list of cases");
    assert_eq!(cases.len(), CASES_PER_KIND);
    cases
}

#[expect(
    clippy::disallowed_methods,
    reason = "the Makefile tells tests through it which Python has botocore"
)]
fn run_oracle() -> Value {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = std::env::var_os("CLOAKROOM_PYTHON")
        .map_or_else(|| here.join("../../.venv/bin/python"), PathBuf::from);
    let output = Command::new(&python)
        .arg(here.join("tests/botocore_oracle.py"))
        .args([SEED, &CASES_PER_KIND.to_string()])
        .output()
        .unwrap_or_else(|error| panic!("{}: {error}; run `make venv`", python.display()));
    assert!(
        output.status.success(),
        "the oracle failed; run `make venv` if botocore is missing:\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).expect("the oracle prints JSON")
}

fn text<'a>(case: &'a Value, name: &str) -> &'a str {
    case[name]
        .as_str()
        .unwrap_or_else(|| panic!("{name} is a string"))
}

fn pairs(case: &Value, name: &str) -> Vec<(String, String)> {
    let rows = case[name]
        .as_array()
        .unwrap_or_else(|| panic!("{name} is a list"));
    rows.iter()
        .map(|row| {
            let part = |index: usize| row[index].as_str().expect("a string").to_owned();
            (part(0), part(1))
        })
        .collect()
}

fn number(case: &Value, name: &str) -> u32 {
    u32::try_from(case[name].as_u64().expect("a number")).expect("fits")
}

fn signed_at(case: &Value) -> Timestamp {
    let second = case["now"]["second"].as_i64().expect("a number");
    let micros = case["now"]["microsecond"].as_i64().expect("a number");
    Timestamp::from_second(second).expect("in range") + SignedDuration::from_micros(micros)
}

fn credentials(case: &Value) -> Credentials {
    let credentials = Credentials::new(text(case, "access_key_id"), text(case, "secret"));
    match case["token"].as_str() {
        Some(token) => credentials.with_session_token(token),
        None => credentials,
    }
}

fn region(case: &Value) -> Region {
    text(case, "region").parse().expect("legal")
}

fn signer(case: &Value) -> Signer {
    Signer::new(credentials(case), region(case))
}

fn endpoint(case: &Value) -> Endpoint {
    let addressing = if text(case, "addressing") == "virtual" {
        Addressing::VirtualHost
    } else {
        Addressing::Path
    };
    Endpoint::parse(text(case, "endpoint"), addressing).expect("legal")
}

fn method(case: &Value) -> Method {
    text(case, "method").parse().expect("legal")
}

#[test]
fn presigned_urls_are_equal_and_verify() {
    for case in cases("presigned") {
        let url = signer(case)
            .presign(&PresignRequest {
                method: method(case),
                endpoint: &endpoint(case),
                bucket: text(case, "bucket"),
                key: text(case, "key"),
                query: &pairs(case, "query"),
                headers: &pairs(case, "headers"),
                expires_in_seconds: number(case, "expires_in_seconds"),
                now: signed_at(case),
            })
            .expect("can be signed");
        assert_eq!(url, text(case, "url"), "{case:#}");

        let verified = Received::new(case, pairs(case, "headers"))
            .verify(case)
            .expect("is valid");
        assert_eq!(verified.method, AuthMethod::Query);
        assert_eq!(verified.payload, PayloadHash::Unsigned);
    }
}

#[test]
fn post_forms_are_equal_and_keep_to_their_policy() {
    for case in cases("posts") {
        let conditions: Vec<_> = case["conditions"]
            .as_array()
            .expect("a list")
            .iter()
            .map(policy_condition)
            .collect();
        let form = signer(case)
            .post_policy(&PostPolicyRequest {
                endpoint: &endpoint(case),
                bucket: text(case, "bucket"),
                key: text(case, "key"),
                conditions: &conditions,
                fields: &pairs(case, "given_fields"),
                expires_in_seconds: number(case, "expires_in_seconds"),
                now: signed_at(case),
            })
            .expect("can be signed");
        assert_eq!(form.url, text(case, "url"), "{case:#}");
        assert_eq!(form.fields, pairs(case, "fields"), "{case:#}");

        let verifier = Verifier::new(region(case));
        let bucket = text(case, "bucket");
        let verified = verifier
            .verify_form(&form.fields, &|_: &str| Some(credentials(case)))
            .expect("is valid");
        assert_eq!(verified.access_key_id, text(case, "access_key_id"));
        assert_eq!(verified.policy.expires_at(), form.expires_at);
        assert_eq!(
            verified.policy.check(&form.fields, bucket, form.expires_at),
            Ok(()),
            "{case:#}"
        );
        assert!(
            verified
                .policy
                .check(&form.fields, "another", form.expires_at)
                .is_err()
        );

        for index in 0..form.fields.len() {
            let mut changed = form.fields.clone();
            changed[index].1.push('x');
            let name = changed[index].0.clone();
            let accepted = verifier
                .verify_form(&changed, &|_: &str| Some(credentials(case)))
                .and_then(|form| form.policy.check(&changed, bucket, signed_at(case)));
            let is_open = conditions.iter().any(|condition| match condition {
                PolicyCondition::StartsWith(field, _) => *field == name,
                _ => false,
            }) || (name == "key" && text(case, "key").ends_with("${filename}"));
            assert_eq!(accepted.is_ok(), is_open, "{name} was changed: {accepted:?}");
        }
    }
}

fn policy_condition(json: &Value) -> PolicyCondition {
    let owned = |value: &Value| value.as_str().expect("a string").to_owned();
    let field = |value: &Value| {
        value
            .as_str()
            .and_then(|text| text.strip_prefix('$'))
            .expect("$name")
            .to_owned()
    };
    match json {
        Value::Object(pair) => {
            let (name, value) = pair.iter().next().expect("one pair");
            PolicyCondition::Exact(name.clone(), owned(value))
        }
        _ => match json[0].as_str() {
            Some("eq") => PolicyCondition::Equals(field(&json[1]), owned(&json[2])),
            Some("starts-with") => PolicyCondition::StartsWith(field(&json[1]), owned(&json[2])),
            _ => PolicyCondition::ContentLengthRange(
                json[1].as_u64().expect("a number"),
                json[2].as_u64().expect("a number"),
            ),
        },
    }
}

#[test]
fn header_signatures_are_equal_and_verify() {
    for case in cases("header_signed") {
        let payload = case["body_sha256"]
            .as_str()
            .map_or(PayloadHash::Unsigned, |digest| {
                PayloadHash::parse(digest.as_bytes()).expect("a digest")
            });
        let mut headers = pairs(case, "headers");
        headers.push(("User-Agent".to_owned(), "ours is another".to_owned()));
        let signed = signer(case)
            .sign_headers(&OutgoingRequest {
                method: &method(case),
                url: text(case, "url"),
                headers: &headers,
                payload,
                now: signed_at(case),
            })
            .expect("can be signed");
        let sent = pairs(case, "sent_headers");
        for (name, value) in &signed.headers {
            let theirs = sent.iter().find(|(sent, _)| sent == name).map(|(_, value)| value);
            assert_eq!(Some(value), theirs, "{name} of {case:#}");
        }

        let verified = Received::new(case, sent).verify(case).expect("is valid");
        assert_eq!(verified.method, AuthMethod::Header);
        assert_eq!(verified.payload, payload);
        assert_eq!(verified.access_key_id, text(case, "access_key_id"));
    }
}

#[test]
fn signatures_for_other_services_are_equal() {
    for case in cases("service_signed") {
        let service = ["sqs", "sns", "sts"]
            .into_iter()
            .find(|service| *service == text(case, "service"))
            .expect("a known service");
        let signed = Signer::for_service(credentials(case), region(case), service)
            .sign_headers(&OutgoingRequest {
                method: &method(case),
                url: text(case, "url"),
                headers: &pairs(case, "headers"),
                payload: PayloadHash::parse(text(case, "body_sha256").as_bytes()).expect("a digest"),
                now: signed_at(case),
            })
            .expect("can be signed");
        let sent = pairs(case, "sent_headers");
        for (name, value) in &signed.headers {
            let theirs = sent.iter().find(|(sent, _)| sent == name).map(|(_, value)| value);
            assert_eq!(Some(value), theirs, "{name} of {case:#}");
        }
        let ours = |name: &str| signed.headers.iter().any(|(ours, _)| *ours == name);
        for (name, _) in &sent {
            assert!(
                !name.starts_with("x-amz-") || name == "x-amz-target" || ours(name),
                "{name} of {case:#}"
            );
        }
    }
}

#[test]
fn query_signatures_verify() {
    for case in cases("query_signed") {
        let verified = Received::new(case, pairs(case, "headers"))
            .verify(case)
            .expect("is valid");
        let life = SignedDuration::from_secs(number(case, "expires_in_seconds").into());
        assert_eq!(verified.expires_at, Some(verified.signed_at + life));
        assert_eq!(verified.payload.header_value(), text(case, "payload"));
    }
}

#[test]
fn nothing_survives_tampering() {
    for kind in ["header_signed", "query_signed"] {
        let sent = if kind == "header_signed" {
            "sent_headers"
        } else {
            "headers"
        };
        for case in cases(kind) {
            let original = Received::new(case, pairs(case, sent));
            for (what, tampered) in original.tampered() {
                let refused = tampered.verify(case).map(|verified| verified.access_key_id);
                assert!(refused.is_err(), "{what}: {case:#}");
            }
            let smuggled = original.with_header("x-amz-copy-source", "/other/secret");
            assert_eq!(
                smuggled.verify(case).expect_err("is not signed"),
                VerifyError::HeadersNotSigned(vec!["x-amz-copy-source".to_owned()])
            );
            let other_key = Credentials {
                secret_access_key: "another".into(),
                ..credentials(case)
            };
            assert_eq!(
                original
                    .verify_with(case, Some(other_key), signed_at(case))
                    .expect_err("another secret"),
                VerifyError::SignatureDoesNotMatch
            );
            assert_eq!(
                original
                    .verify_with(case, None, signed_at(case))
                    .expect_err("no such key"),
                VerifyError::InvalidAccessKeyId
            );
            let other_token = credentials(case).with_session_token("another");
            assert_eq!(
                original
                    .verify_with(case, Some(other_token), signed_at(case))
                    .expect_err("another token"),
                VerifyError::InvalidToken
            );
        }
    }
}

/// A request as the server sees it.
#[derive(Clone)]
struct Received {
    method: Method,
    path: String,
    query: Option<String>,
    headers: HeaderMap,
}

impl Received {
    fn new(case: &Value, sent: Vec<(String, String)>) -> Self {
        let (_, rest) = text(case, "url").split_once("://").expect("absolute");
        let (host, path_and_query) = rest.split_at(rest.find('/').expect("a path"));
        let (path, query) = path_and_query
            .split_once('?')
            .map_or((path_and_query, None), |(path, query)| {
                (path, Some(query.to_owned()))
            });
        let mut headers = HeaderMap::new();
        headers.insert("host", HeaderValue::from_str(host).expect("legal"));
        for (name, value) in sent {
            let name: HeaderName = name.parse().expect("legal");
            headers.append(name, HeaderValue::from_str(&value).expect("legal"));
        }
        Self {
            method: method(case),
            path: path.to_owned(),
            query,
            headers,
        }
    }

    fn verify(&self, case: &Value) -> Result<VerifiedRequest, VerifyError> {
        self.verify_with(case, Some(credentials(case)), signed_at(case))
    }

    fn verify_with(
        &self,
        case: &Value,
        found: Option<Credentials>,
        now: Timestamp,
    ) -> Result<VerifiedRequest, VerifyError> {
        let request = IncomingRequest {
            method: &self.method,
            path: &self.path,
            query: self.query.as_deref(),
            headers: &self.headers,
        };
        Verifier::new(region(case)).verify(&request, &|_: &str| found.clone(), now)
    }

    fn with_header(&self, name: &'static str, value: &str) -> Self {
        let mut changed = self.clone();
        changed
            .headers
            .append(name, HeaderValue::from_str(value).expect("legal"));
        changed
    }

    /// The request with one thing changed, in every way there is.
    fn tampered(&self) -> Vec<(String, Self)> {
        let mut all = Vec::new();
        let mut add = |what: String, change: &dyn Fn(&mut Self)| {
            let mut changed = self.clone();
            change(&mut changed);
            all.push((what, changed));
        };
        add("method".to_owned(), &|request| request.method = Method::PATCH);
        add("path extended".to_owned(), &|request| request.path.push('x'));
        add("path doubled slash".to_owned(), &|request| {
            request.path.insert(0, '/');
        });
        add("query added".to_owned(), &|request| {
            let query = request.query.take().map_or_else(String::new, |query| query + "&");
            request.query = Some(query + "uploads=");
        });
        for name in self.signed_names() {
            add(format!("header {name} removed"), &|request| {
                request.headers.remove(&name);
            });
            add(format!("header {name} changed"), &|request| {
                let changed = [request.headers[&name].as_bytes(), b"1"].concat();
                request
                    .headers
                    .insert(name.clone(), HeaderValue::from_bytes(&changed).expect("legal"));
            });
            add(format!("header {name} repeated"), &|request| {
                let value = request.headers[&name].clone();
                request.headers.append(name.clone(), value);
            });
        }
        let parameters = self.query.as_deref().map_or(0, |query| query.split('&').count());
        for index in 0..parameters {
            let edit = |edit: &dyn Fn(&mut Vec<String>)| {
                let mut parts: Vec<String> = self
                    .query
                    .iter()
                    .flat_map(|query| query.split('&'))
                    .map(str::to_owned)
                    .collect();
                edit(&mut parts);
                Some(parts.join("&"))
            };
            add(format!("parameter {index} changed"), &|request| {
                request.query = edit(&|parts| {
                    if !parts[index].contains('=') {
                        parts[index].push('=');
                    }
                    parts[index].push('1');
                });
            });
            add(format!("parameter {index} removed"), &|request| {
                request.query = edit(&|parts| drop(parts.remove(index)));
            });
            add(format!("parameter {index} repeated"), &|request| {
                request.query = edit(&|parts| parts.push(parts[index].clone()));
            });
        }
        all
    }

    /// The signed headers, and `authorization`.
    fn signed_names(&self) -> Vec<HeaderName> {
        let unsigned = ["user-agent", "expect"];
        self.headers
            .keys()
            .filter(|name| !unsigned.contains(&name.as_str()))
            .cloned()
            .collect()
    }
}

#[test]
fn cloudfront_urls_are_equal() {
    let (mut canned, mut custom) = (0, 0);
    for case in cases("cloudfront") {
        let signer =
            CloudFrontSigner::new(text(case, "key_pair_id"), text(case, "private_key")).expect("a key");
        let second =
            |value: &Value| Timestamp::from_second(value.as_i64().expect("a number")).expect("in range");
        let (plain, until) = (text(case, "plain"), second(&case["until"]));
        let wanted = &case["custom"];
        let url = if wanted.is_null() {
            canned += 1;
            signer.canned(plain, until)
        } else {
            custom += 1;
            let policy = CloudFrontPolicy {
                resource: text(wanted, "resource"),
                until,
                from: (!wanted["from"].is_null()).then(|| second(&wanted["from"])),
                source_ip: wanted["source_ip"].as_str(),
            };
            assert_eq!(policy.to_json().expect("a policy"), text(wanted, "json"));
            signer.custom(plain, &policy)
        };
        assert_eq!(url.expect("signed"), text(case, "url"), "{case}");
        let shown = format!("{signer:?}");
        assert!(
            !shown.contains("PRIVATE") && shown.contains(text(case, "key_pair_id")),
            "{shown}"
        );
    }
    assert!(canned > 100 && custom > 100);
}

#[test]
fn what_cloudfront_would_not_take_is_not_signed() {
    let case = &cases("cloudfront")[0];
    let pem = text(case, "private_key");
    let refused = |id: &str, pem: &str| CloudFrontSigner::new(id, pem).expect_err("refused").to_string();
    for id in ["", "a b", "a&b", &"k".repeat(129)] {
        assert!(refused(id, pem).contains("key pair"), "{id}");
    }
    let short = include_str!("keys/rsa-1024.pem");
    assert!(refused("K1", short).contains("2048"), "{short}");
    for pem in ["", "hush-hush", include_str!("keys/ec.pem")] {
        let message = refused("K1", pem);
        assert!(message.contains("RSA") && !message.contains("hush"), "{message}");
    }
    let signer = CloudFrontSigner::new("K1", pem).expect("a key");
    for url in [
        "",
        "https://cdn.example.org/a b",
        "https://cdn.example.org/é",
        "a\nb",
    ] {
        assert_eq!(
            signer.canned(url, Timestamp::UNIX_EPOCH),
            Err(SigningError::InvalidUrl),
            "{url}"
        );
    }
}
