//! How the bucket is set up: CORS, lifecycle, encryption, storage class, versions, notifications.

use std::net::IpAddr;

use cloakroom_core::key::STAGING_PREFIX;
use cloakroom_core::ports::objects::ObjectPath;
use cloakroom_core::ports::signer::DownloadPresentation;
use cloakroom_signing::Endpoint;
use http::Method;

use super::EXPIRES_SECONDS;
use super::caller::{Caller, Reply, done, element, is_unsupported, pair, seen, succeeded};
use super::facts::Fact;
use super::findings::{Answer, Findings};
use super::puts::constraints;
use crate::s3::Encryption;

const BODY: &str = "set up";

/// Asks everything about it.
pub(super) async fn ask(caller: &Caller<'_>, findings: &mut Findings) {
    cors(caller, findings).await;
    lifecycle(caller, findings).await;
    encryption(caller, findings).await;
    if let Some(class) = &caller.target.storage_class {
        let stored = put_and_look(caller, "class", &[pair("x-amz-storage-class", class)]).await;
        let shown = stored
            .as_ref()
            .ok()
            .and_then(|answer| answer.header("x-amz-storage-class"));
        let answer = match &stored {
            Ok(answer) if answer.status.is_success() => {
                // The default class is not shown (S3 API, "HeadObject").
                let is_right = shown == Some(class) || shown.is_none() && class == "STANDARD";
                Answer::when(is_right, || {
                    format!("stored as {}", shown.unwrap_or("the default"))
                })
            }
            _ => done(&stored, "s3:PutObject"),
        };
        findings.note(Fact::StorageClassAsConfigured, answer);
    }
    let versions = caller.call(Method::GET, "", &[("versioning", "")], &[], "").await;
    let is_on = versions
        .as_ref()
        .is_ok_and(|answer| answer.text().contains("<Status>Enabled<"));
    let versioning = match &versions {
        Ok(answer) if answer.status.is_success() => {
            Answer::when(!is_on, || "versioning is enabled".to_owned())
        }
        // Who knows no versions keeps none.
        Ok(answer) if is_unsupported(answer) || answer.status == 404 => Answer::Holds,
        _ => looked(&versions, "s3:GetBucketVersioning"),
    };
    findings.note(Fact::VersioningOff, versioning);
    let notifications = caller
        .call(Method::GET, "", &[("notification", "")], &[], "")
        .await;
    findings.note(
        Fact::Notifications,
        looked(&notifications, "s3:GetBucketNotification"),
    );
}

/// What a look at the bucket's configuration came to. Who may not look knows nothing.
fn looked(reply: &Reply, action: &'static str) -> Answer {
    match done(reply, action) {
        Answer::Denied(action) => Answer::Unknown(format!("{action} is denied")),
        other => other,
    }
}

