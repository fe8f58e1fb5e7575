//! Search by words and by metadata: the same finds on every database.

use cloakroom_core::file::{File, FilePatch, FileState};
use cloakroom_core::ports::metadata::FileQuery;
use cloakroom_core::search::words;
use jiff::SignedDuration;
use serde_json::json;

use super::stage::{Stage, Store, ids, newest_first, ready_with, walk};
use crate::fixtures::{SAMPLE_OWNER, object};

/// Cyrillic and Latin, any case, with and without marks, composed and decomposed.
pub async fn search_folds_letters(store: Store) {
    let stage = Stage::new(store);
    let report = ready_with(&stage, |file| file.filename = "Отчёт_за МАЙ-2025.pdf".into()).await;
    let resume = ready_with(&stage, |file| {
        file.filename = "scan.docx".into();
        file.description = Some("Résumé of ﬁne STRASSE".to_owned());
    })
    .await;
    for text in [
        "Отчёт",
        "отчет",
        "ОТЧЁТ",
        "отче\u{308}т",
        "отч",
        "май",
        "2025",
        "отчет за май 2025 pdf",
    ] {
        assert_eq!(
            stage
                .find(FileQuery {
                    words: words(text),
                    ..FileQuery::default()
                })
                .await,
            [report.id],
            "{text}"
        );
    }
    for text in [
        "resume",
        "RÉSUMÉ",
        "re\u{301}sume",
        "fine",
        "straße".trim_end_matches("ße"),
        "docx",
    ] {
        assert_eq!(
            stage
                .find(FileQuery {
                    words: words(text),
                    ..FileQuery::default()
                })
                .await,
            [resume.id],
            "{text}"
        );
    }
}

/// All words, in any order, in name and description; only the last may be a beginning.
pub async fn search_wants_every_word_and_the_beginning_of_the_last(store: Store) {
    let stage = Stage::new(store);
    let both = ready_with(&stage, |file| {
        file.filename = "invoice march.pdf".into();
        file.description = Some("paid by Иванов".to_owned());
    })
    .await;
    let one = ready_with(&stage, |file| {
        file.filename = "invoice april.pdf".into();
        file.description = None;
    })
    .await;
    let find = async |text: &str| {
        stage
            .find(FileQuery {
                words: words(text),
                ..FileQuery::default()
            })
            .await
    };
    assert_eq!(
        find("invoice").await,
        newest_first(vec![both.clone(), one.clone()])
    );
    assert_eq!(find("march invoice").await, [both.id]);
    assert_eq!(find("иванов invoice mar").await, [both.id]);
    assert_eq!(
        find("invo march").await,
        [],
        "a beginning that is not the last word"
    );
    assert_eq!(find("voice").await, [], "not a beginning");
    assert_eq!(find("march april").await, []);
    assert_eq!(find("pdf a").await, [one.id]);
}

/// An owner's search neither shows nor is slowed by others' files.
pub async fn search_stays_within_the_owner_and_is_paged(store: Store) {
    let stage = Stage::new(store);
    let mut own = Vec::new();
    for n in 0..7 {
        stage.pass(1);
        own.push(ready_with(&stage, |file| file.filename = format!("letter {n}.pdf")).await);
        ready_with(&stage, |file| file.owner = "bob".into()).await;
    }
    let query = FileQuery {
        owner: Some(SAMPLE_OWNER.to_owned()),
        words: words("pdf"),
        limit: 3,
        ..FileQuery::default()
    };
    assert_eq!(ids(&walk(&stage, &query, async || ()).await), newest_first(own));
    let query = FileQuery {
        owner: Some("nobody".to_owned()),
        ..query
    };
    assert_eq!(stage.find(query).await, []);
}

/// Renamed, described anew, linked to another owner: the old words are gone.
pub async fn search_follows_the_file(store: Store) {
    let stage = Stage::new(store);
    let file = ready_with(&stage, |file| file.metadata = object(json!({ "a": 1, "b": "x" }))).await;
    let patch = FilePatch {
        filename: Some("minutes.txt".to_owned()),
        description: Some(None),
        metadata: Some(object(json!({ "b": "y", "c": true }))),
        record: None,
    };
    let file = stage
        .apply(file.update(patch, &stage.occasion()).expect("ready"))
        .await;
    let by_words = async |text: &str| {
        stage
            .find(FileQuery {
                words: words(text),
                ..FileQuery::default()
            })
            .await
    };
    let by_metadata = async |name: &str, value: serde_json::Value| {
        stage
            .find(FileQuery {
                metadata: vec![(name.to_owned(), value)],
                ..FileQuery::default()
            })
            .await
    };
    assert_eq!(by_words("report").await, []);
    assert_eq!(by_words("quarterly").await, []);
    assert_eq!(by_words("minutes txt").await, [file.id]);
    assert_eq!(by_metadata("a", json!(1)).await, []);
    assert_eq!(by_metadata("b", json!("x")).await, []);
    assert_eq!(by_metadata("b", json!("y")).await, [file.id]);
    assert_eq!(by_metadata("c", json!(true)).await, [file.id]);

    let patch = FilePatch {
        description: Some(Some("Протокол".to_owned())),
        ..FilePatch::default()
    };
    let file = stage
        .apply(file.update(patch, &stage.occasion()).expect("ready"))
        .await;
    assert_eq!(by_words("minutes прот").await, [file.id]);
    assert_eq!(
        by_metadata("b", json!("y")).await,
        [file.id],
        "what did not change is still found"
    );
    let trashed = stage
        .apply(
            file.trash(SignedDuration::ZERO, &stage.occasion())
                .expect("ready"),
        )
        .await;
    assert_eq!(
        by_words("minutes").await,
        [trashed.id],
        "the trash is searched, unless states say otherwise"
    );
    let query = FileQuery {
        words: words("minutes"),
        states: vec![FileState::Ready],
        ..FileQuery::default()
    };
    assert_eq!(stage.find(query).await, []);
}

