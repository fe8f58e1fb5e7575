//! Processors, by the name that collections use. The digest (SHA-256, size, real type) is part of verification
//! itself, because nothing is stored for good without it.

use std::collections::BTreeMap;
use std::sync::Arc;

use cloakroom_core::ports::processor::Processor;

/// Every processor of this program: one line each.
pub fn registry() -> BTreeMap<&'static str, Arc<dyn Processor>> {
    let all: Vec<Arc<dyn Processor>> = vec![];
    all.into_iter()
        .map(|processor| (processor.name(), processor))
        .collect()
}
