//! Proof that nothing is lost: a bounded model of the protocol (`tests/protocol`), generated schedules of the real
//! service over real stores (`tests/schedules`).
//!
//! There is no code here to use; what is proved, and how, is told in `docs/concepts/proof.md`.
