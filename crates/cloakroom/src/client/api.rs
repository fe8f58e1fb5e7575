//! Calls of the native API: one pooled HTTP client, one place for retries, errors and timeouts.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use cloakroom_core::JsonObject;
use cloakroom_core::id::FileId;
use reqwest::header::{ACCEPT, DATE, HeaderMap, RETRY_AFTER};
use reqwest::{Method, RequestBuilder, Response, StatusCode, Url};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::connection::Connection;
use super::error::{ClientError, ErrorAnswer, Result};
use super::operations::{FindingsPage, OperationAnswer, OperationsPage};
use super::retry::{Retry, RetryPolicy};
use super::wire::{
    ArrivedParts, CompletedPart, DownloadAnswer, FileAnswer, FilesPage, PartTicket, PartTickets, RecordRef,
    SignRequest, StatusAnswer, UploadAnswer,
};

/// Longest wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest wait for the whole answer of an API call. `complete` puts large files together within it.
const CALL_TIMEOUT: Duration = Duration::from_mins(2);
/// Longest error body that is read, in bytes.
const ERROR_BODY_BYTES_MAX: usize = 64 * 1024;

/// An instance, as one principal.
#[derive(Debug)]
pub struct Api {
    http: reqwest::Client,
    connection: Connection,
    policy: RetryPolicy,
    /// Whether the server has ever answered.
    reached: AtomicBool,
}

/// One request, to be sent as often as it takes.
pub(super) struct Call<'a> {
    method: Method,
    path: &'a [&'a str],
    query: &'a [(&'a str, String)],
    body: Option<Value>,
    headers: &'a [(&'static str, &'a str)],
}

impl<'a> Call<'a> {
    pub(super) fn new(method: Method, path: &'a [&'a str]) -> Self {
        Self {
            method,
            path,
            query: &[],
            body: None,
            headers: &[],
        }
    }

    fn get(path: &'a [&'a str]) -> Self {
        Self::new(Method::GET, path)
    }

    pub(super) fn post(path: &'a [&'a str], body: Value) -> Self {
        Self {
            body: Some(body),
            ..Self::new(Method::POST, path)
        }
    }

    pub(super) fn get_with(path: &'a [&'a str], query: &'a [(&'a str, String)]) -> Self {
        Self {
            query,
            ..Self::new(Method::GET, path)
        }
    }
}

impl Api {
    /// A client for this connection.
    pub fn new(connection: Connection) -> Result<Self> {
        Self::with_policy(connection, RetryPolicy::default())
    }

    /// A client that retries as told.
    pub fn with_policy(connection: Connection, policy: RetryPolicy) -> Result<Self> {
        let build = |tls_roots: bool| {
            let mut builder = reqwest::Client::builder()
                .user_agent(concat!("cloakroom/", env!("CARGO_PKG_VERSION")))
                .connect_timeout(CONNECT_TIMEOUT)
                .tcp_nodelay(true)
                // A redirect would carry the token, or an upload, to an address that nobody named.
                .redirect(reqwest::redirect::Policy::none());
            if !tls_roots {
                builder = builder.tls_certs_only(std::iter::empty());
            }
            // HTTPS_PROXY and its kin are for the way out, not for this machine.
            if is_loopback(&connection.url) {
                builder = builder.no_proxy();
            }
            builder.build()
        };
        // A machine without root certificates (a bare container) can still talk plain HTTP.
        let http = match build(true) {
            Err(_) if connection.url.scheme() == "http" => build(false),
            built => built,
        }
        .map_err(|error| ClientError::Usage(format!("cannot set up HTTPS: {}", error.without_url())))?;
        Ok(Self {
            http,
            connection,
            policy,
            reached: AtomicBool::new(false),
        })
    }

    /// The HTTP client, for requests to the object store. They carry no token.
    pub fn http(&self) -> &reqwest::Client {
        &self.http
    }

    /// The same instance as somebody else.
    pub fn with_token(&self, token: &str) -> Result<Self> {
        Self::with_policy(Connection::new(self.connection.url.as_str(), token)?, self.policy)
    }

