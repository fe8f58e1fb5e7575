//! Who agrees with whom, and what is said when nobody does.

use StorageMode::{Ar, Edit, Ro, Rw};

use super::*;

fn state(mode: StorageMode, epoch: u64) -> StoreState {
    StoreState {
        name: "main".to_owned(),
        mode,
        epoch,
        draining_until: None,
        changed_at: Timestamp::UNIX_EPOCH,
        changed_by: "ann".to_owned(),
    }
}

fn judged(
    configured: Option<StorageMode>,
    database: Option<StoreState>,
    files: &[StoreState],
    unfinished: bool,
) -> Verdict {
    let definition = StoreDefinition {
        mode: configured,
        ..StoreDefinition::new("main", ["a", "b"])
    };
    let sighting = Sighting {
        database,
        files: files
            .iter()
            .zip(["a", "b"])
            .map(|(state, bucket)| (bucket.to_owned(), state.clone()))
            .collect(),
        unfinished,
    };
    judge(&definition, &sighting, Timestamp::UNIX_EPOCH)
}

#[test]
fn who_agrees_with_whom() {
    let db = |mode, epoch| Some(state(mode, epoch));
    let file = state;
    // Configuration, database, documents, whether a change is unfinished; the mode and epoch that come of it.
    let table: Vec<(_, _, Vec<StoreState>, _, _)> = vec![
        (None, None, vec![], false, Some((Edit, 1))),
        (Some(Rw), None, vec![], false, Some((Rw, 1))),
        (
            None,
            db(Ro, 3),
            vec![file(Ro, 3), file(Ro, 3)],
            false,
            Some((Ro, 3)),
        ),
        (Some(Ro), db(Ro, 3), vec![], false, Some((Ro, 3))),
        (Some(Rw), db(Ro, 3), vec![file(Ro, 3)], false, None),
        (Some(Edit), db(Rw, 3), vec![file(Rw, 3)], false, None),
        // A lost database.
        (None, None, vec![file(Ar, 7), file(Ar, 7)], false, Some((Ar, 7))),
        (Some(Ar), None, vec![file(Ar, 7)], false, Some((Ar, 7))),
        (Some(Edit), None, vec![file(Ar, 7)], false, None),
        // A crash between the row and the documents.
        (
            None,
            db(Ro, 4),
            vec![file(Rw, 3), file(Rw, 3)],
            true,
            Some((Ro, 4)),
        ),
        (
            None,
            db(Ro, 4),
            vec![file(Ro, 4), file(Rw, 3)],
            true,
            Some((Ro, 4)),
        ),
        // The same without a change under way: somebody put something back.
        (None, db(Ro, 4), vec![file(Rw, 3), file(Rw, 3)], false, None),
        (None, db(Rw, 3), vec![file(Ro, 4)], false, None),
        // One bucket was away when the others were written.
        (
            None,
            db(Ro, 4),
            vec![file(Ro, 4), file(Rw, 3)],
            false,
            Some((Ro, 4)),
        ),
        // A database from a copy, right by chance.
        (None, db(Rw, 1), vec![file(Rw, 3)], false, Some((Rw, 3))),
        // Two documents of one epoch.
        (None, None, vec![file(Rw, 3), file(Ro, 3)], false, None),
    ];
    for (configured, database, files, unfinished, expected) in table {
        let verdict = judged(configured, database.clone(), &files, unfinished);
        let found = match verdict {
            Verdict::Agreed(state) => Some((state.mode, state.epoch)),
            Verdict::Disagree(_) => None,
        };
        assert_eq!(
            found, expected,
            "{configured:?} {database:?} {files:?} {unfinished}"
        );
    }
}

#[test]
fn a_bucket_of_another_store_is_not_opened_by_configuration() {
    let archive = StoreState {
        name: "archive".to_owned(),
        ..state(Ar, 1)
    };
    let verdict = judged(
        None,
        Some(state(Edit, 5)),
        &[state(Edit, 5), archive.clone()],
        false,
    );
    let Verdict::Disagree(words) = verdict else {
        panic!("{verdict:?}")
    };
    assert!(
        words.contains("b/_cloakroom/mode.json (of the store archive)"),
        "{words}"
    );
    // A store that was only named anew.
    let renamed = judged(None, None, &[archive.clone(), archive], false);
    assert_eq!(renamed, Verdict::Agreed(state(Ar, 1)));
}

#[test]
fn a_store_that_closes_may_be_configured_as_what_it_is_or_will_be() {
    let closing = StoreState {
        draining_until: Some(Timestamp::UNIX_EPOCH),
        ..state(Rw, 2)
    };
    for configured in [None, Some(Rw), Some(Ro)] {
        let verdict = judged(
            configured,
            Some(closing.clone()),
            std::slice::from_ref(&closing),
            false,
        );
        assert_eq!(verdict, Verdict::Agreed(closing.clone()));
    }
    assert!(matches!(
        judged(Some(Ar), Some(closing.clone()), &[closing], false),
        Verdict::Disagree(_)
    ));
}

#[test]
fn a_disagreement_names_everybody_and_says_what_to_do() {
    let Verdict::Disagree(words) = judged(Some(Edit), Some(state(Rw, 2)), &[state(Ro, 3)], false) else {
        panic!("they agree")
    };
    assert_eq!(
        words,
        "the mode of the store main is rw (epoch 2, since 1970-01-01T00:00:00Z, by ann) in the database, \
         ro (epoch 3, since 1970-01-01T00:00:00Z, by ann) in a/_cloakroom/mode.json, and edit in the configuration \
         (storage.mode): set storage.mode to what is meant, or leave it out; or run \
         `cloakroom stores reconcile main --take database|file|configuration`"
    );
}

#[test]
fn what_several_places_say_is_said_once() {
    let everywhere = [state(Edit, 1), state(Edit, 1)];
    let Verdict::Disagree(words) = judged(Some(Ro), Some(state(Edit, 1)), &everywhere, false) else {
        panic!("they agree")
    };
    let expected = "the mode of the store main is edit (epoch 1, since 1970-01-01T00:00:00Z, by ann) in the database and in \
                    _cloakroom/mode.json of the buckets a, b, and ro in the configuration (storage.mode): ";
    assert!(words.starts_with(expected), "{words}");
}

#[test]
fn what_opens_is_told_from_what_closes() {
    assert!(allows_more(Rw, Ro) && allows_more(Edit, Rw) && allows_more(Ro, Ar));
    assert!(!allows_more(Ro, Rw) && !allows_more(Ar, Ro) && !allows_more(Rw, Rw));
}
