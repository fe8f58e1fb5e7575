//! Clocks that differ.

use std::sync::Arc;

use cloakroom_core::ports::clock::Clock;
use cloakroom_core::ports::objects::{GetOptions, ObjectStore, PutBody, PutOptions};
use cloakroom_objects::s3::{S3Options, S3Store};
use cloakroom_testkit::clock::WallClock;
use cloakroom_testkit::object_store_suite::{collect, pattern};
use jiff::{SignedDuration, Timestamp};

use crate::stand::{Stand, options};

struct Off(SignedDuration);

impl Clock for Off {
    fn now(&self) -> Timestamp {
        WallClock.now() + self.0
    }
}

/// S3 refuses what was signed more than fifteen minutes off; its `Date` says by how much.
#[tokio::test]
async fn a_wrong_clock_of_ours_is_made_up_for() {
    let stand = Stand::new().await;
    for hours in [-3, 2] {
        let store = || {
            let clock = Arc::new(Off(SignedDuration::from_hours(hours)));
            S3Store::new(S3Options { clock, ..options() }).unwrap()
        };
        let path = stand.path("k");
        // Whichever is the first request: HEAD is refused without a word of why.
        let put = store()
            .put(&path, PutOptions::default(), PutBody::from_bytes("v"))
            .await
            .unwrap();
        assert_eq!(store().head(&path, &GetOptions::default()).await.unwrap(), put);
        let read = store().get(&path, &GetOptions::default()).await.unwrap();
        assert_eq!(collect(read.body).await.unwrap(), b"v");
        // A body that is sent as it comes was not begun when the clocks were found to differ: the bucket is asked first.
        let body = PutBody::from_bytes(pattern(3_000_000, 1));
        assert_eq!(
            store()
                .put(&path, PutOptions::default(), body)
                .await
                .unwrap()
                .size_bytes,
            3_000_000
        );
    }
}
