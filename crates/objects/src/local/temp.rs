//! Files on their way: without a name until they are whole, so that a crash leaves nothing behind.

use std::path::PathBuf;
use std::sync::Arc;

use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::io::Errno;

/// Where files without a final name are, below the root.
pub(super) const TEMP_DIRECTORY: &str = ".tmp";

/// Mode of files, before the umask.
pub(super) const FILE_MODE: Mode = Mode::from_raw_mode(0o640);

/// The directory that holds everything.
pub(super) struct Root {
    pub(super) fd: OwnedFd,
    pub(super) path: PathBuf,
}

impl AsFd for Root {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// How a file is kept before it gets its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TempKind {
    /// Without a name (`O_TMPFILE`): gone with its last descriptor.
    Unnamed,
    /// With a name in [`TEMP_DIRECTORY`], for file systems that have no unnamed files.
    Named,
}

/// A file that nobody sees yet.
pub(super) struct TempFile {
    fd: OwnedFd,
    /// Its name below the root, while it has one that must go away.
    name: Option<String>,
    root: Arc<Root>,
}

impl TempFile {
    pub(super) fn create(root: &Arc<Root>, kind: TempKind) -> rustix::io::Result<Self> {
        match kind {
            TempKind::Unnamed => {
                let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
                let fd = rustix::fs::openat(root.as_fd(), TEMP_DIRECTORY, flags, FILE_MODE)?;
                Ok(Self {
                    fd,
                    name: None,
                    root: Arc::clone(root),
                })
            }
            TempKind::Named => {
                let name = temp_name();
                let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::CLOEXEC;
                let fd = rustix::fs::openat(root.as_fd(), &name, flags, FILE_MODE)?;
                Ok(Self {
                    fd,
                    name: Some(name),
                    root: Arc::clone(root),
                })
            }
        }
    }

    pub(super) fn write_all(&mut self, mut bytes: &[u8], mut offset: u64) -> rustix::io::Result<()> {
        while !bytes.is_empty() {
            let written = rustix::io::retry_on_intr(|| rustix::io::pwrite(&self.fd, bytes, offset))?;
            if written == 0 {
                return Err(Errno::IO);
            }
            bytes = &bytes[written..];
            offset += written as u64;
        }
        Ok(())
    }

    /// Gives the file its name, in place of what had it. With `NOENT` the directory is missing, and the file is as it
    /// was.
    pub(super) fn link(&mut self, target: &str) -> rustix::io::Result<()> {
        if let Some(name) = &self.name {
            rustix::fs::renameat(self.root.as_fd(), name, self.root.as_fd(), target)?;
            self.name = None;
            return Ok(());
        }
        let source = format!("/proc/self/fd/{}", self.fd.as_raw_fd());
        link_over(
            &self.root,
            |name| rustix::fs::linkat(CWD, &source, self.root.as_fd(), name, AtFlags::SYMLINK_FOLLOW),
            target,
        )
    }
}

impl AsFd for TempFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        if let Some(name) = &self.name {
            // If it stays, the next start removes it.
            let _ = rustix::fs::unlinkat(self.root.as_fd(), name, AtFlags::empty());
        }
    }
}

/// Gives a file that has a name another one as well, in place of what had that.
pub(super) fn link_existing(root: &Root, source: &str, target: &str) -> rustix::io::Result<()> {
    link_over(
        root,
        |name| rustix::fs::linkat(root, source, root, name, AtFlags::empty()),
        target,
    )
}

/// A link cannot replace a name, a rename can: what exists is replaced by way of a temporary name.
fn link_over(
    root: &Root,
    link: impl Fn(&str) -> rustix::io::Result<()>,
    target: &str,
) -> rustix::io::Result<()> {
    match link(target) {
        Err(Errno::EXIST) => {}
        other => return other,
    }
    let name = temp_name();
    link(&name)?;
    let renamed = rustix::fs::renameat(root, &name, root, target);
    // A rename between two names of one file does nothing and leaves both.
    let _ = rustix::fs::unlinkat(root, &name, AtFlags::empty());
    renamed
}

/// A fresh name in the directory for temporary files.
pub(super) fn temp_name() -> String {
    format!("{TEMP_DIRECTORY}/{:032x}", rand::random::<u128>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_appear_whole_and_leave_nothing_behind() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join(TEMP_DIRECTORY)).unwrap();
        let fd = std::fs::File::open(directory.path()).unwrap().into();
        let root = Arc::new(Root {
            fd,
            path: directory.path().to_owned(),
        });
        let leftovers = || {
            std::fs::read_dir(directory.path().join(TEMP_DIRECTORY))
                .unwrap()
                .count()
        };
        for kind in [TempKind::Unnamed, TempKind::Named] {
            for text in ["one", "two"] {
                let mut temp = TempFile::create(&root, kind).unwrap();
                temp.write_all(text.as_bytes(), 0).unwrap();
                assert_eq!(temp.link("missing/target"), Err(Errno::NOENT));
                temp.link("target").unwrap();
                drop(temp);
                assert_eq!(
                    std::fs::read_to_string(directory.path().join("target")).unwrap(),
                    text
                );
            }
            drop(TempFile::create(&root, kind).unwrap());
            assert_eq!(leftovers(), 0, "{kind:?}");
        }
        link_existing(&root, "target", "second").unwrap();
        link_existing(&root, "target", "second").unwrap();
        assert_eq!(leftovers(), 0);
    }
}
