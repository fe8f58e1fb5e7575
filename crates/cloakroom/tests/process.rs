//! The built program from outside: exit codes, what it says on standard error, what it leaves behind.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdout, Command, ExitStatus, Output, Stdio};
use std::thread::JoinHandle;

use serde_json::Value;

const ANY_PORTS: &[&str] = &["--listen", "127.0.0.1:0", "--s3-listen", "127.0.0.1:0"];

/// A private directory to work in; the environment holds nothing but the search path.
struct Home(tempfile::TempDir);

impl Home {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a directory"))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cloakroom"));
        command
            .args(arguments)
            .current_dir(self.path())
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .stdin(Stdio::null());
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("started")
    }

    fn stdout(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).expect("UTF-8")
    }

    /// Runs a command that is refused, and gives its exit code and the lines of standard error.
    fn refused(&self, arguments: &[&str]) -> (i32, Vec<String>) {
        let output = self.run(arguments);
        let lines = String::from_utf8(output.stderr)
            .expect("UTF-8")
            .lines()
            .map(str::to_owned)
            .collect();
        (output.status.code().expect("an exit"), lines)
    }

    fn serve(&self, extra: &[&str]) -> Server {
        let arguments = [
            &["serve", "--dev", "--ready-file", "ready.json"],
            ANY_PORTS,
            extra,
        ]
        .concat();
        let mut child = self
            .command(&arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("started");
        let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
        let stderr = child.stderr.take().expect("piped");
        let mut banner = String::new();
        // The message ends with an empty line, after its commands.
        while !(banner.contains("Try it") && banner.ends_with("\n\n") && banner.contains("curl")) {
            if stdout.read_line(&mut banner).expect("UTF-8") == 0 {
                let mut log = String::new();
                let _ = BufReader::new(stderr).read_to_string(&mut log);
                panic!("ended while starting: {log}");
            }
        }
        let ready = std::fs::read(self.path().join("ready.json")).expect("written before the message");
        Server {
            child,
            banner,
            ready: serde_json::from_slice(&ready).expect("JSON"),
            log: Log::follow(stderr),
            _stdout: stdout,
        }
    }
}

/// Standard error of a server, read as it comes.
struct Log {
    lines: std::sync::mpsc::Receiver<String>,
    seen: Vec<String>,
    reader: JoinHandle<()>,
}

impl Log {
    fn follow(stderr: ChildStderr) -> Self {
        let (sender, lines) = std::sync::mpsc::channel();
        let reader = std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Self {
            lines,
            seen: Vec::new(),
            reader,
        }
    }

    fn wait_for(&mut self, text: &str) {
        for line in &self.lines {
            let found = line.contains(text);
            self.seen.push(line);
            if found {
                return;
            }
        }
        panic!("{text} never came: {:#?}", self.seen);
    }

    fn all(mut self) -> String {
        self.seen.extend(&self.lines);
        self.reader.join().expect("read to the end");
        self.seen.join("\n")
    }
}

struct Server {
    child: Child,
    banner: String,
    ready: Value,
    log: Log,
    _stdout: BufReader<ChildStdout>,
}

impl Server {
    fn text(&self, field: &str) -> &str {
        self.ready[field]
            .as_str()
            .unwrap_or_else(|| panic!("{field} in {}", self.ready))
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill")
            .args([&format!("-{name}"), &self.child.id().to_string()])
            .status();
        assert!(sent.expect("kill is there").success());
    }

    fn wait(mut self) -> (ExitStatus, String) {
        let status = self.child.wait().expect("waited");
        (status, self.log.all())
    }

    /// Ends it as an operator would, and gives its log.
    fn stop(self) -> String {
        self.signal("TERM");
        let (status, log) = self.wait();
        assert_eq!(status.code(), Some(0), "{log}");
        log
    }

    fn authority(&self) -> &str {
        self.text("api_url").strip_prefix("http://").expect("plain HTTP")
    }

    /// A GET with this token: status and body.
    fn get(&self, path: &str, token: &str) -> (u16, Value) {
        let mut stream = TcpStream::connect(self.authority()).expect("connected");
        let host = self.authority();
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n"
        )
        .expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        let status = answer
            .split(' ')
            .nth(1)
            .and_then(|code| code.parse().ok())
            .expect("a status");
        let body = answer
            .split_once("\r\n\r\n")
            .map(|(_, body)| body)
            .unwrap_or_default();
        (status, serde_json::from_str(body).unwrap_or_default())
    }
}

