//! Opening a store: refusing what could not keep its promises, and clearing up after a crash.

use std::fs::TryLockError;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{AtFlags, Mode, OFlags, XattrFlags};
use rustix::io::Errno;

use super::buffers::BufferPool;
use super::locks::KeyLocks;
use super::manifest::COMPLETION;
use super::multipart::MULTIPART_DIRECTORY;
use super::sync::DirectorySync;
use super::temp::{FILE_MODE, Root, TEMP_DIRECTORY, TempFile, TempKind, temp_name};
use super::{Shared, attributes, buckets, open_file};
use crate::bucket_name::is_legal_name;

/// Locked for as long as the store is open.
const LOCK_FILE: &str = ".lock";

/// So long a completed multipart upload is remembered.
const COMPLETION_KEPT: Duration = Duration::from_hours(24);

/// How to open a [`LocalStore`](super::LocalStore).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalOptions {
    /// The directory that holds everything; made if missing. One file system, local, case-sensitive, with extended
    /// attributes (ext4, XFS, Btrfs, ZFS).
    pub root: PathBuf,
    /// Write through files without a name (`O_TMPFILE`) where the file system has them; else, or if `false`, through
    /// named files in `<root>/.tmp`.
    pub unnamed_files: bool,
}

impl LocalOptions {
    /// Everything else as it should be.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self {
            root: root.into(),
            unnamed_files: true,
        }
    }
}

/// Why a directory cannot serve as a store.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It is a file.
    #[error("{} is not a directory", .0.display())]
    NotADirectory(PathBuf),
    /// It cannot be made, or not be written to.
    #[error("cannot write to {}: {source}", .path.display())]
    NotWritable {
        /// The root.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Attributes of objects cannot be kept.
    #[error("the file system of {} has no extended attributes (user.*)", .0.display())]
    NoExtendedAttributes(PathBuf),
    /// `a` and `A` would be one object.
    #[error("the file system of {} does not tell upper from lower case; keys do", .0.display())]
    CaseInsensitive(PathBuf),
    /// A rename from one to the other would not be one step.
    #[error("{} is on another file system than the store that it is part of", .0.display())]
    SeveralFileSystems(PathBuf),
    /// Another process has the store open.
    #[error("{} is in use by another process", .0.display())]
    InUse(PathBuf),
    /// Something else.
    #[error("cannot open the store at {}: {source}", .path.display())]
    Io {
        /// The root.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

/// Opens a store. Blocks.
pub(super) fn open(options: &LocalOptions) -> Result<Shared, OpenError> {
    let path = options.root.clone();
    let not_writable = |source: std::io::Error| OpenError::NotWritable {
        path: path.clone(),
        source,
    };
    let io = |error: Errno| OpenError::Io {
        path: path.clone(),
        source: error.into(),
    };
    if path.exists() && !path.is_dir() {
        return Err(OpenError::NotADirectory(path));
    }
    std::fs::create_dir_all(&path).map_err(&not_writable)?;
    let fd = rustix::fs::open(
        &path,
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .map_err(|error| not_writable(error.into()))?;
    let root = Arc::new(Root {
        fd,
        path: path.clone(),
    });
    let lock = lock(&root)?;
    for directory in [TEMP_DIRECTORY, MULTIPART_DIRECTORY] {
        match rustix::fs::mkdirat(&root, directory, Mode::from_raw_mode(0o750)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(not_writable(error.into())),
        }
    }
    remove_leftovers(&path.join(TEMP_DIRECTORY)).map_err(&not_writable)?;
    probe_names(&root)?;
    let temp_kind = if options.unnamed_files {
        probe_unnamed(&root).map_err(io)?
    } else {
        TempKind::Named
    };
    check_file_systems(&root)
        .map_err(io)?
        .map_or(Ok(()), |bucket| Err(OpenError::SeveralFileSystems(bucket)))?;
    let shared = Shared {
        root,
        temp_kind,
        locks: KeyLocks::new(),
        upload_locks: KeyLocks::new(),
        directories: DirectorySync::new(),
        buffers: Arc::new(BufferPool::default()),
        _lock: lock,
    };
    shared.directories.sync(&shared.root, ".").map_err(io)?;
    forget_completions(&shared).map_err(|error| OpenError::Io {
        path: path.clone(),
        source: error,
    })?;
    Ok(shared)
}

fn lock(root: &Root) -> Result<std::fs::File, OpenError> {
    let path = root.path.join(LOCK_FILE);
    let not_writable = |source| OpenError::NotWritable {
        path: root.path.clone(),
        source,
    };
    let file = std::fs::File::options()
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
        .map_err(not_writable)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse(root.path.clone())),
        Err(TryLockError::Error(source)) => Err(OpenError::Io {
            path: root.path.clone(),
            source,
        }),
    }
}

fn remove_leftovers(directory: &Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            std::fs::remove_dir_all(entry.path())?;
        } else {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Looks for extended attributes and for case.
fn probe_names(root: &Root) -> Result<(), OpenError> {
    let not_writable = |error: Errno| OpenError::NotWritable {
        path: root.path.clone(),
        source: error.into(),
    };
    let name = format!("{}-probe", temp_name());
    let other_case = name.to_uppercase();
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::CLOEXEC;
    let file = rustix::fs::openat(root, &name, flags, FILE_MODE).map_err(not_writable)?;
    let attribute = rustix::fs::fsetxattr(&file, attributes::OBJECT_XATTR, b"probe", XattrFlags::empty());
    let found = rustix::fs::statat(root, &other_case, AtFlags::empty());
    rustix::fs::unlinkat(root, &name, AtFlags::empty()).map_err(not_writable)?;
    if found.is_ok() {
        return Err(OpenError::CaseInsensitive(root.path.clone()));
    }
    match attribute {
        Ok(()) => Ok(()),
        Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::PERM) => {
            Err(OpenError::NoExtendedAttributes(root.path.clone()))
        }
        Err(error) => Err(not_writable(error)),
    }
}

/// Whether files without a name can be made, and named later (which needs `/proc`).
fn probe_unnamed(root: &Arc<Root>) -> rustix::io::Result<TempKind> {
    let Ok(mut temp) = TempFile::create(root, TempKind::Unnamed) else {
        return Ok(TempKind::Named);
    };
    let name = temp_name();
    if temp.link(&name).is_err() {
        return Ok(TempKind::Named);
    }
    rustix::fs::unlinkat(root, &name, AtFlags::empty())?;
    Ok(TempKind::Unnamed)
}

/// The first directory of ours that is a mount point, if any.
fn check_file_systems(root: &Root) -> rustix::io::Result<Option<PathBuf>> {
    let device = rustix::fs::fstat(root)?.st_dev;
    for entry in rustix::fs::Dir::read_from(root)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().to_str() else {
            continue;
        };
        if is_legal_name(name) || [TEMP_DIRECTORY, MULTIPART_DIRECTORY].contains(&name) {
            let stat = rustix::fs::statat(root, name, AtFlags::empty())?;
            if stat.st_dev != device {
                return Ok(Some(root.path.join(name)));
            }
        }
    }
    Ok(None)
}