/// Preflights as a browser sends them, for every origin: to the very URLs that clients are given, since Swift knows by the
/// signature in them whom they are for.
async fn cors(caller: &Caller<'_>, findings: &mut Findings) {
    let target = caller.target;
    if target.origins.is_empty() {
        return;
    }
    findings.note(
        Fact::SameProtocol,
        same_protocol(&target.announced, &target.origins),
    );
    let path = ObjectPath::new(&target.bucket, caller.key("cors"));
    let now = target.now();
    let upload = constraints(BODY.len() as u64);
    let presentation = DownloadPresentation {
        content_disposition: "attachment".to_owned(),
        content_type: "text/plain".to_owned(),
    };
    let signer = &target.signer;
    let put = signer.put(&path, &upload, EXPIRES_SECONDS, now);
    let form = signer.post(&path, &upload, EXPIRES_SECONDS, now);
    let get = signer.get(&path, &presentation, EXPIRES_SECONDS, now);
    for (fact, method, headers, url) in [
        (
            Fact::CorsPut,
            "PUT",
            "content-type,x-amz-checksum-sha256",
            put.map(|signed| signed.url),
        ),
        (
            Fact::CorsPost,
            "POST",
            "content-type",
            form.map(|signed| signed.url),
        ),
        (Fact::CorsGet, "GET", "range", get.map(|signed| signed.url)),
    ] {
        let url = match url {
            Ok(url) => url,
            Err(error) => {
                findings.note(fact, Answer::Unknown(error.to_string()));
                continue;
            }
        };
        let mut answer = Answer::Holds;
        for origin in &target.origins {
            let asked = [
                pair("origin", origin),
                pair("access-control-request-method", method),
                pair("access-control-request-headers", headers),
            ];
            let reply = caller.send(Method::OPTIONS, &url, &asked, "").await;
            answer = allowed(&reply, origin, method, headers);
            if answer != Answer::Holds {
                break;
            }
        }
        findings.note(fact, answer);
    }
    let origin = pair("origin", &target.origins[0]);
    let signed = signer.put(&path, &upload, EXPIRES_SECONDS, now);
    let reply = match signed {
        Ok(signed) => caller.redeem(Method::PUT, &signed, &[origin], BODY).await,
        Err(error) => Err(error.to_string()),
    };
    let exposed = reply
        .as_ref()
        .ok()
        .and_then(|answer| answer.header("access-control-expose-headers"))
        .unwrap_or_default();
    let is_exposed = exposed
        .split(',')
        .any(|name| matches!(name.trim().to_ascii_lowercase().as_str(), "etag" | "*"));
    findings.note(
        Fact::CorsExposesEtag,
        Answer::when(is_exposed && succeeded(&reply), || {
            format!("{}, exposed: {exposed:?}", seen(&reply))
        }),
    );
}

/// Browsers block what a page from `https` sends to an `http` address, unless that is on the same machine (W3C, "Mixed
/// Content" and "Secure Contexts", §3.1).
fn same_protocol(announced: &Endpoint, origins: &[String]) -> Answer {
    let host = announced.host();
    let name = match host.strip_prefix('[') {
        Some(address) => address.split(']').next(),
        None => host.split(':').next(),
    };
    let name = name.unwrap_or(host);
    let is_trusted = announced.scheme() == "https"
        || name == "localhost"
        || name.ends_with(".localhost")
        || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    match origins.iter().find(|origin| origin.starts_with("https://")) {
        Some(origin) if !is_trusted => {
            Answer::Not(format!("a page of {origin} would be sent to http://{host}"))
        }
        _ => Answer::Holds,
    }
}

fn allowed(reply: &Reply, origin: &str, method: &str, headers: &str) -> Answer {
    let Ok(answer) = reply else {
        return Answer::Unknown(seen(reply));
    };
    if is_unsupported(answer) {
        return Answer::Unsupported(seen(reply));
    }
    let says = |name: &str| answer.header(name).unwrap_or_default().to_ascii_lowercase();
    let origins = says("access-control-allow-origin");
    let methods = says("access-control-allow-methods");
    let allowed = says("access-control-allow-headers");
    let is_allowed = |header: &str| {
        allowed
            .split(',')
            .any(|known| matches!(known.trim(), "*") || known.trim() == header)
    };
    let holds = answer.status.is_success()
        && (origins == "*" || origins == origin.to_ascii_lowercase())
        // Requests with signatures in their URLs carry no cookies, so `*` means any (Fetch, "CORS-preflight fetch").
        && methods
            .split(',')
            .any(|known| known.trim() == "*" || known.trim().eq_ignore_ascii_case(method))
        && headers.split(',').all(is_allowed);
    Answer::when(holds, || {
        if answer.status.is_success() && !origins.is_empty() {
            format!("for {origin} it allows the methods {methods:?} and the headers {allowed:?}")
        } else {
            format!("{origin} is not allowed ({})", seen(reply))
        }
    })
}