fn assert_one_line(refusal: &(i32, Vec<String>), code: i32, parts: &[&str]) {
    assert_eq!((refusal.0, refusal.1.len()), (code, 1), "{refusal:?}");
    assert!(refusal.1[0].starts_with("cloakroom: "), "{refusal:?}");
    for part in parts {
        assert!(refusal.1[0].contains(part), "{part} in {refusal:?}");
    }
}

fn entries(path: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(path)
        .expect("a directory")
        .map(|entry| entry.expect("an entry").path())
        .collect()
}

#[test]
fn a_port_in_use_is_one_line_and_leaves_nothing() {
    let home = Home::new();
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    for (flag, other, key) in [
        ("--listen", "--s3-listen", "server.listen"),
        ("--s3-listen", "--listen", "s3.listen"),
    ] {
        let refusal = home.refused(&["serve", "--dev", flag, &address, other, "127.0.0.1:0"]);
        assert_one_line(&refusal, 1, &["cannot listen on", &address, key, "in use"]);
    }
    assert_eq!(
        entries(home.path()),
        [""; 0].map(PathBuf::from),
        "nothing half made"
    );
}

#[test]
fn a_wrong_key_is_one_line_and_leaves_nothing() {
    let home = Home::new();
    std::fs::write(
        home.path().join("cloakroom.toml"),
        "[server]\nlistn = \"127.0.0.1:0\"\n",
    )
    .expect("written");
    let refusal = home.refused(&["serve", "--dev"]);
    assert_one_line(
        &refusal,
        2,
        &[
            "cloakroom.toml:2",
            "server.listn",
            "did you mean \"server.listen\"?",
        ],
    );
    assert_eq!(home.refused(&["config", "check", "--dev"]), refusal);
    assert_eq!(entries(home.path()).len(), 1, "nothing half made");
}

#[test]
fn a_data_directory_that_is_a_file_is_one_line() {
    let home = Home::new();
    std::fs::write(home.path().join("data"), "mine").expect("written");
    let refusal = home.refused(&[&["serve", "--dev"], ANY_PORTS].concat());
    assert_one_line(&refusal, 1, &["cannot use the data directory ./data"]);
    assert_eq!(std::fs::read(home.path().join("data")).expect("there"), b"mine");
}

#[test]
fn outside_of_development_keys_are_needed() {
    let home = Home::new();
    let (code, lines) = home.refused(&["serve"]);
    assert_eq!((code, lines.len()), (2, 2), "{lines:?}");
    assert!(
        lines[0].contains("auth.public_key_files") && lines[1].contains("s3.access_key"),
        "{lines:?}"
    );
    assert_eq!(entries(home.path()).len(), 0, "nothing half made");
}

#[test]
fn a_second_server_in_the_same_directory_is_refused() {
    let home = Home::new();
    let first = home.serve(&[]);
    let refusal = home.refused(&[&["serve", "--dev"], ANY_PORTS].concat());
    assert_one_line(
        &refusal,
        1,
        &[
            "is in use by another cloakroom",
            &format!("(process {})", first.child.id()),
        ],
    );
    let token = first.text("user_token").to_owned();
    assert_eq!(first.get("/api/v1/me", &token).0, 200, "the first one goes on");
    first.stop();
}

#[test]
fn the_ready_file_is_private_and_goes_with_the_server() {
    let home = Home::new();
    let server = home.serve(&[]);
    let path = home.path().join("ready.json");
    assert_eq!(
        std::fs::metadata(&path).expect("there").permissions().mode() & 0o777,
        0o600
    );
    assert_eq!(server.ready["pid"], server.child.id());
    assert_eq!(server.text("region"), "us-east-1");
    assert!(
        server.text("data_dir").ends_with("/data") && server.text("s3_url").starts_with("http://127.0.0.1:")
    );
    for (token, role) in [("user_token", "user"), ("admin_token", "admin")] {
        let (status, me) = server.get("/api/v1/me", server.text(token));
        assert_eq!((status, &me["role"]), (200, &Value::from(role)), "{me}");
    }
    server.stop();
    assert!(!path.exists());
}

#[test]
fn tokens_are_minted_for_a_running_server() {
    let home = Home::new();
    let (code, lines) = home.refused(&["token"]);
    assert_eq!(code, 1);
    assert!(lines[0].contains("serve --dev"), "{lines:?}");
    let server = home.serve(&[]);
    let ann = home.stdout(&["token", "--user", "ann", "--role", "operator", "--ttl", "1h"]);
    let (status, me) = server.get("/api/v1/me", ann.trim());
    assert_eq!(
        (status, &me["subject"], &me["role"]),
        (200, &"ann".into(), &"operator".into()),
        "{me}"
    );
    let (code, _) = home.refused(&["token", "--role", "king"]);
    assert_eq!(code, 2);
    server.stop();
}

