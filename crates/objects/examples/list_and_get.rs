//! Lists a bucket of the local store and reads every sidecar in it, and nothing else: the limit that a rebuild is measured
//! against. `list_and_get DIRECTORY BUCKET` prints how many it read and the seconds it took, as JSON.

use std::time::Instant;

use cloakroom_core::ports::objects::{GetOptions, ListOptions, ObjectPath, ObjectStore};
use cloakroom_objects::local::{LocalOptions, LocalStore};
use futures_util::{StreamExt, TryStreamExt, stream};

/// Reads at the same time.
const AT_ONCE: usize = 8;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(directory), Some(bucket)) = (arguments.next(), arguments.next()) else {
        return Err("usage: list_and_get DIRECTORY BUCKET".into());
    };
    let store = LocalStore::open(&LocalOptions::new(directory))?;
    let (began, mut read, mut after) = (Instant::now(), 0_u64, None);
    loop {
        let options = ListOptions {
            after,
            limit: 1_000,
            ..ListOptions::default()
        };
        let page = store.list(&bucket, &options).await?;
        let sidecars = page
            .objects
            .iter()
            .filter(|object| object.key.ends_with(".attr.json"));
        read += stream::iter(sidecars)
            .map(|object| async {
                let path = ObjectPath::new(&bucket, &object.key);
                let got = store.get(&path, &GetOptions::default()).await?;
                let bytes: usize = got
                    .body
                    .map_ok(|piece| piece.len())
                    .try_fold(0, async |sum, piece| Ok(sum + piece))
                    .await?;
                Ok::<_, Box<dyn std::error::Error>>(u64::from(bytes > 0))
            })
            .buffer_unordered(AT_ONCE)
            .try_fold(0, async |sum, one| Ok(sum + one))
            .await?;
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    println!(
        "{{\"read\": {read}, \"seconds\": {}}}",
        began.elapsed().as_secs_f64()
    );
    Ok(())
}
