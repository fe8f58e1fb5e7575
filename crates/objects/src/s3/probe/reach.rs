//! Getting there: name, connection, TLS; credentials, clock, bucket.

use bytes::Bytes;
use cloakroom_signing::Endpoint;
use http::Method;
use tokio::net::lookup_host;

use super::caller::{Caller, element, seen};
use super::facts::Fact;
use super::findings::{Answer, Findings};
use crate::s3::answer::http_date;

/// Clocks that differ by more are worth a look.
const SKEW_SECONDS_MAX: i64 = 60;

/// Asks whether there is anything to ask. `false` if not.
pub(super) async fn ask(caller: &Caller<'_>, findings: &mut Findings) -> bool {
    let target = caller.target;
    let reached = reach(caller, &target.endpoint).await;
    let reachable = reached == Answer::Holds;
    findings.note(Fact::EndpointReached, reached);
    let public = if target.public == target.endpoint {
        match findings.answer(Fact::EndpointReached) {
            Some(Answer::Holds) | None => Answer::Holds,
            Some(_) => Answer::Unknown("it is the same address".to_owned()),
        }
    } else {
        reach(caller, &target.public).await
    };
    findings.note(Fact::PublicEndpointReached, public);
    if !reachable {
        return false;
    }
    let listed = caller
        .call(Method::GET, "", &[("list-type", "2"), ("max-keys", "1")], &[], "")
        .await;
    if let Ok(answer) = &listed {
        findings.server = answer.header("server").map(str::to_owned);
        if let Some(theirs) = answer.header("date").and_then(http_date) {
            let skew = theirs.as_second() - target.now().as_second();
            let clock = Answer::when(skew.abs() <= SKEW_SECONDS_MAX, || {
                let direction = if skew > 0 { "ahead of" } else { "behind" };
                format!("its clock is {} s {direction} ours", skew.abs())
            });
            findings.note(Fact::ClockAgrees, clock);
        }
    }
    let code = listed
        .as_ref()
        .ok()
        .and_then(|answer| element(&answer.text(), "Code"));
    let status = listed.as_ref().map_or(0, |answer| answer.status.as_u16());
    let (credentials, bucket) = match (status, code.as_deref()) {
        // Known credentials that may not list: what they may do is asked below.
        (200..=299, _) | (_, Some("AccessDenied")) => (Answer::Holds, Answer::Holds),
        (_, Some("NoSuchBucket")) => (
            Answer::Holds,
            Answer::Not(format!("{}: no such bucket", target.bucket)),
        ),
        (404, _) => (Answer::Holds, Answer::Not(seen(&listed))),
        (301 | 307 | 308, _) => (
            Answer::Holds,
            Answer::Not(format!("{}: the bucket is in another region", seen(&listed))),
        ),
        (400..=499, _) => (
            Answer::Not(seen(&listed)),
            Answer::Unknown("the credentials are not accepted".to_owned()),
        ),
        _ => (Answer::Unknown(seen(&listed)), Answer::Unknown(seen(&listed))),
    };
    let usable = bucket == Answer::Holds;
    findings.note(Fact::CredentialsAccepted, credentials);
    findings.note(Fact::BucketExists, bucket);
    usable
}

/// One step after the other, so that the message names the one that failed.
async fn reach(caller: &Caller<'_>, endpoint: &Endpoint) -> Answer {
    let host = endpoint.host();
    let default_port = if endpoint.scheme() == "https" { 443 } else { 80 };
    let has_port = host
        .rsplit_once(':')
        .is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    let address = if has_port {
        host.to_owned()
    } else {
        format!("{host}:{default_port}")
    };
    match lookup_host(&address)
        .await
        .map(|mut found| found.next().is_some())
    {
        Ok(true) => {}
        Ok(false) => return Answer::Not(format!("{host} has no address")),
        Err(error) => return Answer::Not(format!("the name {host} is not known: {error}")),
    }
    let url = endpoint.url_for("", "");
    match caller.send(Method::GET, &url, &[], Bytes::new()).await {
        // Whatever it says, something that speaks HTTP is there.
        Ok(_) => Answer::Holds,
        Err(reason) => {
            // What rustls says of an answer that is no TLS record (RFC 8446 §5.1).
            let hint = if reason.contains("InvalidContentType") {
                "; what answers there speaks no TLS, perhaps plain HTTP"
            } else {
                ""
            };
            Answer::Not(format!("{}://{host}: {reason}{hint}", endpoint.scheme()))
        }
    }
}
