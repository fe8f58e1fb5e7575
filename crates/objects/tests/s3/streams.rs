//! Bodies that are sent as they come: their last piece is held back until all of it was checked, so that a request which
//! breaks off leaves the store as it was. The suite's bodies are small enough to be sent from memory.

use std::time::{Duration, Instant};

use bytes::Bytes;
use cloakroom_core::ports::objects::{
    BodyError, ByteStream, GetOptions, ObjectError, ObjectInfo, ObjectStore, PutBody, PutOptions, Result,
};
use cloakroom_testkit::object_store_suite::{bad_digest, collect, pattern, pieces};

use crate::stand::Stand;

const BYTES: usize = 3_000_000;

fn cut(bytes: &[u8], announced: usize) -> PutBody {
    let cut = bytes
        .chunks(100_000)
        .map(|piece| Ok(Bytes::copy_from_slice(piece)));
    pieces(cut, Some(announced as u64))
}

async fn put(stand: &Stand, body: PutBody) -> Result<ObjectInfo> {
    stand
        .store
        .put(&stand.path("k"), PutOptions::default(), body)
        .await
}

async fn read(stand: &Stand) -> Vec<u8> {
    let read = stand
        .store
        .get(&stand.path("k"), &GetOptions::default())
        .await
        .unwrap();
    collect(read.body).await.unwrap()
}

#[tokio::test]
async fn it_arrives_whole_in_pieces_of_any_size() {
    let stand = Stand::new().await;
    let bytes = pattern(BYTES, 1);
    for piece in [1_000, 65_536, BYTES] {
        let with_gaps = bytes
            .chunks(piece)
            .flat_map(|piece| [Ok(Bytes::new()), Ok(Bytes::copy_from_slice(piece))]);
        let info = put(&stand, pieces(with_gaps, Some(BYTES as u64))).await.unwrap();
        assert_eq!(info.size_bytes, BYTES as u64);
        assert!(read(&stand).await == bytes, "in pieces of {piece}");
    }
}

#[tokio::test]
async fn what_its_sender_takes_back_was_never_there() {
    let stand = Stand::new().await;
    let broken = BodyError {
        code: "IncompleteBody",
        message: "connection lost".into(),
    };
    for old in [None, Some("old")] {
        if let Some(old) = old {
            put(&stand, PutBody::from_bytes(old)).await.unwrap();
        }
        let bytes = pattern(BYTES, 2);
        let refused_at_the_end = PutBody {
            finish: Box::new(|| Err(bad_digest())),
            ..cut(&bytes, BYTES)
        };
        let breaks_off = pieces(
            [Ok(Bytes::from(bytes.clone())), Err(broken.clone())],
            Some(BYTES as u64),
        );
        for (body, expected) in [
            (refused_at_the_end, "BadDigest"),
            (cut(&bytes, BYTES + 1), "IncompleteBody"),
            (cut(&bytes, BYTES - 1), "IncompleteBody"),
            (cut(&bytes, 2_000_000), "IncompleteBody"),
            (breaks_off, "IncompleteBody"),
        ] {
            let refused = put(&stand, body).await;
            assert!(
                matches!(&refused, Err(ObjectError::Body(error)) if error.code == expected),
                "{refused:?}"
            );
            if let Some(old) = old {
                assert_eq!(read(&stand).await, old.as_bytes());
                continue;
            }
            let head = stand.store.head(&stand.path("k"), &GetOptions::default()).await;
            assert!(matches!(head, Err(ObjectError::NotFound)), "{head:?}");
        }
    }
}

/// All of it has been given but its end, which is when it is checked.
#[tokio::test]
async fn it_is_not_visible_before_the_verdict() {
    let stand = Stand::new().await;
    let (send, receive) = tokio::sync::mpsc::channel::<Bytes>(1);
    let body = PutBody::from_stream(received(receive), Some(BYTES as u64));
    let (store, path) = (stand.store.clone(), stand.path("k"));
    let write = tokio::spawn(async move { store.put(&path, PutOptions::default(), body).await });
    for piece in pattern(BYTES, 1).chunks(100_000) {
        send.send(Bytes::copy_from_slice(piece)).await.unwrap();
    }
    // The second one is taken when the first has been, so all bytes are with the store's side.
    for _ in 0..2 {
        send.send(Bytes::new()).await.unwrap();
    }
    let head = stand.store.head(&stand.path("k"), &GetOptions::default()).await;
    assert!(matches!(head, Err(ObjectError::NotFound)), "{head:?}");
    drop(send);
    assert_eq!(write.await.unwrap().unwrap().size_bytes, BYTES as u64);
    assert!(read(&stand).await == pattern(BYTES, 1));
}

fn received(receive: tokio::sync::mpsc::Receiver<Bytes>) -> ByteStream {
    Box::pin(futures_util::stream::unfold(receive, |mut receive| async {
        receive.recv().await.map(|piece| (Ok(piece), receive))
    }))
}

#[tokio::test]
async fn a_client_that_goes_away_leaves_nothing() {
    let stand = Stand::new().await;
    let (send, receive) = tokio::sync::mpsc::channel::<Bytes>(1);
    let body = PutBody::from_stream(received(receive), Some(BYTES as u64));
    let (store, path) = (stand.store.clone(), stand.path("k"));
    let write = tokio::spawn(async move { store.put(&path, PutOptions::default(), body).await });
    for piece in pattern(BYTES, 1)[..2_000_000].chunks(100_000) {
        send.send(Bytes::copy_from_slice(piece)).await.unwrap();
    }
    write.abort();
    assert!(write.await.unwrap_err().is_cancelled());
    // The connection goes with the call, and with it the stream.
    let deadline = Instant::now() + Duration::from_mins(1);
    while !send.is_closed() {
        assert!(Instant::now() < deadline, "the stream is let go");
        tokio::task::yield_now().await;
    }
    let head = stand.store.head(&stand.path("k"), &GetOptions::default()).await;
    assert!(matches!(head, Err(ObjectError::NotFound)), "{head:?}");
}