async fn lifecycle(caller: &Caller<'_>, findings: &mut Findings) {
    let reply = caller.call(Method::GET, "", &[("lifecycle", "")], &[], "").await;
    let rules = match &reply {
        Ok(answer) if answer.status.is_success() => answer.text(),
        Ok(answer) if answer.status == 404 => String::new(),
        _ => {
            let answer = looked(&reply, "s3:GetLifecycleConfiguration");
            findings.note(Fact::LifecycleNet, answer.clone());
            findings.note(Fact::LifecycleAborts, answer);
            return;
        }
    };
    let rules: Vec<&str> = rules
        .split("<Rule>")
        .skip(1)
        .filter(|rule| rule.contains("<Status>Enabled</Status>"))
        .collect();
    let over_staging = |rule: &&&str| {
        element(rule, "Prefix").is_none_or(|prefix| STAGING_PREFIX.starts_with(prefix.as_str()))
    };
    let has = |what: &str| {
        let found = rules.iter().filter(over_staging).any(|rule| rule.contains(what));
        Answer::when(found, || "there is no such rule".to_owned())
    };
    findings.note(Fact::LifecycleNet, has("<Expiration>"));
    findings.note(Fact::LifecycleAborts, has("<AbortIncompleteMultipartUpload>"));
}

async fn encryption(caller: &Caller<'_>, findings: &mut Findings) {
    let stored = put_and_look(caller, "sse", &Encryption::Aes256.headers()).await;
    findings.note(Fact::EncryptionAes256, encrypted(&stored, "AES256"));
    let Some(wanted) = &caller.target.encryption else {
        return;
    };
    let algorithm = match wanted {
        Encryption::Aes256 => "AES256",
        Encryption::Kms { .. } => "aws:kms",
    };
    let stored = put_and_look(caller, "sse-wanted", &wanted.headers()).await;
    let answer = encrypted(&stored, algorithm);
    if matches!(wanted, Encryption::Kms { .. }) {
        findings.note(Fact::EncryptionKms, answer.clone());
    }
    findings.note(Fact::EncryptionAsConfigured, answer);
}

fn encrypted(stored: &Reply, algorithm: &str) -> Answer {
    let Ok(answer) = stored else {
        return Answer::Unknown(seen(stored));
    };
    if !answer.status.is_success() {
        return Answer::Not(seen(stored));
    }
    let shown = answer.header("x-amz-server-side-encryption");
    Answer::when(shown == Some(algorithm), || {
        format!("asked for {algorithm}, stored with {}", shown.unwrap_or("none"))
    })
}

/// Writes with these headers; what is said of the object then, or why it was not written.
async fn put_and_look(caller: &Caller<'_>, name: &str, headers: &[(String, String)]) -> Reply {
    let key = caller.key(name);
    let written = caller.call(Method::PUT, &key, &[], headers, BODY).await;
    if !succeeded(&written) {
        return written;
    }
    caller.call(Method::HEAD, &key, &[], &[], "").await
}

#[cfg(test)]
mod tests {
    use cloakroom_signing::Addressing;

    use super::*;

    #[test]
    fn pages_from_https_need_https_beyond_their_own_machine() {
        for (address, page, holds) in [
            ("https://s3.test", "https://app.test", true),
            ("http://s3.test:9000", "http://app.test", true),
            ("http://s3.test:9000", "https://app.test", false),
            ("http://localhost.test", "https://app.test", false),
            ("http://10.0.0.1:9000", "https://app.test", false),
            ("http://[fd00::1]:9000", "https://app.test", false),
            ("http://localhost:9000", "https://app.test", true),
            ("http://s3.localhost", "https://app.test", true),
            ("http://127.0.0.2:9000", "https://app.test", true),
            ("http://[::1]:9000", "https://app.test", true),
        ] {
            let announced = Endpoint::parse(address, Addressing::Path).expect("an address");
            let answer = same_protocol(&announced, &["http://other.test".to_owned(), page.to_owned()]);
            assert_eq!(answer == Answer::Holds, holds, "{page} to {address}: {answer:?}");
            assert!(holds || answer.seen().contains(page) && answer.seen().contains(address));
        }
    }
}
