//! The ports: what the centre needs of the world. Adapters implement them; the conformance suites in the testkit
//! say what each must do.

pub mod administration;
pub mod alerts;
pub mod archive;
pub mod clock;
pub mod leases;
pub mod limits;
pub mod metadata;
pub mod objects;
pub mod processor;
pub mod random;
pub mod renderer;
pub mod scanner;
pub mod signals;
pub mod signer;
