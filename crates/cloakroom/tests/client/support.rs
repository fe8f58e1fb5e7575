//! A server, a cable that can be cut, and a server that lies.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

/// A condition that does not come within this time never will.
const PATIENCE: Duration = Duration::from_mins(3);

/// How often a condition is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Waits for a condition.
pub fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        thread::sleep(LOOK_EVERY);
    }
}

/// A private directory to work in.
pub struct Home(tempfile::TempDir);

impl Home {
    pub fn new() -> Self {
        Self(tempfile::tempdir().expect("a directory"))
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).expect("a directory");
        }
        std::fs::write(&path, bytes).expect("written");
        path
    }

    /// Names of what is in a directory of this one.
    pub fn names(&self, directory: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.path(directory)).expect("a directory");
        let mut names: Vec<String> = entries
            .map(|entry| {
                entry
                    .expect("an entry")
                    .file_name()
                    .to_string_lossy()
                    .into_owned()
            })
            .collect();
        names.sort();
        names
    }

    /// The program in this directory, with an environment that configures nothing.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cloakroom"));
        command.args(arguments).current_dir(self.0.path()).env_clear();
        command
            .env("PATH", "/usr/bin:/bin")
            .env("HOME", self.0.path())
            .stdin(Stdio::null());
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Done {
        Done::of(self.command(arguments).output().expect("started"))
    }
}

/// A process that has ended.
#[derive(Debug)]
pub struct Done {
    pub code: i32,
    pub stdout: Vec<u8>,
    pub stderr: String,
}

impl Done {
    pub fn of(output: Output) -> Self {
        let done = Self {
            code: output.status.code().expect("an exit code"),
            stderr: String::from_utf8(output.stderr).expect("UTF-8"),
            stdout: output.stdout,
        };
        // I7: whatever happens, no presigned URL and no token is ever shown. Noise may hold anything.
        for text in [
            std::str::from_utf8(&done.stdout).unwrap_or_default(),
            &done.stderr,
        ] {
            assert!(
                !text.contains("X-Amz-") && !text.contains("eyJ"),
                "a secret is shown: {text}"
            );
        }
        done
    }

    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        let stdout = std::str::from_utf8(&self.stdout).unwrap_or("(bytes)");
        assert_eq!(self.code, code, "stdout: {stdout}\nstderr: {}", self.stderr);
        self
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.stdout).expect("UTF-8")
    }

    /// Standard output as JSON lines.
    pub fn lines(&self) -> Vec<Value> {
        self.text()
            .lines()
            .map(|line| serde_json::from_str(line).expect("JSON lines"))
            .collect()
    }

    /// Standard output as one JSON object.
    pub fn object(&self) -> Value {
        let mut lines = self.lines();
        assert_eq!(lines.len(), 1, "{lines:?}");
        lines.remove(0)
    }
}

/// A running instance, ended with the test.
pub struct Server {
    child: Child,
    pub home: Home,
    pub url: String,
    pub token: String,
}

impl Server {
    pub fn start() -> Self {
        Self::start_with("127.0.0.1:0", &[])
    }

    /// With its objects behind a cable.
    pub fn start_behind(cable: &Cable) -> Self {
        let listen = cable.upstream.to_string();
        Self::start_with(
            &listen,
            &[("CLOAKROOM_S3_PUBLIC_URL", format!("http://{}", cable.address))],
        )
    }

    pub fn start_with(s3_listen: &str, variables: &[(&str, String)]) -> Self {
        let home = Home::new();
        let log = std::fs::File::create(home.path("log")).expect("a log");
        let mut child = home
            .command(&[
                "serve",
                "--dev",
                "--listen",
                "127.0.0.1:0",
                "--s3-listen",
                s3_listen,
                "--ready-file",
                "ready.json",
            ])
            .envs(variables.iter().map(|(name, value)| (*name, value)))
            .stdout(log.try_clone().expect("a log"))
            .stderr(log)
            .spawn()
            .expect("started");
        let ready_file = home.path("ready.json");
        wait_until("the server is ready", || {
            let ended = child.try_wait().expect("a child").is_some();
            assert!(
                !ended,
                "{}",
                std::fs::read_to_string(home.path("log")).unwrap_or_default()
            );
            ready_file.exists()
        });
        let ready: Value = serde_json::from_slice(&std::fs::read(ready_file).expect("there")).expect("JSON");
        let text = |name: &str| ready[name].as_str().expect(name).to_owned();
        Self {
            child,
            home,
            url: text("api_url"),
            token: text("user_token"),
        }
    }

    /// A client command in the directory of the server.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.home.command(arguments);
        command
            .env("CLOAKROOM_URL", &self.url)
            .env("CLOAKROOM_TOKEN", &self.token);
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Done {
        Done::of(self.command(arguments).output().expect("started"))
    }

