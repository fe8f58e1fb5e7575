//! The client commands as processes, against the real program: what people and scripts see.

mod downloads;
mod failures;
mod listing;
mod smoke;
mod support;
mod uploads;
