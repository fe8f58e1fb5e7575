//! A place of its own on the shared servers for each test, and processes of the program in it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use cloakroom_testkit::servers;
use serde_json::{Value, json};

/// A condition that does not come within this time never will.
const PATIENCE: Duration = Duration::from_mins(3);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Waits for a condition.
pub async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let waited = tokio::time::timeout(PATIENCE, async {
        while !holds().await {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    });
    assert!(waited.await.is_ok(), "waited in vain: {what}");
}

/// Settings, as variables of the environment.
pub type Settings = BTreeMap<String, String>;

/// Tables of our own in the shared database.
pub fn postgres() -> Settings {
    settings(&[
        ("DATABASE_URL", &servers::postgres_url()),
        ("CLOAKROOM_DATABASE_TABLE_PREFIX", &servers::unique_table_prefix()),
    ])
}

/// A bucket of our own in the shared store.
pub fn s3() -> Settings {
    let s3 = servers::s3();
    settings(&[
        ("S3_ENDPOINT", &s3.endpoint),
        ("S3_ACCESS_KEY", &s3.access_key),
        ("S3_SECRET_KEY", &s3.secret_key),
        ("S3_REGION", &s3.region),
        ("S3_BUCKET", &servers::unique_bucket()),
    ])
}

/// What several processes share, with leases as short as they can be.
pub fn shared() -> Settings {
    let short = settings(&[
        ("CLOAKROOM_WORKER_LEASE", "5s"),
        ("CLOAKROOM_WORKER_LEADER_LEASE", "3s"),
        ("CLOAKROOM_WORKER_SWEEP_EVERY", "1s"),
    ]);
    postgres().into_iter().chain(s3()).chain(short).collect()
}

/// A lease of the leader that even a slow machine renews in time.
pub fn long_term() -> Settings {
    settings(&[("CLOAKROOM_WORKER_LEADER_LEASE", "15s")])
}

pub fn settings(pairs: &[(&str, &str)]) -> Settings {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    pairs.iter().map(owned).collect()
}

/// What of these settings nobody may ever see.
fn secrets(settings: &Settings) -> Vec<String> {
    let password = |url: &String| {
        let credentials = url.split("://").nth(1)?.rsplit_once('@')?.0;
        Some(credentials.split_once(':')?.1.to_owned())
    };
    let urls = ["DATABASE_URL", "REDIS_URL"].into_iter();
    let mut found: Vec<String> = urls.filter_map(|name| password(settings.get(name)?)).collect();
    let plain = ["S3_SECRET_KEY", "CLOAKROOM_BUCKET_EVENTS_TOKEN"].into_iter();
    found.extend(plain.filter_map(|name| settings.get(name).cloned()));
    found
}

/// A private directory, and the settings of every process that runs there.
pub struct Home {
    directory: tempfile::TempDir,
    pub settings: Settings,
}

impl Home {
    pub fn new(settings: Settings) -> Self {
        Self {
            directory: tempfile::tempdir().expect("a directory"),
            settings,
        }
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cloakroom"));
        command
            .args(arguments)
            .current_dir(self.path())
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("CLOAKROOM_LOG_LEVEL", "debug")
            .envs(&self.settings)
            .stdin(Stdio::null());
        command
    }

    /// Runs a command to its end.
    pub fn run(&self, arguments: &[&str]) -> Output {
        let output = self.command(arguments).output().expect("started");
        for text in [&output.stdout, &output.stderr] {
            self.assert_no_secret(&String::from_utf8_lossy(text));
        }
        output
    }

    /// Runs a command that is refused, and gives its exit code and what it says: after log lines, one line.
    pub fn refused(&self, arguments: &[&str]) -> (i32, String) {
        let output = self.run(arguments);
        let said = String::from_utf8(output.stderr).expect("UTF-8");
        let lines: Vec<&str> = said
            .lines()
            .filter(|line| line.starts_with("cloakroom: "))
            .collect();
        assert_eq!(lines.len(), 1, "{said}");
        (output.status.code().expect("an exit"), lines[0].to_owned())
    }

