//! Each limit strikes, and says which it was.

use std::time::Instant;

use super::*;

const MIB: u64 = 1024 * 1024;

#[tokio::test]
async fn who_computes_too_long_is_ended_by_the_processors_clock() {
    let limits = Limits {
        cpu: Duration::from_secs(1),
        ..WIDE
    };
    let outcome = probes().run("spin", json!(null), &limits).await;
    let Err(Failure::Rejected { code, message }) = outcome else {
        panic!("{outcome:?}");
    };
    assert_eq!(code, "processing_timeout");
    assert_eq!(message, "Processing took more than 1 s of a processor's time.");
}

#[tokio::test]
async fn who_waits_too_long_is_ended_by_the_clock() {
    let limits = Limits {
        wall: Duration::from_millis(300),
        ..WIDE
    };
    let begun = Instant::now();
    let outcome = probes().run("sleep", json!(600), &limits).await;
    assert!(begun.elapsed() < Duration::from_mins(1));
    let Err(Failure::Rejected { code, message }) = outcome else {
        panic!("{outcome:?}");
    };
    assert_eq!(code, "processing_timeout");
    assert_eq!(message, "Processing took longer than 0.3 s.");
}

#[tokio::test]
async fn memory_is_what_was_given_and_no_more() {
    let limits = Limits {
        memory_bytes: 200 * MIB,
        ..WIDE
    };
    let probes = probes();
    let fits = probes
        .run("allocate", json!(150 * MIB), &limits)
        .await
        .expect("it fits");
    assert_eq!(fits.facts["bytes"], 150 * MIB);
    for bytes in [210 * MIB, 2048 * MIB] {
        let outcome = probes.run("allocate", json!(bytes), &limits).await;
        assert_eq!(rejected_code(outcome), "memory_limit", "{bytes}");
    }
    // Who asks first is told.
    let asked = probes
        .run("reserve", json!(1024 * MIB), &limits)
        .await
        .expect("an answer");
    assert_eq!(asked.facts["reserved"], false);
}

#[tokio::test]
async fn an_answer_is_as_long_as_it_may_be() {
    let probes = probes();
    let made = probes
        .run("make", json!(WIDE.output_bytes_max), &WIDE)
        .await
        .expect("made");
    assert_eq!(made.made[0].bytes.len() as u64, WIDE.output_bytes_max);
    for bytes in [WIDE.output_bytes_max + 1, 100 * MIB] {
        let outcome = probes.run("make", json!(bytes), &WIDE).await;
        assert_eq!(rejected_code(outcome), "output_too_large", "{bytes}");
    }
}

#[tokio::test]
async fn a_child_that_breaks_breaks_alone() {
    let probes = probes();
    for probe in ["panic", "abort", "exit", "nonsense"] {
        let outcome = probes.run(probe, json!(null), &WIDE).await;
        let shown = format!("{outcome:?}");
        assert_eq!(rejected_code(outcome), "processing_crashed", "{probe}");
        assert!(!shown.contains("secret"), "{shown}");
    }
    let outcome = probes.run("overflow", json!(100_000_000_u64), &WIDE).await;
    assert_eq!(rejected_code(outcome), "processing_crashed", "overflow");
    let outcome = probes.run("reject", json!(null), &WIDE).await;
    assert_eq!(
        outcome,
        Err(Failure::rejected(
            "malformed_file",
            "Line 3: a quote is not closed."
        ))
    );
    assert!(
        probes.run("threads", json!(null), &WIDE).await.is_ok(),
        "life goes on"
    );
}

#[tokio::test]
async fn a_child_may_talk_beside_its_answer_as_much_as_it_likes() {
    assert!(probes().run("stderr", json!(10 * MIB), &WIDE).await.is_ok());
}

#[tokio::test]
async fn what_is_our_own_fault_is_not_the_files() {
    let probes = probes();
    let outcome = probes.run("unheard of", json!(null), &WIDE).await;
    assert!(outcome.is_err(), "{outcome:?}");
    let nowhere = Sandbox::new(SandboxOptions {
        program: PathBuf::from("/nowhere"),
        ..SandboxOptions::new(probes.directory.path().to_owned())
    });
    let outcome = nowhere.run(&task("read", json!(null)), Input::None, &WIDE).await;
    assert!(matches!(outcome, Err(Failure::Unavailable(_))), "{outcome:?}");
}
