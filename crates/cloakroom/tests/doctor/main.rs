//! `cloakroom doctor` from outside: on the local store, on Ceph, on moto, and on what is not there.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod enforcement;
mod home;
mod local;
mod services;
