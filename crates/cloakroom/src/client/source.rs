//! A local file that is being sent, and the proof that it stayed the same meanwhile.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use cloakroom_core::checksum::Sha256Digest;
use futures_util::{Stream, TryStreamExt as _};
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};
use tokio_util::io::ReaderStream;

use super::error::{ClientError, Result};

/// How much is read at once, in bytes.
pub const READ_BYTES: usize = 256 * 1024;

/// What tells one content of a file from another without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Snapshot {
    device: u64,
    inode: u64,
    size: u64,
    modified_seconds: i64,
    modified_nanoseconds: i64,
}

/// A regular file, as it was when it was looked at.
#[derive(Clone, Debug)]
pub struct Source {
    path: PathBuf,
    absolute: PathBuf,
    snapshot: Snapshot,
}

impl Source {
    /// Looks at the file.
    pub fn open(path: &Path) -> Result<Self> {
        let absolute = path.canonicalize().map_err(ClientError::file(path))?;
        let snapshot = snapshot(path)?;
        // Permissions are told now and not after signing.
        std::fs::File::open(path).map_err(ClientError::file(path))?;
        Ok(Self {
            path: path.to_owned(),
            absolute,
            snapshot,
        })
    }

    /// Size in bytes.
    pub fn size(&self) -> u64 {
        self.snapshot.size
    }

    /// Its own name.
    pub fn name(&self) -> String {
        self.absolute
            .file_name()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default()
    }

    /// The same text for the same content at the same place: path, size and time of modification.
    pub fn identity(&self) -> String {
        let Snapshot {
            size,
            modified_seconds,
            modified_nanoseconds,
            ..
        } = self.snapshot;
        format!(
            "{}\0{size}\0{modified_seconds}.{modified_nanoseconds:09}",
            self.absolute.display()
        )
    }

    /// Fails if the file is not the one that was opened, byte for byte as far as the system tells.
    pub fn unchanged(&self) -> Result<()> {
        if snapshot(&self.path).is_ok_and(|now| now == self.snapshot) {
            return Ok(());
        }
        Err(ClientError::Failed(format!(
            "{} changed while it was being sent; nothing was stored, try again when it is at rest",
            self.path.display()
        )))
    }

    /// The bytes from `offset`, at most `length` of them.
    pub async fn stream(
        &self,
        offset: u64,
        length: u64,
    ) -> Result<impl Stream<Item = std::io::Result<Bytes>> + Send + use<>> {
        let mut file = tokio::fs::File::open(&self.path)
            .await
            .map_err(ClientError::file(&self.path))?;
        file.seek(std::io::SeekFrom::Start(offset))
            .await
            .map_err(ClientError::file(&self.path))?;
        Ok(ReaderStream::with_capacity(file.take(length), READ_BYTES))
    }

    /// SHA-256 of the whole file; `progress` gets the size of each piece that was read.
    pub async fn sha256(&self, mut progress: impl FnMut(u64)) -> Result<Sha256Digest> {
        let mut hash = Sha256::new();
        let mut stream = std::pin::pin!(self.stream(0, u64::MAX).await?);
        while let Some(chunk) = stream.try_next().await.map_err(ClientError::file(&self.path))? {
            hash.update(&chunk);
            progress(chunk.len() as u64);
        }
        self.unchanged()?;
        Ok(Sha256Digest(hash.finalize().into()))
    }
}

fn snapshot(path: &Path) -> Result<Snapshot> {
    let found = std::fs::metadata(path).map_err(ClientError::file(path))?;
    if !found.is_file() {
        let hint = if found.is_dir() {
            "is a directory"
        } else {
            "is not a regular file; pipe it in with -"
        };
        return Err(ClientError::Failed(format!("{} {hint}", path.display())));
    }
    Ok(Snapshot {
        device: found.dev(),
        inode: found.ino(),
        size: found.size(),
        modified_seconds: found.mtime(),
        modified_nanoseconds: found.mtime_nsec(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_change_is_noticed_and_changes_the_identity() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("a.txt");
        std::fs::write(&path, "one").expect("written");
        let source = Source::open(&path).expect("a file");
        assert_eq!((source.name().as_str(), source.size()), ("a.txt", 3));
        assert_eq!(source.identity(), Source::open(&path).expect("a file").identity());
        let digest = source.sha256(|_| ()).await.expect("read").to_string();
        assert_eq!(
            digest,
            "7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed"
        );
        std::fs::write(&path, "three").expect("written");
        assert!(
            source
                .unchanged()
                .expect_err("changed")
                .to_string()
                .contains("a.txt changed while")
        );
        assert!(source.sha256(|_| ()).await.is_err());
        assert_ne!(source.identity(), Source::open(&path).expect("a file").identity());
    }

    #[test]
    fn what_is_no_file_is_said() {
        let directory = tempfile::tempdir().expect("a directory");
        let error = Source::open(directory.path())
            .expect_err("a directory")
            .to_string();
        assert!(error.ends_with("is a directory"), "{error}");
        let error = Source::open(&directory.path().join("absent"))
            .expect_err("absent")
            .to_string();
        assert!(error.contains("absent: No such file"), "{error}");
        assert!(Source::open(Path::new("/dev/null")).is_err());
    }
}
