//! A rebuild may die, or stand still, at any point.

use jiff::SignedDuration;

use cloakroom_core::operation::{OperationKind, OperationState};

use super::scene::{Scene, rebuild, start};
use crate::app::object;
use crate::interruptions::{POINTS_MAX, planned};
use cloakroom_core::access::Role;
use cloakroom_testkit::crashes::CrashPlan;

use crate::app::person;

#[tokio::test]
async fn a_rebuild_that_dies_at_any_point_goes_on() {
    let scene = Scene::new().await;
    let before = scene.snapshot(&scene.stores).await;
    let keys = scene.stores.keys().await;
    for point in 0..POINTS_MAX {
        let fresh = scene.stores.with_fresh_database().await;
        let plan = CrashPlan::at(point);
        let doomed = planned(&fresh, &plan);
        let admin = person("ada", Role::Admin);
        let ended = tokio::select! {
            report = doomed.operate(OperationKind::Rebuild, serde_json::json!({})) => {
                assert_eq!(report.operation.state, OperationState::Done);
                true
            }
            () = plan.crashed() => false,
        };
        if !ended {
            let healthy = start(&fresh);
            // The claim of the dead ends.
            fresh.clock.advance(SignedDuration::from_secs(61));
            healthy.run_operations().await;
            if healthy
                .app
                .operations(&admin, None, 10)
                .await
                .expect("operations")
                .items
                .is_empty()
            {
                // It died before it was kept.
                let _ = healthy
                    .app
                    .start_operation(&admin, OperationKind::Rebuild, object(serde_json::json!({})))
                    .await;
                healthy.run_operations().await;
            }
            let operations = healthy
                .app
                .operations(&admin, None, 10)
                .await
                .expect("operations")
                .items;
            assert_eq!(
                operations[0].state,
                OperationState::Done,
                "died at {point}: {:?}",
                operations[0].error
            );
        }
        scene
            .snapshot(&fresh)
            .await
            .assert_is(&before, &format!("died at {point}"));
        assert!(
            fresh
                .administration
                .check_usage(false)
                .await
                .expect("usage")
                .is_empty()
        );
        assert_eq!(fresh.keys().await, keys, "died at {point}");
        let open = fresh
            .metadata
            .stale_intents(jiff::Timestamp::MAX, 100)
            .await
            .expect("intents");
        assert!(open.is_empty(), "died at {point}: {open:?}");
        if ended {
            return;
        }
    }
    panic!("the rebuild never ended");
}

/// It was taken for dead, another has finished its work, and it goes on.
#[tokio::test]
async fn a_rebuild_that_stood_still_harms_nothing() {
    let scene = Scene::new().await;
    let before = scene.snapshot(&scene.stores).await;
    for point in (0..POINTS_MAX).step_by(3) {
        let fresh = scene.stores.with_fresh_database().await;
        let paused = crate::interruptions::interrupted(
            &fresh,
            point,
            async |process| {
                process
                    .app
                    .start_operation(
                        &person("ada", Role::Admin),
                        OperationKind::Rebuild,
                        object(serde_json::json!({})),
                    )
                    .await
                    .expect("begun");
                process.run_operations().await;
            },
            async || {
                fresh.clock.advance(SignedDuration::from_secs(61));
                start(&fresh).run_operations().await;
            },
        )
        .await;
        fresh.clock.advance(SignedDuration::from_secs(61));
        start(&fresh).run_operations().await;
        rebuild(&start(&fresh)).await;
        scene
            .snapshot(&fresh)
            .await
            .assert_is(&before, &format!("stood still at {point}"));
        assert!(
            fresh
                .administration
                .check_usage(false)
                .await
                .expect("usage")
                .is_empty()
        );
        if !paused {
            return;
        }
    }
    panic!("the rebuild never ended");
}
