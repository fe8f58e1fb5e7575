//! Presigned downloads, ranges, lists, and whether anybody reads without a signature.

use cloakroom_core::ports::objects::ObjectPath;
use cloakroom_core::ports::signer::{DownloadPresentation, SignedRequest};
use http::Method;
use jiff::Timestamp;

use super::EXPIRES_SECONDS;
use super::caller::{Caller, Reply, element, pair, refused, seen, succeeded};
use super::facts::Fact;
use super::findings::{Answer, Findings};
use super::puts::as_signed;
use crate::s3::headers::USER_METADATA_BYTES_MAX;

const BODY: &[u8] = b"0123456789";
const METADATA_NAME: &str = "probe";
/// What is hard to spell in URLs and XML.
const HARD_NAME: &str = "hard/ +&<é日%2B\"'";

/// Asks everything about reading.
pub(super) async fn ask(caller: &Caller<'_>, findings: &mut Findings) {
    let key = caller.key("read");
    let written = caller.call(Method::PUT, &key, &[], &[], BODY).await;
    if !succeeded(&written) {
        return;
    }
    let range = caller
        .call(Method::GET, &key, &[], &[pair("range", "bytes=2-4")], "")
        .await;
    let is_range = matches!(&range, Ok(answer) if answer.status == 206
        && answer.body.as_ref() == b"234"
        && answer.header("content-range") == Some("bytes 2-4/10"));
    findings.note(Fact::Ranges, Answer::when(is_range, || seen(&range)));
    downloads(caller, &key, findings).await;
    let url = caller.target.endpoint.url_for(&caller.target.bucket, &key);
    let anonymous = caller.send(Method::GET, &url, &[], "").await;
    findings.note(Fact::AnonymousRefused, refused(&anonymous));
    // Whoever takes slashes off finds the object that is there.
    let slashed = caller.call(Method::GET, &format!("/{key}"), &[], &[], "").await;
    findings.note(Fact::LeadingSlashes, refused(&slashed));
    findings.note(Fact::UserMetadata, user_metadata(caller).await);
    findings.note(Fact::ListEncoding, lists(caller).await);
}

async fn downloads(caller: &Caller<'_>, key: &str, findings: &mut Findings) {
    let target = caller.target;
    let presentation = DownloadPresentation {
        content_disposition: "attachment; filename=\"probe.txt\"".to_owned(),
        content_type: "text/x-probe".to_owned(),
    };
    let path = ObjectPath::new(&target.bucket, key);
    let sign = |now: Timestamp| -> Result<SignedRequest, String> {
        let signed = target.signer.get(&path, &presentation, EXPIRES_SECONDS, now);
        signed.map_err(|error| error.to_string())
    };
    let get = async |signed: Result<SignedRequest, String>| -> Reply {
        caller.redeem(Method::GET, &signed?, &[], "").await
    };
    let got = get(sign(target.now())).await;
    findings.note(Fact::GetAsSigned, as_signed(&got, "s3:GetObject"));
    if let Ok(answer) = &got
        && answer.status.is_success()
    {
        let found = (
            answer.header("content-disposition"),
            answer.header("content-type"),
        );
        let expected = (
            Some(presentation.content_disposition.as_str()),
            Some(presentation.content_type.as_str()),
        );
        findings.note(
            Fact::GetPresents,
            Answer::when(found == expected, || format!("{found:?}")),
        );
        findings.note(Fact::GetExpires, refused(&get(sign(target.long_ago())).await));
    }
}

/// Whether as much comes back as S3 keeps (S3 user guide, "User-defined object metadata").
async fn user_metadata(caller: &Caller<'_>) -> Answer {
    let key = caller.key("metadata");
    let value = "v".repeat(USER_METADATA_BYTES_MAX - METADATA_NAME.len());
    let header = [pair(&format!("x-amz-meta-{METADATA_NAME}"), &*value)];
    let written = caller.call(Method::PUT, &key, &[], &header, BODY).await;
    if !succeeded(&written) {
        return Answer::Not(seen(&written));
    }
    let looked = caller.call(Method::HEAD, &key, &[], &[], "").await;
    let shown = looked
        .as_ref()
        .ok()
        .and_then(|answer| answer.header(&header[0].0));
    Answer::when(shown == Some(&*value), || {
        let bytes = shown.map_or(0, str::len);
        format!("{bytes} of {} bytes came back", value.len())
    })
}

/// Whether a key that is hard to spell comes back as it was.
async fn lists(caller: &Caller<'_>) -> Answer {
    let key = caller.key(HARD_NAME);
    let written = caller.call(Method::PUT, &key, &[], &[], BODY).await;
    if !succeeded(&written) {
        return Answer::Not(format!("such a key is refused: {}", seen(&written)));
    }
    let prefix = format!("{}hard/", caller.target.prefix);
    let query = [("list-type", "2"), ("encoding-type", "url"), ("prefix", &prefix)];
    let listed = caller.call(Method::GET, "", &query, &[], "").await;
    let answer = match &listed {
        Ok(answer) if answer.status.is_success() => answer,
        _ => return Answer::Unknown(seen(&listed)),
    };
    let found = element(&answer.text(), "Key").unwrap_or_default();
    // A space may come as a plus.
    let spaced = found.replace('+', "%20");
    let decoded = cloakroom_signing::percent_decode_str(&spaced).ok();
    Answer::when(decoded.as_deref() == Some(key.as_str()), || {
        format!("listed as {found}")
    })
}
