//! The probe as a parent of probes, in a process of its own: what it leaves behind is nobody else's.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use cloakroom_processors::{Answer, CommandTask, Failure, Input, Limits, Sandbox, SandboxOptions, Task};
use serde_json::{Value, json};

const LONG: Limits = Limits {
    wall: Duration::from_mins(10),
    cpu: Duration::from_mins(10),
    memory_bytes: 256 * 1024 * 1024,
    output_bytes_max: 1024 * 1024,
};

/// Does what its arguments say: a deed, and a directory to do it in.
pub(crate) fn run() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let (Some(deed), Some(directory)) = (arguments.next(), arguments.next()) else {
        return ExitCode::FAILURE;
    };
    let Ok(runtime) = tokio::runtime::Builder::new_multi_thread().enable_all().build() else {
        return ExitCode::FAILURE;
    };
    let sandbox = Arc::new(Sandbox::new(SandboxOptions::new(PathBuf::from(&directory))));
    let good = runtime.block_on(async {
        match deed.as_str() {
            "hundred" => hundred(sandbox).await,
            "wait" => Box::pin(wait(&sandbox, PathBuf::from(directory))).await,
            "cost" => cost(&sandbox).await,
            _ => false,
        }
    });
    if good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

async fn probe(sandbox: &Sandbox, name: &str, argument: Value, limits: &Limits) -> Result<Answer, Failure> {
    let task = Task::Own {
        name: name.to_owned(),
        argument,
    };
    sandbox
        .run(&task, Input::Bytes(Bytes::from_static(b"abc")), limits)
        .await
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count)
}

/// How many children there are, zombies included.
fn children() -> usize {
    let own = std::process::id().to_string();
    let is_child = |path: PathBuf| {
        let stat = std::fs::read_to_string(path.join("stat")).ok()?;
        // The name may hold anything; what follows its bracket does not.
        let parent = stat.rsplit_once(')')?.1.split(' ').nth(2)?.to_owned();
        Some(parent == own)
    };
    let all = std::fs::read_dir("/proc").into_iter().flatten();
    all.filter(|entry| {
        entry
            .as_ref()
            .is_ok_and(|entry| is_child(entry.path()) == Some(true))
    })
    .count()
}

/// A hundred runs at once of every kind leave neither a child nor a descriptor.
async fn hundred(sandbox: Arc<Sandbox>) -> bool {
    if probe(&sandbox, "read", json!(null), &LONG).await.is_err() {
        return false;
    }
    let before = descriptors();
    let runs = (0..100_u32).map(|number| {
        let sandbox = Arc::clone(&sandbox);
        tokio::spawn(async move {
            let of = |name, argument| probe(&sandbox, name, argument, &LONG);
            match number % 5 {
                0 => of("panic", json!(null)).await.is_err(),
                1 => of("make", json!(2 * LONG.output_bytes_max)).await.is_err(),
                2 => {
                    // Nobody waits for it any more.
                    let patience = Duration::from_millis(u64::from(number));
                    tokio::time::timeout(patience, of("sleep", json!(600)))
                        .await
                        .is_err()
                }
                3 => {
                    let limits = Limits {
                        wall: Duration::from_millis(50),
                        ..LONG
                    };
                    probe(&sandbox, "sleep", json!(600), &limits).await.is_err()
                }
                _ => of("read", json!(null)).await.is_ok(),
            }
        })
    });
    for run in runs.collect::<Vec<_>>() {
        if !run.await.unwrap_or(false) {
            eprintln!("a run went wrong");
            return false;
        }
    }
    for _ in 0..3000 {
        if children() == 0 && descriptors() <= before {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    eprintln!(
        "{} children stay, and {} of {before} descriptors",
        children(),
        descriptors()
    );
    false
}

/// Lives with long-lived children until it is killed.
async fn wait(sandbox: &Sandbox, directory: PathBuf) -> bool {
    let command = Task::Command(CommandTask {
        argv: ["/bin/sh", "-c", "sleep 600 & sleep 600"]
            .map(str::to_owned)
            .to_vec(),
        environment: [("PATH".to_owned(), "/usr/bin:/bin".to_owned())].into(),
        directory,
        stdin: None,
        reads: Vec::new(),
        network: false,
    });
    let (sleeping, spinning, command) = tokio::join!(
        probe(sandbox, "sleep", json!(600), &LONG),
        probe(sandbox, "spin", json!(null), &LONG),
        sandbox.finish(&command, Input::None, &LONG),
    );
    eprintln!("ended: {sleeping:?} {spinning:?} {command:?}");
    false
}

/// Says what a child costs beside its work.
async fn cost(sandbox: &Sandbox) -> bool {
    let mut times = Vec::new();
    for _ in 0..500 {
        let begun = Instant::now();
        if probe(sandbox, "read_some", json!(3), &LONG).await.is_err() {
            return false;
        }
        times.push(begun.elapsed());
    }
    times.sort();
    println!(
        "median {:?}, 95 % within {:?}, least {:?}",
        times[250], times[475], times[0]
    );
    true
}
