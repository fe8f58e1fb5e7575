//! Requests in the manner of AWS, as the owner of buckets, queues and topics makes them.

use cloakroom_core::ports::clock::Clock;
use cloakroom_signing::{Credentials, OutgoingRequest, PayloadHash, Region, Signer};
use http::Method;
use serde_json::Value;

use crate::instance::WallClock;

/// A server, and who asks.
pub struct Account {
    pub endpoint: String,
    pub access_key: String,
    pub secret_key: String,
    pub region: String,
}

impl Account {
    pub async fn call(
        &self,
        service: &'static str,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> String {
        let url = format!("{}{path}", self.endpoint.trim_end_matches('/'));
        let credentials = Credentials::new(&*self.access_key, &*self.secret_key);
        let region = Region::new(&*self.region).expect("a region");
        let mut headers: Vec<_> = headers
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let signed = Signer::for_service(credentials, region, service)
            .sign_headers(&OutgoingRequest {
                method: &method,
                url: &url,
                headers: &headers,
                payload: PayloadHash::of(body),
                now: WallClock.now(),
            })
            .expect("signed");
        headers.extend(
            signed
                .headers
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value)),
        );
        let client = reqwest::Client::builder().build().expect("a client");
        let mut request = client.request(method, &url).body(body.to_vec());
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let response = request.send().await.expect("an answer");
        let status = response.status();
        let text = response.text().await.expect("a body");
        assert!(status.is_success(), "{url}: {status} {text}");
        text
    }

    pub async fn sqs(&self, action: &str, request: Value) -> Value {
        let headers = [
            ("content-type", "application/x-amz-json-1.0"),
            ("x-amz-target", &format!("AmazonSQS.{action}")),
        ];
        let body = request.to_string();
        let text = self
            .call("sqs", Method::POST, "/", &headers, body.as_bytes())
            .await;
        serde_json::from_str(&text).unwrap_or_default()
    }

    pub async fn s3(&self, method: Method, path: &str, body: &[u8]) -> String {
        let headers = [("content-type", "application/octet-stream")];
        self.call("s3", method, path, &headers, body).await
    }

    /// Has a bucket tell a queue (`Queue`) or a topic (`Topic`) of new objects in staging.
    pub async fn notify(&self, bucket: &str, kind: &str, arn: &str) {
        let configuration = format!(
            "<NotificationConfiguration><{kind}Configuration><Id>uploads</Id><{kind}>{arn}</{kind}>\
             <Event>s3:ObjectCreated:*</Event><Filter><S3Key><FilterRule><Name>prefix</Name><Value>staging/</Value>\
             </FilterRule></S3Key></Filter></{kind}Configuration></NotificationConfiguration>"
        );
        let path = format!("/{bucket}?notification=");
        self.s3(Method::PUT, &path, configuration.as_bytes()).await;
    }
}
