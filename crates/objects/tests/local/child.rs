//! Roles that this test binary plays for itself in another process, where it can be killed, measured and put on
//! another file system.

use std::path::Path;
use std::process::{Command, Stdio};

/// Names the role.
const ROLE: &str = "CLOAKROOM_TEST_ROLE";

/// Where the role's store is.
const ROOT: &str = "CLOAKROOM_TEST_ROOT";

/// A command that runs this binary in a role.
pub fn command(role: &str, root: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "child::role", "--nocapture", "--test-threads=1"]);
    with_role(command, role, root)
}

/// The same on file systems that `mounts`, a shell script, makes below the root (its `$1`).
pub fn command_with_mounts(role: &str, root: &Path, mounts: &str) -> Command {
    let this = std::env::current_exe().unwrap();
    let script =
        format!("set -e\n{mounts}\nshift\nexec \"$@\" --exact child::role --nocapture --test-threads=1");
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--mount", "sh", "-c", &script, "sh"]);
    command.arg(root).arg(this);
    with_role(command, role, root)
}

fn with_role(mut command: Command, role: &str, root: &Path) -> Command {
    command
        .env(ROLE, role)
        .env(ROOT, root)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit());
    command
}

/// Asserts that a role ran to its end; returns what it said.
pub fn succeed(mut command: Command) -> String {
    let output = command.output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{said}");
    assert!(said.contains("role done"), "{said}");
    said
}

/// Not a test of its own: what runs in the other process.
#[test]
#[expect(clippy::disallowed_methods, reason = "how a test process is told its role")]
fn role() {
    let (Ok(role), Ok(root)) = (std::env::var(ROLE), std::env::var(ROOT)) else {
        return;
    };
    let root = Path::new(&root);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    match role.as_str() {
        "writer" => runtime.block_on(super::crashes::write_for_ever(root, true)),
        "writer-named" => runtime.block_on(super::crashes::write_for_ever(root, false)),
        "mover" => runtime.block_on(super::crashes::promote_for_ever(root)),
        "large" => runtime.block_on(super::limits::stream_a_gibibyte(root)),
        "full" => runtime.block_on(super::limits::fill_the_disk(root)),
        "unfit" => super::limits::open_unfit_directories(root),
        other => panic!("no such role: {other}"),
    }
    println!("role done");
}
