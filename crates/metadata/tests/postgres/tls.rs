//! TLS as `sslmode` asks for it, against a server that only shakes hands.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use cloakroom_metadata::postgres::{PostgresOptions, PostgresStore};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// The message by which a client asks for TLS: its length, and a number that is no version.
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];

fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A server's TLS with a certificate for `host` by this authority.
fn acceptor(authority: &CertifiedIssuer<'static, KeyPair>, host: &str) -> TlsAcceptor {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec![host.to_owned()]).unwrap();
    let certificate: CertificateDer<'static> = params.signed_by(&key, authority).unwrap().into();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

/// Refuses whoever comes in, by a word that says which way.
async fn refuse(mut client: impl AsyncRead + AsyncWrite + Unpin, how: &str) {
    // The rest of the first message is of no interest.
    let _ = client.read(&mut [0; 1024]).await;
    let fields = format!("SFATAL\0VFATAL\0C28000\0M{how}\0\0");
    let length = u32::try_from(fields.len() + 4).unwrap();
    let mut message = vec![b'E'];
    message.extend(length.to_be_bytes());
    message.extend(fields.as_bytes());
    let _ = client.write_all(&message).await;
    let _ = client.shutdown().await;
}

async fn serve(tls: Option<TlsAcceptor>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let tls = tls.clone();
            tokio::spawn(async move {
                let mut first = [0; 8];
                if client.read_exact(&mut first).await.is_err() {
                    return;
                }
                match tls {
                    _ if first != SSL_REQUEST => refuse(client, "in the clear").await,
                    None => {
                        client.write_all(b"N").await.unwrap();
                        refuse(client, "in the clear").await;
                    }
                    Some(tls) => {
                        client.write_all(b"S").await.unwrap();
                        if let Ok(client) = tls.accept(client).await {
                            refuse(client, "encrypted").await;
                        }
                    }
                }
            });
        }
    });
    address
}

fn pem(directory: &TempDir, name: &str, authority: &CertifiedIssuer<'static, KeyPair>) -> String {
    let path = directory.path().join(name);
    std::fs::write(&path, authority.pem()).unwrap();
    path.display().to_string()
}

/// How a client with these parameters came in, or why it did not.
async fn outcome(server: SocketAddr, parameters: &str) -> String {
    let port = server.port();
    let url = format!("postgres://u:hunter2@localhost:{port}/d?{parameters}");
    let options = PostgresOptions {
        connect_timeout: Duration::from_mins(1),
        ..PostgresOptions::new(url)
    };
    let error = PostgresStore::pending_migrations(&options).await.unwrap_err();
    let text = error.to_string();
    assert!(!text.contains("hunter2"), "{text}");
    for how in ["in the clear", "encrypted"] {
        if text.contains(how) {
            return how.to_owned();
        }
    }
    format!("refused: {text}")
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_is_as_strict_as_it_is_asked_to_be() {
    let directory = TempDir::new().unwrap();
    let (ours, strangers) = (authority(), authority());
    let (ca, other_ca) = (
        pem(&directory, "ca.pem", &ours),
        pem(&directory, "other.pem", &strangers),
    );
    let right = serve(Some(acceptor(&ours, "localhost"))).await;
    let other_host = serve(Some(acceptor(&ours, "db.example"))).await;
    let plain = serve(None).await;
    for (server, parameters, expected) in [
        (right, "sslmode=disable".to_owned(), "in the clear"),
        (right, "sslmode=prefer".to_owned(), "encrypted"),
        (plain, "sslmode=prefer".to_owned(), "in the clear"),
        (plain, String::new(), "in the clear"),
        (plain, "sslmode=require".to_owned(), "refused"),
        (other_host, "sslmode=require".to_owned(), "encrypted"),
        (
            other_host,
            format!("sslmode=require&sslrootcert={ca}"),
            "encrypted",
        ),
        (
            right,
            format!("sslmode=require&sslrootcert={other_ca}"),
            "refused",
        ),
        (
            other_host,
            format!("sslmode=verify-ca&sslrootcert={ca}"),
            "encrypted",
        ),
        (
            right,
            format!("sslmode=verify-ca&sslrootcert={other_ca}"),
            "refused",
        ),
        (
            right,
            format!("sslmode=verify-full&sslrootcert={ca}"),
            "encrypted",
        ),
        (
            other_host,
            format!("sslmode=verify-full&sslrootcert={ca}"),
            "refused",
        ),
        (
            right,
            format!("sslmode=verify-full&sslrootcert={other_ca}"),
            "refused",
        ),
        (plain, format!("sslmode=verify-full&sslrootcert={ca}"), "refused"),
    ] {
        let found = outcome(server, &parameters).await;
        assert!(found.starts_with(expected), "{parameters}: {found}");
    }
}

#[tokio::test]
async fn a_file_without_certificates_is_refused_by_name() {
    let directory = TempDir::new().unwrap();
    let empty = directory.path().join("empty.pem");
    std::fs::write(&empty, "nothing\n").unwrap();
    let missing = Path::new("/nowhere/ca.pem");
    for path in [empty.as_path(), missing] {
        let parameters = format!("sslmode=verify-full&sslrootcert={}", path.display());
        let found = outcome("127.0.0.1:1".parse().unwrap(), &parameters).await;
        assert!(found.contains(&path.display().to_string()), "{found}");
    }
}
