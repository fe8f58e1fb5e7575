//! What our credentials may do, one action after the other.

use http::Method;

use super::caller::{Caller, Reply, base64, done, is_unsupported, pair, seen, succeeded};
use super::conditions::source;
use super::facts::Fact;
use super::findings::{Answer, Findings};
use super::parts::encryption;

/// Asks for each permission.
pub(super) async fn ask(caller: &Caller<'_>, findings: &mut Findings) {
    objects(caller, findings).await;
    multipart(caller, findings).await;
    for (fact, query, action) in [
        (Fact::MayReadCors, "cors", "s3:GetBucketCORS"),
        (
            Fact::MayReadLifecycle,
            "lifecycle",
            "s3:GetLifecycleConfiguration",
        ),
        (Fact::MayReadPolicy, "policy", "s3:GetBucketPolicy"),
        (
            Fact::MayReadEncryption,
            "encryption",
            "s3:GetEncryptionConfiguration",
        ),
        (
            Fact::MayReadNotification,
            "notification",
            "s3:GetBucketNotification",
        ),
    ] {
        let reply = caller.call(Method::GET, "", &[(query, "")], &[], "").await;
        findings.note(fact, may_read(&reply, action));
    }
    for (fact, query, root, action) in [
        (
            Fact::MayWriteCors,
            "cors",
            "CORSConfiguration",
            "s3:PutBucketCORS",
        ),
        (
            Fact::MayWriteLifecycle,
            "lifecycle",
            "LifecycleConfiguration",
            "s3:PutLifecycleConfiguration",
        ),
    ] {
        let reply = write_nothing(caller, query, root).await;
        findings.note(fact, may_write(&reply, action));
    }
}

async fn objects(caller: &Caller<'_>, findings: &mut Findings) {
    let key = caller.key("object");
    let put = caller
        .call(Method::PUT, &key, &[], &encryption(caller), "probe")
        .await;
    findings.note(Fact::MayPut, done(&put, "s3:PutObject"));
    let list = [("list-type", "2"), ("max-keys", "1")];
    let list = caller.call(Method::GET, "", &list, &[], "").await;
    findings.note(Fact::MayList, done(&list, "s3:ListBucket"));
    if !succeeded(&put) {
        return;
    }
    let get = caller.call(Method::GET, &key, &[], &[], "").await;
    findings.note(Fact::MayGet, done(&get, "s3:GetObject"));
    let head = caller.call(Method::HEAD, &key, &[], &[], "").await;
    findings.note(Fact::MayHead, done(&head, "s3:GetObject"));
    let mut headers = encryption(caller);
    headers.push(pair("x-amz-copy-source", source(caller, "object")));
    let copied = caller.key("object-copied");
    let copy = caller.call(Method::PUT, &copied, &[], &headers, "").await;
    findings.note(Fact::MayCopy, done(&copy, "s3:GetObject and s3:PutObject"));
    let delete = caller.call(Method::DELETE, &key, &[], &[], "").await;
    findings.note(Fact::MayDelete, done(&delete, "s3:DeleteObject"));
}

async fn multipart(caller: &Caller<'_>, findings: &mut Findings) {
    let key = caller.key("multipart");
    let id = match caller.begin_multipart(&key, &encryption(caller)).await {
        Ok(id) => id,
        Err(reply) => {
            findings.note(Fact::MayBeginMultipart, done(&reply, "s3:PutObject"));
            return;
        }
    };
    findings.note(Fact::MayBeginMultipart, Answer::Holds);
    let parts = caller
        .call(Method::GET, &key, &[("uploadId", &id)], &[], "")
        .await;
    findings.note(Fact::MayListParts, done(&parts, "s3:ListMultipartUploadParts"));
    let query = [("uploads", ""), ("prefix", key.as_str())];
    let uploads = caller.call(Method::GET, "", &query, &[], "").await;
    let listed = match done(&uploads, "s3:ListBucketMultipartUploads") {
        Answer::Holds => {
            let shown = matches!(&uploads, Ok(answer) if answer.text().contains("<UploadId>"));
            Answer::when(shown, || "the list is empty while an upload is open".to_owned())
        }
        other => other,
    };
    findings.note(Fact::MayListUploads, listed);
    let abort = caller
        .call(Method::DELETE, &key, &[("uploadId", &id)], &[], "")
        .await;
    findings.note(Fact::MayAbortMultipart, done(&abort, "s3:AbortMultipartUpload"));
}

/// That there is no configuration is an answer.
fn may_read(reply: &Reply, action: &'static str) -> Answer {
    match reply {
        Ok(answer) if answer.status == 404 && !is_unsupported(answer) => Answer::Holds,
        _ => done(reply, action),
    }
}

/// A request that whoever may write is told to be malformed, and whoever may not is told so: neither changes anything. It
/// is no XML, and its digest is that of something else.
async fn write_nothing(caller: &Caller<'_>, query: &str, root: &str) -> Reply {
    let headers = [
        pair("content-type", "application/xml"),
        pair("content-md5", base64(&[0; 16])),
    ];
    let body = format!("<{root}><unfinished");
    caller.call(Method::PUT, "", &[(query, "")], &headers, body).await
}

fn may_write(reply: &Reply, action: &'static str) -> Answer {
    match reply {
        Ok(answer) if is_unsupported(answer) => Answer::Unsupported(seen(reply)),
        Ok(answer) if answer.status == 403 => Answer::Denied(action),
        Ok(answer) if answer.status.is_client_error() => Answer::Holds,
        Ok(_) => Answer::Unknown(format!("what is malformed is answered with {}", seen(reply))),
        Err(reason) => Answer::Unknown(reason.clone()),
    }
}
