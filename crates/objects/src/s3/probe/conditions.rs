//! Conditional requests: whether a condition that does not hold keeps anything from being done. Each is tried with one that
//! holds too, for a service that refuses every condition keeps none.

use cloakroom_signing::encode_path;
use http::Method;

use super::caller::{Caller, Reply, pair, seen, succeeded};
use super::facts::Fact;
use super::findings::{Answer, Findings};
use super::parts::encryption;

const WRONG_ETAG: &str = "00000000000000000000000000000000";

/// Asks what the adapter decides by.
pub(super) async fn ask_briefly(caller: &Caller<'_>, findings: &mut Findings) {
    let key = caller.key("conditional");
    let put = async |key: &str, headers: &[(String, String)]| {
        caller.call(Method::PUT, key, &[], headers, "one").await
    };
    let created = put(&key, &[]).await;
    let etag = created.as_ref().ok().and_then(|answer| answer.header("etag"));
    let Some(etag) = etag.map(|etag| etag.trim_matches('"').to_owned()) else {
        findings.give_up(
            [Fact::PutIfAbsent, Fact::PutIfMatch, Fact::CopyIfMatch],
            "nothing can be written",
        );
        return;
    };
    let absent = [pair("if-none-match", "*")];
    let broken = put(&key, &absent).await;
    let kept = put(&caller.key("conditional-new"), &absent).await;
    findings.note(Fact::PutIfAbsent, enforced(&broken, &kept));
    // Without quotes: Ceph compares the texts.
    let broken = put(&key, &[pair("if-match", WRONG_ETAG)]).await;
    let kept = put(&key, &[pair("if-match", &*etag)]).await;
    findings.note(Fact::PutIfMatch, enforced(&broken, &kept));

    let broken = copy(caller, "conditional-copy", &pinned(WRONG_ETAG)).await;
    let kept = copy(caller, "conditional-copy-kept", &pinned(&etag)).await;
    findings.note(Fact::CopyIfMatch, enforced(&broken, &kept));
}

/// Asks about conditions on what copies and completions replace.
pub(super) async fn ask(caller: &Caller<'_>, findings: &mut Findings) {
    let absent = [pair("if-none-match", "*")];
    let there = caller.key("conditional");
    let source = pair("x-amz-copy-source", source(caller, "conditional-new"));
    let broken = caller
        .call(Method::PUT, &there, &[], &[source.clone(), absent[0].clone()], "")
        .await;
    let kept = caller
        .call(
            Method::PUT,
            &caller.key("conditional-copy-new"),
            &[],
            &[source, absent[0].clone()],
            "",
        )
        .await;
    findings.note(Fact::CopyIfAbsent, enforced(&broken, &kept));

    let broken = complete(caller, &there, &absent).await;
    let kept = complete(caller, &caller.key("conditional-parts"), &absent).await;
    findings.note(Fact::CompletionIfAbsent, enforced(&broken, &kept));
    let etag = caller.call(Method::HEAD, &there, &[], &[], "").await;
    let etag = etag.as_ref().ok().and_then(|answer| answer.header("etag"));
    let etag = etag.unwrap_or_default().trim_matches('"').to_owned();
    let broken = complete(caller, &there, &[pair("if-match", WRONG_ETAG)]).await;
    // What was done in spite of its condition has another ETag now.
    let kept = if succeeded(&broken) {
        broken.clone()
    } else {
        complete(caller, &there, &[pair("if-match", etag)]).await
    };
    findings.note(Fact::CompletionIfMatch, enforced(&broken, &kept));
}

/// Both spellings, as the adapter sends them: S3's, and the one that Ceph looks at.
fn pinned(etag: &str) -> [(String, String); 2] {
    [
        pair("x-amz-copy-source-if-match", etag),
        pair("x-amz-copy-if-match", etag),
    ]
}

pub(super) fn source(caller: &Caller<'_>, name: &str) -> String {
    format!("/{}/{}", caller.target.bucket, encode_path(&caller.key(name)))
}

async fn copy(caller: &Caller<'_>, to: &str, headers: &[(String, String)]) -> Reply {
    let mut all = vec![pair("x-amz-copy-source", source(caller, "conditional"))];
    all.extend_from_slice(headers);
    caller.call(Method::PUT, &caller.key(to), &[], &all, "").await
}

async fn complete(caller: &Caller<'_>, key: &str, headers: &[(String, String)]) -> Reply {
    let id = match caller.begin_multipart(key, &encryption(caller)).await {
        Ok(id) => id,
        Err(reply) => return reply,
    };
    let query = [("partNumber", "1"), ("uploadId", id.as_str())];
    let part = caller.call(Method::PUT, key, &query, &[], "part").await?;
    let etag = part.header("etag").unwrap_or_default().to_owned();
    caller.complete(key, &id, &[etag], headers).await
}

/// Holds if the condition that does not hold is refused, and the one that does is not.
fn enforced(broken: &Reply, kept: &Reply) -> Answer {
    let is_refused = matches!(broken, Ok(answer) if matches!(answer.status.as_u16(), 409 | 412));
    match (is_refused, succeeded(kept)) {
        (true, true) => Answer::Holds,
        (true, false) => Answer::Not(format!("one that holds is refused too: {}", seen(kept))),
        (false, _) if succeeded(broken) => Answer::Not(format!("done all the same: {}", seen(broken))),
        _ => Answer::Not(seen(broken)),
    }
}
