//! What tests share: clocks and randomness that tests control, fixtures, fault injection, and the conformance suites
//! that say what every adapter of a port must do.

pub mod administration_suite;
pub mod archive_suite;
pub mod clock;
pub mod crashes;
pub mod fixtures;
pub mod leases_suite;
pub mod metadata_store_suite;
pub mod object_store_suite;
pub mod outages;
pub mod random;
pub mod servers;
pub mod toxics;
pub mod urls;
