//! The corpora of all kernels through real children: whatever a file is, and whatever it is taken for, there is a verdict of a
//! kernel, and no child breaks, hits a limit or is at a loss.

use std::path::{Path, PathBuf};

use cloakroom_images::{Fit, OutputFormat, Rendition};
use cloakroom_processors::{DocumentTask, ImageTask, TableTask};

use super::*;

/// What kernels say of files.
const VERDICTS: &[&str] = &[
    "malformed_file",
    "limit_exceeded",
    "unsupported_format",
    "encrypted_file",
];

fn files_below(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory)
        .expect("a directory")
        .filter_map(Result::ok);
    let mut files: Vec<PathBuf> = entries
        .flat_map(|entry| {
            let path = entry.path();
            if path.is_dir() {
                files_below(&path)
            } else {
                vec![path]
            }
        })
        .collect();
    files.sort();
    files
}

fn corpus(name: &str) -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/corpus");
    let files = files_below(&root.join(name));
    assert!(!files.is_empty(), "{name}");
    files
}

fn tasks() -> [Task; 5] {
    [
        Task::Image(ImageTask {
            renditions: vec![Rendition {
                name: "thumbnail-64".to_owned(),
                width: 64,
                height: 64,
                fit: Fit::Contain,
                format: OutputFormat::Auto,
                quality: 80,
            }],
            decoded: None,
        }),
        Task::Table(TableTask::Delimited { delimiter: None }),
        Task::Table(TableTask::Workbook),
        Task::Document(DocumentTask {
            preview_side: 128,
            preview_required: false,
        }),
        Task::Media,
    ]
}

/// The defaults, with patience for a busy machine.
fn limits() -> Limits {
    Limits {
        wall: Duration::from_mins(2),
        ..Limits::default()
    }
}

async fn verdicts(name: &str) {
    let probes = probes();
    for file in corpus(name) {
        let bytes = Bytes::from(std::fs::read(&file).expect("read"));
        for task in tasks() {
            let outcome = probes
                .sandbox
                .run(&task, Input::Bytes(bytes.clone()), &limits())
                .await;
            match outcome {
                Ok(_) => {}
                Err(Failure::Rejected { code, message }) => {
                    assert!(
                        VERDICTS.contains(&code.as_str()),
                        "{}, {task:?}: {code}: {message}",
                        file.display()
                    );
                    assert!(
                        message.ends_with('.') && !message.starts_with(char::is_lowercase),
                        "{message}"
                    );
                }
                Err(other) => panic!("{}, {task:?}: {other:?}", file.display()),
            }
        }
    }
}

#[tokio::test]
async fn images() {
    verdicts("images").await;
}

#[tokio::test]
async fn tables() {
    verdicts("tables").await;
}

#[tokio::test]
async fn documents() {
    verdicts("documents").await;
}

#[tokio::test]
async fn media() {
    verdicts("media").await;
}

#[tokio::test]
async fn what_is_good_is_found_good() {
    let probes = probes();
    let [image, table, workbook, document, media] = tasks();
    for (task, file, fact) in [
        (image, "images/good/baseline-420.jpg", "width"),
        (document.clone(), "documents/plain.pdf", "page_count"),
        (document, "documents/letter.docx", "document_type"),
        (workbook, "tables/blank-cells.xlsx", "row_count"),
        (media, "media/aac.m4a", "duration_seconds"),
    ] {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/corpus");
        let bytes = std::fs::read(root.join(file)).expect(file);
        let outcome = probes
            .sandbox
            .run(&task, Input::Bytes(bytes.into()), &limits())
            .await;
        let answer = outcome.unwrap_or_else(|failure| panic!("{file}: {failure:?}"));
        assert!(answer.facts.contains_key(fact), "{file}: {:?}", answer.facts);
        let made = matches!(fact, "width" | "page_count");
        assert_eq!(
            answer.made.len(),
            usize::from(made),
            "{file}: {:?}",
            answer.unmade
        );
    }
    let rows = Bytes::from_static(b"name,sum\n\"a\nb\",1\nc,2\n");
    let answer = probes
        .sandbox
        .run(&table, Input::Bytes(rows), &limits())
        .await
        .expect("a table");
    assert_eq!(answer.facts["row_count"], 2);
    assert_eq!(answer.facts["columns"], json!(["name", "sum"]));
}
