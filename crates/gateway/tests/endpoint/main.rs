//! The endpoint on a real socket over a real directory, spoken to byte by byte.

mod connections;
mod cors;
mod forms;
mod harness;
mod hostile;
mod objects;
mod tampering;
mod uploads;
