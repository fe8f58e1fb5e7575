//! Lists: complete, ordered, paged by key.

use cloakroom_core::file::{File, FileState};
use cloakroom_core::ports::metadata::FileQuery;
use cloakroom_core::search::words;
use jiff::SignedDuration;
use serde_json::json;

use super::stage::{Stage, Store, ids, newest_first, ready_with, walk};
use crate::fixtures::{SAMPLE_OWNER, media_type, record_key};

/// Open uploads and settled files in one list, in pages of every size.
pub async fn pages_are_complete_and_without_doubles(store: Store) {
    let stage = Stage::new(store);
    let mut files = Vec::new();
    for n in 0..23 {
        // Not in the order of time, and some at the same time.
        stage.pass(if n % 4 == 0 { -7 } else { n % 3 });
        files.push(if n % 3 == 0 {
            stage.sign().await.0
        } else {
            stage.ready(stage.new_file()).await
        });
    }
    let expected = newest_first(files);
    for owner in [None, Some(SAMPLE_OWNER.to_owned())] {
        for limit in [1, 2, 5, 23, 24] {
            let query = FileQuery {
                owner: owner.clone(),
                limit,
                ..FileQuery::default()
            };
            assert_eq!(
                ids(&walk(&stage, &query, async || ()).await),
                expected,
                "{limit} for {owner:?}"
            );
        }
    }
}

/// New files do not push old ones off a page or onto two.
pub async fn pages_stay_complete_while_files_come_in(store: Store) {
    let stage = Stage::new(store);
    let mut files = Vec::new();
    for _ in 0..12 {
        stage.pass(1);
        files.push(stage.ready(stage.new_file()).await);
    }
    let query = FileQuery {
        limit: 5,
        owner: Some(SAMPLE_OWNER.to_owned()),
        ..FileQuery::default()
    };
    let walked = walk(&stage, &query, async || {
        stage.pass(1);
        stage.ready(stage.new_file()).await;
        stage.sign().await;
    })
    .await;
    assert_eq!(ids(&walked), newest_first(files));
}

/// A batch of uploads has one time.
pub async fn files_of_one_instant_are_paged_by_id(store: Store) {
    let stage = Stage::new(store);
    let mut files = Vec::new();
    for _ in 0..9 {
        files.push(stage.ready(stage.new_file()).await);
    }
    let expected = newest_first(files);
    let query = FileQuery {
        limit: 2,
        ..FileQuery::default()
    };
    assert_eq!(ids(&walk(&stage, &query, async || ()).await), expected);
    let query = FileQuery {
        words: words("report"),
        ..query
    };
    assert_eq!(ids(&walk(&stage, &query, async || ()).await), expected);
}

