//! How a probe asks: once, without retries, and with every answer taken as it is.

use std::sync::Mutex;
use std::sync::PoisonError;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use cloakroom_core::ports::signer::{SignedForm, SignedRequest};
use cloakroom_signing::{OutgoingRequest, PayloadHash, Signer, encode_component};
use http::{Method, Request};

use super::Target;
use super::findings::Answer;
use crate::web::{WebAnswer, WebClient, WebError};

/// The line between the fields of a form.
const BOUNDARY: &str = "cloakroom-probe-7b1f0c9e";

/// An answer, or why there is none, in words.
pub(super) type Reply = Result<WebAnswer, String>;

/// Sends what probes want to know.
pub(super) struct Caller<'a> {
    pub(super) target: &'a Target,
    web: WebClient,
    signer: Signer,
    /// Keys that something may have been written to.
    written: Mutex<Vec<String>>,
    /// Multipart uploads that may be open.
    begun: Mutex<Vec<(String, String)>>,
}

/// A header or parameter.
pub(super) fn pair(name: &str, value: impl Into<String>) -> (String, String) {
    (name.to_owned(), value.into())
}

impl<'a> Caller<'a> {
    pub(super) fn new(target: &'a Target, web: WebClient, signer: Signer) -> Self {
        Self {
            target,
            web,
            signer,
            written: Mutex::default(),
            begun: Mutex::default(),
        }
    }

    /// The same caller, about another target.
    pub(super) fn about(self, target: &'a Target) -> Self {
        Self { target, ..self }
    }

    /// A key under the probe's prefix, which is removed in the end.
    pub(super) fn key(&self, name: &str) -> String {
        let key = format!("{}{name}", self.target.prefix);
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        if !written.contains(&key) {
            written.push(key.clone());
        }
        key
    }

    /// Sends a signed request about `key`, or about the bucket if that is empty.
    pub(super) async fn call(
        &self,
        method: Method,
        key: &str,
        query: &[(&str, &str)],
        headers: &[(String, String)],
        body: impl Into<Bytes>,
    ) -> Reply {
        self.call_at(&self.target.bucket, method, key, query, headers, body.into())
            .await
    }

    /// As [`Self::call`], for another bucket, or for the service if that is empty.
    pub(super) async fn call_at(
        &self,
        bucket: &str,
        method: Method,
        key: &str,
        query: &[(&str, &str)],
        headers: &[(String, String)],
        body: Bytes,
    ) -> Reply {
        let mut url = self.target.endpoint.url_for(bucket, key);
        for (index, (name, value)) in query.iter().enumerate() {
            url.push(if index == 0 { '?' } else { '&' });
            url.push_str(&encode_component(name));
            url.push('=');
            url.push_str(&encode_component(value));
        }
        let signed = self
            .signer
            .sign_headers(&OutgoingRequest {
                method: &method,
                url: &url,
                headers,
                payload: PayloadHash::of(&body),
                now: self.target.clock.now(),
            })
            .map_err(|error| error.to_string())?;
        let own = signed.headers.iter().map(|(name, value)| pair(name, value));
        let headers: Vec<_> = headers.iter().cloned().chain(own).collect();
        self.send(method, &url, &headers, body).await
    }

    /// Sends a request as a client would, with nothing added but the length.
    pub(super) async fn send(
        &self,
        method: Method,
        url: &str,
        headers: &[(String, String)],
        body: impl Into<Bytes>,
    ) -> Reply {
        let body = body.into();
        let mut request = Request::builder().method(&method).uri(url);
        let mut has_length = false;
        for (name, value) in headers {
            has_length |= name.eq_ignore_ascii_case("content-length");
            request = request.header(name, value);
        }
        if !has_length && (!body.is_empty() || method == Method::PUT || method == Method::POST) {
            request = request.header("content-length", body.len());
        }
        let request = request.body(body).map_err(|error| error.to_string())?;
        self.web.send(request).await.map_err(|error| match error {
            WebError::Connect(_) | WebError::Broken(_) | WebError::TimedOut(_) => error.to_string(),
        })
    }

    /// Uses a presigned URL with its headers; `changed` replaces or adds some.
    pub(super) async fn redeem(
        &self,
        method: Method,
        signed: &SignedRequest,
        changed: &[(String, String)],
        body: impl Into<Bytes>,
    ) -> Reply {
        let is_changed = |name: &str| changed.iter().any(|(known, _)| known.eq_ignore_ascii_case(name));
        let kept = signed.headers.iter().filter(|(name, _)| !is_changed(name));
        let headers: Vec<_> = kept.chain(changed).cloned().collect();
        self.send(method, &signed.url, &headers, body).await
    }

    /// Posts a form with this file; `changed` replaces fields or adds some.
    pub(super) async fn post_form(
        &self,
        form: &SignedForm,
        changed: &[(String, String)],
        file: &[u8],
    ) -> Reply {
        let is_changed = |name: &str| changed.iter().any(|(known, _)| known.eq_ignore_ascii_case(name));
        let kept = form.fields.iter().filter(|(name, _)| !is_changed(name));
        let mut body = Vec::new();
        for (name, value) in kept.chain(changed) {
            let field =
                format!("--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n");
            body.extend_from_slice(field.as_bytes());
        }
        let head = format!(
            "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"probe\"\r\n\
             Content-Type: application/octet-stream\r\n\r\n"
        );
        body.extend_from_slice(head.as_bytes());
        body.extend_from_slice(file);
        body.extend_from_slice(format!("\r\n--{BOUNDARY}--\r\n").as_bytes());
        let kind = pair(
            "content-type",
            format!("multipart/form-data; boundary={BOUNDARY}"),
        );
        self.send(Method::POST, &form.url, &[kind], body).await
    }

