//! The corpus under `tests/corpus/tables`: every file has its expectation beside it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use cloakroom_tables::{Error, Kind, Limits, Options, inspect_delimited, inspect_workbook, recognise};
use serde_json::Value;

fn corpus() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/corpus/tables");
    let entries = fs::read_dir(folder).expect("the corpus is there");
    let files = entries.map(|entry| entry.expect("an entry").path());
    let mut files: Vec<_> = files
        .filter(|path| path.extension().is_some_and(|end| end != "json"))
        .collect();
    files.sort();
    assert!(files.len() > 60, "the corpus is complete");
    files
}

fn inspect(path: &Path, options: &Options) -> Result<Value, Error> {
    let file = File::open(path).expect("the file opens");
    let kind = match path.extension().and_then(|end| end.to_str()) {
        Some("xlsx") => Kind::Xlsx,
        Some("ods") => Kind::Ods,
        Some("xls") => Kind::Xls,
        _ => {
            let table = inspect_delimited(file, options)?;
            return Ok(serde_json::to_value(table).expect("facts are JSON"));
        }
    };
    let workbook = inspect_workbook(file, kind, &Limits::default())?;
    Ok(serde_json::to_value(workbook).expect("facts are JSON"))
}

/// Whether every field that is expected is there with this value.
fn covers(expected: &Value, found: &Value) -> bool {
    match (expected, found) {
        (Value::Object(expected), Value::Object(found)) => expected
            .iter()
            .all(|(name, value)| covers(value, found.get(name).unwrap_or(&Value::Null))),
        (Value::Array(expected), Value::Array(found)) => {
            expected.len() == found.len() && expected.iter().zip(found).all(|(one, other)| covers(one, other))
        }
        _ => expected == found,
    }
}

fn check(path: &Path, options: &Options) {
    let beside = format!("{}.json", path.display());
    let expected: Value =
        serde_json::from_slice(&fs::read(&beside).expect("an expectation")).expect("the expectation is JSON");
    match inspect(path, options) {
        Ok(found) => assert!(
            expected.get("facts").is_some_and(|facts| covers(facts, &found)),
            "{}: expected {expected}, found {found}",
            path.display()
        ),
        Err(error) => {
            let text = error.to_string();
            assert_eq!(
                expected["error"],
                error.code(),
                "{}: expected {expected}, found {text}",
                path.display()
            );
            assert!(
                text.contains(expected["says"].as_str().expect("a text")),
                "{}: {text}",
                path.display()
            );
            if let Some(line) = expected.get("line") {
                assert!(
                    text.starts_with(&format!("line {line}: ")),
                    "{}: {text}",
                    path.display()
                );
            }
        }
    }
}

#[test]
fn every_file_gives_what_is_expected_of_it() {
    for path in corpus() {
        check(&path, &Options::default());
    }
}

#[test]
fn the_answer_does_not_depend_on_the_size_of_the_pieces() {
    let texts = corpus()
        .into_iter()
        .filter(|path| path.extension().is_some_and(|end| end == "csv" || end == "tsv"));
    for path in texts {
        for piece_bytes in [1, 2, 3, 7, 63, 64, 65, 1_000] {
            check(
                &path,
                &Options {
                    piece_bytes,
                    ..Options::default()
                },
            );
        }
    }
}

#[test]
fn workbooks_are_recognised_by_their_content() {
    for path in corpus() {
        let name = path.file_name().and_then(|name| name.to_str()).expect("a name");
        let recognised = recognise(File::open(&path).expect("the file opens"), &Limits::default());
        match name {
            "minimal.xlsx" | "openpyxl.xlsx" | "xlsxwriter.xlsx" => {
                assert_eq!(recognised.ok(), Some(Some(Kind::Xlsx)));
            }
            "odfpy.ods" => assert_eq!(recognised.ok(), Some(Some(Kind::Ods))),
            "xlwt.xls" => assert_eq!(recognised.ok(), Some(Some(Kind::Xls))),
            "encrypted.xlsx" => assert!(matches!(recognised, Err(Error::Encrypted))),
            "plain.csv" | "image.csv" | "empty.csv" | "document.docx.xlsx" => {
                assert_eq!(recognised.ok(), Some(None));
            }
            _ => {}
        }
    }
}
