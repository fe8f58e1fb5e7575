//! Scanners that are away, hang, hang up, lie or die: never clean, and never for ever.

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use cloakroom_core::ports::scanner::{Holdup, ScanError, Scanner, Verdict};
use cloakroom_scanner::account::Limits;
use cloakroom_scanner::{Address, Clamd, ClamdOptions};
use futures_util::StreamExt as _;
use futures_util::stream;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

const MIB: usize = 1024 * 1024;
/// What comes is waited for, on a slow machine too.
const PATIENCE: Duration = Duration::from_mins(1);
/// What never comes is not.
const SOON: Duration = Duration::from_millis(300);

/// What a server does with a connection.
#[derive(Clone, Copy)]
enum Manner {
    /// Takes everything and says nothing.
    Silent,
    /// Does not even read.
    Deaf,
    /// Hangs up after so many bytes.
    HangsUp(usize),
    /// Answers before it has read so much, and hangs up.
    Early(&'static [u8]),
    /// Reads to the end and says this.
    Says(&'static [u8]),
    /// Says nothing to a stream and PONG to a ping.
    AliveAndSilent,
}

async fn serve(manner: Manner, mut stream: TcpStream) {
    let mut buffer = vec![0; 64 * 1024];
    let mut seen = Vec::new();
    match manner {
        Manner::Deaf => std::future::pending().await,
        Manner::HangsUp(limit) => {
            let mut read = 0;
            while read < limit {
                match stream.read(&mut buffer).await {
                    Ok(count @ 1..) => read += count,
                    _ => return,
                }
            }
        }
        Manner::Early(words) => {
            let _ = stream.read(&mut buffer).await;
            let _ = stream.write_all(words).await;
        }
        Manner::Silent | Manner::Says(_) | Manner::AliveAndSilent => loop {
            let Ok(count @ 1..) = stream.read(&mut buffer).await else {
                return;
            };
            seen.extend_from_slice(&buffer[..count]);
            let ping = seen.starts_with(b"zPING\0");
            let words: &[u8] = match manner {
                Manner::Says(words) if seen.ends_with(&[0; 4]) => words,
                Manner::AliveAndSilent if ping => b"PONG\0",
                _ => continue,
            };
            let _ = stream.write_all(words).await;
            return;
        },
    }
}

async fn clamd(manner: Manner) -> ClamdOptions {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(manner, stream));
        }
    });
    ClamdOptions {
        limits: Limits {
            stream_bytes_max: 1 << 30,
            file_bytes_max: 1 << 30,
            total_bytes_max: 1 << 31,
            ..Limits::default()
        },
        connect_timeout: PATIENCE,
        idle_timeout: PATIENCE,
        verdict_timeout: PATIENCE,
        ..ClamdOptions::new(Address::Tcp(address.to_string()))
    }
}

/// One that says nothing, and whoever gives it up so soon that a test sees it.
async fn mute_clamd(manner: Manner) -> ClamdOptions {
    ClamdOptions {
        idle_timeout: SOON,
        verdict_timeout: SOON,
        ..clamd(manner).await
    }
}

async fn scan(options: ClamdOptions, size: usize) -> Result<Verdict, ScanError> {
    let piece = Bytes::from(vec![b'a'; 64 * 1024]);
    let pieces = size.div_ceil(piece.len());
    let pieces = (0..pieces).map(move |turn| piece.slice(..piece.len().min(size - turn * piece.len())));
    let pieces = stream::iter(pieces.collect::<Vec<_>>()).boxed();
    let scanner = Clamd::new(options);
    let whole = scanner.scan(pieces, size as u64);
    tokio::time::timeout(3 * PATIENCE, whole).await.expect("an end")
}

fn is_unavailable(outcome: &Result<Verdict, ScanError>) -> bool {
    matches!(outcome, Err(ScanError::Unavailable(_)))
}

