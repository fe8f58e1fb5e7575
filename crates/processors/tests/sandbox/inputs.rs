//! However an input comes, the child sees all of it.

use std::io;

use cloakroom_processors::{InputStream, SPOOLED_BYTES_MAX};

use super::*;

const MIB: usize = 1024 * 1024;

fn stream(pieces: Vec<io::Result<Bytes>>) -> InputStream<'static> {
    Box::pin(futures_util::stream::iter(pieces))
}

fn ones(bytes: usize) -> Vec<io::Result<Bytes>> {
    let piece = Bytes::from(vec![1; MIB]);
    let mut pieces: Vec<_> = (0..bytes / MIB).map(|_| Ok(piece.clone())).collect();
    pieces.push(Ok(piece.slice(..bytes % MIB)));
    pieces
}

#[tokio::test]
async fn bytes_files_and_pipes_are_read_whole() {
    let probes = probes();
    let limits = Limits {
        memory_bytes: 512 * MIB as u64,
        ..WIDE
    };
    let large = SPOOLED_BYTES_MAX as usize + 5;
    for (bytes, again) in [
        (0, true),
        (1, true),
        (3 * MIB + 1, true),
        (large, true),
        (large, false),
    ] {
        let size_bytes = bytes as u64;
        let stream = stream(ones(bytes));
        let input = if again {
            Input::Whole { stream, size_bytes }
        } else {
            Input::Streamed { stream, size_bytes }
        };
        let answer = probes
            .sandbox
            .run(&task("read", json!(null)), input, &limits)
            .await;
        let facts = answer.expect("read").facts;
        assert_eq!(facts["sum"], bytes, "{bytes} {again}");
        assert_eq!(facts["bytes"], bytes);
        assert_eq!(facts["size"], bytes);
        assert_eq!(facts["again"], again);
    }
    let left: Vec<_> = std::fs::read_dir(probes.directory.path())
        .expect("a directory")
        .collect();
    assert!(left.is_empty(), "{left:?}");
    let answer = probes.read("read", "abc").await.expect("read");
    assert_eq!(answer.facts["bytes"], 3);
}

#[tokio::test]
async fn a_child_may_have_seen_enough() {
    let input = Input::Streamed {
        stream: stream(ones(64 * MIB)),
        size_bytes: 64 * MIB as u64,
    };
    let answer = probes()
        .sandbox
        .run(&task("read_some", json!(10)), input, &WIDE)
        .await;
    assert_eq!(answer.expect("read").facts["bytes"], 10);
}

#[tokio::test]
async fn an_input_that_breaks_off_is_not_the_files_fault() {
    let probes = probes();
    let broken = || {
        stream(vec![
            Ok(Bytes::from_static(b"a")),
            Err(io::Error::other("the store is gone")),
        ])
    };
    let short = || stream(vec![Ok(Bytes::from_static(b"a"))]);
    for input in [
        Input::Whole {
            stream: broken(),
            size_bytes: 5,
        },
        Input::Streamed {
            stream: broken(),
            size_bytes: 5,
        },
        Input::Whole {
            stream: short(),
            size_bytes: 2,
        },
        Input::Streamed {
            stream: short(),
            size_bytes: 2,
        },
        Input::Whole {
            stream: broken(),
            size_bytes: SPOOLED_BYTES_MAX + 1,
        },
    ] {
        let outcome = probes.sandbox.run(&task("read", json!(null)), input, &WIDE).await;
        assert!(matches!(outcome, Err(Failure::Unavailable(_))), "{outcome:?}");
    }
}
