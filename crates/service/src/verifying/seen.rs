//! What the listing has shown of each file, so that a file that is whole is not asked for again.

use std::collections::HashMap;

use cloakroom_core::file::File;
use cloakroom_core::id::FileId;

/// Files remembered at most: some 80 MB. Those beyond are looked at one by one.
const FILES_MAX: usize = 1_000_000;

/// What was seen of one file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Mark {
    version: u64,
    object: bool,
    sidecar: bool,
    derivatives: u32,
    strange: bool,
}

/// What was seen of a file at a listing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sight {
    /// The object, with the right size.
    Object,
    /// The sidecar of its epoch.
    Sidecar,
    /// A derivative that the row names, with the right size.
    Derivative,
    /// Something that needs a closer look.
    Strange,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Seen {
    files: HashMap<FileId, Mark>,
}

impl Seen {
    /// Something of this file was seen. What was seen of an earlier version of its row does not count.
    pub(super) fn mark(&mut self, file: &File, sight: Sight) {
        if !self.files.contains_key(&file.id) && self.files.len() >= FILES_MAX {
            return;
        }
        let mark = self.files.entry(file.id).or_default();
        if mark.version != file.version {
            *mark = Mark {
                version: file.version,
                ..Mark::default()
            };
        }
        match sight {
            Sight::Object => mark.object = true,
            Sight::Sidecar => mark.sidecar = true,
            Sight::Derivative => mark.derivatives = mark.derivatives.saturating_add(1),
            Sight::Strange => mark.strange = true,
        }
    }

    /// Whether everything of the file as it is now was seen, and nothing else.
    pub(super) fn is_whole(&self, file: &File, derivatives: usize) -> bool {
        self.files.get(&file.id).is_some_and(|mark| {
            mark.version == file.version
                && mark.object
                && mark.sidecar
                && !mark.strange
                && usize::try_from(mark.derivatives).is_ok_and(|seen| seen == derivatives)
        })
    }
}
