//! The program from outside: the command, and servers over data directories.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// A condition that does not come within this time never will.
const PATIENCE: Duration = Duration::from_mins(2);

pub async fn wait_until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds().await {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A configuration by environment variables.
pub type Variables = Vec<(String, String)>;

pub fn command(home: &Path, arguments: &[&str], variables: &Variables) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cloakroom"));
    command
        .args(arguments)
        .current_dir(home)
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .envs(variables.iter().cloned())
        .stdin(Stdio::null());
    command
}

/// A process that has ended.
#[derive(Debug)]
pub struct Done {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Done {
    pub fn of(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).expect("UTF-8"),
            stderr: String::from_utf8(output.stderr).expect("UTF-8"),
        }
    }

    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{}\n{}", self.stdout, self.stderr);
        self
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|_| panic!("JSON: {self:?}"))
    }
}

/// Where to: a configuration, and what the import is told besides.
pub struct Target {
    pub variables: Variables,
    pub arguments: Vec<String>,
}

impl Target {
    /// The command, not yet started.
    pub fn import(&self, home: &Path, extra: &[&str]) -> Command {
        let mut command = command(home, &["import", "--from-embedded", "old"], &self.variables);
        command.args(&self.arguments).args(extra);
        command
    }
}

/// Runs `cloakroom import` to its end.
pub fn import(home: &Path, extra: &[&str], target: &Target) -> Done {
    Done::of(target.import(home, extra).output().expect("started"))
}

/// A server over one configuration, ended with its value.
pub struct Server {
    child: Child,
    url: String,
    admin_token: String,
    client: reqwest::Client,
}

impl Server {
    pub async fn start(home: &Path, extra: &[&str], variables: &Variables) -> Self {
        let ready: PathBuf = home.join("ready.json");
        let _ = std::fs::remove_file(&ready);
        let log = std::fs::File::create(home.join("log")).expect("a log");
        let arguments = [
            &[
                "serve",
                "--dev",
                "--listen",
                "127.0.0.1:0",
                "--s3-listen",
                "127.0.0.1:0",
                "--ready-file",
                "ready.json",
            ],
            extra,
        ]
        .concat();
        let mut child = command(home, &arguments, variables)
            .stdout(log.try_clone().expect("a log"))
            .stderr(log)
            .spawn()
            .expect("started");
        wait_until("the server is ready", async || {
            let ended = child.try_wait().expect("a child").is_some();
            assert!(
                !ended,
                "{}",
                std::fs::read_to_string(home.join("log")).unwrap_or_default()
            );
            ready.exists()
        })
        .await;
        let said: Value = serde_json::from_slice(&std::fs::read(ready).expect("there")).expect("JSON");
        Self {
            child,
            url: said["api_url"].as_str().expect("a URL").to_owned(),
            admin_token: said["admin_token"].as_str().expect("a token").to_owned(),
            client: reqwest::Client::builder().build().expect("a client"),
        }
    }

    /// The status and the body of an answer.
    pub async fn get(&self, path: &str) -> (u16, Value) {
        let request = self.client.get(format!("{}/api/v1{path}", self.url));
        self.answer(request).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        let request = self.client.post(format!("{}/api/v1{path}", self.url)).json(body);
        self.answer(request).await
    }

    async fn answer(&self, request: reqwest::RequestBuilder) -> (u16, Value) {
        let answer = request
            .bearer_auth(&self.admin_token)
            .send()
            .await
            .expect("an answer");
        let status = answer.status().as_u16();
        (status, answer.json().await.unwrap_or(Value::Null))
    }

    /// Ids of every file, newest first.
    pub async fn files(&self) -> Vec<String> {
        let states = [
            "pending",
            "uploading",
            "uploaded",
            "confirmed",
            "processing",
            "ready",
            "failed",
            "quarantined",
            "expired",
            "trashed",
        ];
        let mut ids = Vec::new();
        for state in states {
            let mut cursor = String::new();
            loop {
                let (status, page) = self.get(&format!("/files?limit=100&state={state}{cursor}")).await;
                assert_eq!(status, 200, "{page}");
                let items = page["files"].as_array().expect("items");
                ids.extend(
                    items
                        .iter()
                        .map(|file| file["file_id"].as_str().expect("an id").to_owned()),
                );
                match page["next_cursor"].as_str() {
                    Some(next) => cursor = format!("&cursor={next}"),
                    None => break,
                }
            }
        }
        ids
    }

    /// Everything that the API says about a file, without what is different in every answer.
    pub async fn everything_about(&self, id: &str) -> Value {
        let mut all = serde_json::Map::new();
        for path in ["", "/status", "/timeline"] {
            let (status, mut answer) = self.get(&format!("/files/{id}{path}")).await;
            assert_eq!(status, 200, "{path}: {answer}");
            forget_passing(&mut answer, &self.url);
            all.insert(path.to_owned(), answer);
        }
        all.into()
    }

    /// The bytes behind a URL that an answer holds.
    pub async fn bytes(&self, path: &str) -> Option<Vec<u8>> {
        let (status, answer) = self.get(path).await;
        if status != 200 {
            return None;
        }
        let url = answer["download_url"].as_str().expect("a URL");
        let answer = self.client.get(url).send().await.expect("an answer");
        assert_eq!(answer.status(), 200, "{path}");
        Some(answer.bytes().await.expect("bytes").to_vec())
    }
}

/// Leaves out what differs between two starts of one instance; `origin` is where this one is reached.
fn forget_passing(value: &mut Value, origin: &str) {
    match value {
        Value::String(text) if text.starts_with(origin) => drop(text.drain(..origin.len())),
        Value::Object(fields) => {
            fields.remove("request_id");
            fields.retain(|name, _| !name.ends_with("_url"));
            // Nobody runs in the target what ran when the source was copied: there it waits.
            fields.remove("stage");
            fields
                .values_mut()
                .for_each(|field| forget_passing(field, origin));
        }
        Value::Array(items) => items.iter_mut().for_each(|item| forget_passing(item, origin)),
        _ => {}
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
