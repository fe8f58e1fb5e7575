//! The suite of the port over our own S3 endpoint, which can do what AWS can: conditions on completions, checksums, parts
//! by number. What is proven here of the adapter, Ceph cannot show.

use std::sync::Arc;

use cloakroom_core::ports::objects::{Capabilities, ObjectStore};
use cloakroom_gateway::{Gateway, GatewayOptions};
use cloakroom_objects::credentials::StaticCredentials;
use cloakroom_objects::local::{LocalOptions, LocalStore};
use cloakroom_objects::s3::{S3Options, S3Store, USUAL_CAPABILITIES};
use cloakroom_signing::{Addressing, Credentials, Endpoint, Region};
use cloakroom_testkit::clock::WallClock;
use cloakroom_testkit::object_store_suite::Subject;
use cloakroom_testkit::random::SeededRandom;
use tokio::net::TcpListener;

const ALL_BUT_MEMORY: Capabilities = Capabilities {
    checksums: true,
    computed_checksums: true,
    conditional_copy_target: true,
    conditional_completion: true,
    part_reads: true,
    unlisted_parts: true,
    ordered_deletes: true,
    ..USUAL_CAPABILITIES
};

async fn subject() -> Subject {
    let directory = tempfile::tempdir().unwrap();
    let behind = LocalStore::open(&LocalOptions::new(directory.path())).unwrap();
    let credentials = Credentials::new("AKID", "secret");
    let known = credentials.clone();
    let options = GatewayOptions::new(
        Region::default(),
        Arc::new(move |id: &str| (id == "AKID").then(|| known.clone())),
        Arc::new(WallClock),
    );
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let gateway = Gateway::new(Arc::new(behind), options);
    tokio::spawn(async move { gateway.serve(listener, std::future::pending()).await });
    let store = S3Store::new(S3Options {
        capabilities: ALL_BUT_MEMORY,
        ..S3Options::new(
            Endpoint::parse(&url, Addressing::Path).unwrap(),
            Region::default(),
            Arc::new(StaticCredentials(credentials)),
            Arc::new(WallClock),
            Arc::new(SeededRandom::new(1)),
        )
    })
    .unwrap();
    Subject::new(Arc::new(store) as Arc<dyn ObjectStore>, directory).await
}

cloakroom_testkit::object_store_suite!(subject);
