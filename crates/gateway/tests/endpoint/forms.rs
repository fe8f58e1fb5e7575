//! Browser uploads.

use cloakroom_core::ports::clock::Clock;
use cloakroom_signing::{PolicyCondition, PostPolicyRequest};
use jiff::SignedDuration;

use crate::harness::{Answer, BUCKET, Harness};

pub const BOUNDARY: &str = "----WebKitFormBoundaryE19zNvXGzXaLvS5C";

/// A form that is about to be posted.
#[derive(Clone)]
pub struct Form {
    pub bucket: String,
    pub fields: Vec<(String, String)>,
    pub filename: String,
    pub file: Vec<u8>,
    pub without_file: bool,
    /// Fields that come after the file.
    pub after: Vec<(String, String)>,
}

impl Default for Form {
    fn default() -> Self {
        Self {
            bucket: BUCKET.into(),
            fields: Vec::new(),
            filename: "photo.png".into(),
            file: b"content".to_vec(),
            without_file: false,
            after: Vec::new(),
        }
    }
}

impl Form {
    pub fn get(&self, name: &str) -> String {
        self.fields
            .iter()
            .find(|(given, _)| given == name)
            .map(|(_, value)| value.clone())
            .expect("a field")
    }

    pub fn set(&mut self, name: &str, value: &str) {
        self.unset(name);
        self.fields.push((name.into(), value.into()));
    }

    pub fn unset(&mut self, name: &str) {
        self.fields.retain(|(given, _)| given != name);
    }

