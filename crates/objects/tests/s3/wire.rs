//! A client that sends exactly what it is told, for what clients of ours send themselves.

use std::collections::BTreeMap;

use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;

/// What came back: names of headers in lower case.
pub struct Answer {
    pub status: u16,
    pub headers: BTreeMap<String, String>,
    pub body: String,
}

pub async fn send(method: &str, url: &str, headers: &[(String, String)], body: impl Into<Vec<u8>>) -> Answer {
    let body: Vec<u8> = body.into();
    let mut request = http::Request::builder().method(method).uri(url);
    for (name, value) in headers {
        request = request.header(name, value);
    }
    let client = Client::builder(TokioExecutor::new()).build_http::<Full<bytes::Bytes>>();
    let answer = client
        .request(request.body(Full::from(body)).unwrap())
        .await
        .unwrap();
    let (head, body) = answer.into_parts();
    let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    Answer {
        status: head.status.as_u16(),
        headers: head
            .headers
            .iter()
            .map(|(name, value)| (name.to_string(), text(value)))
            .collect(),
        body: String::from_utf8_lossy(&body.collect().await.unwrap().to_bytes()).into_owned(),
    }
}

/// A form as browsers send it, the file last.
pub async fn post(url: &str, fields: &[(String, String)], file: &[u8]) -> Answer {
    let boundary = "a-line-that-is-in-no-field";
    let mut body = Vec::new();
    for (name, value) in fields {
        body.extend_from_slice(
            format!("--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
                .as_bytes(),
        );
    }
    body.extend_from_slice(
        format!("--{boundary}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"f\"\r\n\r\n")
            .as_bytes(),
    );
    body.extend_from_slice(file);
    body.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
    let content_type = (
        "content-type".to_owned(),
        format!("multipart/form-data; boundary={boundary}"),
    );
    send("POST", url, &[content_type], body).await
}