#[test]
fn service_tokens_are_made_with_and_without_a_running_server() {
    let home = Home::new();
    home.stdout(&["migrate"]);
    let before = home.stdout(&[
        "token",
        "create-service",
        "--name",
        "billing",
        "--collections",
        "photos,documents",
    ]);
    assert!(
        before.starts_with("clk_") && before.trim().len() == 47,
        "{}",
        before.len()
    );
    let nope = &["token", "create-service", "--name", "x", "--collections", "nope"];
    assert_eq!(home.refused(nope).0, 2);
    let server = home.serve(&[]);
    assert_eq!(home.refused(nope).0, 2);
    let during = home.stdout(&["token", "create-service", "--name", "bot", "--role", "admin"]);
    for (token, name) in [(before, "billing"), (during, "bot")] {
        let (status, me) = server.get("/api/v1/me", token.trim());
        assert_eq!((status, &me["subject"]), (200, &Value::from(name)), "{me}");
    }
    server.stop();
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let home = Home::new();
    let mut server = home.serve(&[]);
    // An upload that never comes to its end holds up the first signal.
    let mut hanging = TcpStream::connect(server.authority()).expect("connected");
    let token = server.text("user_token").to_owned();
    write!(
        hanging,
        "POST /api/v1/uploads HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: application/json\r\nExpect: 100-continue\r\nContent-Length: 100\r\n\r\n"
    )
    .expect("sent");
    // It is under way when the server asks for its body.
    let mut buffer = [0; 25];
    hanging.read_exact(&mut buffer).expect("a go-ahead");
    assert_eq!(&buffer, b"HTTP/1.1 100 Continue\r\n\r\n");
    server.signal("TERM");
    server.log.wait_for("server_stopping");
    server.signal("TERM");
    let (status, log) = server.wait();
    assert_eq!(status.code(), Some(143), "{log}");
}

#[test]
fn the_commands_of_the_message_work_and_the_file_is_there_after_a_restart() {
    let home = Home::new();
    let server = home.serve(&[]);
    let commands: Vec<&str> = server
        .banner
        .lines()
        .skip_while(|line| !line.contains("API="))
        .collect();
    let script = commands.join("\n");
    let again = "curl -sS -o /dev/null -w 'again:%{http_code}\\n' -X PUT \"$URL\" -H 'Content-Type: text/plain' -d evil";
    let output = Command::new("bash")
        .args(["-e", "-c", &format!("{script}\n{again}\necho \"file:$FILE\"")])
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .output()
        .expect("bash is there");
    let said = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(
        output.status.success() && said.contains("Leave your files, keep the ticket.\n"),
        "{said}\n{script}"
    );
    assert!(said.contains("\"state\":\"ready\""), "{said}");
    assert!(
        said.contains("again:403"),
        "a URL used again changes nothing (I2): {said}"
    );
    let file_id = said.rsplit_once("file:").expect("said last").1.trim().to_owned();
    let secrets = ["user_token", "admin_token", "secret_key"].map(|field| server.text(field).to_owned());
    let banner = server.banner.clone();
    let log = server.stop();
    for secret in &secrets {
        assert!(
            !log.contains(secret) && !banner.contains(secret),
            "a secret was shown"
        );
    }
    assert!(!log.contains("X-Amz-Signature="), "{log}");

    let server = home.serve(&[]);
    assert_eq!(server.text("secret_key"), secrets[2], "credentials are kept");
    let (status, file) = server.get(&format!("/api/v1/files/{file_id}"), &secrets[0]);
    assert_eq!(
        (status, &file["state"]),
        (200, &"ready".into()),
        "the first start's token and file: {file}"
    );
    server.stop();
}

#[test]
fn log_lines_are_json_with_the_request_that_they_are_about() {
    let home = Home::new();
    let server = home.serve(&[]);
    server.get("/api/v1/me", "nonsense");
    let log = server.stop();
    let lines: Vec<Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    let answered = lines
        .iter()
        .find(|line| line["event"] == "http_request")
        .expect("a request");
    for field in [
        "timestamp",
        "level",
        "logger",
        "module",
        "function",
        "line",
        "message",
        "request_id",
        "trace_id",
        "span_id",
    ] {
        assert!(!answered[field].is_null(), "{field} in {answered}");
    }
}