    /// Address of the API.
    pub fn url(&self) -> &Url {
        &self.connection.url
    }

    /// How to retry requests to the object store.
    pub fn policy(&self) -> RetryPolicy {
        self.policy
    }

    /// `GET /health/ready`.
    pub async fn health(&self) -> Result<()> {
        self.call(&Call::get(&["health", "ready"])).await.map(drop)
    }

    /// Signs an upload; also whether an earlier request with this key had signed it.
    pub async fn sign(&self, request: &SignRequest, idempotency_key: &str) -> Result<(Signed, bool)> {
        let headers = [("idempotency-key", idempotency_key)];
        let path = native(&["uploads"]);
        let call = Call {
            headers: &headers,
            ..Call::post(&path, json!(request))
        };
        let response = self.call(&call).await?;
        let repeated = response.status() == StatusCode::OK;
        let date = header(response.headers(), DATE.as_str());
        let answer: UploadAnswer = read_json(response).await?;
        let lifetime = date.and_then(|date| lifetime(&answer.expires_at, &date));
        Ok((Signed { answer, lifetime }, repeated))
    }

    /// More part URLs, and how long they are good.
    pub async fn sign_parts(&self, id: &str, numbers: &[u32]) -> Result<(Vec<PartTicket>, Option<Duration>)> {
        let path = native(&["uploads", id, "parts"]);
        let response = self
            .call(&Call::post(&path, json!({ "part_numbers": numbers })))
            .await?;
        let date = header(response.headers(), DATE.as_str());
        let tickets: PartTickets = read_json(response).await?;
        let soonest = tickets
            .parts
            .iter()
            .filter_map(|part| lifetime(part.expires_at.as_ref()?, date.as_ref()?))
            .min();
        Ok((tickets.parts, soonest))
    }

    /// The parts that have arrived.
    pub async fn arrived_parts(&self, id: &str) -> Result<ArrivedParts> {
        self.json(&Call::get(&native(&["uploads", id, "parts"]))).await
    }

    /// Puts the parts together and confirms; with no list, whatever has arrived.
    pub async fn complete(&self, id: &str, parts: &[CompletedPart]) -> Result<FileAnswer> {
        self.json(&Call::post(
            &native(&["uploads", id, "complete"]),
            json!({ "parts": parts }),
        ))
        .await
    }

    /// Confirms.
    pub async fn confirm(&self, id: &str) -> Result<FileAnswer> {
        self.json(&Call::post(&native(&["uploads", id, "confirm"]), json!({})))
            .await
    }

    /// Gives an upload up.
    pub async fn abort(&self, id: &str) -> Result<()> {
        self.call(&Call::new(Method::DELETE, &native(&["uploads", id])))
            .await
            .map(drop)
    }

    /// One file.
    pub async fn file(&self, id: &str) -> Result<FileAnswer> {
        self.json(&Call::get(&native(&["files", id]))).await
    }

    /// A page of files.
    pub async fn files(&self, query: &[(&str, String)]) -> Result<FilesPage> {
        self.json(&Call {
            query,
            ..Call::get(&native(&["files"]))
        })
        .await
    }

    /// A page of the caller's own files.
    pub async fn my_files(&self, query: &[(&str, String)]) -> Result<FilesPage> {
        self.json(&Call {
            query,
            ..Call::get(&native(&["me", "files"]))
        })
        .await
    }

    /// Moves a file to the trash, or gives its upload up.
    pub async fn delete_file(&self, id: &str) -> Result<()> {
        self.call(&Call::new(Method::DELETE, &native(&["files", id])))
            .await
            .map(drop)
    }

    /// Changes name, description, metadata or record: the fields of the body.
    pub async fn update(&self, id: &str, fields: &Value) -> Result<FileAnswer> {
        let path = native(&["files", id]);
        let call = Call {
            body: Some(fields.clone()),
            ..Call::new(Method::PATCH, &path)
        };
        self.json(&call).await
    }

