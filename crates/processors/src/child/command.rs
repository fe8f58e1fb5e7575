//! Running a foreign program: this process stays beside it, so that whatever it starts ends with it.
//!
//! The parent holds the other end of descriptor 0 and writes nothing. When that end closes, the parent is gone, and this
//! process ends its whole process group. Programs cannot leave the group.

use std::fs::File;
use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Command, ExitCode, Stdio};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open};

use super::confinement;
use crate::task::{CommandTask, Envelope};

/// Runs the program and ends as it ended.
pub(super) fn run(task: &CommandTask, envelope: &Envelope) -> ExitCode {
    if let Err(message) = confinement::enter_for(task, envelope) {
        return super::unprepared(&message);
    }
    let mut child = match start(task) {
        Ok(child) => child,
        Err(error) => {
            let program = task.argv.first().map_or("", String::as_str);
            return super::unprepared(&format!("{program} cannot be started: {error}"));
        }
    };
    if let Err(error) = attend(&child) {
        return super::unprepared(&format!("the program cannot be waited for: {error}"));
    }
    match child.wait() {
        Ok(status) => end_as(status),
        Err(error) => super::unprepared(&format!("the program cannot be waited for: {error}")),
    }
}

fn start(task: &CommandTask) -> io::Result<Child> {
    let (program, arguments) = task
        .argv
        .split_first()
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "no program is named"))?;
    let stdin = match &task.stdin {
        Some(path) => Stdio::from(File::open(path)?),
        None => Stdio::null(),
    };
    Command::new(program)
        .args(arguments)
        .env_clear()
        .envs(&task.environment)
        .current_dir(&task.directory)
        .stdin(stdin)
        .spawn()
}

/// Waits until the program has ended, or nobody is interested any more.
fn attend(child: &Child) -> io::Result<()> {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or_else(|| io::Error::other("it has no number"))?;
    let ended = pidfd_open(pid, PidfdFlags::empty())?;
    let stdin = io::stdin();
    let mut watched = [
        PollFd::new(&ended, PollFlags::IN),
        PollFd::new(&stdin, PollFlags::IN),
    ];
    loop {
        match poll(&mut watched, None) {
            Ok(_) if !watched[0].revents().is_empty() => return Ok(()),
            Ok(_) if !watched[1].revents().is_empty() => {
                // Everything that the program started, and this process.
                rustix::process::kill_current_process_group(Signal::KILL)?;
            }
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// With the same code, or by the same signal.
fn end_as(status: std::process::ExitStatus) -> ExitCode {
    if let Some(signal) = status.signal().and_then(Signal::from_named_raw)
        && let Some(own) = Some(rustix::process::getpid())
    {
        // Does not return, unless the signal is one that processes live with.
        let _ = rustix::process::kill_process(own, signal);
    }
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    code.map_or(ExitCode::FAILURE, ExitCode::from)
}
