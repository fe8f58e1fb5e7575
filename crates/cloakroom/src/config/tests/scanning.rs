//! The virus scanner.

use super::*;

#[test]
fn with_a_scanner_every_collection_is_scanned_unless_it_says_otherwise() {
    let text = "[scan]\naddress = \"/run/clamav/clamd.ctl\"\n[collections.drafts]\nscan = \"off\"\nscan_oversize = \"refuse\"\n";
    let config = fixture().file("cloakroom.toml", text).load();
    assert!(config.collections["files"].scan.required);
    assert!(!config.collections["drafts"].scan.required);
    assert_eq!(
        value_and_source(&config, "collections.files.scan"),
        ("required".into(), "scan.address".into())
    );
    assert_eq!(
        value_and_source(&config, "collections.drafts.scan_oversize").0,
        "refuse"
    );
    assert!(crate::wire::scanner::scanner(&config.settings).is_some());
    let without = fixture().load();
    assert!(!without.collections["files"].scan.required);
    assert!(crate::wire::scanner::scanner(&without.settings).is_none());
}

#[test]
fn scanning_needs_a_scanner() {
    let text = "[collections.papers]\nscan = \"required\"\n[collections.notes]\nscan = \"sometimes\"\n";
    let problems = fixture().file("cloakroom.toml", text).problems();
    let named = |words: &str| problems.iter().any(|problem| problem.contains(words));
    assert!(named("collections.papers.scan is required"), "{problems:?}");
    assert!(
        named("collections.notes.scan must be required or off"),
        "{problems:?}"
    );
    let problems = fixture()
        .environment("CLOAKROOM_SCAN_ADDRESS", "clamav")
        .problems();
    assert!(
        problems[0].contains("scan.address must be host:port"),
        "{problems:?}"
    );
}