    /// Starts a process; `name` is that of its log.
    pub fn start(&self, name: &str, arguments: &[&str]) -> Process {
        let ready_file = self.path().join(format!("{name}.ready"));
        let log = self.path().join(format!("{name}.log"));
        let to_log = || {
            Stdio::from(
                std::fs::File::options()
                    .create(true)
                    .append(true)
                    .open(&log)
                    .expect("a log"),
            )
        };
        let child = self
            .command(arguments)
            .arg("--ready-file")
            .arg(&ready_file)
            .stdout(to_log())
            .stderr(to_log())
            .spawn()
            .expect("started");
        Process {
            child,
            ready_file,
            log,
            secrets: secrets(&self.settings),
        }
    }

    /// A server on free ports with its keys in a directory of its own, ready.
    pub async fn serve(&self, name: &str, extra: &[&str]) -> Server {
        let data_dir = self.path().join(format!("{name}-data"));
        let arguments = [
            "serve",
            "--dev",
            "--listen",
            "127.0.0.1:0",
            "--s3-listen",
            "127.0.0.1:0",
            "--data-dir",
            data_dir.to_str().expect("UTF-8"),
        ];
        let mut process = self.start(name, &[&arguments, extra].concat());
        let ready = process.ready().await;
        Server { process, ready }
    }

    /// A worker, ready.
    pub async fn worker(&self, name: &str) -> Worker {
        let mut process = self.start(name, &["worker", "--listen", "127.0.0.1:0"]);
        let ready = process.ready().await;
        let url = ready["url"].as_str().expect("an address").to_owned();
        Worker { process, url }
    }

    fn assert_no_secret(&self, text: &str) {
        for secret in secrets(&self.settings) {
            assert!(!text.contains(&secret), "a secret was shown");
        }
    }
}

/// A process of the program, ended with the test.
pub struct Process {
    pub child: Child,
    ready_file: PathBuf,
    log: PathBuf,
    secrets: Vec<String>,
}

impl Process {
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).expect("a log")
    }

    pub fn is_ready(&self) -> bool {
        self.ready_file.exists()
    }

    /// What the ready file says.
    pub async fn ready(&mut self) -> Value {
        until("the ready file", async || {
            if let Some(status) = self.child.try_wait().expect("asked") {
                panic!("ended with {status}: {}", self.log());
            }
            self.is_ready()
        })
        .await;
        serde_json::from_slice(&std::fs::read(&self.ready_file).expect("there")).expect("JSON")
    }

    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill")
            .args([&format!("-{name}"), &self.child.id().to_string()])
            .status();
        assert!(sent.expect("kill is there").success());
    }

    pub fn kill(&mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("waited");
    }

    /// Ends it as an operator would.
    pub fn stop(&mut self) {
        self.signal("TERM");
        let status = self.child.wait().expect("waited");
        assert_eq!(status.code(), Some(0), "{}", self.log());
        assert!(!self.is_ready(), "the ready file goes with it");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            return;
        }
        // I7: whatever the test was about.
        let log = self.log();
        for secret in &self.secrets {
            assert!(!log.contains(secret), "a secret is in {}", self.log.display());
        }
        assert!(
            !log.contains("X-Amz-Signature="),
            "a presigned URL is in {}",
            self.log.display()
        );
    }
}

/// A running server.
pub struct Server {
    pub process: Process,
    pub ready: Value,
}

impl Server {
    pub fn text(&self, field: &str) -> &str {
        self.ready[field]
            .as_str()
            .unwrap_or_else(|| panic!("{field} in {}", self.ready))
    }

    async fn ask(&self, request: reqwest::RequestBuilder) -> Value {
        Self::ask_as(request, self.text("admin_token")).await
    }

    async fn ask_as(request: reqwest::RequestBuilder, token: &str) -> Value {
        let answer = request.bearer_auth(token).send().await.expect("an answer");
        let status = answer.status();
        let body = answer.text().await.expect("a body");
        assert!(status.is_success(), "{status}: {body}");
        serde_json::from_str(&body).expect("JSON")
    }

