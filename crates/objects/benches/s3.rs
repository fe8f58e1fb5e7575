//! The S3 adapter against the Ceph of the tests, or any other service named as theirs is:
//! `scripts/test-servers run cargo bench -p cloakroom-objects --bench s3`.
//!
//! Operations a second and CPU of this process for each, over 1 and 16 connections. What the service takes is in the
//! rate, not in the CPU.

#![expect(clippy::unwrap_used, reason = "a benchmark that fails has no result")]

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cloakroom_core::ports::objects::{GetOptions, ObjectPath, ObjectStore, PutBody, PutOptions};
use cloakroom_objects::credentials::StaticCredentials;
use cloakroom_objects::s3::{S3Options, S3Store};
use cloakroom_signing::{Addressing, Credentials, Endpoint};
use cloakroom_testkit::clock::WallClock;
use cloakroom_testkit::random::SeededRandom;
use cloakroom_testkit::servers;
use futures_util::StreamExt as _;

/// How long each thing is measured.
const MEASURED: Duration = Duration::from_secs(3);

fn cpu() -> Duration {
    let usage = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(usage.tv_sec.unsigned_abs(), u32::try_from(usage.tv_nsec).unwrap())
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(run());
}

async fn run() {
    let server = servers::s3();
    let store = S3Store::new(S3Options::new(
        Endpoint::parse(&server.endpoint, Addressing::Path).unwrap(),
        server.region.parse().unwrap(),
        Arc::new(StaticCredentials(Credentials::new(
            server.access_key,
            server.secret_key,
        ))),
        Arc::new(WallClock),
        Arc::new(SeededRandom::new(1)),
    ))
    .unwrap();
    let bucket = servers::unique_bucket();
    store.create_bucket(&bucket).await.unwrap();
    println!("| operation | connections | per second | CPU µs each |\n|---|--:|--:|--:|");
    for connections in [1, 16] {
        for (name, bytes) in [("4 KiB", 4 * 1024), ("1 MiB", 1024 * 1024)] {
            let body = bytes::Bytes::from(vec![7; bytes]);
            measure(&format!("PUT {name}, and HEAD"), connections, |worker| {
                let (store, path, body) = (&store, key(&bucket, worker), body.clone());
                async move {
                    store
                        .put(&path, PutOptions::default(), PutBody::from_bytes(body))
                        .await
                        .unwrap();
                }
            })
            .await;
            measure(&format!("GET {name}"), connections, |worker| {
                let (store, path) = (&store, key(&bucket, worker));
                async move {
                    let mut read = store.get(&path, &GetOptions::default()).await.unwrap();
                    while let Some(piece) = read.body.next().await {
                        piece.unwrap();
                    }
                }
            })
            .await;
        }
        measure("HEAD", connections, |worker| {
            let (store, path) = (&store, key(&bucket, worker));
            async move {
                store.head(&path, &GetOptions::default()).await.unwrap();
            }
        })
        .await;
    }
    for worker in 0..16 {
        store.delete(&key(&bucket, worker)).await.unwrap();
    }
    store.delete_bucket(&bucket).await.unwrap();
}

fn key(bucket: &str, worker: usize) -> ObjectPath {
    ObjectPath::new(bucket, format!("worker/{worker}"))
}

async fn measure<F: Future<Output = ()>>(name: &str, connections: usize, operation: impl Fn(usize) -> F) {
    let (operation, begun, before) = (&operation, Instant::now(), cpu());
    let workers = (0..connections).map(|worker| async move {
        let mut count = 0_u32;
        while begun.elapsed() < MEASURED {
            operation(worker).await;
            count += 1;
        }
        count
    });
    let count: u32 = futures_util::future::join_all(workers).await.into_iter().sum();
    let rate = f64::from(count) / begun.elapsed().as_secs_f64();
    let cost = cpu().checked_sub(before).unwrap().as_secs_f64() * 1e6 / f64::from(count);
    println!("| {name} | {connections} | {rate:.0} | {cost:.0} |");
}
