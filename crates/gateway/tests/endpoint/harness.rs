//! A running endpoint, and a client that sends exactly what it is told.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use cloakroom_core::ports::clock::Clock;
use cloakroom_core::ports::objects::{GetOptions, ObjectInfo, ObjectPath, ObjectStore, PutBody, PutOptions};
use cloakroom_gateway::{CorsPolicy, Gateway, GatewayOptions, ObjectObserver};
use cloakroom_objects::local::{LocalOptions, LocalStore};
use cloakroom_signing::{
    Addressing, Credentials, Endpoint, OutgoingRequest, PayloadHash, PresignRequest, Region, SignedHeaders,
    Signer,
};
use cloakroom_testkit::clock::MockClock;
use futures_util::StreamExt;
use http::Method;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

pub const BUCKET: &str = "bucket";

pub fn credentials() -> Credentials {
    Credentials::new("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")
}

/// Writes down what it is told.
#[derive(Default)]
pub struct Witness(Mutex<Vec<String>>);

impl Witness {
    pub fn told(&self) -> MutexGuard<'_, Vec<String>> {
        self.0.lock().expect("no panic while it was held")
    }
}

impl ObjectObserver for Witness {
    fn put_begun(&self, bucket: &str, key: &str) {
        self.told().push(format!("begun {bucket}/{key}"));
    }

    fn put_done(&self, bucket: &str, key: &str, info: &ObjectInfo) {
        self.told()
            .push(format!("done {bucket}/{key} {}", info.size_bytes));
    }
}