    pub fn body(&self) -> Vec<u8> {
        let mut body = Vec::new();
        let push_field = |body: &mut Vec<u8>, (name, value): &(String, String)| {
            body.extend_from_slice(
                format!("--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
                    .as_bytes(),
            );
        };
        self.fields.iter().for_each(|field| push_field(&mut body, field));
        if !self.without_file {
            let head = format!(
                "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{}\"\r\nContent-Type: text/html\r\n\r\n",
                self.filename
            );
            body.extend_from_slice(head.as_bytes());
            body.extend_from_slice(&self.file);
            body.extend_from_slice(b"\r\n");
        }
        self.after.iter().for_each(|field| push_field(&mut body, field));
        body.extend_from_slice(format!("--{BOUNDARY}--\r\n").as_bytes());
        body
    }
}

pub async fn send_form(harness: &Harness, form: &Form) -> Answer {
    let content_type = format!("multipart/form-data; boundary={BOUNDARY}");
    let target = format!("/{}", form.bucket);
    harness
        .send(&harness.request("POST", &target, &[("content-type", &content_type)], &form.body()))
        .await
}

/// A form for `key`, in which these fields may have any value.
pub fn sign_form(harness: &Harness, key: &str, fields: &[(&str, &str)]) -> Form {
    let conditions: Vec<_> = fields
        .iter()
        .map(|(name, _)| PolicyCondition::StartsWith((*name).into(), String::new()))
        .collect();
    let fields: Vec<_> = fields
        .iter()
        .map(|(name, value)| ((*name).into(), (*value).into()))
        .collect();
    let form = harness
        .signer
        .post_policy(&PostPolicyRequest {
            endpoint: &harness.endpoint,
            bucket: BUCKET,
            key,
            conditions: &conditions,
            fields: &fields,
            expires_in_seconds: 300,
            now: harness.clock.now(),
        })
        .expect("a form that can be signed");
    Form {
        fields: form.fields,
        ..Form::default()
    }
}

#[tokio::test]
async fn the_answer_is_the_one_asked_for() {
    let harness = Harness::start().await;
    let location = format!("http://{}/bucket/dir/k%C3%A9y", harness.address);
    for (fields, status) in [
        (vec![], 204),
        (vec![("success_action_status", "200")], 200),
        (vec![("success_action_status", "201")], 201),
        (vec![("success_action_status", "404")], 204),
        (vec![("success_action_redirect", "javascript:alert(1)")], 204),
        (
            vec![
                ("success_action_redirect", "https://app.example.com/done?a=b"),
                ("success_action_status", "201"),
            ],
            303,
        ),
    ] {
        let answer = send_form(&harness, &sign_form(&harness, "dir/kéy", &fields)).await;
        assert_eq!(answer.status, status, "{fields:?} {}", answer.text());
        let etag = answer.headers["etag"].trim_matches('"').to_owned();
        if status == 303 {
            let url = format!(
                "https://app.example.com/done?a=b&bucket=bucket&key=dir%2Fk%C3%A9y&etag=%22{etag}%22"
            );
            assert_eq!(answer.headers["location"], url);
        } else {
            assert_eq!(answer.headers["location"], location);
        }
        if status == 201 {
            assert_eq!(answer.element("Location").as_deref(), Some(location.as_str()));
            assert_eq!(answer.element("Key").as_deref(), Some("dir/kéy"));
            assert_eq!(answer.element("ETag"), Some(format!("&quot;{etag}&quot;")));
        } else {
            assert_eq!(answer.body, b"");
        }
    }
}

#[tokio::test]
async fn fields_become_stored_headers() {
    let harness = Harness::start().await;
    let form = sign_form(
        &harness,
        "k",
        &[
            ("Content-Type", "image/png"),
            ("x-amz-meta-Name", "größe"),
            ("Cache-Control", "no-store"),
            ("acl", "private"),
        ],
    );
    assert_eq!(send_form(&harness, &form).await.status, 204);
    let head = harness.signed("HEAD", "/bucket/k", &[], b"").await;
    assert_eq!(
        head.headers["content-type"], "image/png",
        "the field, not the part's own type"
    );
    assert_eq!(head.headers["x-amz-meta-name"], "größe");
    assert_eq!(head.headers["cache-control"], "no-store");
    assert_eq!(*harness.witness.told(), ["begun bucket/k", "done bucket/k 7"]);
}

#[tokio::test]
async fn the_file_may_name_the_key() {
    let harness = Harness::start().await;
    let mut form = sign_form(&harness, "up/${filename}", &[]);
    for (filename, key) in [
        ("кот.png", "up/кот.png"),
        ("C:\\dir\\a.txt", "up/a.txt"),
        ("../../b", "up/b"),
    ] {
        form.filename = filename.into();
        assert_eq!(send_form(&harness, &form).await.status, 204, "{filename}");
        assert_eq!(
            harness.held(key).await.as_deref(),
            Some(b"content".as_slice()),
            "{filename}"
        );
    }
    form.filename = "x".repeat(1022);
    send_form(&harness, &form)
        .await
        .assert_refused(400, "KeyTooLongError");
}

#[tokio::test]
async fn checksums_are_checked_before_anything_shows() {
    let harness = Harness::start().await;
    let mut form = sign_form(&harness, "k", &[("x-amz-checksum-crc32", "AAAAAA==")]);
    send_form(&harness, &form).await.assert_refused(400, "BadDigest");
    assert_eq!(harness.keys().await, [""; 0]);
    form.file = b"123456789".to_vec();
    form.set("x-amz-checksum-crc32", "y/Q5Jg==");
    let answer = send_form(&harness, &form).await;
    assert_eq!(answer.status, 204);
    assert_eq!(answer.headers["x-amz-checksum-crc32"], "y/Q5Jg==");
}

#[tokio::test]
async fn what_comes_after_the_file_is_ignored() {
    let harness = Harness::start().await;
    let mut form = sign_form(&harness, "k", &[]);
    form.after = vec![
        ("key".into(), "other".into()),
        ("policy".into(), "x".repeat(30_000)),
    ];
    assert_eq!(send_form(&harness, &form).await.status, 204);
    assert_eq!(harness.keys().await, ["k"]);
}

#[tokio::test]
async fn fields_before_the_file_are_bounded() {
    let harness = Harness::start().await;
    let mut large = sign_form(&harness, "k", &[]);
    large
        .fields
        .insert(0, ("x-ignore-a".into(), "x".repeat(21 * 1024)));
    send_form(&harness, &large)
        .await
        .assert_refused(400, "MaxPostPreDataLengthExceeded");
    let mut many = sign_form(&harness, "k", &[]);
    many.fields
        .extend((0..101).map(|n| (format!("x-ignore-{n}"), String::new())));
    send_form(&harness, &many)
        .await
        .assert_refused(400, "MaxPostPreDataLengthExceeded");
    assert_eq!(harness.keys().await, [""; 0]);
}

#[tokio::test]
async fn a_form_that_breaks_off_leaves_nothing() {
    let harness = Harness::start().await;
    let form = sign_form(&harness, "k", &[]);
    let whole = form.body();
    let content_type = format!("multipart/form-data; boundary={BOUNDARY}");
    let file_starts = whole
        .windows(7)
        .position(|window| window == b"content")
        .expect("the file");
    for length in [10, file_starts, file_starts + 3, whole.len() - BOUNDARY.len() - 5] {
        let request = harness.request(
            "POST",
            "/bucket",
            &[("content-type", &content_type)],
            &whole[..length],
        );
        let answer = harness.send(&request).await;
        assert_eq!(answer.status, 400, "{length}: {}", answer.text());
    }
    let short = harness.request(
        "POST",
        "/bucket",
        &[("content-type", "multipart/form-data")],
        &whole,
    );
    harness
        .send(&short)
        .await
        .assert_refused(400, "MalformedPOSTRequest");
    assert_eq!(harness.keys().await, [""; 0]);
}

#[tokio::test]
async fn what_would_not_be_done_is_refused() {
    let harness = Harness::start().await;
    for (field, value, code) in [
        ("acl", "public-read", "AccessControlListNotSupported"),
        ("tagging", "<Tagging/>", "NotImplemented"),
        ("x-amz-storage-class", "GLACIER", "InvalidStorageClass"),
        ("x-amz-server-side-encryption", "aws:kms", "NotImplemented"),
        ("x-amz-meta-a", "line\r\nbreak", "InvalidArgument"),
    ] {
        let answer = send_form(&harness, &sign_form(&harness, "k", &[(field, value)])).await;
        assert_eq!(answer.verdict().1, code, "{field}");
    }
    assert_eq!(harness.keys().await, [""; 0]);
}

/// What is changed, and how.
type FormChange = (&'static str, fn(&mut Form));

#[tokio::test]
async fn a_signature_permits_the_form_that_was_signed() {
    let harness = Harness::start().await;
    harness.place("victim", "secret of the victim").await;
    let conditions = [
        PolicyCondition::StartsWith("Content-Type".into(), "image/".into()),
        PolicyCondition::ContentLengthRange(2, 10),
    ];
    let form = harness
        .signer
        .post_policy(&PostPolicyRequest {
            endpoint: &harness.endpoint,
            bucket: BUCKET,
            key: "ticket",
            conditions: &conditions,
            fields: &[("Content-Type".into(), "image/png".into())],
            expires_in_seconds: 300,
            now: harness.clock.now(),
        })
        .expect("a form that can be signed");
    let good = Form {
        fields: form.fields,
        file: b"content".to_vec(),
        ..Form::default()
    };
    let changes: &[FormChange] = &[
        ("another key", |f| f.set("key", "victim")),
        ("a key below it", |f| f.set("key", "ticket/x")),
        ("no key", |f| f.unset("key")),
        ("a second key", |f| f.fields.push(("Key".into(), "victim".into()))),
        ("another bucket's form", |f| f.bucket = "bucke2".into()),
        ("another bucket's field", |f| f.set("bucket", "bucke2")),
        ("another type", |f| f.set("Content-Type", "text/html")),
        ("no type", |f| f.unset("Content-Type")),
        ("too large", |f| f.file = b"elevenbytes".to_vec()),
        ("too small", |f| f.file = b"1".to_vec()),
        ("metadata", |f| f.set("x-amz-meta-role", "admin")),
        ("an acl", |f| f.set("acl", "public-read")),
        ("a redirect", |f| {
            f.set("success_action_redirect", "https://evil.example");
        }),
        ("no policy", |f| f.unset("policy")),
        ("no signature", |f| f.unset("x-amz-signature")),
        ("another signature", |f| f.set("x-amz-signature", &"0".repeat(64))),
        ("another policy", |f| {
            let policy = f.get("policy");
            f.set("policy", &policy.replacen('Y', "Z", 1));
        }),
        ("another account", |f| {
            f.set("x-amz-credential", "NOBODY/20260102/us-east-1/s3/aws4_request");
        }),
        ("another date", |f| f.set("x-amz-date", "20260103T030405Z")),
        ("version 2", |f| f.set("AWSAccessKeyId", "AKIDEXAMPLE")),
        ("no file", |f| f.without_file = true),
    ];
    for (name, change) in changes {
        let mut form = good.clone();
        change(&mut form);
        let answer = send_form(&harness, &form).await;
        assert!(
            matches!(answer.status, 400 | 403),
            "{name}: {:?} {}",
            answer.verdict(),
            answer.text()
        );
        assert_eq!(harness.keys().await, ["victim"], "{name}");
    }
    assert_eq!(send_form(&harness, &good).await.status, 204);
    assert_eq!(
        harness.held("ticket").await.as_deref(),
        Some(b"content".as_slice())
    );
    harness.clock.advance(SignedDuration::from_secs(301));
    send_form(&harness, &good)
        .await
        .assert_refused(403, "AccessDenied");
}
