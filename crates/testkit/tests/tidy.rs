//! Rules of the house that no compiler knows. A rule that no test enforces is a wish.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const FILE_LINES_MAX: usize = 600;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .canonicalize()
        .expect("the workspace root")
}

/// Files that git tracks or would track.
fn files() -> Vec<(String, PathBuf)> {
    let output = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output()
        .expect("git lists the files");
    String::from_utf8(output.stdout)
        .expect("paths in UTF-8")
        .lines()
        .map(|line| (line.to_owned(), root().join(line)))
        .filter(|(_, path)| path.is_file())
        .collect()
}

fn rust_files() -> Vec<(String, String)> {
    files()
        .into_iter()
        .filter(|(name, _)| {
            Path::new(name)
                .extension()
                .is_some_and(|extension| extension == "rs")
        })
        .map(|(name, path)| (name, fs::read_to_string(path).expect("a readable source file")))
        .collect()
}

/// The direct, non-development dependencies of every crate of ours.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--no-deps", "--offline"])
        .current_dir(root())
        .output()
        .expect("cargo metadata");
    let metadata: serde_json::Value =
        serde_json::from_slice(&output.stdout).expect("cargo metadata prints JSON");
    let packages = metadata["packages"].as_array().expect("packages");
    packages
        .iter()
        .map(|package| {
            let name = package["name"].as_str().expect("a name").to_owned();
            let direct = package["dependencies"]
                .as_array()
                .expect("dependencies")
                .iter()
                .filter(|dependency| dependency["kind"].is_null())
                .map(|dependency| dependency["name"].as_str().expect("a name").to_owned())
                .collect();
            (name, direct)
        })
        .collect()
}

/// Which of our crates each may use. Arrows point to the core; adapters do not know each other.
#[test]
fn arrows_point_to_the_core() {
    let allowed: &[(&str, &[&str])] = &[
        ("cloakroom-core", &[]),
        ("cloakroom-signing", &[]),
        ("cloakroom-service", &["core"]),
        ("cloakroom-metadata", &["core"]),
        ("cloakroom-objects", &["core", "signing"]),
        ("cloakroom-gateway", &["core", "signing"]),
        ("cloakroom-coordination", &["core"]),
        ("cloakroom-bucket-events", &["core", "service", "signing"]),
        ("cloakroom-http", &["core", "service"]),
        (
            "cloakroom-worker",
            &["core", "images", "media", "processors", "service"],
        ),
        (
            "cloakroom-processors",
            &["documents", "images", "media", "tables"],
        ),
        ("cloakroom-documents", &[]),
        ("cloakroom-images", &[]),
        ("cloakroom-media", &[]),
        ("cloakroom-tables", &[]),
        ("cloakroom-scanner", &["core"]),
        // Tests alone.
        ("cloakroom-proof", &[]),
        ("cloakroom-testkit", &["core"]),
        // Tests alone.
        ("cloakroom-proof", &[]),
    ];
    let dependencies = dependencies();
    for (name, direct) in &dependencies {
        if name == "cloakroom" {
            continue;
        }
        let (_, ours) = allowed
            .iter()
            .find(|(known, _)| known == name)
            .unwrap_or_else(|| panic!("{name} has no rule here"));
        for used in direct
            .iter()
            .filter_map(|dependency| dependency.strip_prefix("cloakroom-"))
        {
            assert!(ours.contains(&used), "{name} must not depend on cloakroom-{used}");
        }
        assert!(!direct.contains("cloakroom"), "{name} depends on the binary");
    }
}

#[test]
fn the_core_does_no_input_or_output() {
    let banned = [
        "tokio", "axum", "hyper", "http", "reqwest", "rusqlite", "rustix", "tracing", "rand",
    ];
    for name in ["cloakroom-core", "cloakroom-signing", "cloakroom-service"] {
        for dependency in &dependencies()[name] {
            let excused = name == "cloakroom-signing" && dependency == "http"
                || name == "cloakroom-service" && dependency == "tracing";
            assert!(
                excused || !banned.contains(&dependency.as_str()),
                "{name} must not depend on {dependency}"
            );
        }
    }
}

#[test]
fn only_one_crate_speaks_each_language() {
    let speaks: &[(&str, &[&str])] = &[
        ("rusqlite", &["cloakroom-metadata"]),
        ("axum", &["cloakroom-http"]),
        (
            "reqwest",
            &["cloakroom", "cloakroom-bucket-events", "cloakroom-worker"],
        ),
        ("clap", &["cloakroom"]),
        ("toml", &["cloakroom"]),
    ];
    for (language, crates) in speaks {
        for (name, direct) in dependencies() {
            assert!(
                !direct.contains(*language) || crates.contains(&name.as_str()),
                "{name} must not use {language}"
            );
        }
    }
}

