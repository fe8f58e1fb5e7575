//! A download that is not whole yet: the bytes so far, and a note of what they are a part of.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::Seek as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::error::{ClientError, Result};

/// What is known about a partial file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// Of which file it is a part.
    pub file_id: String,
    /// Of which bytes.
    pub etag: String,
}

/// Whether a partial file is worth keeping: the note, if it is about the same file, and there is something to keep.
pub fn resumable(note: Option<Note>, file_id: &str, there: u64, size: Option<u64>) -> Option<Note> {
    note.filter(|note| note.file_id == file_id && there > 0 && size.is_none_or(|size| there <= size))
}

/// A file that is not whole yet, locked against a second download of the same name.
pub struct Partial {
    /// The file itself.
    pub file: File,
    /// Where it is.
    pub path: PathBuf,
    /// Where the note about it is.
    pub note_path: PathBuf,
}

impl Partial {
    /// Opens or makes it, beside the target.
    pub fn open(target: &Path) -> Result<Self> {
        let beside = |ending: &str| {
            let mut name = target.as_os_str().to_owned();
            name.push(ending);
            PathBuf::from(name)
        };
        let (path, note_path) = (beside(".part"), beside(".part.json"));
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            // A link that somebody else laid there would lead our bytes elsewhere.
            .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed())
            .open(&path)
            .map_err(ClientError::file(&path))?;
        match file.try_lock() {
            Ok(()) => Ok(Self {
                file,
                path,
                note_path,
            }),
            Err(TryLockError::WouldBlock) => Err(ClientError::Failed(format!(
                "another download is writing {}",
                path.display()
            ))),
            Err(TryLockError::Error(source)) => Err(ClientError::File { path, source }),
        }
    }

    /// The note, if there is one that can be read.
    pub fn note(&self) -> Option<Note> {
        serde_json::from_slice(&std::fs::read(&self.note_path).ok()?).ok()
    }

    /// Empties it.
    pub fn discard(&mut self) -> std::io::Result<()> {
        self.file.set_len(0)?;
        self.file.rewind()
    }

    /// Removes it with its note.
    pub fn remove(&self) {
        // What cannot be removed is thrown away by the next download, which checks it.
        let _ = std::fs::remove_file(&self.note_path);
        let _ = std::fs::remove_file(&self.path);
    }

    /// Makes it durable and gives it its name.
    pub fn publish(&self, target: &Path, force: bool) -> Result<()> {
        self.file.sync_all().map_err(ClientError::file(&self.path))?;
        if force {
            std::fs::rename(&self.path, target).map_err(ClientError::file(target))?;
        } else {
            rename_to_new(&self.path, target)?;
        }
        let _ = std::fs::remove_file(&self.note_path);
        let directory = match target.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        File::open(directory)
            .and_then(|directory| directory.sync_all())
            .map_err(ClientError::file(directory))
    }
}

/// Renames without replacing: whoever made the target meanwhile keeps it.
fn rename_to_new(from: &Path, target: &Path) -> Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    use rustix::io::Errno;
    match renameat_with(CWD, from, CWD, target, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(()),
        // Some network file systems cannot; then a look of a moment ago must do.
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) if std::fs::symlink_metadata(target).is_err() => {
            std::fs::rename(from, target).map_err(ClientError::file(target))
        }
        Err(Errno::EXIST | Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => Err(exists(target)),
        Err(errno) => Err(ClientError::File {
            path: target.to_owned(),
            source: errno.into(),
        }),
    }
}

/// A target that is in the way.
pub fn exists(target: &Path) -> ClientError {
    ClientError::Failed(format!(
        "{} exists; use --force to replace it, or -o for another name",
        target.display()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(file_id: &str) -> Note {
        Note {
            file_id: file_id.to_owned(),
            etag: "\"e\"".to_owned(),
        }
    }

    #[test]
    fn only_a_part_of_the_same_file_is_gone_on_with() {
        assert!(resumable(Some(note("a")), "a", 5, Some(10)).is_some());
        assert!(
            resumable(Some(note("a")), "a", 10, Some(10)).is_some(),
            "complete, not yet renamed"
        );
        assert!(
            resumable(Some(note("a")), "a", 11, Some(10)).is_none(),
            "too long"
        );
        assert!(
            resumable(Some(note("a")), "a", 0, Some(10)).is_none(),
            "nothing to keep"
        );
        assert!(
            resumable(Some(note("b")), "a", 5, Some(10)).is_none(),
            "another file"
        );
        assert!(
            resumable(None, "a", 5, Some(10)).is_none(),
            "nobody knows what it is"
        );
    }

    #[test]
    fn a_partial_file_has_one_writer_and_follows_no_link() {
        let directory = tempfile::tempdir().expect("a directory");
        let target = directory.path().join("a.bin");
        let first = Partial::open(&target).expect("opened");
        assert!(
            Partial::open(&target)
                .err()
                .expect("locked")
                .to_string()
                .contains("another download")
        );
        first.remove();
        let victim = directory.path().join("victim");
        std::fs::write(&victim, "mine").expect("written");
        std::os::unix::fs::symlink(&victim, directory.path().join("b.bin.part")).expect("a link");
        assert!(Partial::open(&directory.path().join("b.bin")).is_err());
        assert_eq!(std::fs::read(&victim).expect("there"), b"mine");
    }

    #[test]
    fn a_target_that_appeared_meanwhile_is_kept() {
        let directory = tempfile::tempdir().expect("a directory");
        let target = directory.path().join("a.bin");
        let partial = Partial::open(&target).expect("opened");
        std::fs::write(&target, "theirs").expect("written");
        assert!(
            partial
                .publish(&target, false)
                .expect_err("exists")
                .to_string()
                .contains("exists")
        );
        assert_eq!(std::fs::read(&target).expect("there"), b"theirs");
        partial.publish(&target, true).expect("replaced");
        assert_eq!(std::fs::read(&target).expect("there"), b"");
    }
}
