//! The parent's side: starts a child, hands over the input, reads the answer, ends it in time, and buries it.

use std::io;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use bytes::Bytes;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _, Interest};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::time::Instant;

use crate::child::{EXIT_UNPREPARED, FLAG};
use crate::input::{Counted, Input, InputStream, keep};
use crate::outcome::{Answer, Failure, code, parse};
use crate::task::{Envelope, Limits, Task};

/// The first line of an answer, and what a foreign program says, are at most this long, in bytes.
pub(crate) const HEAD_BYTES_MAX: u64 = 1024 * 1024;
/// So much of what a child says beside its answer is kept for the log, in bytes.
const NOTES_BYTES_MAX: u64 = 4 * 1024;

/// How children are made.
#[derive(Clone, Debug)]
pub struct SandboxOptions {
    /// The program, which calls [`crate::child::run_if_asked`].
    pub program: PathBuf,
    /// Where inputs are kept that are too large for memory, and where foreign programs get their directories.
    pub directory: PathBuf,
    /// Whether to refuse work where the kernel cannot confine children in every way.
    pub required: bool,
}

impl SandboxOptions {
    /// This very program, whatever became of its file; inputs in this directory.
    pub fn new(directory: PathBuf) -> Self {
        Self {
            program: PathBuf::from("/proc/self/exe"),
            directory,
            required: false,
        }
    }
}

/// How far this system lets a child be confined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Confinement {
    /// Files are out of reach.
    pub files: bool,
    /// The network is out of reach.
    pub network: bool,
    /// Calls that computing does not need are refused.
    pub calls: bool,
}

impl Confinement {
    /// Whether nothing is missing.
    pub const fn is_complete(self) -> bool {
        self.files && self.network && self.calls
    }
}

/// What a child left when it had ended: for foreign programs, which do not speak as ours do.
#[derive(Debug)]
pub struct Finished {
    /// How it ended.
    pub status: ExitStatus,
    /// What it wrote to its standard output.
    pub said: Bytes,
    /// The beginning of what it wrote to its standard error, for the log.
    pub notes: String,
}

/// Runs tasks in children.
#[derive(Debug)]
pub struct Sandbox {
    options: SandboxOptions,
    confinement: OnceLock<Confinement>,
}

impl Sandbox {
    /// A sandbox; starts nothing yet.
    pub fn new(options: SandboxOptions) -> Self {
        Self {
            options,
            confinement: OnceLock::new(),
        }
    }

    /// Where foreign programs get their directories.
    pub fn directory(&self) -> &std::path::Path {
        &self.options.directory
    }

    /// How far this system lets a child be confined: a child tells. What is missing is said in the log, once.
    ///
    /// # Errors
    /// No child can be started.
    pub async fn examine(&self) -> Result<Confinement, Failure> {
        if let Some(known) = self.confinement.get() {
            return Ok(*known);
        }
        // Whatever is demanded, it is to be seen what there is.
        let lenient = Self::new(SandboxOptions {
            required: false,
            ..self.options.clone()
        });
        let answer = lenient
            .run(&Task::Examine, Input::None, &Limits::default())
            .await?;
        let is = |name: &str| answer.facts.get(name).and_then(serde_json::Value::as_bool) == Some(true);
        let found = Confinement {
            files: is("files"),
            network: is("network"),
            calls: is("calls"),
        };
        if self.confinement.set(found).is_ok() && !found.is_complete() {
            tracing::warn!(
                event = "sandbox_incomplete",
                files = found.files,
                network = found.network,
                calls = found.calls,
                "the kernel does not confine processors in every way; limits of memory and time hold"
            );
        }
        Ok(found)
    }

    /// Does a task in a child of its own.
    ///
    /// # Errors
    /// [`Failure::Rejected`] where the input is at fault, a limit that it broke included; [`Failure::Unavailable`] where the
    /// input cannot be read or no child be started.
    pub async fn run(&self, task: &Task, input: Input<'_>, limits: &Limits) -> Result<Answer, Failure> {
        let finished = self.finish(task, input, limits).await?;
        if !finished.status.success() {
            return Err(judge(finished.status, &finished.notes, limits));
        }
        let answer = parse(finished.said).unwrap_or_else(|| {
            tracing::error!(
                event = "processor_spoke_nonsense",
                notes = finished.notes,
                "a processor gave no answer that makes sense"
            );
            Err(crashed())
        })?;
        let made: u64 = answer.made.iter().map(|made| made.bytes.len() as u64).sum();
        if made > limits.output_bytes_max {
            return Err(too_much());
        }
        Ok(answer)
    }