    /// Takes a file out of the trash.
    pub async fn restore(&self, id: &str) -> Result<FileAnswer> {
        self.json(&Call::new(Method::POST, &native(&["files", id, "restore"])))
            .await
    }

    /// `GET /admin/stores`.
    pub async fn stores(&self) -> Result<Value> {
        self.json(&Call::get(&native(&["admin", "stores"]))).await
    }

    /// `PUT /admin/stores/{name}/mode`.
    pub async fn change_mode(&self, name: &str, mode: &str, confirm: bool) -> Result<Value> {
        let path = native(&["admin", "stores", name, "mode"]);
        let call = Call {
            body: Some(json!({ "mode": mode, "confirm": confirm })),
            ..Call::new(Method::PUT, &path)
        };
        self.json(&call).await
    }

    /// Starts an operation.
    pub async fn start_operation(&self, kind: &str, options: &JsonObject) -> Result<OperationAnswer> {
        let body = json!({ "kind": kind, "options": options });
        self.json(&Call::post(&native(&["admin", "operations"]), body))
            .await
    }

    /// The newest operations.
    pub async fn operations(&self) -> Result<OperationsPage> {
        self.json(&Call::get(&native(&["admin", "operations"]))).await
    }

    /// One operation.
    pub async fn operation(&self, id: &str) -> Result<OperationAnswer> {
        self.json(&Call::get(&native(&["admin", "operations", id]))).await
    }

    /// A page of an operation's findings.
    pub async fn findings(&self, id: &str, cursor: Option<&str>) -> Result<FindingsPage> {
        let mut query = vec![("limit", "1000".to_owned())];
        query.extend(cursor.map(|cursor| ("cursor", cursor.to_owned())));
        let path = native(&["admin", "operations", id, "findings"]);
        let call = Call {
            query: &query,
            ..Call::get(&path)
        };
        self.json(&call).await
    }

    /// Deletes a record with its files.
    pub async fn delete_record(&self, record: &RecordRef) -> Result<()> {
        self.call(&Call::new(
            Method::DELETE,
            &native(&["records", &record.kind, &record.id]),
        ))
        .await
        .map(drop)
    }

    /// Where a file stands.
    pub async fn status(&self, id: &str) -> Result<StatusAnswer> {
        self.json(&Call::get(&native(&["files", id, "status"]))).await
    }

    /// The status stream: one attempt, without a time limit for the whole.
    pub async fn status_stream(&self, id: &str) -> Result<Response> {
        let request = self
            .request(&Call::get(&native(&["files", id, "status"])))
            .header(ACCEPT, "text/event-stream");
        success(request.send().await.map_err(ClientError::transport)?).await
    }

    /// Where the bytes can be read.
    pub async fn download(&self, id: &str) -> Result<DownloadAnswer> {
        self.json(&Call::get(&native(&["files", id, "download"]))).await
    }

    /// A file through the service, in one request that cannot be repeated.
    pub async fn post_file(&self, form: reqwest::multipart::Form) -> Result<FileAnswer> {
        let path = native(&["files"]);
        let request = self.request(&Call::new(Method::POST, &path)).multipart(form);
        let response = request.send().await.map_err(ClientError::transport)?;
        read_json(success(response).await?).await
    }

    pub(super) async fn json<T: DeserializeOwned>(&self, call: &Call<'_>) -> Result<T> {
        read_json(self.call(call).await?).await
    }

    fn request(&self, call: &Call<'_>) -> RequestBuilder {
        let mut url = self.connection.url.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(call.path);
        }
        if !call.query.is_empty() {
            url.query_pairs_mut().extend_pairs(call.query);
        }
        let mut request = self
            .http
            .request(call.method.clone(), url)
            .bearer_auth(self.connection.token.expose());
        for (name, value) in call.headers {
            request = request.header(*name, *value);
        }
        match &call.body {
            Some(body) => request.json(body),
            None => request,
        }
    }

    /// Sends until there is an answer that another attempt would not change. Every call of this API may be repeated.
    pub(super) async fn call(&self, call: &Call<'_>) -> Result<Response> {
        let mut retry = Retry::default();
        loop {
            let error = match self.request(call).timeout(CALL_TIMEOUT).send().await {
                Ok(response) => {
                    self.reached.store(true, Ordering::Relaxed);
                    match success(response).await {
                        Ok(response) => return Ok(response),
                        Err(error) => error,
                    }
                }
                Err(error) => ClientError::transport(error),
            };
            let reached = self.reached.load(Ordering::Relaxed);
            let policy = if reached {
                self.policy
            } else {
                self.policy.first_contact()
            };
            match retry.next_delay(&policy, &error, rand::random()) {
                Some(delay) => tokio::time::sleep(delay).await,
                None => return Err(error),
            }
        }
    }
}

