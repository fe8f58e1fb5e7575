//! `docs/checklist.md` says of every requirement of the founding documents whether it holds and what shows it. This test
//! does not know whether a claim is true; it knows when one is missing, or points at nothing.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The documents, and how many requirements each has.
const SEEDS: &[(&str, u32)] = &[("S0", 80), ("S1", 106), ("S2", 259), ("S3", 181), ("S4", 98)];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Whether this is a line about one requirement: `| S2-117 | ..`.
fn is_claim(line: &str) -> bool {
    let id = line.strip_prefix("| S").and_then(|rest| rest.split(' ').next());
    id.is_some_and(|id| id.len() == 5 && id.as_bytes()[1] == b'-')
}

/// One line of the table.
struct Claim {
    state: String,
    evidence: Vec<String>,
    reason: String,
}

fn claims() -> BTreeMap<String, Claim> {
    let page = std::fs::read_to_string(root().join("docs/checklist.md")).expect("docs/checklist.md");
    let mut claims = BTreeMap::new();
    for line in page.lines().filter(|line| is_claim(line)) {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        let [id, _, state, evidence, reason] = cells[..] else {
            panic!("a line has id, requirement, state, evidence and reason: {line}");
        };
        let claim = Claim {
            state: state.to_owned(),
            evidence: evidence
                .split(", ")
                .filter(|one| !one.is_empty())
                .map(|one| one.trim_matches('`').to_owned())
                .collect(),
            reason: reason.to_owned(),
        };
        assert!(
            claims.insert(id.to_owned(), claim).is_none(),
            "{id} stands there twice"
        );
    }
    claims
}

#[test]
fn every_requirement_is_answered_once() {
    let claims = claims();
    let ids: Vec<String> = SEEDS
        .iter()
        .flat_map(|(seed, count)| (1..=*count).map(move |number| format!("{seed}-{number:03}")))
        .collect();
    let missing: Vec<_> = ids.iter().filter(|id| !claims.contains_key(*id)).collect();
    assert!(missing.is_empty(), "no word of {missing:?}");
    assert_eq!(claims.len(), ids.len(), "an id that no document has");
    for (id, claim) in &claims {
        match claim.state.as_str() {
            "holds" => assert!(!claim.evidence.is_empty(), "{id} holds, and nothing shows it"),
            "differs" | "not done" => assert!(!claim.reason.is_empty(), "{id}: why?"),
            other => panic!("{id} is {other:?}"),
        }
    }
}

/// A file alone, or a test in one: `tests/test_x.py::test_y`, `crates/x/tests/y.rs::a_name`.
fn missing(evidence: &str) -> Option<String> {
    let (path, name) = match evidence.split_once("::") {
        Some((path, name)) => (path, Some(name)),
        None => (evidence, None),
    };
    let full = root().join(path);
    let Some(name) = name else {
        return (!full.exists()).then(|| format!("{path} is not there"));
    };
    let Ok(text) = std::fs::read_to_string(&full) else {
        return Some(format!("{path} is not there"));
    };
    let definition = match full.extension().and_then(|extension| extension.to_str()) {
        Some("py") => format!("def {name}("),
        _ => format!("fn {name}"),
    };
    let defined = text.match_indices(&definition).any(|(at, found)| {
        let rest = text[at + found.len()..].chars().next();
        definition.ends_with('(') || rest.is_some_and(|next| next == '(' || next == '<')
    });
    (!defined).then(|| format!("{path} has no {name}"))
}

#[test]
fn what_is_named_is_there() {
    let wrong: Vec<String> = claims()
        .iter()
        .flat_map(|(id, claim)| {
            claim
                .evidence
                .iter()
                .filter_map(move |evidence| missing(evidence).map(|what| format!("{id}: {what}")))
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