    /// Runs a task to its end, in time, and gives what is left.
    ///
    /// # Errors
    /// As [`Sandbox::run`]; how the child ended is not judged.
    pub async fn finish(&self, task: &Task, input: Input<'_>, limits: &Limits) -> Result<Finished, Failure> {
        let HandedOver {
            stdin,
            feed,
            size_bytes,
        } = self.hand_over(input).await?;
        let is_command = matches!(task, Task::Command(_));
        let piped = feed.is_some() || is_command;
        let stdin = stdin.unwrap_or_else(|| if piped { Stdio::piped() } else { Stdio::null() });
        let envelope = Envelope {
            parent: std::process::id(),
            required: self.options.required,
            limits: *limits,
            size_bytes,
            task: task.clone(),
        };
        let mut running = self.start(&envelope, stdin)?;
        let deadline = Instant::now() + limits.wall;
        let most = if is_command {
            HEAD_BYTES_MAX.max(limits.output_bytes_max)
        } else {
            HEAD_BYTES_MAX.saturating_add(limits.output_bytes_max)
        };
        let Ok(finished) = tokio::time::timeout_at(deadline, running.attend(feed, most)).await else {
            running.end().await;
            return Err(Failure::rejected(
                code::TIMEOUT,
                format!("Processing took longer than {}.", seconds(limits.wall)),
            ));
        };
        finished
    }

    /// What the end of a foreign program means; `None` where it ended by itself, with whatever code.
    pub fn judge(&self, finished: &Finished, limits: &Limits) -> Option<Failure> {
        let code = finished.status.code();
        let by_itself = code.is_some_and(|code| code != i32::from(EXIT_UNPREPARED));
        (!by_itself).then(|| judge(finished.status, &finished.notes, limits))
    }

    /// What the child finds at descriptor 0.
    async fn hand_over<'a>(&self, input: Input<'a>) -> Result<HandedOver<'a>, Failure> {
        let (stream, size_bytes) = match input {
            Input::None => return Ok(HandedOver::default()),
            Input::Streamed { stream, size_bytes } => {
                return Ok(HandedOver {
                    feed: Some((stream, size_bytes)),
                    size_bytes: Some(size_bytes),
                    ..HandedOver::default()
                });
            }
            Input::Whole { stream, size_bytes } => (stream, size_bytes),
            Input::Bytes(bytes) => {
                let size_bytes = bytes.len() as u64;
                let stream: InputStream<'a> = Box::pin(futures_util::stream::iter([Ok(bytes)]));
                (stream, size_bytes)
            }
        };
        let kept = keep(stream, size_bytes, &self.options.directory).await;
        let kept =
            kept.map_err(|error| Failure::Unavailable(format!("the input cannot be read: {error}")))?;
        Ok(HandedOver {
            stdin: Some(kept.into()),
            size_bytes: Some(size_bytes),
            ..HandedOver::default()
        })
    }

    fn start(&self, envelope: &Envelope, stdin: Stdio) -> Result<Running, Failure> {
        let unavailable = |error: &dyn std::fmt::Display| {
            Failure::Unavailable(format!("no process can be started for processing: {error}"))
        };
        let request = serde_json::to_string(envelope).map_err(|error| unavailable(&error))?;
        let mut child = Command::new(&self.options.program)
            .arg0("cloakroom-processor")
            .arg(FLAG)
            .arg(request)
            .env_clear()
            // The allocator would take hold of a gigabyte before anybody could limit it.
            .env("MIMALLOC_ARENA_RESERVE", "0")
            .env("MIMALLOC_DISALLOW_ARENA_ALLOC", "1")
            .current_dir("/")
            .stdin(stdin)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| unavailable(&error))?;
        let pid = child
            .id()
            .and_then(|pid| i32::try_from(pid).ok())
            .and_then(Pid::from_raw);
        let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(pid), (stdin, Some(stdout), Some(stderr))) = (pid, pipes) else {
            return Err(unavailable(&"it ended at once"));
        };
        Ok(Running {
            child: Some(child),
            pid,
            stdin,
            stdout,
            stderr,
        })
    }
}

/// An input on its way to a child.
#[derive(Default)]
struct HandedOver<'a> {
    /// What descriptor 0 is, where it is a file.
    stdin: Option<Stdio>,
    /// What is written there while the child runs, and how much that is.
    feed: Option<(InputStream<'a>, u64)>,
    size_bytes: Option<u64>,
}

/// A child that lives. Dropped, it is killed and buried.
struct Running {
    child: Option<Child>,
    pid: Pid,
    /// Of a foreign program: its end tells it that we are gone.
    stdin: Option<ChildStdin>,
    stdout: ChildStdout,
    stderr: ChildStderr,
}