/// Words that mean something to a search engine mean themselves.
pub async fn search_words_are_text_and_not_syntax(store: Store) {
    let stage = Stage::new(store);
    let file = ready_with(&stage, |file| file.filename = "NEAR or NOT and AND.txt".into()).await;
    for text in ["near", "or", "NOT", "and AND", "NEAR NOT txt"] {
        assert_eq!(
            stage
                .find(FileQuery {
                    words: words(text),
                    ..FileQuery::default()
                })
                .await,
            [file.id],
            "{text}"
        );
    }
    for word in [
        "\"",
        "a\" OR \"b",
        "*",
        ":",
        "words",
        "-x",
        "(",
        "\0",
        "'",
        "owner",
        "\\",
        "&",
        "!",
        "日本",
        "𝒳",
    ] {
        assert_eq!(
            stage
                .find(FileQuery {
                    words: vec![word.to_owned()],
                    ..FileQuery::default()
                })
                .await,
            [],
            "{word:?}"
        );
    }
    let cjk = ready_with(&stage, |file| file.filename = "日本語 กขค 𞤀𞤣.txt".into()).await;
    for text in ["日本", "日本語", "กขค", "𞤀𞤣"] {
        assert_eq!(
            stage
                .find(FileQuery {
                    words: words(text),
                    ..FileQuery::default()
                })
                .await,
            [cjk.id],
            "{text}"
        );
    }
}

/// Strings, numbers and truth values, by equality and type.
pub async fn metadata_is_found_by_scalar_value(store: Store) {
    let stage = Stage::new(store);
    let long = "ж".repeat(3000);
    let a = ready_with(&stage, |file| {
        file.metadata =
            object(json!({ "n": 1, "s": "1", "t": true, "f": 1.5, "long": long, "o": { "n": 1 }, "l": [1] }));
    })
    .await;
    let b = ready_with(&stage, |file| {
        file.metadata = object(json!({ "n": 2, "s": "1", "t": "true" }));
    })
    .await;
    let find = async |pairs: &[(&str, serde_json::Value)]| {
        let metadata = pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.clone()))
            .collect();
        stage
            .find(FileQuery {
                metadata,
                ..FileQuery::default()
            })
            .await
    };
    assert_eq!(find(&[("n", json!(1))]).await, [a.id]);
    assert_eq!(
        find(&[("n", json!(1.0))]).await,
        [a.id],
        "one number however it is written"
    );
    assert_eq!(find(&[("n", json!("1"))]).await, [], "a text is no number");
    assert_eq!(
        find(&[("s", json!("1"))]).await,
        newest_first(vec![a.clone(), b.clone()])
    );
    assert_eq!(find(&[("s", json!("1")), ("n", json!(2))]).await, [b.id]);
    assert_eq!(find(&[("n", json!(2)), ("n", json!(1))]).await, []);
    assert_eq!(find(&[("t", json!(true))]).await, [a.id]);
    assert_eq!(find(&[("f", json!(1.5))]).await, [a.id]);
    assert_eq!(find(&[("long", json!(long))]).await, [a.id]);
    assert_eq!(
        find(&[("long", json!("ж".repeat(2999)))]).await,
        [],
        "the whole value counts"
    );
    assert_eq!(find(&[("o", json!(1))]).await, [], "only the top level");
}

/// The order and the pages of every list.
pub async fn metadata_is_paged_in_order(store: Store) {
    let stage = Stage::new(store);
    let mut files = Vec::new();
    for n in 0..9 {
        stage.pass(if n % 3 == 0 { -5 } else { 1 });
        files.push(
            ready_with(&stage, |file| {
                file.metadata = object(json!({ "case": 7, "n": n % 2 }));
            })
            .await,
        );
    }
    let query = FileQuery {
        metadata: vec![("case".to_owned(), json!(7))],
        limit: 2,
        ..FileQuery::default()
    };
    assert_eq!(
        ids(&walk(&stage, &query, async || ()).await),
        newest_first(files.clone())
    );
    let even: Vec<File> = files.into_iter().filter(|file| file.metadata["n"] == 0).collect();
    let query = FileQuery {
        metadata: vec![("case".to_owned(), json!(7)), ("n".to_owned(), json!(0))],
        owner: Some(SAMPLE_OWNER.to_owned()),
        ..query
    };
    assert_eq!(ids(&walk(&stage, &query, async || ()).await), newest_first(even));
}

/// Search entries are made when a file leaves the open states: signing stays lean.
pub async fn open_uploads_are_listed_and_not_searched(store: Store) {
    let stage = Stage::new(store);
    let (file, upload) = stage.sign().await;
    let by_words = FileQuery {
        words: words("report"),
        ..FileQuery::default()
    };
    let by_metadata = FileQuery {
        metadata: vec![("project".to_owned(), json!("north"))],
        ..FileQuery::default()
    };
    assert_eq!(stage.find(FileQuery::default()).await, [file.id]);
    assert_eq!(stage.find(by_words.clone()).await, []);
    assert_eq!(stage.find(by_metadata.clone()).await, []);
    stage.confirm(&file, &upload).await;
    assert_eq!(stage.find(by_words).await, [file.id]);
    assert_eq!(stage.find(by_metadata).await, [file.id]);
    assert_eq!(
        stage.find(FileQuery::default()).await,
        [file.id],
        "once, not twice"
    );
}
