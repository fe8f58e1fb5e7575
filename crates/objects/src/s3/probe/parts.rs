//! Multipart uploads: presigned parts exactly as signed, and what becomes of them.

use cloakroom_core::ports::objects::ObjectPath;
use cloakroom_core::ports::signer::SignedRequest;
use http::Method;
use jiff::Timestamp;

use super::EXPIRES_SECONDS;
use super::caller::{Caller, Reply, pair, refused, seen, succeeded};
use super::facts::Fact;
use super::findings::{Answer, Findings};
use super::puts::{as_signed, moved};

const PART: &[u8] = b"a part\n";
/// The smallest part that is not the last.
const PART_BYTES: usize = 5 * 1024 * 1024;

/// Asks about presigned parts, with one small upload.
pub(super) async fn ask_briefly(caller: &Caller<'_>, findings: &mut Findings) {
    let rest = [
        Fact::PartBindsNumber,
        Fact::PartBindsKey,
        Fact::PartExpires,
        Fact::PartRefusesCopySource,
    ];
    let key = caller.key("part");
    let id = match caller.begin_multipart(&key, &encryption(caller)).await {
        Ok(id) => id,
        Err(reply) => {
            findings.note(Fact::PartAsSigned, as_signed(&reply, "s3:PutObject"));
            findings.give_up(rest, "no multipart upload can be begun");
            return;
        }
    };
    let target = caller.target;
    let path = ObjectPath::new(&target.bucket, &key);
    let sign = |number: u32, now: Timestamp| -> Result<SignedRequest, String> {
        let signed = target.signer.part(&path, &id, number, EXPIRES_SECONDS, now);
        signed.map_err(|error| error.to_string())
    };
    let now = target.now();
    let put = async |signed: Result<SignedRequest, String>, changed: &[(String, String)]| -> Reply {
        caller.redeem(Method::PUT, &signed?, changed, PART).await
    };
    let taken = put(sign(1, now), &[]).await;
    findings.note(Fact::PartAsSigned, as_signed(&taken, "s3:PutObject"));
    if !succeeded(&taken) {
        findings.give_up(rest, "what is signed is not taken either");
        return;
    }
    let renumbered = sign(2, now).map(|signed| SignedRequest {
        url: signed.url.replacen("partNumber=2", "partNumber=3", 1),
        ..signed
    });
    findings.note(Fact::PartBindsNumber, refused(&put(renumbered, &[]).await));
    // An upload of its own for the other key, so that nothing but the signature is in the way.
    let other = caller.key("pars");
    let elsewhere = match caller.begin_multipart(&other, &encryption(caller)).await {
        Ok(other_id) => {
            let signed = sign(2, now).map(|signed| {
                let signed = moved(signed, &key, &other);
                let encode = cloakroom_signing::encode_component;
                SignedRequest {
                    url: signed.url.replacen(&*encode(&id), &encode(&other_id), 1),
                    ..signed
                }
            });
            put(signed, &[]).await
        }
        Err(reply) => reply,
    };
    findings.note(Fact::PartBindsKey, refused(&elsewhere));
    findings.note(
        Fact::PartExpires,
        refused(&put(sign(4, target.long_ago()), &[]).await),
    );
    let victim = format!("/{}/{}", target.bucket, caller.key("put"));
    let copied = match sign(5, now) {
        Ok(signed) => {
            let header = [pair("x-amz-copy-source", victim)];
            caller.redeem(Method::PUT, &signed, &header, "").await
        }
        Err(reason) => Err(reason),
    };
    findings.note(Fact::PartRefusesCopySource, refused(&copied));
}

/// Asks with uploads of small parts, and one of three parts of different sizes.
pub(super) async fn ask(caller: &Caller<'_>, findings: &mut Findings) {
    for (fact, name, parts) in [
        (
            Fact::SmallPartsRefused,
            "parts-small",
            &[PART.to_vec(), PART.to_vec()][..],
        ),
        (Fact::EmptyParts, "parts-empty", &[vec![]]),
    ] {
        let key = caller.key(name);
        let Ok(id) = caller.begin_multipart(&key, &encryption(caller)).await else {
            findings.give_up([fact], "no multipart upload can be begun");
            continue;
        };
        let completed = upload(caller, &key, &id, parts).await;
        let answer = if fact == Fact::EmptyParts {
            Answer::when(succeeded(&completed), || seen(&completed))
        } else {
            refused(&completed)
        };
        findings.note(fact, answer);
    }
    let parts = [
        vec![1; PART_BYTES],
        vec![2; PART_BYTES + PART_BYTES / 4],
        vec![3; 1],
    ];
    let key = caller.key("parts");
    let Ok(id) = caller.begin_multipart(&key, &encryption(caller)).await else {
        findings.give_up(
            [
                Fact::PartsComplete,
                Fact::CompletedClosed,
                Fact::UnevenParts,
                Fact::PartReads,
            ],
            "no multipart upload can be begun",
        );
        return;
    };
    let uneven = upload(caller, &key, &id, &parts).await;
    let completed = succeeded(&uneven);
    findings.note(Fact::UnevenParts, Answer::when(completed, || seen(&uneven)));
    if !completed {
        // R2 takes parts of one size only.
        let even = [parts[0].clone(), vec![2; PART_BYTES], vec![3; 1]];
        let again = match caller.begin_multipart(&key, &encryption(caller)).await {
            Ok(id) => upload(caller, &key, &id, &even).await,
            Err(reply) => reply,
        };
        findings.note(
            Fact::PartsComplete,
            Answer::when(succeeded(&again), || seen(&again)),
        );
        return;
    }
    let whole: usize = parts.iter().map(Vec::len).sum();
    let looked = caller.call(Method::HEAD, &key, &[], &[], "").await;
    let size = looked
        .as_ref()
        .ok()
        .and_then(|answer| answer.header("content-length"));
    let is_whole = size == Some(&whole.to_string());
    findings.note(
        Fact::PartsComplete,
        Answer::when(is_whole, || {
            format!("{} bytes instead of {whole}", size.unwrap_or("no"))
        }),
    );
    let late = [("partNumber", "4"), ("uploadId", id.as_str())];
    let late = caller.call(Method::PUT, &key, &late, &[], PART).await;
    findings.note(Fact::CompletedClosed, refused(&late));
    let second = caller
        .call(Method::HEAD, &key, &[("partNumber", "2")], &[], "")
        .await;
    let size = second
        .as_ref()
        .ok()
        .and_then(|answer| answer.header("content-length"));
    let is_part = size == Some(&parts[1].len().to_string());
    findings.note(
        Fact::PartReads,
        Answer::when(is_part, || {
            format!("{}, {} bytes", seen(&second), size.unwrap_or("no"))
        }),
    );
}

async fn upload(caller: &Caller<'_>, key: &str, id: &str, parts: &[Vec<u8>]) -> Reply {
    let mut etags = Vec::new();
    for (part, number) in parts.iter().zip(1..) {
        let number = format!("{number}");
        let query = [("partNumber", number.as_str()), ("uploadId", id)];
        let taken = caller.call(Method::PUT, key, &query, &[], part.clone()).await;
        match &taken {
            Ok(answer) if answer.status.is_success() => {
                etags.push(answer.header("etag").unwrap_or_default().to_owned());
            }
            _ => return taken,
        }
    }
    caller.complete(key, id, &etags, &[]).await
}

/// Parts are encrypted as their upload was begun.
pub(super) fn encryption(caller: &Caller<'_>) -> Vec<(String, String)> {
    let encryption = caller.target.encryption.as_ref();
    encryption.map(crate::s3::Encryption::headers).unwrap_or_default()
}
