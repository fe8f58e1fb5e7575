//! Nothing stays: no process, no zombie, no descriptor.

use std::collections::BTreeSet;

use super::*;

fn entries(path: &str) -> BTreeSet<String> {
    let entries = std::fs::read_dir(path).expect("a directory");
    entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect()
}

/// Children of this process by their numbers, zombies included.
pub(crate) fn children_of(parent: u32) -> Vec<u32> {
    let of = |pid: u32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name may hold anything; what follows its bracket does not.
        let parent: u32 = stat.rsplit_once(')')?.1.split(' ').nth(2)?.parse().ok()?;
        Some((pid, parent))
    };
    let all = entries("/proc")
        .into_iter()
        .filter_map(|name| of(name.parse().ok()?));
    all.filter(|(_, its_parent)| *its_parent == parent)
        .map(|(pid, _)| pid)
        .collect()
}

pub(crate) async fn until(mut holds: impl FnMut() -> bool, what: &str) {
    for _ in 0..12_000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{what}");
}

fn parent(deed: &str, directory: &tempfile::TempDir) -> std::process::Command {
    let mut parent = std::process::Command::new(env!("CARGO_BIN_EXE_sandbox-probe"));
    parent.arg(deed).arg(directory.path());
    parent
}

#[test]
fn a_hundred_at_once_leave_nothing() {
    let directory = tempfile::tempdir().expect("a directory");
    let status = parent("hundred", &directory).status();
    assert!(status.expect("started").success());
    let left = std::fs::read_dir(directory.path()).expect("a directory").count();
    assert_eq!(left, 0);
}

#[tokio::test]
async fn children_end_with_their_parent() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut parent = parent("wait", &directory).spawn().expect("started");
    // Two probes; and beside the program a shell with two of its own.
    let mut children = Vec::new();
    let family = |parent: u32| {
        let mut all = children_of(parent);
        let mut at = 0;
        while at < all.len() {
            all.extend(children_of(all[at]));
            at += 1;
        }
        all
    };
    until(
        || {
            children = family(parent.id());
            children.len() == 6
        },
        "they do not all live",
    )
    .await;
    parent.kill().expect("killed");
    parent.wait().expect("buried");
    let living = |pid: &u32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // Zombies wait for whoever inherits them.
        stat.rsplit_once(')')
            .is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
    };
    until(|| !children.iter().any(living), "children outlive their parent").await;
}