    /// Uploads a file that this directory has, and gives what `--json` says.
    pub fn put(&self, name: &str) -> Value {
        self.run(&["put", "--json", name]).expect(0).object()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Feeds a process through standard input.
pub fn run_with_input(mut command: Command, input: &[u8]) -> Done {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("started");
    let mut stdin = child.stdin.take().expect("piped");
    let input = input.to_vec();
    let writer = thread::spawn(move || drop(stdin.write_all(&input)));
    let output = child.wait_with_output().expect("ended");
    writer.join().expect("written");
    Done::of(output)
}

/// An address where nobody listens, and nobody but whoever names it ever will.
pub fn free_address() -> SocketAddr {
    let port = tokio::net::TcpSocket::new_v4().expect("a socket");
    port.set_reuseaddr(true).expect("shared with who listens");
    port.bind(([127, 0, 0, 1], 0).into()).expect("a port");
    let address = port.local_addr().expect("an address");
    // Bound as long as this process lives: who asks for any port gets another one.
    std::mem::forget(port);
    address
}

/// Which way bytes are counted.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Way {
    Up,
    Down,
}

/// What happens at the end of the budget.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Connections break, and no new ones are taken.
    Cut,
    /// Bytes wait until the cable is mended.
    Hold,
}

/// A TCP proxy before the S3 endpoint that fails after a number of bytes.
pub struct Cable {
    pub address: SocketAddr,
    upstream: SocketAddr,
    state: Arc<CableState>,
}

struct CableState {
    way: Way,
    fault: Fault,
    left: AtomicU64,
    broken: AtomicBool,
    mended: Mutex<bool>,
    wake: Condvar,
}

impl Cable {
    /// Lets so many bytes through one way, then fails.
    pub fn new(way: Way, budget: u64, fault: Fault) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let upstream = free_address();
        let address = listener.local_addr().expect("an address");
        let state = Arc::new(CableState {
            way,
            fault,
            left: AtomicU64::new(budget),
            broken: AtomicBool::new(false),
            mended: Mutex::new(false),
            wake: Condvar::new(),
        });
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if shared.broken.load(Ordering::SeqCst) && fault == Fault::Cut {
                    continue;
                }
                let Ok(server) = TcpStream::connect(upstream) else {
                    continue;
                };
                let pairs = [
                    (Way::Up, client.try_clone(), server.try_clone()),
                    (Way::Down, Ok(server), Ok(client)),
                ];
                for (way, from, to) in pairs {
                    let (state, from, to) = (
                        Arc::clone(&shared),
                        from.expect("a socket"),
                        to.expect("a socket"),
                    );
                    thread::spawn(move || state.copy(way, from, to));
                }
            }
        });
        Self {
            address,
            upstream,
            state,
        }
    }

    /// Whether the fault has happened.
    pub fn is_broken(&self) -> bool {
        self.state.broken.load(Ordering::SeqCst)
    }

    /// From now on nothing fails.
    pub fn mend(&self) {
        self.state.left.store(u64::MAX, Ordering::SeqCst);
        self.state.broken.store(false, Ordering::SeqCst);
        *self.state.mended.lock().expect("a lock") = true;
        self.state.wake.notify_all();
    }
}

impl CableState {
    fn copy(&self, way: Way, mut from: TcpStream, mut to: TcpStream) {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let read = from.read(&mut buffer).unwrap_or(0);
            if read == 0 || !self.pass(way, read as u64) || to.write_all(&buffer[..read]).is_err() {
                break;
            }
        }
        let _ = from.shutdown(Shutdown::Both);
        let _ = to.shutdown(Shutdown::Both);
    }

    /// Whether these bytes get through.
    fn pass(&self, way: Way, bytes: u64) -> bool {
        if way != self.way && !self.broken.load(Ordering::SeqCst) {
            return true;
        }
        let spent = way == self.way
            && self
                .left
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(bytes))
                .is_err();
        if spent {
            self.broken.store(true, Ordering::SeqCst);
        }
        if !self.broken.load(Ordering::SeqCst) {
            return true;
        }
        if self.fault == Fault::Cut {
            return false;
        }
        let mended = self.mended.lock().expect("a lock");
        drop(self.wake.wait_while(mended, |mended| !*mended).expect("a lock"));
        true
    }
}

/// A server of the API that says what a test wants it to say: an answer for each path, and what it was asked.
pub struct Liar {
    pub url: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Liar {
    /// `answer` gets the head of a request, in lower case, and its own address; it gives status, headers and body.
    pub fn start(answer: impl Fn(&str, &str) -> (String, Vec<u8>) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (seen, own) = (Arc::clone(&asked), url.clone());
        thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let head = read_request(&mut stream);
                seen.lock().expect("a lock").push(head.clone());
                let (head, body) = answer(&head, &own);
                let length = body.len();
                let _ = write!(
                    stream,
                    "HTTP/1.1 {head}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n"
                );
                let _ = stream.write_all(&body);
            }
        });
        Self { url, asked }
    }

    /// Heads of the requests so far.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("a lock").clone()
    }
}

/// The head of a request; the body is read, so that closing the connection does not reset it.
fn read_request(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap_or(0) == 1 {
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).to_ascii_lowercase();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: ")?.parse().ok())
        .unwrap_or(0);
    let _ = std::io::copy(&mut stream.take(length), &mut std::io::sink());
    head
}

/// Bytes that do not compress and do not repeat.
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// SHA-256 in hexadecimal, by the system's own tool.
pub fn sha256(path: &Path) -> String {
    let output = Command::new("sha256sum").arg(path).output().expect("coreutils");
    String::from_utf8_lossy(&output.stdout)
        .split_whitespace()
        .next()
        .expect("a digest")
        .to_owned()
}

pub fn text<'a>(object: &'a Value, field: &str) -> &'a str {
    object[field]
        .as_str()
        .unwrap_or_else(|| panic!("{field} is no text in {object}"))
}
