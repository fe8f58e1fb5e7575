//! The data directory: who made it, who uses it, and where things are in it.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Why a data directory cannot be used. Each is one line for the operator.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// It cannot be made, or written to.
    #[error("cannot use the data directory {}: {source}", path.display())]
    Unusable {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Another process works in it.
    #[error("the data directory {} is in use by another cloakroom{}", path.display(), pid.map(|pid| format!(" (process {pid})")).unwrap_or_default())]
    InUse {
        /// The directory.
        path: PathBuf,
        /// The other process, if it said so.
        pid: Option<u32>,
    },
}

/// What a running server writes into its lock, for the commands that find it locked. No secrets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Occupant {
    /// Its process.
    pub pid: Option<u32>,
    /// Where its API is reached.
    pub api_url: Option<String>,
    /// Where its S3 endpoint is reached, if it has one.
    #[serde(default)]
    pub s3_url: Option<String>,
}

impl Occupant {
    /// This process, which answers there.
    pub fn serving(api_url: &str, s3_url: Option<String>) -> Self {
        Self {
            pid: Some(std::process::id()),
            api_url: Some(api_url.to_owned()),
            s3_url,
        }
    }
}

/// A data directory that this process has for itself.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    lock: File,
}

impl DataDir {
    /// Takes the directory, and makes it (for this user alone) when it is absent. The system gives it back when the
    /// process ends, however it ends.
    pub fn open(path: &Path) -> Result<Self, DataDirError> {
        let unusable = |source| DataDirError::Unusable {
            path: path.to_owned(),
            source,
        };
        create_private(path).map_err(unusable)?;
        let path = path.canonicalize().map_err(unusable)?;
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .mode(0o600)
            .open(path.join("lock"))
            .map_err(unusable)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(DataDirError::InUse {
                    pid: occupant(&path).pid,
                    path,
                });
            }
            Err(TryLockError::Error(source)) => return Err(unusable(source)),
        }
        let data_dir = Self { path, lock };
        data_dir
            .announce(&Occupant {
                pid: Some(std::process::id()),
                ..Occupant::default()
            })
            .map_err(unusable)?;
        Ok(data_dir)
    }

    /// Writes into the lock who has it.
    pub fn announce(&self, occupant: &Occupant) -> std::io::Result<()> {
        let text = serde_json::to_vec(occupant)?;
        let mut file = &self.lock;
        file.set_len(0)?;
        file.rewind()?;
        file.write_all(&text)
    }

    /// The directory, absolute.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The SQLite database, unless configuration names another file.
    pub fn database(&self) -> PathBuf {
        database_of(&self.path)
    }

    /// The object store.
    pub fn objects(&self) -> PathBuf {
        self.path.join("objects")
    }

    /// Keys, credentials and tokens of development.
    pub fn keys(&self) -> PathBuf {
        keys_of(&self.path)
    }
}

/// Where the SQLite database is in a data directory.
pub fn database_of(data_dir: &Path) -> PathBuf {
    data_dir.join("cloakroom.db")
}

/// Where development keys are in a data directory, also in one that another process uses.
pub fn keys_of(data_dir: &Path) -> PathBuf {
    data_dir.join("keys")
}

/// Who has the directory, as far as it says so.
pub fn occupant(path: &Path) -> Occupant {
    let mut text = String::new();
    let read = File::open(path.join("lock")).and_then(|mut file| file.read_to_string(&mut text));
    read.ok()
        .and_then(|_| serde_json::from_str(&text).ok())
        .unwrap_or_default()
}

/// Makes a directory, and those above it, for this user alone. One that is there stays as it is.
pub fn create_private(path: &Path) -> std::io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Writes a file that only this user may read, whole or not at all.
pub fn write_private(path: &Path, contents: &[u8]) -> std::io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    let temporary = PathBuf::from(name);
    let written = (|| {
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(true)
            .write(true)
            .mode(0o600)
            .open(&temporary)?;
        file.write_all(contents)?;
        file.sync_all()?;
        std::fs::rename(&temporary, path)
    })();
    if written.is_err() {
        // What is left over is ours and useless; the first error is the one to tell.
        let _ = std::fs::remove_file(&temporary);
    }
    written
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).expect("there").permissions().mode() & 0o777
    }

    #[test]
    fn a_directory_has_one_user_at_a_time() {
        let home = tempfile::tempdir().expect("a directory");
        let path = home.path().join("a/data");
        let first = DataDir::open(&path).expect("opened");
        assert_eq!(mode(&path), 0o700);
        let second = DataDir::open(&path).expect_err("in use");
        assert!(
            matches!(second, DataDirError::InUse { pid, .. } if pid == Some(std::process::id())),
            "{second}"
        );
        let announced = Occupant {
            pid: Some(1),
            api_url: Some("http://a".into()),
            s3_url: None,
        };
        first.announce(&announced).expect("written");
        assert_eq!(occupant(&path), announced);
        drop(first);
        DataDir::open(&path).expect("free again");
    }

    #[test]
    fn a_file_in_its_place_is_named() {
        let home = tempfile::tempdir().expect("a directory");
        let path = home.path().join("data");
        std::fs::write(&path, "a file").expect("written");
        let error = DataDir::open(&path).expect_err("not a directory").to_string();
        assert!(
            error.starts_with(&format!("cannot use the data directory {}", path.display())),
            "{error}"
        );
    }

    #[test]
    fn private_files_are_whole_and_private() {
        let home = tempfile::tempdir().expect("a directory");
        let path = home.path().join("secret");
        write_private(&path, b"one").expect("written");
        write_private(&path, b"two").expect("replaced");
        assert_eq!(
            (std::fs::read(&path).expect("there"), mode(&path)),
            (b"two".to_vec(), 0o600)
        );
        assert_eq!(
            std::fs::read_dir(home.path()).expect("a directory").count(),
            1,
            "nothing is left over"
        );
    }
}
