//! What tests share: clocks and randomness that tests control, fixtures, fault injection, and the conformance suites
//! that say what every adapter of a port must do.

pub mod clock;
pub mod crashes;
pub mod fixtures;
pub mod metadata_store_suite;
pub mod object_store_suite;
pub mod random;
