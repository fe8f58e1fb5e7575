//! The processes of a run: this same program, in a directory of its own, killed and started again.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use rand::RngExt as _;
use rand::rngs::StdRng;
use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

use crate::client::api::Api;
use crate::client::connection::Connection;
use crate::client::error::{ClientError, Result};
use crate::client::retry::RetryPolicy;
use crate::data_dir::create_private;

/// How long a start may take, keys and migrations included.
const START_MAX: Duration = Duration::from_mins(1);
/// How long a clean end may take.
const STOP_MAX: Duration = Duration::from_secs(40);
/// How often the ready file is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// How much of a log is shown, in lines.
const LOG_LINES: usize = 20;
/// Variables that reach the processes; anything else could configure them.
const VARIABLES: &[&str] = &["PATH", "HOME", "TMPDIR"];
/// Two collections: files that stay in the trash, and files that are purged as soon as they are deleted.
const CONFIGURATION: &str = r#"[collections.lasting]
description = "Deleted files can be restored."

[collections.fleeting]
description = "Deleted files are purged soon."
trash_for = "1s"
"#;

/// PostgreSQL and S3, and how many processes share them.
#[derive(Clone)]
pub struct External {
    pub database_url: String,
    pub s3_endpoint: String,
    pub s3_region: String,
    pub access_key: String,
    pub secret_key: String,
    pub servers: u32,
    pub workers: u32,
}

/// What a server's ready file says, as far as it is needed here.
#[derive(Deserialize)]
struct Ready {
    #[serde(default)]
    api_url: String,
    #[serde(default)]
    user_token: String,
}

/// Servers that answer now, for clients.
pub type Nodes = Arc<RwLock<Vec<Arc<Api>>>>;

/// One process, or the place of one that was killed.
struct Machine {
    name: String,
    arguments: Vec<String>,
    child: Option<Child>,
    api: Option<Arc<Api>>,
}

/// Every process.
pub struct Plant {
    home: PathBuf,
    temporary: bool,
    settings: Vec<(String, String)>,
    machines: Vec<Machine>,
    nodes: Nodes,
}