    pub async fn get(&self, path: &str) -> Value {
        let url = format!("{}/api/v1{path}", self.text("api_url"));
        self.ask(client().get(url)).await
    }

    pub async fn get_as(&self, path: &str, token: &str) -> Value {
        let url = format!("{}/api/v1{path}", self.text("api_url"));
        Self::ask_as(client().get(url), token).await
    }

    /// Asks for something that may be refused: status and body.
    pub async fn send(&self, method: reqwest::Method, path: &str, body: Value) -> (u16, Value) {
        let url = format!("{}/api/v1{path}", self.text("api_url"));
        let request = client().request(method, url).json(&body);
        let answer = request
            .bearer_auth(self.text("admin_token"))
            .send()
            .await
            .expect("an answer");
        let status = answer.status().as_u16();
        let text = answer.text().await.expect("a body");
        (status, serde_json::from_str(&text).unwrap_or_default())
    }

    /// Signs, sends and confirms; gives the file's id.
    pub async fn upload(&self, bytes: &[u8]) -> String {
        let api = format!("{}/api/v1", self.text("api_url"));
        let wanted = json!({"filename": "a.txt", "content_type": "text/plain", "size_bytes": bytes.len()});
        let ticket = self
            .ask(client().post(format!("{api}/uploads")).json(&wanted))
            .await;
        let mut sending = client()
            .put(ticket["upload_url"].as_str().expect("a URL"))
            .body(bytes.to_vec());
        for (name, value) in ticket["headers"].as_object().expect("headers") {
            if !name.eq_ignore_ascii_case("content-length") {
                sending = sending.header(name, value.as_str().expect("text"));
            }
        }
        let sent = sending.send().await.expect("an answer");
        assert!(
            sent.status().is_success(),
            "{}: {:?}",
            sent.status(),
            sent.text().await
        );
        let id = ticket["file_id"].as_str().expect("an id").to_owned();
        self.ask(client().post(format!("{api}/uploads/{id}/confirm")))
            .await;
        id
    }

    pub async fn state(&self, id: &str) -> String {
        let file = self.get(&format!("/files/{id}")).await;
        file["state"].as_str().expect("a state").to_owned()
    }

    pub async fn until_ready(&self, id: &str) {
        until("the file is ready", async || self.state(id).await == "ready").await;
    }

    /// The file's bytes, through the URL that a client gets.
    pub async fn download(&self, id: &str) -> Vec<u8> {
        let answer = self.get(&format!("/files/{id}/download")).await;
        let url = answer["download_url"].as_str().expect("a URL");
        let read = client().get(url).send().await.expect("an answer");
        assert!(read.status().is_success(), "{}", read.status());
        read.bytes().await.expect("bytes").to_vec()
    }
}

/// A running worker.
pub struct Worker {
    pub process: Process,
    pub url: String,
}

impl Worker {
    pub async fn get(&self, path: &str) -> (u16, String) {
        get(&format!("{}{path}", self.url)).await
    }

    /// Whether it sweeps.
    pub async fn leads(&self) -> bool {
        let (status, metrics) = self.get("/metrics").await;
        assert_eq!(status, 200, "{metrics}");
        metrics
            .lines()
            .any(|line| line == "cloakroom_leader{role=\"janitor\"} 1")
    }
}

/// A GET without credentials.
pub async fn get(url: &str) -> (u16, String) {
    let answer = client().get(url).send().await.expect("an answer");
    (answer.status().as_u16(), answer.text().await.expect("a body"))
}

pub fn client() -> reqwest::Client {
    reqwest::Client::builder()
        .timeout(Duration::from_mins(1))
        .no_proxy()
        .build()
        .expect("a client")
}

/// An address at which nobody answers.
pub fn nobody() -> SocketAddr {
    let port = tokio::net::TcpSocket::new_v4().expect("a socket");
    port.bind(([127, 0, 0, 1], 0).into()).expect("a port");
    let address = port.local_addr().expect("an address");
    // Bound as long as this process lives, so that nobody else gets it.
    std::mem::forget(port);
    address
}
