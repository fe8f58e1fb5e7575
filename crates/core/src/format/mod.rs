//! Formats that outlive the program: the only place in the core where serde is allowed.

pub mod sidecar_v1;