impl Running {
    /// Feeds the child, listens to it, and waits for its end.
    async fn attend(&mut self, feed: Option<(InputStream<'_>, u64)>, most: u64) -> Result<Finished, Failure> {
        let pid = self.pid;
        let mut said = Vec::new();
        let mut notes = Vec::new();
        let stdin = feed.and_then(|feed| Some((feed, self.stdin.take()?)));
        let feeding = async {
            match stdin {
                Some(((stream, size_bytes), pipe)) => feed_all(stream, size_bytes, pipe).await,
                None => Ok(()),
            }
        };
        let listening = async {
            let whole = read_most(&mut self.stdout, &mut said, most).await?;
            if whole { Ok(()) } else { Err(too_much()) }
        };
        let noting = async {
            read_most(&mut self.stderr, &mut notes, NOTES_BYTES_MAX).await?;
            drain(&mut self.stderr).await;
            Ok(())
        };
        let ending = async {
            ended(pid).await;
            // What it started and left behind. Its own number is not given away while it is not buried.
            let _ = rustix::process::kill_process_group(pid, Signal::KILL);
            Ok(())
        };
        let outcome = tokio::try_join!(feeding, listening, noting, ending);
        let status = self.end().await;
        outcome?;
        let Some(Ok(status)) = status else {
            return Err(Failure::Unavailable(
                "a process for processing got lost".to_owned(),
            ));
        };
        let notes = String::from_utf8_lossy(&notes).trim().to_owned();
        let said = said.into();
        Ok(Finished { status, said, notes })
    }

    /// Kills what still lives, and buries it.
    async fn end(&mut self) -> Option<io::Result<ExitStatus>> {
        let child = self.child.as_mut()?;
        if child.id().is_some() {
            let _ = rustix::process::kill_process_group(self.pid, Signal::KILL);
        }
        let status = child.wait().await;
        self.child = None;
        Some(status)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let Some(mut child) = self.child.take() else {
            return;
        };
        if child.id().is_some() {
            let _ = rustix::process::kill_process_group(self.pid, Signal::KILL);
        }
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { child.wait().await });
        }
    }
}

/// Waits until a process has ended, and does not bury it.
#[expect(
    deprecated,
    reason = "what takes its place is unsafe for types that give away their descriptor; this one keeps it"
)]
async fn ended(pid: Pid) {
    let watched = pidfd_open(pid, PidfdFlags::NONBLOCK)
        .map_err(io::Error::from)
        .and_then(|pidfd| AsyncFd::with_interest(pidfd, Interest::READABLE));
    match watched {
        Ok(watched) => drop(watched.readable().await),
        // Kernels before 5.3: it is seen when its pipes close.
        Err(error) => tracing::debug!(%error, "the end of a process cannot be watched"),
    }
}

async fn feed_all(stream: InputStream<'_>, size_bytes: u64, mut pipe: ChildStdin) -> Result<(), Failure> {
    let mut pieces = Counted::new(stream, size_bytes);
    loop {
        let piece = pieces.next().await;
        let piece =
            piece.map_err(|error| Failure::Unavailable(format!("the input cannot be read: {error}")))?;
        let Some(piece) = piece else {
            return Ok(());
        };
        // It has read enough, or it is dead; its answer tells.
        if pipe.write_all(&piece).await.is_err() {
            return Ok(());
        }
    }
}

/// Reads to the end, or to so many bytes; whether it was the end.
async fn read_most(
    from: &mut (impl AsyncRead + Unpin),
    into: &mut Vec<u8>,
    most: u64,
) -> Result<bool, Failure> {
    let read = from.take(most.saturating_add(1)).read_to_end(into).await;
    read.map_err(|error| Failure::Unavailable(format!("a processor cannot be listened to: {error}")))?;
    Ok(into.len() as u64 <= most)
}

async fn drain(from: &mut (impl AsyncRead + Unpin)) {
    let mut buffer = [0; 4096];
    while matches!(from.read(&mut buffer).await, Ok(1..)) {}
}

fn too_much() -> Failure {
    Failure::rejected(code::OUTPUT, "Processing made more than it may.")
}

fn crashed() -> Failure {
    Failure::rejected(
        code::CRASHED,
        "The file could not be processed: its processor broke on it.",
    )
}

/// What the end of a child means that gave no answer.
fn judge(status: ExitStatus, notes: &str, limits: &Limits) -> Failure {
    use std::os::unix::process::ExitStatusExt as _;
    let signal = status.signal();
    let is = |other: Signal| signal == Some(other.as_raw());
    if status.code() == Some(i32::from(EXIT_UNPREPARED)) {
        return Failure::Unavailable(notes.to_owned());
    }
    if is(Signal::XCPU) {
        return Failure::rejected(
            code::TIMEOUT,
            format!(
                "Processing took more than {} of a processor's time.",
                seconds(limits.cpu)
            ),
        );
    }
    if is(Signal::XFSZ) {
        return too_much();
    }
    // What the allocator says before it aborts; and who is killed by nobody of ours was killed by a system without memory.
    if is(Signal::ABORT) && notes.contains("memory allocation of") || is(Signal::KILL) {
        return Failure::rejected(
            code::MEMORY,
            format!(
                "Processing needed more than {} MiB of memory.",
                limits.memory_bytes.div_ceil(1024 * 1024)
            ),
        );
    }
    if is(Signal::SYS) {
        tracing::error!(
            event = "processor_attacked",
            "a processor called what no processor calls: the file made it do so"
        );
    } else {
        tracing::warn!(
            event = "processor_crashed",
            ?status,
            notes,
            "a processor broke on a file"
        );
    }
    crashed()
}

fn seconds(time: Duration) -> String {
    format!("{} s", time.as_secs_f64())
}
