//! Presigned PUT: taken exactly as signed, and in no other way.

use cloakroom_core::checksum::Sha256Digest;
use cloakroom_core::ports::objects::ObjectPath;
use cloakroom_core::ports::signer::{SignedRequest, UploadConstraints};
use http::Method;
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

use super::EXPIRES_SECONDS;
use super::caller::{Caller, Reply, done, element, pair, refused, seen};
use super::facts::Fact;
use super::findings::{Answer, Findings};

const BODY: &[u8] = b"presigned\n";
const TYPE: &str = "text/plain";

/// Asks everything about it.
pub(super) async fn ask(caller: &Caller<'_>, findings: &mut Findings) {
    let target = caller.target;
    let sign = |name: &str, sha256: Option<Sha256Digest>, now: Timestamp| {
        let path = ObjectPath::new(&target.bucket, caller.key(name));
        let constraints = UploadConstraints {
            sha256,
            ..constraints(BODY.len() as u64)
        };
        target
            .signer
            .put(&path, &constraints, EXPIRES_SECONDS, now)
            .map_err(|error| error.to_string())
    };
    let now = target.now();
    let put = async |name: &str, changed: &[(String, String)], body: &'static [u8]| -> Reply {
        caller
            .redeem(Method::PUT, &sign(name, None, now)?, changed, body)
            .await
    };

    let taken = put("put", &[], BODY).await;
    findings.note(Fact::PutAsSigned, as_signed(&taken, "s3:PutObject"));
    if !findings.holds(Fact::PutAsSigned) {
        let rest = [
            Fact::PutBindsType,
            Fact::PutBindsLength,
            Fact::PutBindsKey,
            Fact::PutExpires,
            Fact::PutRefusesCopySource,
            Fact::PutRefusesAcl,
            Fact::PutRefusesMetadata,
            Fact::PutVerifiesSha256,
        ];
        findings.give_up(rest, "what is signed is not taken either");
        return;
    }
    let other = put("put-type", &[pair("content-type", "text/html")], BODY).await;
    findings.note(Fact::PutBindsType, refused(&other));
    let longer = put("put-length", &[pair("content-length", "11")], b"presigned!\n").await;
    findings.note(Fact::PutBindsLength, refused(&longer));
    let elsewhere = match sign("put-key", None, now) {
        Ok(signed) => {
            let (from, to) = (caller.key("put-key"), caller.key("put-kez"));
            caller
                .redeem(Method::PUT, &moved(signed, &from, &to), &[], BODY)
                .await
        }
        Err(reason) => Err(reason),
    };
    findings.note(Fact::PutBindsKey, refused(&elsewhere));
    let late = match sign("put-late", None, target.long_ago()) {
        Ok(signed) => caller.redeem(Method::PUT, &signed, &[], BODY).await,
        Err(reason) => Err(reason),
    };
    findings.note(Fact::PutExpires, refused(&late));

    findings.note(Fact::PutRefusesCopySource, copy_source(caller, &put).await);
    let acl = put("put-acl", &[pair("x-amz-acl", "public-read")], BODY).await;
    let without_effect = match refused(&acl) {
        // It was taken. What counts is whether strangers read the object now.
        Answer::Not(seen) => {
            let url = target.endpoint.url_for(&target.bucket, &caller.key("put-acl"));
            match refused(&caller.send(Method::GET, &url, &[], "").await) {
                Answer::Not(_) => Answer::Not(format!("{seen}, and anybody reads the object then")),
                other => other,
            }
        }
        other => other,
    };
    findings.note(Fact::PutRefusesAcl, without_effect);
    let metadata = put("put-meta", &[pair("x-amz-meta-probe", "1")], BODY).await;
    findings.note(Fact::PutRefusesMetadata, refused(&metadata));

    let digest = Sha256Digest(Sha256::digest(b"another body").into());
    let wrong = match sign("put-sha256", Some(digest), now) {
        Ok(signed) => caller.redeem(Method::PUT, &signed, &[], BODY).await,
        Err(reason) => Err(reason),
    };
    findings.note(Fact::PutVerifiesSha256, refused(&wrong));
}

/// Whether somebody who may upload can copy what he may not read: the object that is there already is the victim. Signed
/// for an empty body and for ten bytes, because services differ in what they look at first.
async fn copy_source(
    caller: &Caller<'_>,
    put: &impl AsyncFn(&str, &[(String, String)], &'static [u8]) -> Reply,
) -> Answer {
    let victim = format!("/{}/{}", caller.target.bucket, caller.key("put"));
    let header = [pair("x-amz-copy-source", victim)];
    let with_body = put("put-copied", &header, BODY).await;
    match refused(&with_body) {
        Answer::Holds => {}
        other => return other,
    }
    let path = ObjectPath::new(&caller.target.bucket, caller.key("put-copied-empty"));
    let signed = caller
        .target
        .signer
        .put(&path, &constraints(0), EXPIRES_SECONDS, caller.target.now());
    match signed {
        Ok(signed) => refused(&caller.redeem(Method::PUT, &signed, &header, "").await),
        Err(error) => Answer::Unknown(error.to_string()),
    }
}

/// What uploads of the probe are signed for.
pub(super) fn constraints(size_bytes: u64) -> UploadConstraints {
    UploadConstraints {
        content_type: TYPE.to_owned(),
        size_bytes: Some(size_bytes),
        size_bytes_range: (size_bytes, size_bytes),
        sha256: None,
        success_action_status: 204,
    }
}

/// A URL, pointed at another key.
pub(super) fn moved(signed: SignedRequest, from: &str, to: &str) -> SignedRequest {
    let encoded = cloakroom_signing::encode_path;
    SignedRequest {
        url: signed.url.replacen(&*encoded(from), &encoded(to), 1),
        ..signed
    }
}

/// Holds if it was taken. A denial is that of the signer's permission, unless it speaks of the signature: for that most
/// services have a code of its own, and Garage says it in words.
pub(super) fn as_signed(reply: &Reply, action: &'static str) -> Answer {
    match (done(reply, action), reply) {
        (Answer::Denied(_), Ok(answer)) => {
            let text = answer.text();
            let is_permission = element(&text, "Code").as_deref() == Some("AccessDenied")
                && !element(&text, "Message")
                    .is_some_and(|said| said.to_ascii_lowercase().contains("signature"));
            if is_permission {
                Answer::Denied(action)
            } else {
                Answer::Not(seen(reply))
            }
        }
        (other, _) => other,
    }
}