#[tokio::test]
async fn nobody_is_there() {
    // Bound, so that nobody else gets the port, and not listened on.
    let nowhere = TcpSocket::new_v4().expect("a socket");
    nowhere.bind(([127, 0, 0, 1], 0).into()).expect("a port");
    let address = nowhere.local_addr().expect("an address").to_string();
    let outcome = scan(ClamdOptions::new(Address::Tcp(address)), 10).await;
    assert!(is_unavailable(&outcome), "{outcome:?}");
    let socket = PathBuf::from("/nonexistent/clamd.sock");
    let options = ClamdOptions::new(Address::Unix(socket));
    assert!(is_unavailable(&scan(options.clone(), 10).await));
    assert!(matches!(
        Clamd::new(options).ping().await,
        Err(ScanError::Unavailable(_))
    ));
}

#[tokio::test]
async fn a_black_hole() {
    for (manner, size) in [
        (Manner::Silent, 10),
        (Manner::Silent, 3 * MIB),
        (Manner::Deaf, 10),
        (Manner::Deaf, 64 * MIB),
    ] {
        let outcome = scan(mute_clamd(manner).await, size).await;
        assert!(is_unavailable(&outcome), "{outcome:?}");
        let outcome = Clamd::new(mute_clamd(manner).await).ping().await;
        assert!(matches!(outcome, Err(ScanError::Unavailable(_))), "{outcome:?}");
    }
}

#[tokio::test]
async fn it_dies_in_mid_stream() {
    for limit in [1, 100_000, 2 * MIB] {
        let outcome = scan(clamd(Manner::HangsUp(limit)).await, 8 * MIB).await;
        assert!(is_unavailable(&outcome), "{outcome:?}");
    }
}

#[tokio::test]
async fn a_verdict_before_the_end_is_none() {
    let outcome = scan(clamd(Manner::Early(b"stream: OK\0")).await, 8 * MIB).await;
    assert!(outcome.is_err(), "{outcome:?}");
    for _ in 0..20 {
        let outcome = scan(
            clamd(Manner::Early(b"INSTREAM size limit exceeded. ERROR\0")).await,
            8 * MIB,
        )
        .await;
        // The answer may be lost behind a broken connection, but it is never taken for another one.
        match outcome {
            Ok(Verdict::Held(Holdup::NotFullyScanned { .. })) | Err(ScanError::Unavailable(_)) => {}
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn words_that_are_no_verdict() {
    let table: [&[u8]; 4] = [
        b"stream: Can't allocate memory ERROR\0",
        b"\0",
        b"UNKNOWN COMMAND\0",
        b"stream: OK, nearly\0",
    ];
    for words in table {
        let outcome = scan(clamd(Manner::Says(words)).await, 10).await;
        assert!(matches!(outcome, Err(ScanError::NoVerdict(_))), "{outcome:?}");
    }
    let endless: &'static [u8] = &[b'a'; 10_000];
    let outcome = scan(clamd(Manner::Says(endless)).await, 10).await;
    assert!(is_unavailable(&outcome), "{outcome:?}");
    // Without the zero byte that ends it.
    let outcome = scan(clamd(Manner::Says(b"stream: OK")).await, 10).await;
    assert!(is_unavailable(&outcome), "{outcome:?}");
}

#[tokio::test]
async fn limits_that_it_reports_are_no_virus() {
    let words = b"stream: Heuristics.Limits.Exceeded.MaxFileSize FOUND\0";
    let outcome = scan(clamd(Manner::Says(words)).await, 10).await;
    assert!(
        matches!(outcome, Ok(Verdict::Held(Holdup::NotFullyScanned { .. }))),
        "{outcome:?}"
    );
}

/// The file is at fault, not the scanner: it must not wait for ever.
#[tokio::test]
async fn one_that_lives_and_says_nothing_of_a_file() {
    let options = ClamdOptions {
        verdict_timeout: SOON,
        ..clamd(Manner::AliveAndSilent).await
    };
    let outcome = scan(options, 10).await;
    assert!(matches!(outcome, Err(ScanError::NoVerdict(_))), "{outcome:?}");
}

#[tokio::test]
async fn a_file_that_is_shorter_than_announced_is_not_clean() {
    let options = clamd(Manner::Says(b"stream: OK\0")).await;
    let pieces = stream::iter([Bytes::from_static(b"abc")]).boxed();
    let outcome = Clamd::new(options).scan(pieces, 4).await;
    assert!(matches!(outcome, Err(ScanError::NoVerdict(_))), "{outcome:?}");
}