/// Each condition by itself, and all together.
#[expect(clippy::too_many_lines, reason = "a table of queries and what they find")]
pub async fn every_condition_narrows_the_list(store: Store) {
    let stage = Stage::new(store);
    let plain = ready_with(&stage, |_| ()).await;
    let of_bob = ready_with(&stage, |file| file.owner = "bob".into()).await;
    let photo = ready_with(&stage, |file| {
        file.collection = "photos".into();
        file.declared.content_type = media_type("image/png");
        file.record = Some(record_key("complaint/42"));
    })
    .await;
    let image_like = ready_with(&stage, |file| {
        file.declared.content_type = media_type("image-x/png");
    })
    .await;
    stage.pass(60);
    let later = ready_with(&stage, |file| file.collection = "artifacts".into()).await;
    let (open, _) = stage
        .insert(stage.new_file_with(|file| file.record = Some(record_key("complaint/42"))))
        .await;
    let trashed = ready_with(&stage, |_| ()).await;
    let trashed = stage
        .apply(
            trashed
                .trash(SignedDuration::ZERO, &stage.occasion())
                .expect("ready"),
        )
        .await;

    let any = FileQuery::default;
    let collections = |names: &[&str]| Some(names.iter().map(|name| (*name).to_owned()).collect());
    let owner = |name: &str| Some(name.to_owned());
    let cases: Vec<(&str, FileQuery, Vec<&File>)> = vec![
        (
            "owner",
            FileQuery {
                owner: owner("bob"),
                ..any()
            },
            vec![&of_bob],
        ),
        (
            "collection",
            FileQuery {
                collections: collections(&["photos"]),
                ..any()
            },
            vec![&photo],
        ),
        (
            "collections",
            FileQuery {
                collections: collections(&["photos", "artifacts"]),
                ..any()
            },
            vec![&photo, &later],
        ),
        (
            "open state",
            FileQuery {
                states: vec![FileState::Pending],
                ..any()
            },
            vec![&open],
        ),
        (
            "state",
            FileQuery {
                states: vec![FileState::Trashed],
                ..any()
            },
            vec![&trashed],
        ),
        (
            "states",
            FileQuery {
                states: vec![FileState::Trashed, FileState::Pending],
                ..any()
            },
            vec![&trashed, &open],
        ),
        (
            "record",
            FileQuery {
                record: Some(record_key("complaint/42")),
                ..any()
            },
            vec![&photo, &open],
        ),
        (
            "record, state",
            FileQuery {
                record: Some(record_key("complaint/42")),
                states: vec![FileState::Ready],
                ..any()
            },
            vec![&photo],
        ),
        (
            "type",
            FileQuery {
                content_type: owner("image/png"),
                ..any()
            },
            vec![&photo],
        ),
        (
            "types",
            FileQuery {
                content_type: owner("Image/*"),
                ..any()
            },
            vec![&photo],
        ),
        (
            "other types",
            FileQuery {
                content_type: owner("image-x/*"),
                ..any()
            },
            vec![&image_like],
        ),
        (
            "from",
            FileQuery {
                created_from: Some(later.created_at),
                ..any()
            },
            vec![&later, &open, &trashed],
        ),
        (
            "before",
            FileQuery {
                created_before: Some(later.created_at),
                ..any()
            },
            vec![&plain, &of_bob, &photo, &image_like],
        ),
        (
            "owner, state",
            FileQuery {
                owner: owner(SAMPLE_OWNER),
                states: vec![FileState::Trashed],
                ..any()
            },
            vec![&trashed],
        ),
        (
            "everything",
            FileQuery {
                owner: owner(SAMPLE_OWNER),
                collections: collections(&["photos"]),
                states: vec![FileState::Ready],
                record: Some(record_key("complaint/42")),
                content_type: owner("image/png"),
                words: words("quarterly repo"),
                metadata: vec![("project".to_owned(), json!("north"))],
                created_from: Some(photo.created_at),
                created_before: Some(later.created_at),
                ..any()
            },
            vec![&photo],
        ),
    ];
    for (what, query, expected) in cases {
        assert_eq!(
            stage.find(query).await,
            newest_first(expected.into_iter().cloned().collect()),
            "{what}"
        );
    }
    assert_eq!(
        stage
            .find(FileQuery {
                content_type: owner("*/*"),
                ..any()
            })
            .await
            .len(),
        7
    );
}

/// An empty answer, not an error.
pub async fn conditions_that_nothing_meets_find_nothing(store: Store) {
    let stage = Stage::new(store);
    stage.ready(stage.new_file()).await;
    let any = FileQuery::default;
    for query in [
        FileQuery {
            owner: Some(String::new()),
            ..any()
        },
        FileQuery {
            collections: Some(Vec::new()),
            ..any()
        },
        FileQuery {
            content_type: Some("application/*; drop".to_owned()),
            ..any()
        },
        FileQuery {
            content_type: Some("*".to_owned()),
            ..any()
        },
        FileQuery {
            words: words("absent"),
            ..any()
        },
        FileQuery {
            metadata: vec![("project".to_owned(), json!({ "a": 1 }))],
            ..any()
        },
        FileQuery {
            metadata: vec![("project".to_owned(), json!(["north"]))],
            ..any()
        },
        FileQuery {
            metadata: vec![("'".to_owned(), json!("north"))],
            ..any()
        },
        FileQuery {
            record: Some(record_key("message/absent")),
            ..any()
        },
    ] {
        assert_eq!(stage.find(query.clone()).await, [], "{query:?}");
    }
}
