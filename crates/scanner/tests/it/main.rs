//! The client against a real clamd, and against servers that misbehave. `scripts/test-servers` starts clamd.

mod archives;
mod counting;
mod misbehaving;
mod real;
