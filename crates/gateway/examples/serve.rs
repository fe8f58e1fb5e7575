//! The endpoint alone, over a directory: `cargo run --example serve -- 127.0.0.1:9000 ./data AKID secret`.
//!
//! Shows what an application has to bring: a store, credentials, a clock and a way to stop.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use cloakroom_core::ports::clock::Clock;
use cloakroom_gateway::{CorsPolicy, Gateway, GatewayOptions};
use cloakroom_objects::local::{LocalOptions, LocalStore};
use cloakroom_signing::{Credentials, Region};
use jiff::Timestamp;
use tokio::net::TcpListener;

struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        #[expect(clippy::disallowed_methods, reason = "this is where the time enters")]
        Timestamp::now()
    }
}

#[tokio::main]
async fn main() -> io::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [listen, directory, access_key_id, secret_access_key] = arguments.as_slice() else {
        return Err(io::Error::other(
            "usage: serve <address> <directory> <access key id> <secret access key>",
        ));
    };
    let address: SocketAddr = listen.parse().map_err(io::Error::other)?;
    let store = LocalStore::open(&LocalOptions::new(PathBuf::from(directory))).map_err(io::Error::other)?;

    let credentials = Credentials::new(access_key_id, secret_access_key.as_str());
    let lookup = move |id: &str| (id == credentials.access_key_id).then(|| credentials.clone());
    let mut options = GatewayOptions::new(Region::default(), Arc::new(lookup), Arc::new(SystemClock));
    options.cors = CorsPolicy::any();

    let listener = TcpListener::bind(address).await?;
    println!("listening on http://{}", listener.local_addr()?);
    let interrupted = async {
        // Without the signal there is no end but a kill, which the store survives.
        let _ = tokio::signal::ctrl_c().await;
    };
    Gateway::new(Arc::new(store), options)
        .serve(listener, interrupted)
        .await;
    Ok(())
}
