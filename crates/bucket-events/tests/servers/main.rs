//! The sources against real servers; `scripts/test-servers run` starts them.

mod aws;
mod ceph;
mod instance;
mod moto;
mod nats;
mod sqs;

use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket, TcpStream};
use uuid::Uuid;

/// Waits for a condition, for at most a minute.
async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), waiting)
        .await
        .unwrap_or_else(|_| panic!("not within a minute: {what}"));
}

/// A name that no other test and no earlier run has.
fn unique(prefix: &str) -> String {
    format!("{prefix}-{}", Uuid::now_v7().simple())
}

/// An address where nobody listens yet, and nobody but whoever names it ever will.
fn free_address() -> SocketAddr {
    let port = TcpSocket::new_v4().expect("a socket");
    port.set_reuseaddr(true).expect("shared with who listens");
    port.bind(([127, 0, 0, 1], 0).into()).expect("a port");
    let address = port.local_addr().expect("an address");
    // Bound as long as this process lives: who asks for any port gets another one.
    std::mem::forget(port);
    address
}

/// Listens there and passes everything on to the server.
async fn forward(from: SocketAddr, to: String) {
    let listener = TcpListener::bind(from).await.expect("the port is still free");
    loop {
        let (mut near, _) = listener.accept().await.expect("a connection");
        let to = to.clone();
        tokio::spawn(async move {
            let mut far = TcpStream::connect(to).await.expect("the server");
            let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
        });
    }
}
