//! A real clamd, with the limits of Debian's package and a signature of EICAR.

use std::time::Duration;

use bytes::Bytes;
use cloakroom_core::ports::scanner::{Holdup, Scanner, Verdict};
use cloakroom_scanner::account::Limits;
use cloakroom_scanner::{Address, Clamd, ClamdOptions};
use cloakroom_testkit::servers;
use futures_util::StreamExt as _;
use futures_util::stream;

use crate::archives::{Entry, eicar, eicar_after, gzip, pdf, tar, zip};

const MIB: usize = 1024 * 1024;

fn addresses() -> [Address; 2] {
    let tcp = servers::clamd_tcp().parse().expect("an address");
    [tcp, Address::Unix(servers::clamd_socket())]
}

pub async fn scan(options: ClamdOptions, bytes: Vec<u8>) -> Verdict {
    let size = bytes.len() as u64;
    let pieces: Vec<Bytes> = bytes.chunks(100_000).map(Bytes::copy_from_slice).collect();
    let scanner = Clamd::new(options);
    scanner
        .scan(stream::iter(pieces).boxed(), size)
        .await
        .expect("a verdict")
}

#[derive(Debug, PartialEq)]
enum Expected {
    Clean,
    Infected,
    NotFully,
}

async fn check(name: &str, bytes: Vec<u8>, expected: Expected) {
    for address in addresses() {
        let verdict = scan(ClamdOptions::new(address.clone()), bytes.clone()).await;
        let found = match &verdict {
            Verdict::Clean => Expected::Clean,
            Verdict::Held(Holdup::Infected { signature }) => {
                assert!(signature.starts_with("Eicar-Signature"), "{signature}");
                Expected::Infected
            }
            Verdict::Held(Holdup::NotFullyScanned { .. }) => Expected::NotFully,
        };
        assert_eq!(found, expected, "{name} over {address}: {verdict:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_answers() {
    for address in addresses() {
        let version = Clamd::new(ClamdOptions::new(address))
            .ping()
            .await
            .expect("a version");
        assert!(version.starts_with("ClamAV "), "{version}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_clean_and_what_is_not() {
    let clean = zip(&[
        Entry::deflated("a.txt", b"hello"),
        Entry::stored("b.txt", b"hello"),
    ]);
    check("nothing", Vec::new(), Expected::Clean).await;
    check("text", b"hello".to_vec(), Expected::Clean).await;
    check("24 MiB", vec![b'a'; 24 * MIB], Expected::Clean).await;
    check("a zip", clean, Expected::Clean).await;
    check("EICAR", eicar(), Expected::Infected).await;
    check("EICAR at the end", eicar_after(24 * MIB), Expected::Infected).await;
    let zipped = zip(&[
        Entry::deflated("a.txt", b"hello"),
        Entry::deflated("eicar.com", &eicar()),
    ]);
    check(
        "EICAR in a zip in a zip",
        zip(&[Entry::deflated("a.zip", &zipped)]),
        Expected::Infected,
    )
    .await;
    check("EICAR in a zip", zipped, Expected::Infected).await;
    check(
        "EICAR in a tar.gz",
        gzip(&tar(&[("a", b"x"), ("eicar.com", &eicar())])),
        Expected::Infected,
    )
    .await;
    check("EICAR in a PDF", pdf(&eicar()), Expected::Infected).await;
}

/// The cases in which clamd says `OK`.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_beyond_its_limits_is_called_clean() {
    let member = eicar_after(101 * MIB);
    let parts = [0; 5].map(|_| Entry::deflated("a", &vec![0; 20 * MIB]));
    let total = [&parts[..], &[Entry::deflated("eicar.com", &eicar())]].concat();
    let mut deep = eicar();
    for _ in 0..16 {
        deep = zip(&[Entry::deflated("a.zip", &deep)]);
    }
    check(
        "EICAR after 101 MiB in a zip",
        zip(&[Entry::deflated("a", &member)]),
        Expected::NotFully,
    )
    .await;
    check("EICAR after 101 MiB in a gzip", gzip(&member), Expected::NotFully).await;
    check("EICAR after 100 MiB of others", zip(&total), Expected::NotFully).await;
    check("EICAR 16 zips deep", deep, Expected::NotFully).await;
    check(
        "a file above the limit",
        eicar_after(25 * MIB),
        Expected::NotFully,
    )
    .await;
    let liar = Entry {
        size: 10,
        ..Entry::deflated("a", &eicar_after(26 * MIB))
    };
    check(
        "a member that lies about its size",
        zip(&[liar]),
        Expected::NotFully,
    )
    .await;
}

/// Whoever says that clamd takes more than it does is answered all the same.
#[tokio::test(flavor = "multi_thread")]
async fn its_own_word_on_the_length_of_a_stream_counts() {
    for address in addresses() {
        let options = ClamdOptions {
            limits: Limits {
                stream_bytes_max: 1 << 30,
                file_bytes_max: 1 << 30,
                total_bytes_max: 1 << 30,
                ..Limits::default()
            },
            ..ClamdOptions::new(address)
        };
        for _ in 0..5 {
            let verdict = scan(options.clone(), vec![b'a'; 40 * MIB]).await;
            let Verdict::Held(Holdup::NotFullyScanned { reason }) = verdict else {
                panic!("{verdict:?}");
            };
            assert!(reason.contains("scan.stream_max"), "{reason}");
        }
    }
}

/// It stops looking after its `MaxScanTime` and says `OK`.
#[tokio::test(flavor = "multi_thread")]
async fn a_scan_that_took_too_long_is_not_believed() {
    for address in addresses() {
        let options = ClamdOptions {
            scan_time_max: Duration::ZERO,
            ..ClamdOptions::new(address)
        };
        let verdict = scan(options, b"hello".to_vec()).await;
        assert!(
            matches!(verdict, Verdict::Held(Holdup::NotFullyScanned { .. })),
            "{verdict:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_at_once() {
    let scans = (0..24).map(|turn| async move {
        let infected = turn % 3 == 0;
        let bytes = if infected {
            eicar_after(turn * 1_000)
        } else {
            vec![b'a'; turn * 1_000]
        };
        let options = ClamdOptions::new(addresses()[turn % 2].clone());
        let verdict = scan(options, bytes).await;
        assert_eq!(verdict == Verdict::Clean, !infected, "{turn}: {verdict:?}");
    });
    futures_util::future::join_all(scans).await;
}