#[test]
fn core_nouns_are_not_serialisable() {
    for (name, text) in rust_files() {
        if name.starts_with("crates/core/src/") && !name.starts_with("crates/core/src/format/") {
            assert!(
                !text.contains("use serde::"),
                "{name}: serde belongs to crates/core/src/format"
            );
        }
    }
}

#[test]
fn files_are_short() {
    for (name, text) in rust_files() {
        let lines = text.lines().count();
        assert!(
            lines <= FILE_LINES_MAX,
            "{name} has {lines} lines: which second thing is inside?"
        );
    }
}

#[test]
fn names_say_what_is_inside() {
    for (name, _) in files() {
        let stem = Path::new(&name)
            .file_stem()
            .and_then(|stem| stem.to_str())
            .unwrap_or_default()
            .to_owned();
        for vague in ["util", "utils", "helper", "helpers", "common", "manager", "misc"] {
            assert_ne!(stem, vague, "{name}");
        }
    }
}

#[test]
fn nothing_is_left_for_later_or_skipped() {
    // Spelled in two halves, so that this file does not find itself.
    let words = [
        ["TO", "DO"],
        ["FIX", "ME"],
        ["todo", "!("],
        ["unimplemented", "!("],
        ["#[ign", "ore"],
    ];
    for (name, text) in rust_files() {
        for word in words.map(|halves| halves.concat()) {
            assert!(!text.contains(&word), "{name} contains {word}");
        }
    }
}

#[test]
fn every_error_code_is_documented() {
    let page = fs::read_to_string(root().join("docs/errors.md")).expect("docs/errors.md");
    for code in cloakroom_core::error::ErrorCode::ALL {
        assert!(
            page.contains(&format!("`{code}`")),
            "docs/errors.md does not explain {code}"
        );
    }
}

/// Keys stand in the repository only where tests need one that nothing else uses: private keys in `keys/` of tests, access
/// keys of AWS's own documentation.
#[test]
fn no_secret_is_committed() {
    let mut found = Vec::new();
    for (name, path) in files() {
        let Ok(text) = fs::read_to_string(&path) else {
            continue;
        };
        let in_tests = name.contains("/tests/") && name.contains("/keys/");
        let header = concat!("PRIVATE ", "KEY-----\n");
        // Followed by Base64: a line about such files is none.
        let is_key = text.split(header).skip(1).any(|rest| {
            let line = rest.lines().next().unwrap_or_default();
            line.len() >= 40
                && line
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'='))
        });
        if is_key && !in_tests {
            found.push(format!("{name}: a private key"));
        }
        for prefix in ["AKIA", "ASIA"] {
            for (at, _) in text.match_indices(prefix) {
                let key = text.get(at..at + 20).unwrap_or_default();
                let is_access_key =
                    key.len() == 20 && key.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit());
                if is_access_key && !key.ends_with("EXAMPLE") {
                    found.push(format!("{name}: {key}"));
                }
            }
        }
    }
    assert_eq!(found, Vec::<String>::new());
}

/// A dialect translates by itself: it knows the service and the core, no other dialect, and has a page.
#[test]
fn dialects_know_nothing_of_each_other() {
    let room = root().join("crates/http/src/dialects");
    let entries = fs::read_dir(&room).expect("the dialects");
    let dialects: Vec<PathBuf> = entries
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.is_dir())
        .collect();
    let names: Vec<String> = dialects
        .iter()
        .map(|path| path.file_name().expect("a name").to_string_lossy().into_owned())
        .collect();
    assert!(names.len() >= 5, "{names:?}");
    for (path, name) in dialects.iter().zip(&names) {
        let page = root().join(format!("docs/dialects/{name}.md"));
        assert!(page.is_file(), "docs/dialects/{name}.md is missing");
        let tests = root().join(format!("crates/http/tests/api/dialects/{name}.rs"));
        assert!(tests.is_file(), "{} is missing", tests.display());
        for file in fs::read_dir(path).expect("a dialect") {
            let file = file.expect("an entry").path();
            let text = fs::read_to_string(&file).expect("a source file");
            for other in names.iter().filter(|other| *other != name) {
                let known = text.contains(&format!("dialects::{other}"));
                assert!(!known, "{} uses the dialect {other}", file.display());
            }
        }
    }
}
