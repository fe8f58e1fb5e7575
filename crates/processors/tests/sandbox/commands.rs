//! Foreign programs: a directory of their own, and nothing beside it.

use std::collections::BTreeMap;

use cloakroom_processors::{CommandTask, Finished};

use super::*;

/// Runs a program in a new directory, which holds `input` and is left with what the program made.
pub(crate) async fn run_in(
    probes: &Probes,
    argv: &[&str],
    limits: &Limits,
    network: bool,
) -> (Result<Finished, Failure>, tempfile::TempDir) {
    let own = tempfile::tempdir_in(probes.directory.path()).expect("a directory");
    std::fs::write(own.path().join("input"), "from outside").expect("written");
    let command = CommandTask {
        argv: argv.iter().map(|text| (*text).to_owned()).collect(),
        environment: BTreeMap::from([("PATH".to_owned(), "/usr/bin:/bin".to_owned())]),
        directory: own.path().to_owned(),
        stdin: Some(own.path().join("input")),
        reads: Vec::new(),
        network,
    };
    let finished = probes
        .sandbox
        .finish(&Task::Command(command), Input::None, limits)
        .await;
    (finished, own)
}

pub(crate) async fn run(probes: &Probes, argv: &[&str], limits: &Limits) -> Result<Finished, Failure> {
    run_in(probes, argv, limits, false).await.0
}

async fn shell(script: &str) -> (i32, String) {
    let finished = run(&probes(), &["/bin/sh", "-c", script], &WIDE)
        .await
        .expect("it ran");
    let said = String::from_utf8_lossy(&finished.said).into_owned();
    (finished.status.code().unwrap_or(-1), said)
}

#[tokio::test]
async fn a_program_reads_its_input_and_writes_its_directory() {
    let probes = probes();
    let script = "cat; cat input; mkdir out && echo made > out/x; env; exit 7";
    let (finished, own) = run_in(&probes, &["/bin/sh", "-c", script], &WIDE, false).await;
    let finished = finished.expect("it ran");
    let said = String::from_utf8_lossy(&finished.said);
    assert!(said.starts_with("from outsidefrom outside"), "{said}");
    assert!(!said.contains("MIMALLOC") && !said.contains("HOME"), "{said}");
    assert_eq!(finished.status.code(), Some(7));
    assert_eq!(
        std::fs::read_to_string(own.path().join("out/x")).expect("made"),
        "made\n"
    );
}

#[tokio::test]
async fn nothing_else_is_read_or_written() {
    let outside = tempfile::tempdir().expect("a directory");
    let secret = outside.path().join("secret");
    std::fs::write(&secret, "hush").expect("written");
    let secret = secret.display();
    for script in [
        format!("cat {secret}"),
        format!("echo x > {secret}"),
        format!("rm {secret}"),
        format!("ln {secret} here && cat here"),
        format!("ln -s {secret} here && cat here"),
        format!("ls {}", outside.path().display()),
        "cat /etc/passwd".to_owned(),
        format!("cat /proc/{}/environ", std::process::id()),
        "ls /proc/1".to_owned(),
        "echo x > /dev/shm/x".to_owned(),
        "echo x > /tmp/x-of-the-sandbox".to_owned(),
    ] {
        let (status, said) = shell(&script).await;
        assert!(status != 0 && !said.contains("hush"), "{script}: {status} {said}");
    }
    assert_eq!(
        std::fs::read_to_string(outside.path().join("secret")).expect("there"),
        "hush"
    );
}

#[tokio::test]
async fn it_has_no_network_unless_it_may() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let connect = format!("import socket; socket.create_connection(('127.0.0.1', {port}), 5)");
    let probes = probes();
    let attempt = async |network| {
        let argv = ["/usr/bin/python3", "-c", connect.as_str()];
        let (finished, _own) = run_in(&probes, &argv, &WIDE, network).await;
        finished.expect("it ran").status.success()
    };
    assert!(!attempt(false).await);
    assert!(attempt(true).await);
    for family in ["AF_UNIX", "AF_NETLINK", "AF_PACKET"] {
        let open = format!("import socket; socket.socket(socket.{family}, socket.SOCK_DGRAM)");
        let argv = ["/usr/bin/python3", "-c", open.as_str()];
        let (finished, _own) = run_in(&probes, &argv, &WIDE, true).await;
        assert!(!finished.expect("it ran").status.success(), "{family}");
    }
}

#[tokio::test]
async fn limits_strike() {
    let probes = probes();
    let python = |script: &'static str, limits: Limits| {
        let probes = &probes;
        async move {
            let finished = run(probes, &["/usr/bin/python3", "-c", script], &limits).await?;
            let judged = probes.sandbox.judge(&finished, &limits);
            Err::<Answer, _>(judged.unwrap_or_else(|| panic!("{finished:?}")))
        }
    };
    let cpu = Limits {
        cpu: Duration::from_secs(1),
        ..WIDE
    };
    assert_eq!(
        rejected_code(python("while True: pass", cpu).await),
        "processing_timeout"
    );
    let wall = Limits {
        wall: Duration::from_secs(1),
        ..WIDE
    };
    assert_eq!(
        rejected_code(python("import time; time.sleep(600)", wall).await),
        "processing_timeout"
    );
    let much = "open('x', 'wb').write(bytes(2 << 20))";
    assert!(python_fails(&probes, much).await, "a file beyond the limit");
    let talk = "import sys; sys.stdout.write('x' * (4 << 20))";
    assert_eq!(rejected_code(python(talk, WIDE).await), "output_too_large");
    assert!(
        python_fails(&probes, "bytearray(400 << 20)").await,
        "memory beyond the limit"
    );
    assert!(
        python_fails(&probes, "import os; os.setsid()").await,
        "out of its group"
    );
}

async fn python_fails(probes: &Probes, script: &str) -> bool {
    let finished = run(probes, &["/usr/bin/python3", "-c", script], &WIDE)
        .await
        .expect("it ran");
    !finished.status.success()
}

#[tokio::test]
async fn what_a_program_leaves_behind_ends_with_it() {
    let probes = probes();
    let script = "sleep 600 & echo $!; exit 0";
    let finished = run(&probes, &["/bin/sh", "-c", script], &WIDE)
        .await
        .expect("it ran");
    let left = String::from_utf8_lossy(&finished.said).trim().to_owned();
    assert!(left.parse::<u32>().is_ok(), "{left}");
    let gone = || {
        let stat = std::fs::read_to_string(format!("/proc/{left}/stat")).unwrap_or_default();
        stat.rsplit_once(')')
            .is_none_or(|(_, rest)| rest.trim_start().starts_with('Z'))
    };
    lives::until(gone, "it lives on").await;
}

#[tokio::test]
async fn a_program_that_is_not_there_is_the_operators_fault() {
    let probes = probes();
    let finished = run(&probes, &["/nowhere/at/all"], &WIDE).await.expect("it ran");
    let failure = probes.sandbox.judge(&finished, &WIDE).expect("a failure");
    assert!(failure.to_string().contains("/nowhere/at/all"), "{failure}");
    assert!(matches!(failure, Failure::Unavailable(_)), "{failure:?}");
}
