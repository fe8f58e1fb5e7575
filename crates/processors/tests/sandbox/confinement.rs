//! What a child may not do.

use super::*;

async fn refused(name: &str, argument: Value) -> Value {
    let answer = probes().run(name, argument, &WIDE).await.expect("an answer");
    answer.facts["refused"].clone()
}

#[tokio::test]
async fn this_system_confines_in_every_way() {
    let found = probes().sandbox.examine().await.expect("examined");
    assert!(found.is_complete(), "{found:?}");
}

#[tokio::test]
async fn nothing_is_opened_looked_at_or_made() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    let path = json!(file.path().to_str());
    for (probe, argument) in [
        ("open", path.clone()),
        ("open", json!("/proc/self/environ")),
        ("open", json!("/dev/null")),
        ("stat", path.clone()),
        ("stat", json!("/etc/passwd")),
        ("list", json!("/")),
        ("create", json!(file.path().with_extension("new").to_str())),
        ("create", path),
    ] {
        let refused = refused(probe, argument.clone()).await;
        assert_eq!(refused, "PermissionDenied", "{probe} {argument}");
    }
}

#[tokio::test]
async fn no_process_descriptor_or_code_is_made_and_no_process_touched() {
    let us = json!(std::process::id());
    for (probe, argument) in [
        ("fork", json!(null)),
        ("kill", us.clone()),
        ("duplicate", json!(null)),
        ("read_descriptor", json!(1)),
        ("read_descriptor", json!(3)),
        ("map_code", json!(null)),
    ] {
        assert_eq!(refused(probe, argument).await, "PermissionDenied", "{probe}");
    }
}

#[tokio::test]
async fn who_reaches_for_more_is_killed() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    for (probe, argument) in [("connect", json!(address)), ("trace", json!(std::process::id()))] {
        let outcome = probes().run(probe, argument, &WIDE).await;
        assert_eq!(rejected_code(outcome), "processing_crashed", "{probe}");
    }
    listener.set_nonblocking(true).expect("a socket");
    assert!(listener.accept().is_err(), "nobody came");
    // The standard library makes a pipe before it starts a program: that fails already.
    assert_eq!(refused("execute", json!("/bin/true")).await, "PermissionDenied");
}

#[tokio::test]
async fn threads_work() {
    let answer = probes()
        .run("threads", json!(null), &WIDE)
        .await
        .expect("an answer");
    assert_eq!(answer.facts["sum"], 4 * 499_500 + 6);
}