/// Removes what remembers multipart uploads that were completed long ago.
fn forget_completions(shared: &Shared) -> std::io::Result<()> {
    let other = |error: cloakroom_core::ports::objects::ObjectError| std::io::Error::other(error.to_string());
    let now = file_system_time(shared)?;
    for bucket in buckets::directory_names(shared, MULTIPART_DIRECTORY).map_err(other)? {
        let uploads = format!("{MULTIPART_DIRECTORY}/{bucket}");
        for id in buckets::directory_names(shared, &uploads).map_err(other)? {
            let directory = format!("{uploads}/{id}");
            let Ok(completion) = open_file(&shared.root, &format!("{directory}/{COMPLETION}")) else {
                continue;
            };
            let completed_at = attributes::modified_at(&rustix::fs::fstat(&completion)?);
            if now.duration_since(completed_at).unsigned_abs() > COMPLETION_KEPT {
                super::multipart::discard(shared, &directory).map_err(other)?;
            }
        }
    }
    Ok(())
}

/// The time by the clock that stamps the files.
fn file_system_time(shared: &Shared) -> std::io::Result<jiff::Timestamp> {
    let mut temp = TempFile::create(&shared.root, shared.temp_kind)?;
    temp.write_all(b"now", 0)?;
    Ok(attributes::modified_at(&rustix::fs::fstat(&temp)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::local::open_directory;

    #[test]
    fn every_refusal_is_one_clear_line() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        std::fs::write(&file, "").unwrap();
        let not_a_directory = open(&LocalOptions::new(&file)).err().unwrap().to_string();
        assert_eq!(not_a_directory, format!("{} is not a directory", file.display()));
        let below = open(&LocalOptions::new(file.join("below")))
            .err()
            .unwrap()
            .to_string();
        assert!(
            below.starts_with("cannot write to ") && !below.contains('\n'),
            "{below}"
        );

        let root = directory.path().join("root");
        let first = open(&LocalOptions::new(&root)).unwrap();
        let second = open(&LocalOptions::new(&root)).err().unwrap();
        assert_eq!(
            second.to_string(),
            format!("{} is in use by another process", root.display())
        );
        drop(first);
        open(&LocalOptions::new(&root)).unwrap();
    }

    #[test]
    fn leftovers_of_a_crash_go_away() {
        let directory = tempfile::tempdir().unwrap();
        let temp = directory.path().join(TEMP_DIRECTORY);
        std::fs::create_dir_all(temp.join("upload/parts")).unwrap();
        std::fs::write(temp.join("upload/parts/1"), "x").unwrap();
        std::fs::write(temp.join("half-made"), "x").unwrap();
        let shared = open(&LocalOptions::new(directory.path())).unwrap();
        assert_eq!(std::fs::read_dir(&temp).unwrap().count(), 0);
        assert!(open_directory(&shared.root, TEMP_DIRECTORY).is_ok());
    }

    #[test]
    fn completions_are_forgotten_after_a_day() {
        let directory = tempfile::tempdir().unwrap();
        let upload = |id: &str, age: Duration| {
            let upload = directory
                .path()
                .join(format!("{MULTIPART_DIRECTORY}/bucket/{id}"));
            std::fs::create_dir_all(&upload).unwrap();
            let completion = std::fs::File::create(upload.join(COMPLETION)).unwrap();
            let written = completion.metadata().unwrap().modified().unwrap();
            completion
                .set_modified(written.checked_sub(age).unwrap())
                .unwrap();
            upload
        };
        let old = upload("old", Duration::from_hours(25));
        let fresh = upload("fresh", Duration::from_hours(23));
        open(&LocalOptions::new(directory.path())).unwrap();
        assert!(!old.exists() && fresh.exists());
    }
}