impl Plant {
    /// A directory, and what is to run in it.
    pub fn new(directory: Option<PathBuf>, external: Option<External>) -> Result<Self> {
        let run: u64 = rand::random();
        let temporary = directory.is_none();
        let home =
            directory.unwrap_or_else(|| std::env::temp_dir().join(format!("cloakroom-torture-{run:016x}")));
        create_private(&home).map_err(ClientError::file(&home))?;
        let home = home.canonicalize().map_err(ClientError::file(&home))?;
        let configuration = home.join("cloakroom.toml");
        std::fs::write(&configuration, CONFIGURATION).map_err(ClientError::file(&configuration))?;
        let mut settings: Vec<(String, String)> = [
            ("CLOAKROOM_WORKER_LEASE", "5s"),
            ("CLOAKROOM_WORKER_LEADER_LEASE", "1s"),
            ("CLOAKROOM_WORKER_SWEEP_EVERY", "1s"),
            ("CLOAKROOM_UPLOADS_GRACE", "1m"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
        let mut machines = Vec::new();
        let (servers, workers) = external.as_ref().map_or((1, 0), |e| (e.servers, e.workers));
        for number in 1..=servers {
            let mut arguments: Vec<String> = [
                "serve",
                "--dev",
                "--listen",
                "127.0.0.1:0",
                "--s3-listen",
                "127.0.0.1:0",
            ]
            .map(str::to_owned)
            .into();
            arguments.extend(["--data-dir".to_owned(), format!("data{number}")]);
            if workers > 0 && number > 1 {
                arguments.push("--no-worker".to_owned());
            }
            machines.push(Machine::new(&format!("server{number}"), arguments));
        }
        for number in 1..=workers {
            let arguments = ["worker", "--dev", "--listen", "127.0.0.1:0"]
                .map(str::to_owned)
                .into();
            machines.push(Machine::new(&format!("worker{number}"), arguments));
        }
        if let Some(external) = external {
            let prefix = format!("torture_{:08x}_", run >> 32);
            let bucket = format!("torture-{run:016x}");
            settings.extend([
                ("DATABASE_URL".to_owned(), external.database_url),
                ("CLOAKROOM_DATABASE_TABLE_PREFIX".to_owned(), prefix),
                ("S3_ENDPOINT".to_owned(), external.s3_endpoint),
                ("S3_REGION".to_owned(), external.s3_region),
                ("S3_ACCESS_KEY".to_owned(), external.access_key),
                ("S3_SECRET_KEY".to_owned(), external.secret_key),
                ("S3_BUCKET".to_owned(), bucket),
            ]);
        }
        Ok(Self {
            home,
            temporary,
            settings,
            machines,
            nodes: Nodes::default(),
        })
    }

    /// Keeps the directory, and says where it is.
    pub fn keep(&mut self) -> PathBuf {
        self.temporary = false;
        self.home.clone()
    }

    /// Servers that answer, kept up to date.
    pub fn nodes(&self) -> Nodes {
        Arc::clone(&self.nodes)
    }

    /// A server that answers.
    pub fn api(&self) -> Result<Arc<Api>> {
        let living = self.machines.iter().find_map(|machine| machine.api.clone());
        living.ok_or_else(|| ClientError::Failed("no server is left".to_owned()))
    }

    /// Starts everything. The first one alone: it makes the tables and the bucket.
    pub async fn start_all(&mut self) -> Result<()> {
        for index in 0..self.machines.len() {
            self.start(index).await?;
        }
        Ok(())
    }

    /// Kills one process, whichever, and starts it again.
    pub async fn kill_and_restart(&mut self, random: &mut StdRng) -> Result<()> {
        let index = random.random_range(0..self.machines.len());
        let machine = &mut self.machines[index];
        machine.api = None;
        if let Some(mut child) = machine.child.take() {
            // SIGKILL, and wait until it is really gone: its locks go with it.
            child.kill().await.map_err(|error| {
                ClientError::Failed(format!("{} cannot be killed: {error}", machine.name))
            })?;
        }
        self.publish();
        self.start(index).await
    }

    fn publish(&self) {
        let living = self.machines.iter().filter_map(|machine| machine.api.clone());
        *self.nodes.write().unwrap_or_else(PoisonError::into_inner) = living.collect();
    }

    fn program(&self) -> Result<Command> {
        let path = std::env::current_exe()
            .map_err(|error| ClientError::Failed(format!("cannot find the program: {error}")))?;
        let mut command = Command::new(path);
        command
            .current_dir(&self.home)
            .env_clear()
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .envs(std::env::vars_os().filter(|(name, _)| VARIABLES.iter().any(|variable| name == variable)))
            .envs(self.settings.iter().map(|(name, value)| (name, value)));
        // Ctrl-C is for us: we end the processes.
        command.process_group(0);
        Ok(command)
    }

    fn log(&self, name: &str) -> PathBuf {
        self.home.join(format!("{name}.log"))
    }

    async fn start(&mut self, index: usize) -> Result<()> {
        let mut command = self.program()?;
        let name = self.machines[index].name.clone();
        let log_path = self.log(&name);
        let open = || {
            let options = std::fs::File::options().create(true).append(true).open(&log_path);
            options.map_err(ClientError::file(&log_path))
        };
        let ready_file = self.home.join(format!("{name}.ready"));
        // That of the process that was killed.
        let _ = std::fs::remove_file(&ready_file);
        command
            .args(&self.machines[index].arguments)
            .arg("--ready-file")
            .arg(&ready_file)
            .stdout(open()?)
            .stderr(open()?);
        let child = command
            .spawn()
            .map_err(|error| ClientError::Failed(format!("cannot start {name}: {error}")))?;
        self.machines[index].child = Some(child);
        let ready = self.wait_until_ready(index, &ready_file).await?;
        if !ready.api_url.is_empty() {
            let connection = Connection::new(&ready.api_url, &ready.user_token)?;
            let once = RetryPolicy {
                attempts_max: 1,
                ..RetryPolicy::default()
            };
            self.machines[index].api = Some(Arc::new(Api::with_policy(connection, once)?));
        }
        self.publish();
        Ok(())
    }

    async fn wait_until_ready(&mut self, index: usize, ready_file: &Path) -> Result<Ready> {
        let deadline = Instant::now() + START_MAX;
        let log = self.log(&self.machines[index].name);
        let name = self.machines[index].name.clone();
        loop {
            // Written whole or not at all.
            if let Ok(text) = std::fs::read(ready_file) {
                return serde_json::from_slice(&text)
                    .map_err(|_| ClientError::Failed("a ready file that cannot be read".to_owned()));
            }
            let child = self.machines[index].child.as_mut();
            if let Some(Ok(Some(status))) = child.map(Child::try_wait) {
                let tail = tail(&log);
                return Err(ClientError::Failed(format!("{name} ended with {status}:{tail}")));
            }
            if Instant::now() >= deadline {
                let tail = tail(&log);
                return Err(ClientError::Failed(format!(
                    "{name} is not ready after {} s:{tail}",
                    START_MAX.as_secs()
                )));
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// Asks every process to stop; those that did not end in order.
    pub async fn stop_all(&mut self) -> Vec<String> {
        let mut complaints = Vec::new();
        self.nodes.write().unwrap_or_else(PoisonError::into_inner).clear();
        for machine in self.machines.iter_mut().rev() {
            machine.api = None;
            let Some(mut child) = machine.child.take() else {
                continue;
            };
            if let Some(pid) = child.id().and_then(|id| Pid::from_raw(id.cast_signed())) {
                // An error means that it has ended; how it ended is asked next.
                let _ = kill_process(pid, Signal::TERM);
            }
            match timeout(STOP_MAX, child.wait()).await {
                Ok(Ok(status)) if status.success() => {}
                Ok(Ok(status)) => complaints.push(format!("{}: {status}", machine.name)),
                Ok(Err(error)) => complaints.push(format!("{}: {error}", machine.name)),
                Err(_) => {
                    let _ = child.kill().await;
                    complaints.push(format!(
                        "{}: still there after {} s",
                        machine.name,
                        STOP_MAX.as_secs()
                    ));
                }
            }
        }
        complaints
    }

    /// Ends whatever still runs.
    pub async fn kill_all(&mut self) {
        for machine in &mut self.machines {
            if let Some(mut child) = machine.child.take() {
                let _ = child.kill().await;
            }
        }
    }

    /// Runs a command of this program over the data; whether it was content, and what it said.
    pub async fn command(&self, arguments: &[&str]) -> Result<(bool, String)> {
        let output = self
            .program()?
            .args(arguments)
            .args(["--data-dir", "data1"])
            .output()
            .await
            .map_err(|error| ClientError::Failed(format!("cannot start {}: {error}", arguments.join(" "))))?;
        let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        Ok((output.status.success(), said.concat()))
    }
}

impl Drop for Plant {
    fn drop(&mut self) {
        if self.temporary {
            // What remains is in the system's directory for such things.
            let _ = std::fs::remove_dir_all(&self.home);
        }
    }
}

impl Machine {
    fn new(name: &str, arguments: Vec<String>) -> Self {
        Self {
            name: name.to_owned(),
            arguments,
            child: None,
            api: None,
        }
    }
}

/// The end of a log, which holds no secrets (I7).
fn tail(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let tail = &lines[lines.len().saturating_sub(LOG_LINES)..];
    format!("\n  {}", tail.join("\n  "))
}