    /// Begins a multipart upload; its id.
    pub(super) async fn begin_multipart(
        &self,
        key: &str,
        headers: &[(String, String)],
    ) -> Result<String, Reply> {
        let reply = self
            .call(Method::POST, key, &[("uploads", "")], headers, "")
            .await;
        let id = match &reply {
            Ok(answer) if answer.status.is_success() => element(&answer.text(), "UploadId"),
            _ => None,
        };
        let id = id.ok_or(reply)?;
        let mut begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
        begun.push((key.to_owned(), id.clone()));
        Ok(id)
    }

    /// Completes a multipart upload.
    pub(super) async fn complete(
        &self,
        key: &str,
        id: &str,
        etags: &[String],
        headers: &[(String, String)],
    ) -> Reply {
        let parts: Vec<_> = etags
            .iter()
            .zip(1..)
            .map(|(etag, number)| {
                format!("<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>")
            })
            .collect();
        let body = format!(
            "<CompleteMultipartUpload xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">{}</CompleteMultipartUpload>",
            parts.concat()
        );
        let reply = self
            .call(Method::POST, key, &[("uploadId", id)], headers, body)
            .await;
        // A late failure comes with status 200.
        match reply {
            Ok(mut answer) if answer.status.is_success() && answer.text().contains("<Error>") => {
                answer.status = http::StatusCode::INTERNAL_SERVER_ERROR;
                Ok(answer)
            }
            other => other,
        }
    }

    /// Removes whatever the probe may have left. What cannot be removed is under a prefix that says what it is.
    pub(super) async fn clean_up(&self) {
        let begun = std::mem::take(&mut *self.begun.lock().unwrap_or_else(PoisonError::into_inner));
        for (key, id) in begun {
            // Most are over.
            let _ = self
                .call(Method::DELETE, &key, &[("uploadId", &id)], &[], "")
                .await;
        }
        let written = std::mem::take(&mut *self.written.lock().unwrap_or_else(PoisonError::into_inner));
        for key in written {
            let gone = self.call(Method::DELETE, &key, &[], &[], "").await;
            if !matches!(&gone, Ok(answer) if answer.status.is_success() || answer.status == 404) {
                tracing::warn!(
                    event = "probe_left_over",
                    key,
                    "an object of the probe could not be removed"
                );
            }
        }
    }
}

/// The base64 of a digest.
pub(super) fn base64(digest: &[u8]) -> String {
    BASE64.encode(digest)
}

/// The text of the first element of this name.
pub(super) fn element(xml: &str, name: &str) -> Option<String> {
    let from = xml.find(&format!("<{name}>"))? + name.len() + 2;
    let length = xml[from..].find(&format!("</{name}>"))?;
    let text = quick_xml::escape::unescape(&xml[from..from + length]).ok()?;
    Some(text.into_owned())
}

/// What an answer was: `403 AccessDenied`.
pub(super) fn seen(reply: &Reply) -> String {
    match reply {
        Ok(answer) => {
            let code = element(&answer.text(), "Code").filter(|_| !answer.status.is_success());
            let status = answer.status.as_u16();
            code.map_or_else(|| status.to_string(), |code| format!("{status} {code}"))
        }
        Err(reason) => reason.clone(),
    }
}

/// Whether it was done.
pub(super) fn succeeded(reply: &Reply) -> bool {
    matches!(reply, Ok(answer) if answer.status.is_success())
}

/// Holds if it was done; `action` is what a 403 denies.
pub(super) fn done(reply: &Reply, action: &'static str) -> Answer {
    match reply {
        Ok(answer) if answer.status.is_success() => Answer::Holds,
        Ok(answer) if is_unsupported(answer) => Answer::Unsupported(seen(reply)),
        Ok(answer) if matches!(answer.status.as_u16(), 401 | 403) => Answer::Denied(action),
        Ok(_) => Answer::Not(seen(reply)),
        Err(reason) => Answer::Unknown(reason.clone()),
    }
}

/// Holds if it was refused.
pub(super) fn refused(reply: &Reply) -> Answer {
    match reply {
        Ok(answer) if answer.status.is_client_error() || answer.status.as_u16() == 501 => Answer::Holds,
        Ok(answer) if answer.status.is_server_error() => Answer::Unknown(seen(reply)),
        Ok(_) => Answer::Not(format!("taken with {}", seen(reply))),
        // Some close the connection over a body that they refuse; that nothing was taken is not known then.
        Err(reason) => Answer::Unknown(reason.clone()),
    }
}

/// Whether a service says that it has no such operation.
pub(super) fn is_unsupported(answer: &WebAnswer) -> bool {
    matches!(answer.status.as_u16(), 405 | 501)
        || matches!(
            element(&answer.text(), "Code").as_deref(),
            Some("NotImplemented" | "MethodNotAllowed" | "UnsupportedOperation")
        )
}
