//! Variants: one of each name, no more than may be, none of a file that is not ready.

use cloakroom_core::derivative::{Derivative, DerivativeOutcome, NewVariant, VariantAdded};
use cloakroom_core::file::File;
use cloakroom_core::key::derivative_key;
use futures_util::future::join_all;
use jiff::Timestamp;

use super::stage::{Stage, Store};
use super::transitions::TRASH;
use crate::fixtures::{media_type, sample_derivative};

async fn ready(stage: &Stage) -> File {
    let (file, upload) = stage.sign().await;
    let file = stage.confirm(&file, &upload).await;
    let file = stage.process(&file).await;
    let mut transition = stage.readiness(&file);
    transition.derivatives = vec![sample_derivative(&file, "thumbnail-256")];
    stage.apply(transition).await
}

/// A variant of this name, made by this maker.
fn variant(stage: &Stage, file: &File, name: &str, maker: usize) -> NewVariant {
    NewVariant {
        variant: Derivative {
            file_id: file.id,
            name: name.to_owned(),
            outcome: DerivativeOutcome::Made {
                key: derivative_key(&file.key, file.epoch, &format!("{name}-{maker}"), "webp"),
                content_type: media_type("image/webp"),
                size_bytes: 7,
                width: Some(3),
                height: None,
            },
            created_at: stage.now(),
        },
        file_key: file.key.clone(),
        keep_max: 3,
        replace_before: stage.now(),
        retry_before: Timestamp::MIN,
    }
}

async fn names(stage: &Stage, file: &File) -> Vec<String> {
    let found = stage.store.derivatives(file.id).await.expect("derivatives");
    found.into_iter().map(|one| one.name).collect()
}

/// It is kept as it was given, gives way when it is the oldest, and changes nothing else of the file.
pub async fn variants_stand_beside_other_derivatives(store: Store) {
    let stage = Stage::new(store);
    let file = ready(&stage).await;
    let before = stage.trace(file.id, &file.owner).await;
    for (second, name) in ["variant-b", "variant-a", "variant-c"].into_iter().enumerate() {
        let new = variant(&stage, &file, name, second);
        let added = stage.store.add_variant(&new).await.expect("an answer");
        assert_eq!(added, VariantAdded::Added(vec![]));
        let found = stage.store.derivatives(file.id).await.expect("derivatives");
        assert!(found.contains(&new.variant), "{found:?}");
        stage.pass(1);
    }
    let newest = variant(&stage, &file, "variant-d", 3);
    let VariantAdded::Added(gave_way) = stage.store.add_variant(&newest).await.expect("an answer") else {
        panic!("the oldest was to give way");
    };
    assert_eq!(gave_way.len(), 1);
    assert_eq!(gave_way[0].name, "variant-b");
    let names = names(&stage, &file).await;
    assert_eq!(names, ["thumbnail-256", "variant-a", "variant-c", "variant-d"]);
    let mut after = stage.trace(file.id, &file.owner).await;
    after.derivatives.retain(|one| !one.is_variant());
    assert_eq!(after, before);
}

/// Of those who made the same at the same time one is told that it is there, the others whose it is.
pub async fn racing_variants_of_a_name_have_one_winner(store: Store) {
    let stage = Stage::new(store);
    let file = ready(&stage).await;
    let makers: Vec<_> = (0..8)
        .map(|maker| variant(&stage, &file, "variant-a", maker))
        .collect();
    let outcomes = join_all(makers.iter().map(|new| stage.store.add_variant(new))).await;
    let mut winner = None;
    for (new, outcome) in makers.iter().zip(&outcomes) {
        if matches!(outcome, Ok(VariantAdded::Added(_))) {
            assert!(winner.replace(new.variant.clone()).is_none(), "{outcomes:?}");
        }
    }
    let winner = winner.expect("a winner");
    for outcome in outcomes {
        match outcome.expect("an answer") {
            VariantAdded::Added(gave_way) => assert_eq!(gave_way, []),
            VariantAdded::Existing(existing) => assert_eq!(*existing, winner),
            other => panic!("{other:?}"),
        }
    }
}

/// However many are made at the same time.
pub async fn racing_variants_never_exceed_their_number(store: Store) {
    let stage = Stage::new(store);
    let file = ready(&stage).await;
    let makers: Vec<_> = (0..8)
        .map(|maker| variant(&stage, &file, &format!("variant-{maker}"), maker))
        .collect();
    let outcomes = join_all(makers.iter().map(|new| stage.store.add_variant(new))).await;
    let (mut added, mut full) = (0, 0);
    for outcome in outcomes {
        match outcome.expect("an answer") {
            VariantAdded::Added(gave_way) if gave_way.is_empty() => added += 1,
            VariantAdded::Full(since) if since == stage.now() => full += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((added, full, names(&stage, &file).await.len()), (3, 5, 4));
}

/// Nor one that moved, nor one that there is not.
pub async fn a_file_that_is_not_ready_there_takes_no_variant(store: Store) {
    let stage = Stage::new(store);
    let file = ready(&stage).await;
    let mut moved = variant(&stage, &file, "variant-a", 0);
    moved.file_key.push('x');
    let mut absent = variant(&stage, &file, "variant-a", 0);
    absent.variant.file_id = stage.new_file().file.id;
    let (unverified, _) = stage.sign().await;
    let early = variant(&stage, &unverified, "variant-a", 0);
    for new in [&moved, &absent, &early] {
        let outcome = stage.store.add_variant(new).await.expect("an answer");
        assert_eq!(outcome, VariantAdded::FileChanged);
    }
    let trashed = file.trash(TRASH, &stage.occasion()).expect("a ready file");
    let trashed = stage.apply(trashed).await;
    let late = variant(&stage, &trashed, "variant-a", 0);
    let outcome = stage.store.add_variant(&late).await.expect("an answer");
    assert_eq!(outcome, VariantAdded::FileChanged);
    assert_eq!(names(&stage, &trashed).await, ["thumbnail-256"]);
}
