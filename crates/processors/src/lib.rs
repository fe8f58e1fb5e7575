//! Processors of hostile input, each run in a child of ours that may do nothing but read it.
//!
//! A file that somebody uploads goes through decoders, and a decoder that breaks on it must break alone. So the program
//! starts itself once more for every file ([`Sandbox::run`]); the first thing the child does ([`child::run_if_asked`]) is to
//! give away everything that it does not need, before it has seen a byte of the input:
//!
//! | what | how |
//! |---|---|
//! | files, other processes, the network | landlock: nothing may be opened; seccomp: a list of the calls that computing needs |
//! | memory, processor time, files, core dumps | `setrlimit` |
//! | time by the clock, size of the answer | the parent counts, and kills |
//! | descriptors | 0, 1 and 2: the input, the answer, a line for the log |
//! | the environment | empty |
//!
//! What comes of it is an [`Answer`], or a [`Failure`] with a code and a sentence for people; the parent lives in any case,
//! and a child does not outlive it. Programs of the system and of the operator run in the same way ([`Task::Command`]), with
//! a directory of their own to read and write.

pub mod child;
mod input;
mod outcome;
mod sandbox;
mod task;

pub use input::{Input, InputStream, SPOOLED_BYTES_MAX, spool};
pub use outcome::{Answer, Failure, Made, Unmade, code};
pub use sandbox::{Confinement, Finished, Sandbox, SandboxOptions};
pub use task::{CommandTask, DecodedImage, DocumentTask, ImageTask, Limits, TableTask, Task};