/// A signed upload, and how long its signatures are good from now on, by the server's clock.
#[derive(Debug)]
pub struct Signed {
    /// The answer.
    pub answer: UploadAnswer,
    /// `None` when the server did not say what time it is.
    pub lifetime: Option<Duration>,
}

/// A file id as a person writes it. Anything else would be a path of its own making.
pub fn parse_file_id(text: &str) -> std::result::Result<String, String> {
    text.trim()
        .parse::<FileId>()
        .map(|id| id.to_string())
        .map_err(|_| "not a file id (a UUID)".to_owned())
}

/// A record as a person writes it.
pub fn parse_record(text: &str) -> std::result::Result<RecordRef, String> {
    let key = cloakroom_core::record::RecordKey::parse(text).map_err(|refusal| refusal.message)?;
    Ok(RecordRef {
        kind: key.kind().to_owned(),
        id: key.id().to_owned(),
    })
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host
        .trim_start_matches('[')
        .trim_end_matches(']')
        .parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

pub(super) fn native<'a>(path: &[&'a str]) -> Vec<&'a str> {
    ["api", "v1"].iter().chain(path).copied().collect()
}

/// The answer if it is a success, else what it says.
pub async fn success(response: Response) -> Result<Response> {
    if response.status().is_success() {
        Ok(response)
    } else {
        Err(error_of(response).await)
    }
}

async fn read_json<T: DeserializeOwned>(response: Response) -> Result<T> {
    let body = response.bytes().await.map_err(ClientError::transport)?;
    serde_json::from_slice(&body).map_err(|error| {
        // Only where it went wrong: the body may hold a presigned URL.
        ClientError::Failed(format!(
            "the server's answer is not what the API promises (line {})",
            error.line()
        ))
    })
}

/// Reads an error answer, whatever speaks: the API, an S3 endpoint, or a proxy between.
async fn error_of(mut response: Response) -> ClientError {
    let status = response.status();
    let headers = response.headers().clone();
    let mut body = Vec::new();
    // An error whose explanation does not arrive is still that error.
    while let Ok(Some(chunk)) = response.chunk().await
        && body.len() < ERROR_BODY_BYTES_MAX
    {
        body.extend_from_slice(&chunk);
    }
    let text = String::from_utf8_lossy(&body);
    let problem: Option<Value> = serde_json::from_str(&text).ok();
    let field = |name: &str| problem.as_ref()?.get(name)?.as_str().map(str::to_owned);
    let from_store = problem.is_none() && text.contains("<Error>");
    let (message, code, id) = if from_store {
        (
            element(&text, "Message"),
            element(&text, "Code"),
            element(&text, "RequestId"),
        )
    } else {
        (field("message"), field("error_code"), field("request_id"))
    };
    ClientError::Answer(Box::new(ErrorAnswer {
        status: status.as_u16(),
        message: message.unwrap_or_else(|| status_sentence(status)),
        code,
        request_id: id
            .or_else(|| header(&headers, "x-request-id"))
            .or_else(|| header(&headers, "x-amz-request-id")),
        retry_after: header(&headers, RETRY_AFTER.as_str())
            .and_then(|text| text.trim().parse().ok().map(Duration::from_secs)),
        from_store,
    }))
}

