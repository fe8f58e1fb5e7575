//! A child that does what no processor should, so that it can be seen what comes of it.

mod parent;

use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::net::TcpStream;
use std::process::{Command, ExitCode};
use std::time::Duration;

use bytes::Bytes;
use cloakroom_processors::child::{Stdin, run_if_asked_with};
use cloakroom_processors::{Answer, Failure, Made};
use serde_json::{Map, Value, json};

/// The same allocator as the program has: its memory is under the limits too.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    run_if_asked_with(probe).unwrap_or_else(parent::run)
}

fn probe(name: &str, argument: &Value, input: &mut Stdin) -> Result<Answer, Failure> {
    let text = argument.as_str().unwrap_or_default();
    let number = argument.as_u64().unwrap_or_default();
    match name {
        "read" => read(input),
        "read_some" => read_some(input, number),
        "reject" => Err(Failure::rejected(
            "malformed_file",
            "Line 3: a quote is not closed.",
        )),
        "panic" => panic!("a secret of the file"),
        "overflow" => Ok(facts("depth", json!(deep(number)))),
        "spin" => spin(),
        "sleep" => {
            std::thread::sleep(Duration::from_secs(number));
            Ok(Answer::default())
        }
        "allocate" => Ok(facts("bytes", json!(allocate(number)))),
        "reserve" => Ok(facts(
            "reserved",
            json!(Vec::<u8>::new().try_reserve_exact(number as usize).is_ok()),
        )),
        "stderr" => {
            let _ = std::io::stderr().write_all(&vec![b'x'; number as usize]);
            Ok(Answer::default())
        }
        "make" => Ok(Answer {
            made: vec![Made {
                name: "made".to_owned(),
                extension: "bin".to_owned(),
                content_type: "application/octet-stream".to_owned(),
                bytes: Bytes::from(vec![7; number as usize]),
                ..Made::default()
            }],
            ..Answer::default()
        }),
        "nonsense" => {
            let _ = std::io::stdout().write_all(b"{\"made\":[]}\nand more");
            std::process::exit(0)
        }
        "exit" => std::process::exit(3),
        "abort" => std::process::abort(),
        "open" => refused(std::fs::File::open(text)),
        "stat" => refused(std::fs::metadata(text)),
        "list" => refused(std::fs::read_dir(text)),
        "create" => refused(std::fs::File::create(text)),
        "connect" => refused(TcpStream::connect(text)),
        "execute" => refused(Command::new(text).status()),
        "fork" => refused(call(libc::SYS_clone, [libc::SIGCHLD as u64, 0, 0])),
        "threads" => Ok(facts("sum", json!(threads()))),
        "kill" => refused(call(libc::SYS_kill, [number, 0, 0])),
        "trace" => refused(call(
            libc::SYS_ptrace,
            [u64::from(libc::PTRACE_ATTACH), number, 0],
        )),
        "duplicate" => refused(call(libc::SYS_dup, [0, 0, 0])),
        "read_descriptor" => {
            let mut byte = 0u8;
            refused(call(
                libc::SYS_read,
                [number, std::ptr::from_mut(&mut byte) as u64, 1],
            ))
        }
        "map_code" => refused(map_code()),
        _ => Err(Failure::Unavailable(format!("there is no probe {name}"))),
    }
}

fn facts(name: &str, value: Value) -> Answer {
    Answer {
        facts: Map::from_iter([(name.to_owned(), value)]),
        ..Answer::default()
    }
}

/// What came of it: nothing that a processor should have.
#[expect(clippy::unnecessary_wraps, reason = "answers have one type")]
fn refused<T>(outcome: std::io::Result<T>) -> Result<Answer, Failure> {
    let error = outcome.err().map(|error| format!("{:?}", error.kind()));
    Ok(facts("refused", error.into()))
}

fn read(input: &mut Stdin) -> Result<Answer, Failure> {
    let unreadable = |error: std::io::Error| Failure::Unavailable(error.to_string());
    let whole = input.read_whole()?;
    let seekable = input.seek(SeekFrom::Start(0)).is_ok();
    let mut again = Vec::new();
    if seekable {
        input.read_to_end(&mut again).map_err(unreadable)?;
    }
    let sum: u64 = whole.iter().map(|byte| u64::from(*byte)).sum();
    let mut answer = facts("sum", json!(sum));
    answer.facts.insert("bytes".to_owned(), json!(whole.len()));
    answer.facts.insert("again".to_owned(), json!(again == whole));
    answer.facts.insert("size".to_owned(), json!(input.size_bytes()));
    Ok(answer)
}

fn read_some(input: &mut Stdin, most: u64) -> Result<Answer, Failure> {
    let mut some = Vec::new();
    let read = input.take(most).read_to_end(&mut some);
    read.map_err(|error| Failure::Unavailable(error.to_string()))?;
    Ok(facts("bytes", json!(some.len())))
}

fn spin() -> ! {
    let mut count = 0_u64;
    loop {
        count = std::hint::black_box(count).wrapping_add(1);
    }
}

/// Allocates small and large pieces and writes to each page of them.
fn allocate(bytes: u64) -> usize {
    let mut pieces = Vec::new();
    let mut left = bytes as usize;
    let sizes = [64 * 1024, 3 * 1024 * 1024, 40 * 1024 * 1024, 512];
    for size in sizes.iter().cycle() {
        let size = left.min(*size);
        if size == 0 {
            break;
        }
        pieces.push(std::hint::black_box(vec![1_u8; size]));
        left -= size;
    }
    pieces.iter().map(Vec::len).sum()
}

fn deep(levels: u64) -> u64 {
    let room = std::hint::black_box([levels; 128]);
    if levels == 0 {
        0
    } else {
        1 + deep(levels - 1).min(room[5])
    }
}

fn threads() -> u64 {
    let workers: Vec<_> = (0..4_u64)
        .map(|number| {
            let thread = std::thread::Builder::new()
                .name(format!("worker-{number}"))
                .stack_size(8 * 1024 * 1024);
            thread.spawn(move || (0..1000).sum::<u64>() + number)
        })
        .collect();
    let sums = workers.into_iter().filter_map(|worker| worker.ok()?.join().ok());
    sums.sum()
}

/// A call of the kernel that no library makes for us.
#[expect(
    unsafe_code,
    reason = "what is called is what must not be possible, so no safe function has it"
)]
fn call(number: libc::c_long, [a, b, c]: [u64; 3]) -> std::io::Result<i64> {
    // SAFETY: `read` gets a place of one byte, the others no memory at all.
    let outcome = unsafe { libc::syscall(number, a, b, c) };
    if outcome < 0 {
        Err(std::io::Error::last_os_error())
    } else {
        Ok(outcome)
    }
}

#[expect(unsafe_code, reason = "memory to run code from is mapped by no safe function")]
fn map_code() -> std::io::Result<()> {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    let access = libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC;
    // SAFETY: a new mapping that nobody looks at.
    let place = unsafe { libc::mmap(std::ptr::null_mut(), 4096, access, flags, -1, 0) };
    if place == libc::MAP_FAILED {
        Err(std::io::Error::last_os_error())
    } else {
        Ok(())
    }
}