pub struct Harness {
    pub address: SocketAddr,
    pub clock: Arc<MockClock>,
    pub store: Arc<LocalStore>,
    pub witness: Arc<Witness>,
    pub signer: Signer,
    pub endpoint: Endpoint,
    pub serving: JoinHandle<()>,
    pub stop: Option<oneshot::Sender<()>>,
    _directory: TempDir,
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HashMap<String, String>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn read(bytes: &[u8]) -> Self {
        let end = bytes
            .windows(4)
            .position(|window| window == b"\r\n\r\n")
            .expect("a head");
        let head = String::from_utf8(bytes[..end].to_vec()).expect("a head in UTF-8");
        let mut lines = head.split("\r\n");
        let status = lines
            .next()
            .and_then(|line| line.split(' ').nth(1))
            .and_then(|text| text.parse().ok());
        let headers = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        Self {
            status: status.expect("a status"),
            headers,
            body: bytes[end + 4..].to_vec(),
        }
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The text of the first element of this name.
    pub fn element(&self, name: &str) -> Option<String> {
        let text = self.text();
        let (_, rest) = text.split_once(&format!("<{name}>"))?;
        rest.split_once(&format!("</{name}>"))
            .map(|(value, _)| value.to_owned())
    }

    /// The status and, of an error, its code.
    pub fn verdict(&self) -> (u16, String) {
        (self.status, self.element("Code").unwrap_or_default())
    }

    #[track_caller]
    pub fn assert_refused(&self, status: u16, code: &str) {
        assert_eq!(self.verdict(), (status, code.to_owned()), "{}", self.text());
        assert_eq!(
            self.element("RequestId").as_ref(),
            self.headers.get("x-amz-request-id")
        );
    }
}

pub type Headers<'a> = &'a [(&'a str, &'a str)];

fn owned(headers: Headers<'_>) -> Vec<(String, String)> {
    headers
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

impl Harness {
    pub async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub async fn start_with(adjust: impl FnOnce(&mut GatewayOptions)) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let store = Arc::new(LocalStore::open(&LocalOptions::new(directory.path())).expect("a store"));
        store.create_bucket(BUCKET).await.expect("a bucket");
        let clock = Arc::new(MockClock::new());
        let witness = Arc::new(Witness::default());
        let lookup = |id: &str| Some(credentials()).filter(|credentials| credentials.access_key_id == id);
        let mut options = GatewayOptions::new(
            Region::default(),
            Arc::new(lookup),
            Arc::clone(&clock) as Arc<dyn Clock>,
        );
        options.cors = CorsPolicy {
            allowed_origins: vec!["https://app.example.com".to_owned()],
        };
        options.observer = Some(Arc::clone(&witness) as Arc<dyn ObjectObserver>);
        adjust(&mut options);

        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let gateway = Gateway::new(Arc::clone(&store) as Arc<dyn ObjectStore>, options);
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = tokio::spawn(async move {
            gateway
                .serve(listener, async {
                    let _ = stopped.await;
                })
                .await;
        });
        Self {
            address,
            clock,
            store,
            witness,
            signer: Signer::new(credentials(), Region::default()),
            endpoint: Endpoint::parse(&format!("http://{address}"), Addressing::Path).expect("valid"),
            serving,
            stop: Some(stop),
            _directory: directory,
        }
    }

    /// Sends bytes on a connection of their own and reads to its end.
    pub async fn send(&self, request: &[u8]) -> Answer {
        Answer::read(&self.exchange(request).await)
    }

    pub async fn exchange(&self, request: &[u8]) -> Vec<u8> {
        let mut stream = TcpStream::connect(self.address).await.expect("a connection");
        // The endpoint may have answered and closed before all is sent.
        let _ = stream.write_all(request).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        answer
    }

    /// The bytes of a request; `target` is path and query as they go over the wire.
    pub fn request(&self, method: &str, target: &str, headers: Headers<'_>, body: &[u8]) -> Vec<u8> {
        let mut head = format!(
            "{method} {target} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n",
            self.address
        );
        for (name, value) in headers {
            head.extend([name, ": ", value, "\r\n"]);
        }
        let framed = |name: &str| headers.iter().any(|(given, _)| given.eq_ignore_ascii_case(name));
        if !framed("content-length") && !framed("transfer-encoding") && (!body.is_empty() || method == "PUT")
        {
            head.extend(["content-length: ", &body.len().to_string(), "\r\n"]);
        }
        [head.as_bytes(), b"\r\n", body].concat()
    }

    /// The headers that sign a request.
    pub fn sign(
        &self,
        method: &str,
        target: &str,
        headers: Headers<'_>,
        payload: PayloadHash,
    ) -> SignedHeaders {
        self.signer
            .sign_headers(&OutgoingRequest {
                method: &method.parse::<Method>().expect("a method"),
                url: &format!("http://{}{target}", self.address),
                headers: &owned(headers),
                payload,
                now: self.clock.now(),
            })
            .expect("a request that can be signed")
    }

    /// Sends a request signed in its header, its body included in the signature.
    pub async fn signed(&self, method: &str, target: &str, headers: Headers<'_>, body: &[u8]) -> Answer {
        let signed = self.sign(method, target, headers, PayloadHash::of(body));
        let mut all: Vec<(&str, &str)> = headers.to_vec();
        all.extend(signed.headers.iter().map(|(name, value)| (*name, value.as_str())));
        self.send(&self.request(method, target, &all, body)).await
    }

    /// Path and query of a presigned URL, good for five minutes.
    pub fn presign(&self, method: &str, key: &str, query: Headers<'_>, headers: Headers<'_>) -> String {
        let url = self
            .signer
            .presign(&PresignRequest {
                method: method.parse::<Method>().expect("a method"),
                endpoint: &self.endpoint,
                bucket: BUCKET,
                key,
                query: &owned(query),
                headers: &owned(headers),
                expires_in_seconds: 300,
                now: self.clock.now(),
            })
            .expect("a request that can be signed");
        url.strip_prefix(&format!("http://{}", self.address))
            .expect("an absolute URL")
            .to_owned()
    }

    /// Puts an object into the store past the endpoint.
    pub async fn place(&self, key: &str, content: impl Into<Bytes>) -> ObjectInfo {
        let path = ObjectPath::new(BUCKET, key);
        self.store
            .put(&path, PutOptions::default(), PutBody::from_bytes(content))
            .await
            .expect("written")
    }

    /// What the store holds under a key.
    pub async fn held(&self, key: &str) -> Option<Vec<u8>> {
        let read = self
            .store
            .get(&ObjectPath::new(BUCKET, key), &GetOptions::default())
            .await
            .ok()?;
        let pieces: Vec<_> = read.body.map(|piece| piece.expect("a piece")).collect().await;
        Some(pieces.concat())
    }

    /// Every key that the store holds.
    pub async fn keys(&self) -> Vec<String> {
        let options = cloakroom_core::ports::objects::ListOptions {
            limit: 1000,
            ..Default::default()
        };
        let list = self.store.list(BUCKET, &options).await.expect("a list");
        list.objects.into_iter().map(|object| object.key).collect()
    }
}
