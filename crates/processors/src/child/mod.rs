//! The child's side: it gives away what it does not need, then does its one task.
//!
//! Everything here happens in the only thread there is. What could not be done before the input is touched ends the child
//! with a status of its own: the input is not at fault then.

mod command;
mod confinement;
mod filter;
mod kernels;

use std::io::{self, Read, Seek, SeekFrom, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

use serde_json::{Map, Value, json};

pub(crate) use self::confinement::Held;
use crate::outcome::{Answer, Failure, Head, code};
use crate::task::{Envelope, Task};

/// The flag that makes a process a child.
pub(crate) const FLAG: &str = "--processor";
/// The child could not be made ready.
pub(crate) const EXIT_UNPREPARED: u8 = 70;

/// The input: what stands at descriptor 0, without a buffer.
#[derive(Debug)]
pub struct Stdin {
    size_bytes: Option<u64>,
}

impl Stdin {
    /// How many bytes there are, where that is known.
    pub const fn size_bytes(&self) -> Option<u64> {
        self.size_bytes
    }

    /// Whether it begins with these bytes; nothing is read for good.
    pub(crate) fn begins_with(&mut self, expected: &[u8]) -> Result<bool, Failure> {
        let mut head = Vec::new();
        let read = self.by_ref().take(expected.len() as u64).read_to_end(&mut head);
        read.and_then(|_| self.rewind()).map_err(unreadable)?;
        Ok(head == expected)
    }

    /// All bytes.
    ///
    /// # Errors
    /// [`code::MEMORY`] where they do not fit, and what reading gives.
    pub fn read_whole(&mut self) -> Result<Vec<u8>, Failure> {
        let size = usize::try_from(self.size_bytes.unwrap_or(0)).unwrap_or(usize::MAX);
        let mut bytes = Vec::new();
        if bytes.try_reserve_exact(size).is_err() {
            return Err(out_of_memory());
        }
        match self.read_to_end(&mut bytes) {
            Ok(_) => Ok(bytes),
            Err(error) if error.kind() == io::ErrorKind::OutOfMemory => Err(out_of_memory()),
            Err(error) => Err(unreadable(error)),
        }
    }
}

fn unreadable(error: io::Error) -> Failure {
    Failure::Unavailable(format!("the input cannot be read: {error}"))
}

fn out_of_memory() -> Failure {
    Failure::rejected(
        code::MEMORY,
        "The file needs more memory than its processor may have.",
    )
}

impl Read for Stdin {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(rustix::io::read(io::stdin(), buffer)?)
    }
}

impl Seek for Stdin {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let to = match to {
            SeekFrom::Start(at) => rustix::fs::SeekFrom::Start(at),
            SeekFrom::End(by) => rustix::fs::SeekFrom::End(by),
            SeekFrom::Current(by) => rustix::fs::SeekFrom::Current(by),
        };
        Ok(rustix::fs::seek(io::stdin(), to)?)
    }
}

/// The answer: descriptor 1, without a buffer.
struct Stdout;

impl Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(rustix::io::write(io::stdout(), bytes)?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Does a task that a program of ours knows by a name of its own.
pub type OwnTask = fn(name: &str, argument: &Value, input: &mut Stdin) -> Result<Answer, Failure>;

/// Where this process was started as a child: does its task and gives its exit code. To be called first thing in `main`,
/// before there is a thread, a logger or a runtime.
pub fn run_if_asked() -> Option<ExitCode> {
    run_if_asked_with(|name, _, _| Err(Failure::Unavailable(format!("there is no task {name}"))))
}

/// [`run_if_asked`], for a program with tasks of its own.
pub fn run_if_asked_with(own: OwnTask) -> Option<ExitCode> {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next()? != FLAG {
        return None;
    }
    let envelope = arguments
        .next()
        .and_then(|text| serde_json::from_str::<Envelope>(text.to_str()?).ok());
    Some(match envelope {
        Some(envelope) => run(envelope, own),
        None => unprepared("is started by Cloakroom itself, with a request"),
    })
}

fn unprepared(message: &str) -> ExitCode {
    // To the parent's log; where it is closed there is nobody to tell.
    let _ = writeln!(io::stderr(), "{message}");
    ExitCode::from(EXIT_UNPREPARED)
}

fn run(envelope: Envelope, own: OwnTask) -> ExitCode {
    if let Task::Command(task) = &envelope.task {
        return command::run(task, &envelope);
    }
    let held = match confinement::enter(&envelope) {
        Ok(held) => held,
        Err(message) => return unprepared(&message),
    };
    // Where, not what: the message may quote the input.
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let _ = writeln!(io::stderr(), "panicked at {place}");
    }));
    let mut input = Stdin {
        size_bytes: envelope.size_bytes,
    };
    let outcome = catch_unwind(AssertUnwindSafe(|| match &envelope.task {
        Task::Examine => Ok(examined(held)),
        Task::Image(task) => kernels::image(task, &mut input),
        Task::Table(task) => kernels::table(task, &mut input),
        Task::Document(task) => kernels::document(task, &mut input),
        Task::Media => kernels::media(&mut input),
        Task::Own { name, argument } => own(name, argument, &mut input),
        // Answered above.
        Task::Command(_) => Ok(Answer::default()),
    }))
    .unwrap_or_else(|_| {
        Err(Failure::rejected(
            code::CRASHED,
            "The file could not be processed: its processor broke on it.",
        ))
    });
    match answer(&outcome) {
        Ok(()) => ExitCode::SUCCESS,
        // The parent went away, or has seen enough.
        Err(_) => ExitCode::FAILURE,
    }
}

fn examined(held: Held) -> Answer {
    let facts = json!({"files": held.files, "network": held.network, "calls": held.calls});
    Answer {
        facts: facts.as_object().cloned().unwrap_or_else(Map::new),
        ..Answer::default()
    }
}

fn answer(outcome: &Result<Answer, Failure>) -> io::Result<()> {
    let mut head = serde_json::to_vec(&Head::of(outcome))?;
    head.push(b'\n');
    Stdout.write_all(&head)?;
    for made in outcome.iter().flat_map(|answer| &answer.made) {
        Stdout.write_all(&made.bytes)?;
    }
    Ok(())
}