#[test]
fn configuration_is_shown_with_its_sources_and_without_secrets() {
    let home = Home::new();
    std::fs::write(
        home.path().join(".env"),
        "S3_ACCESS_KEY=AKHUSHHUSH\nS3_SECRET_KEY=hush-hush-hush\n",
    )
    .expect("written");
    let mut command = home.command(&["config", "show", "--json"]);
    let output = command
        .env("MINIO_REGION", "eu-1")
        .env("S3_REGION", "eu-1")
        .output()
        .expect("started");
    let shown: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(shown["s3.region"]["source"], "environment S3_REGION");
    assert_eq!(shown["s3.secret_key"]["value"], "********");
    assert_eq!(shown["s3.secret_key"]["source"], ".env S3_SECRET_KEY");
    assert!(!String::from_utf8_lossy(&output.stdout).contains("hush"));
    let mut command = home.command(&["config", "check", "--dev"]);
    let output = command
        .env("CLOAKROOM_SERVER_LISTN", "x")
        .output()
        .expect("started");
    let said = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(
        output.status.success() && said.starts_with("note: CLOAKROOM_SERVER_LISTN is not a setting"),
        "{said}"
    );
}

#[test]
fn the_openapi_document_is_printed() {
    let document: Value = serde_json::from_str(&Home::new().stdout(&["openapi"])).expect("JSON");
    assert!(
        document["paths"]["/api/v1/uploads"].is_object(),
        "{}",
        document["paths"]
    );
}

#[test]
fn a_configured_server_takes_tokens_of_its_keys_and_shows_no_secrets() {
    let home = Home::new();
    let dev = home.serve(&[]);
    let made = (
        dev.text("access_key").to_owned(),
        dev.text("secret_key").to_owned(),
    );
    let token = dev.text("user_token").to_owned();
    dev.stop();
    let configured = |access_key: &str, secret_key: &str, s3_listen: &str| {
        format!(
            "[auth]\npublic_key_files = [\"data/keys/dev-public.pem\"]\n[server]\nlisten = \"127.0.0.1:0\"\n\
             [s3]\nlisten = \"{s3_listen}\"\naccess_key = \"{access_key}\"\nsecret_key = \"{secret_key}\"\n"
        )
    };
    let file = home.path().join("cloakroom.toml");
    std::fs::write(&file, configured(&made.0, &made.1, "0.0.0.0:0")).expect("written");
    assert_one_line(&home.refused(&["serve"]), 2, &["were made by --dev"]);

    std::fs::write(&file, configured("production", "a-secret-of-mine", "127.0.0.1:0")).expect("written");
    let mut child = home
        .command(&["serve", "--ready-file", "ready.json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("started");
    let stdout = BufReader::new(child.stdout.take().expect("piped"));
    let mut log = Log::follow(child.stderr.take().expect("piped"));
    log.wait_for("server_ready");
    let ready = std::fs::read(home.path().join("ready.json")).expect("written before the log line");
    let ready: Value = serde_json::from_slice(&ready).expect("JSON");
    let server = Server {
        child,
        banner: String::new(),
        ready,
        log,
        _stdout: stdout,
    };
    for secret in ["access_key", "secret_key", "user_token", "admin_token"] {
        assert!(server.ready[secret].is_null(), "{secret}");
    }
    assert_eq!(server.get("/api/v1/me", &token).0, 200);
    server.stop();
}

#[test]
fn a_key_file_that_is_none_is_one_line() {
    let home = Home::new();
    std::fs::write(home.path().join("key.pem"), "not a key").expect("written");
    let mut command = home.command(&["serve", "--listen", "127.0.0.1:0", "--s3-listen", "127.0.0.1:0"]);
    command.env("CLOAKROOM_AUTH_PUBLIC_KEY_FILES", "key.pem");
    let output = command
        .env("S3_ACCESS_KEY", "production")
        .env("S3_SECRET_KEY", "a-secret-of-mine")
        .output();
    let output = output.expect("started");
    let said = String::from_utf8(output.stderr).expect("UTF-8");
    let ours: Vec<&str> = said
        .lines()
        .filter(|line| line.starts_with("cloakroom: "))
        .collect();
    assert_eq!((output.status.code(), ours.len()), (Some(2), 1), "{said}");
    assert!(ours[0].contains("key.pem"), "{said}");
}

#[test]
fn what_the_s3_endpoint_sees_reaches_the_file() {
    let home = Home::new();
    let policy = "[collections.files]\nauto_confirm = true\n";
    std::fs::write(home.path().join("cloakroom.toml"), policy).expect("written");
    let server = home.serve(&[]);
    let commands = server.banner.lines().skip_while(|line| !line.contains("API="));
    let without_confirm: Vec<&str> = commands.filter(|line| !line.contains("/confirm")).collect();
    let output = Command::new("bash")
        .args(["-e", "-c", &without_confirm.join("\n")])
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .output()
        .expect("bash is there");
    let said = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(said.ends_with("Leave your files, keep the ticket.\n"), "{said}");
    server.stop();
}
