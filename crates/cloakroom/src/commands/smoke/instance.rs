//! A fresh instance for one smoke run: this same program, in a temporary directory, on free ports.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

use super::steps::found;
use crate::client::api::Api;
use crate::client::connection::Connection;
use crate::client::error::{ClientError, Result};
use crate::data_dir::create_private;

/// How long a start may take; making the first key pair on a slow machine is most of it.
const START_MAX: Duration = Duration::from_mins(1);
/// How long a clean end may take.
const STOP_MAX: Duration = Duration::from_secs(40);
/// How often the ready file is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How much of a log is shown, in lines.
const LOG_LINES: usize = 20;
/// The user whose files the other one must not see.
const STRANGER: &str = "smoke-stranger";
/// Variables that reach the instance; anything else could configure it.
const VARIABLES: &[&str] = &["PATH", "HOME", "TMPDIR"];

/// What the ready file says, as far as it is needed here.
#[derive(Deserialize)]
struct Ready {
    api_url: String,
    user_token: String,
    data_dir: PathBuf,
}

/// A running instance.
#[derive(Debug)]
pub struct Instance {
    child: Child,
    home: Home,
}

/// Its directory, removed in the end.
#[derive(Debug)]
struct Home(PathBuf);

impl Drop for Home {
    fn drop(&mut self) {
        // What remains is in the system's directory for such things.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl Home {
    fn create() -> Result<Self> {
        let path = std::env::temp_dir().join(format!("cloakroom-smoke-{:016x}", rand::random::<u64>()));
        create_private(&path).map_err(ClientError::file(&path))?;
        Ok(Self(path))
    }

    fn log(&self) -> PathBuf {
        self.0.join("log")
    }

    /// The end of the log, which holds no secrets (I7).
    fn log_tail(&self) -> String {
        let text = std::fs::read_to_string(self.log()).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let tail = &lines[lines.len().saturating_sub(LOG_LINES)..];
        format!("\n         {}", tail.join("\n         "))
    }
}

impl Instance {
    /// Starts one and waits until it is ready; clients for its user and for a stranger. The instance is put into
    /// `own` as soon as it runs, so that an interrupted start is cleaned up too.
    pub async fn start(own: &mut Option<Self>) -> Result<(Api, Api)> {
        let home = Home::create()?;
        let ready_file = home.0.join("ready.json");
        let log = std::fs::File::create(home.log()).map_err(ClientError::file(&home.log()))?;
        let log_too = log.try_clone().map_err(ClientError::file(&home.log()))?;
        let child = program(&home.0)?
            .args([
                "serve",
                "--dev",
                "--listen",
                "127.0.0.1:0",
                "--s3-listen",
                "127.0.0.1:0",
            ])
            .arg("--data-dir")
            .arg(home.0.join("data"))
            .arg("--ready-file")
            .arg(&ready_file)
            .stdout(log)
            .stderr(log_too)
            .spawn()
            .map_err(|error| found(format!("cannot start the program: {error}")))?;
        let instance = own.insert(Self { child, home });
        let ready = instance.wait_until_ready(&ready_file).await?;
        let stranger = instance.token(&ready.data_dir).await?;
        let api = Api::new(Connection::new(&ready.api_url, &ready.user_token)?)?;
        let stranger = api.with_token(&stranger)?;
        Ok((api, stranger))
    }

    async fn wait_until_ready(&mut self, ready_file: &Path) -> Result<Ready> {
        let deadline = Instant::now() + START_MAX;
        loop {
            // Written whole or not at all.
            if let Ok(text) = std::fs::read(ready_file) {
                return serde_json::from_slice(&text).map_err(|_| found("a ready file that cannot be read"));
            }
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(found(format!(
                    "it ended with {status}; its last words:{}",
                    self.home.log_tail()
                )));
            }
            if Instant::now() >= deadline {
                return Err(found(format!(
                    "not ready after {} s; its log:{}",
                    START_MAX.as_secs(),
                    self.home.log_tail()
                )));
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// A token for somebody else.
    async fn token(&self, data_dir: &Path) -> Result<String> {
        let made = program(&self.home.0)?
            .args(["token", "--user", STRANGER, "--data-dir"])
            .arg(data_dir)
            .output()
            .await;
        let made = made.map_err(|error| found(format!("cannot make a token: {error}")))?;
        if !made.status.success() {
            return Err(found(format!(
                "cannot make a token: {}",
                String::from_utf8_lossy(&made.stderr).trim()
            )));
        }
        Ok(String::from_utf8_lossy(&made.stdout).trim().to_owned())
    }

    /// Asks it to stop and waits for a clean end.
    pub async fn stop(mut self) -> Result<()> {
        if let Some(pid) = self.child.id().and_then(|id| Pid::from_raw(id.cast_signed())) {
            // An error means that it has ended; how it ended is asked next.
            let _ = kill_process(pid, Signal::TERM);
        }
        match timeout(STOP_MAX, self.child.wait()).await {
            Ok(Ok(status)) if status.success() => Ok(()),
            Ok(Ok(status)) => Err(found(format!(
                "it ended with {status}; its last words:{}",
                self.home.log_tail()
            ))),
            Ok(Err(error)) => Err(found(format!("cannot wait for it: {error}"))),
            Err(_) => {
                let tail = self.home.log_tail();
                let _ = self.child.kill().await;
                Err(found(format!(
                    "still running after {} s; its log:{tail}",
                    STOP_MAX.as_secs()
                )))
            }
        }
    }
}

/// This program, in this directory, with nothing of our environment that could configure it.
fn program(directory: &Path) -> Result<Command> {
    let path = std::env::current_exe().map_err(|error| found(format!("cannot find the program: {error}")))?;
    let mut command = Command::new(path);
    command
        .current_dir(directory)
        .env_clear()
        .stdin(Stdio::null())
        .kill_on_drop(true);
    // Ctrl-C is for us: we stop the instance in order.
    command.process_group(0);
    command.envs(std::env::vars_os().filter(|(name, _)| VARIABLES.iter().any(|variable| name == variable)));
    Ok(command)
}
