//! `migrate` and `config check`: what is there, what is missing, what is chosen.

use crate::support::{Home, Settings, postgres, s3};

fn stdout(home: &Home, arguments: &[&str]) -> (i32, String) {
    let output = home.run(arguments);
    let said = String::from_utf8(output.stdout).expect("UTF-8");
    (output.status.code().expect("an exit"), said)
}

fn a_schema_is_checked_made_and_left_alone(settings: Settings, name: &str) {
    let home = Home::new(settings);
    let (code, said) = stdout(&home, &["migrate", "--check"]);
    assert!(code == 1 && said.contains("pending 0001_initial\n"), "{said}");
    assert!(!home.path().join("data").exists(), "a check makes nothing");
    let (code, said) = stdout(&home, &["migrate"]);
    assert!(code == 0 && said.contains("applied 0001_initial\n"), "{said}");
    assert!(
        said.contains(name) && said.contains("has the newest schema; applied"),
        "{said}"
    );
    let (code, said) = stdout(&home, &["migrate", "--check"]);
    assert!(code == 0 && said.contains("has the newest schema.\n"), "{said}");
    let (code, said) = stdout(&home, &["migrate"]);
    assert!(code == 0 && said.contains("nothing was to be done"), "{said}");
}

#[test]
fn sqlite() {
    a_schema_is_checked_made_and_left_alone(Settings::new(), "SQLite in ./data");
}

#[test]
fn postgresql() {
    a_schema_is_checked_made_and_left_alone(postgres(), "PostgreSQL at postgres://cloakroom:********@");
}

#[test]
fn the_check_of_the_configuration_names_the_adapters() {
    let (code, said) = stdout(&Home::new(Settings::new()), &["config", "check", "--dev"]);
    assert_eq!(code, 0, "{said}");
    for part in [
        "database: SQLite in ./data",
        "store:    files in ./data/objects",
        "one process",
    ] {
        assert!(said.contains(part), "{part} in {said}");
    }
    let grown = Home::new(postgres().into_iter().chain(s3()).collect());
    let (code, said) = stdout(&grown, &["config", "check", "--dev"]);
    let store = format!("store:    S3 at {}", grown.settings["S3_ENDPOINT"]);
    assert_eq!(code, 0, "{said}");
    for part in [
        "database: PostgreSQL at ",
        store.as_str(),
        "several servers and workers",
    ] {
        assert!(said.contains(part), "{part} in {said}");
    }
}
