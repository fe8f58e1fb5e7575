//! The centre of Cloakroom: its nouns, its rules and the ports through which the rules reach the world.
//!
//! Nothing here does I/O, reads a clock or draws a random number: time and ids come in as arguments, so every
//! rule is a table test. A change of state is made in exactly one way: a pure function of [`mod@file`] returns a
//! [`transition::Transition`], and [`ports::metadata::MetadataStore::apply`] commits it whole or not at all.
//!
//! Nouns do not derive `Serialize`; what is stored for years has its own versioned struct in [`mod@format`].

pub mod access;
pub mod audit;
pub mod checksum;
pub mod collection;
pub mod derivative;
pub mod error;
pub mod event;
pub mod file;
pub mod format;
pub mod garbage;
pub mod id;
pub mod image;
pub mod intent;
pub mod job;
pub mod key;
pub mod media;
pub mod operation;
pub mod ports;
pub mod record;
pub mod search;
pub mod storage;
pub mod transition;
pub mod upload;

/// A free-form JSON object, as carried by files, records, facts and events.
pub type JsonObject = serde_json::Map<String, serde_json::Value>;