fn status_sentence(status: StatusCode) -> String {
    if status.is_redirection() {
        return "The server redirects elsewhere; give the address that it really has.".to_owned();
    }
    status
        .canonical_reason()
        .map_or_else(|| "No explanation.".to_owned(), |reason| format!("{reason}."))
}

/// The text of an element of an S3 error, which is flat.
fn element(xml: &str, name: &str) -> Option<String> {
    let (_, rest) = xml.split_once(&format!("<{name}>"))?;
    let (text, _) = rest.split_once(&format!("</{name}>"))?;
    Some(
        text.replace("&lt;", "<")
            .replace("&gt;", ">")
            .replace("&quot;", "\"")
            .replace("&apos;", "'")
            .replace("&amp;", "&"),
    )
}

fn header(headers: &HeaderMap, name: &str) -> Option<String> {
    headers
        .get(name)
        .and_then(|value| value.to_str().ok())
        .map(str::to_owned)
}

/// From the server's own `Date` to an expiry that it named: right also where the local clock is wrong.
fn lifetime(expires_at: &str, date: &str) -> Option<Duration> {
    let expires: jiff::Timestamp = expires_at.parse().ok()?;
    let now = jiff::fmt::rfc2822::parse(date).ok()?.timestamp();
    Duration::try_from(expires.duration_since(now)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn api(url: &str) -> Api {
        Api::new(Connection::new(url, "token").expect("a connection")).expect("a client")
    }

    #[test]
    fn path_segments_and_queries_are_encoded_below_a_base_path() {
        let api = api("http://h:1/files/");
        let path = native(&["records", "message", "a b?#%2e"]);
        let query = [("q", "чек & 1".to_owned())];
        let request = api
            .request(&Call {
                query: &query,
                ..Call::get(&path)
            })
            .build()
            .expect("a request");
        assert_eq!(
            request.url().as_str(),
            "http://h:1/files/api/v1/records/message/a%20b%3F%23%252e?q=%D1%87%D0%B5%D0%BA+%26+1"
        );
        assert!(request.headers()["authorization"].is_sensitive());
        assert!(!format!("{api:?}").contains("\"token\""));
    }

    #[test]
    fn this_machine_is_reached_without_a_proxy() {
        let local = |url: &str| is_loopback(&Url::parse(url).expect(url));
        assert!(local("http://localhost:8000") && local("http://127.0.0.1") && local("http://[::1]:1"));
        assert!(
            !local("http://files.example.com") && !local("http://10.0.0.1") && !local("http://[2001:db8::1]")
        );
    }

    #[test]
    fn file_ids_are_ids_and_not_paths() {
        assert_eq!(
            parse_file_id(" 0192A3B4-0000-7000-8000-000000000001\n").as_deref(),
            Ok("0192a3b4-0000-7000-8000-000000000001")
        );
        for bad in ["", "..", "../admin/jobs", "x", "0192a3b4"] {
            assert!(parse_file_id(bad).is_err(), "{bad}");
        }
        assert_eq!(
            parse_record("message/1")
                .map(|record| record.to_string())
                .as_deref(),
            Ok("message/1")
        );
        assert!(parse_record("message").is_err() && parse_record("m/../x").is_err());
    }

    #[test]
    fn lifetimes_are_told_by_the_server_s_own_clock() {
        let date = "Sat, 21 Nov 2026 10:00:00 GMT";
        assert_eq!(
            lifetime("2026-11-21T10:15:00Z", date),
            Some(Duration::from_mins(15))
        );
        assert_eq!(lifetime("2026-11-21T09:59:00Z", date), None);
        assert_eq!(lifetime("tomorrow", date), None);
    }

    #[test]
    fn errors_of_an_object_store_are_read() {
        let xml = "<?xml version='1.0'?><Error><Code>AccessDenied</Code><Message>a &lt;b&gt; &amp;amp;</Message></Error>";
        assert_eq!(element(xml, "Code").as_deref(), Some("AccessDenied"));
        assert_eq!(element(xml, "Message").as_deref(), Some("a <b> &amp;"));
        assert_eq!(element(xml, "RequestId"), None);
        assert_eq!(element("<Message>", "Message"), None);
    }
}
