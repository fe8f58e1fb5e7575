//! A private directory and environment for each test, and what the doctor says there.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use cloakroom_core::ports::clock::Clock as _;
use cloakroom_signing::{Credentials, OutgoingRequest, PayloadHash, Region, Signer};
use cloakroom_testkit::clock::WallClock;
use cloakroom_testkit::servers;
use serde_json::Value;

pub struct Home {
    directory: tempfile::TempDir,
    variables: Vec<(String, String)>,
}

/// What the doctor said.
pub struct Said {
    pub code: i32,
    pub text: String,
    pub errors: String,
}

impl Said {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("{} {}", self.text, self.errors))
    }

    /// The verdict about one thing, wherever it was said first.
    pub fn verdict(&self, check: &str) -> String {
        self.line(check)["verdict"].as_str().unwrap().to_owned()
    }

    pub fn line(&self, check: &str) -> Value {
        let json = self.json();
        let subjects = json["subjects"].as_array().unwrap().clone();
        let mut lines = subjects
            .iter()
            .flat_map(|subject| subject["checks"].as_array().unwrap().clone());
        lines
            .find(|line| line["check"] == check)
            .unwrap_or_else(|| panic!("nothing about {check}: {}", self.text))
    }

    pub fn methods(&self) -> Vec<String> {
        let json = self.json();
        let methods = json["store"]["upload_methods"].as_array().unwrap();
        methods
            .iter()
            .map(|method| method.as_str().unwrap().to_owned())
            .collect()
    }
}

impl Home {
    pub fn new(variables: &[(&str, &str)]) -> Self {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Self {
            directory: tempfile::tempdir().unwrap(),
            variables: variables.iter().map(owned).collect(),
        }
    }

    pub fn with(mut self, variables: &[(&str, &str)]) -> Self {
        self.variables.extend(Self::new(variables).variables);
        self
    }

    /// On Ceph, with a bucket of its own, which is not there yet.
    pub fn ceph() -> Self {
        let s3 = servers::s3();
        Self::new(&[
            ("S3_ENDPOINT", &s3.endpoint),
            ("S3_ACCESS_KEY", &s3.access_key),
            ("S3_SECRET_KEY", &s3.secret_key),
            ("S3_REGION", &s3.region),
            ("S3_BUCKET", &servers::unique_bucket()),
        ])
    }

    /// On moto.
    pub fn moto() -> Self {
        Self::new(&[
            ("S3_ENDPOINT", &servers::moto_url()),
            ("S3_ACCESS_KEY", "moto-key"),
            ("S3_SECRET_KEY", "moto-secret-of-no-importance"),
            ("S3_BUCKET", &servers::unique_bucket()),
        ])
    }

    /// What a variable was first set to.
    pub fn setting(&self, name: &str) -> String {
        let found = self.variables.iter().find(|(known, _)| known == name);
        found.unwrap().1.clone()
    }

    pub fn path(&self) -> &std::path::Path {
        self.directory.path()
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cloakroom"));
        command
            .args(arguments)
            .current_dir(self.path())
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null());
        command
    }

    /// Runs `doctor` with these arguments. No secret of the settings is ever in what it says.
    pub async fn doctor(&self, arguments: &[&str]) -> Said {
        let mut command = self.command(&["doctor"]);
        command.args(arguments);
        let output = tokio::task::spawn_blocking(move || command.output().unwrap())
            .await
            .unwrap();
        let said = Said {
            code: output.status.code().unwrap(),
            text: String::from_utf8(output.stdout).unwrap(),
            errors: String::from_utf8(output.stderr).unwrap(),
        };
        for (name, value) in &self.variables {
            let is_secret = name.contains("SECRET");
            assert!(
                !is_secret || !format!("{}{}", said.text, said.errors).contains(value),
                "{name} is told"
            );
        }
        said
    }

    /// Denies these actions to everybody in the bucket, with a bucket policy.
    pub async fn deny(&self, actions: &[&str]) {
        let setting = |name: &str| self.setting(name);
        let bucket = setting("S3_BUCKET");
        let policy = serde_json::json!({
            "Version": "2012-10-17",
            "Statement": [{
                "Effect": "Deny",
                "Principal": "*",
                "Action": actions,
                "Resource": [format!("arn:aws:s3:::{bucket}"), format!("arn:aws:s3:::{bucket}/*")],
            }],
        })
        .to_string();
        let url = format!("{}/{bucket}?policy=", setting("S3_ENDPOINT"));
        let credentials = Credentials::new(setting("S3_ACCESS_KEY"), setting("S3_SECRET_KEY"));
        let signed = Signer::new(credentials, Region::default())
            .sign_headers(&OutgoingRequest {
                method: &http::Method::PUT,
                url: &url,
                headers: &[],
                payload: PayloadHash::of(policy.as_bytes()),
                now: WallClock.now(),
            })
            .unwrap();
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let mut request = client.put(&url).body(policy);
        for (name, value) in &signed.headers {
            request = request.header(*name, value);
        }
        let answer = request.send().await.unwrap();
        assert!(answer.status().is_success(), "{answer:?}");
    }

    /// A development server in the same directory, and what it says of itself.
    pub async fn serve(&self) -> (Server, Value) {
        let file = self.path().join("ready.json");
        let child = self
            .command(&[
                "serve",
                "--dev",
                "--no-worker",
                "--listen",
                "127.0.0.1:0",
                "--ready-file",
                "ready.json",
            ])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let server = Server(child);
        for _ in 0..1_200 {
            if let Some(ready) = std::fs::read(&file)
                .ok()
                .and_then(|text| serde_json::from_slice(&text).ok())
            {
                return (server, ready);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("the server is not ready after a minute");
    }
}

/// Ends with the test.
pub struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
