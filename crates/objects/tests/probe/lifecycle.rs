//! The net under the sweeper: the bucket itself removes what nobody did. `make test-providers` runs it, for it takes
//! minutes on a Ceph with many buckets.

use std::time::Duration;

use cloakroom_objects::s3::bootstrap::BucketPlan;

use crate::setup::{plan, set_up, write};
use crate::stand::Stand;

/// A day lasts ten seconds in this Ceph.
#[tokio::test]
async fn the_bucket_itself_removes_what_is_old() {
    let stand = Stand::ceph().await;
    write(&stand, "staging/20261121T0600Z/x/a.jpg").await;
    write(&stand, "kept/a.jpg").await;
    let wanted = BucketPlan {
        staging_days: 1,
        ..plan(&stand)
    };
    set_up(&stand, &wanted).await;
    let removed = async {
        while stand.keys().await != "kept/a.jpg" {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    tokio::time::timeout(Duration::from_mins(2), removed)
        .await
        .expect("Ceph removes it within a few of its days");
}
