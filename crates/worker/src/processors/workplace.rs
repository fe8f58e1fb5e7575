//! A directory for one run of a foreign program: its input, and what it makes.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Read as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use cloakroom_core::ports::processor::{ProcessorError, Source};
use cloakroom_processors::{CommandTask, Finished, Input, Limits, Sandbox, Task};
use tempfile::TempDir;

use super::sandboxed::{error, stream};

/// Where programs are looked for, and what they get as `PATH`.
pub(super) const PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// The directory; gone with this value.
pub(super) struct Workplace {
    directory: TempDir,
}

fn unusable(error: io::Error) -> ProcessorError {
    ProcessorError::Retry(format!("the directory for processing cannot be used: {error}"))
}

impl Workplace {
    /// A new directory for this user alone.
    pub(super) fn new(sandbox: &Sandbox) -> Result<Self, ProcessorError> {
        let directory = tempfile::Builder::new()
            .prefix("processing-")
            .permissions(Permissions::from_mode(0o700))
            .tempdir_in(sandbox.directory());
        Ok(Self {
            directory: directory.map_err(unusable)?,
        })
    }

    /// A path in it.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Writes the file that is to be processed.
    pub(super) async fn fetch(
        &self,
        name: &str,
        source: &dyn Source,
        size_bytes: u64,
    ) -> Result<(), ProcessorError> {
        let file = File::create_new(self.path(name)).map_err(unusable)?;
        let spooled = cloakroom_processors::spool(stream(source).await?, size_bytes, file).await;
        spooled.map_err(|error| ProcessorError::Retry(format!("the file cannot be read: {error}")))
    }

    /// Writes something small.
    pub(super) fn write(&self, name: &str, bytes: &[u8]) -> Result<(), ProcessorError> {
        std::fs::write(self.path(name), bytes).map_err(unusable)
    }

    /// Makes a directory in it.
    pub(super) fn make_directory(&self, name: &str) -> Result<(), ProcessorError> {
        std::fs::create_dir(self.path(name)).map_err(unusable)
    }

    /// Runs a program here. One that a limit ended is a failure; with which code one ended by itself is not judged.
    pub(super) async fn run(
        &self,
        sandbox: &Sandbox,
        program: Program<'_>,
        limits: &Limits,
    ) -> Result<Finished, ProcessorError> {
        let own = self.directory.path().display().to_string();
        let environment = [
            ("HOME", own.as_str()),
            ("LANG", "C.UTF-8"),
            ("PATH", PATH),
            ("TMPDIR", &own),
        ];
        let environment = environment.iter().chain(program.environment);
        let task = CommandTask {
            argv: program.argv,
            environment: environment
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            directory: self.directory.path().to_owned(),
            stdin: program.stdin.map(|name| self.path(name)),
            reads: program.reads.to_vec(),
            network: program.network,
        };
        let finished = sandbox.finish(&Task::Command(task), Input::None, limits).await;
        let finished = finished.map_err(error)?;
        match sandbox.judge(&finished, limits) {
            Some(failure) => Err(error(failure)),
            None => Ok(finished),
        }
    }

    /// Takes what a program made; `None` where that is no ordinary file of at most so many bytes. A program may have put
    /// anything there: a link out of here, something that never ends.
    pub(super) fn take(&self, name: &str, bytes_max: u64) -> Option<Bytes> {
        let legal = Path::new(name).components().count() == 1 && !matches!(name, "." | "..");
        let mut directory = self.path("");
        // Directories on the way may be links as well; only those that were made here are walked.
        let name = match name.split_once('/') {
            Some((OUTPUT, name)) if !name.contains('/') && !matches!(name, "" | "." | "..") => {
                directory = self.path(OUTPUT);
                let kind = std::fs::symlink_metadata(&directory).ok()?;
                if !kind.is_dir() {
                    return None;
                }
                name
            }
            _ if legal => name,
            _ => return None,
        };
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(
                (rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK)
                    .bits()
                    .cast_signed(),
            )
            .open(directory.join(name))
            .ok()?;
        let metadata = file.metadata().ok()?;
        if !metadata.is_file() || metadata.len() > bytes_max {
            return None;
        }
        let mut bytes = Vec::new();
        file.take(bytes_max + 1).read_to_end(&mut bytes).ok()?;
        (bytes.len() as u64 <= bytes_max).then(|| bytes.into())
    }
}

/// Where own programs put what they make.
pub(super) const OUTPUT: &str = "output";

/// A program to be run.
pub(super) struct Program<'a> {
    pub(super) argv: Vec<String>,
    /// What it finds in its environment beside the usual.
    pub(super) environment: &'a [(&'a str, &'a str)],
    /// The file of the directory that is its standard input.
    pub(super) stdin: Option<&'a str>,
    /// What it may read beside the system's programs and libraries.
    pub(super) reads: &'a [PathBuf],
    pub(super) network: bool,
}

/// Finds a program of the system.
pub(super) fn installed(name: &str) -> Option<PathBuf> {
    let candidates = PATH.split(':').map(|directory| Path::new(directory).join(name));
    let runs = |path: &PathBuf| {
        let metadata = std::fs::metadata(path).ok();
        metadata.is_some_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
    };
    candidates.into_iter().find(runs)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use cloakroom_processors::SandboxOptions;

    use super::*;

    #[test]
    fn only_ordinary_files_of_the_directory_are_taken() {
        let outside = tempfile::tempdir().expect("a directory");
        let sandbox = Sandbox::new(SandboxOptions::new(outside.path().to_owned()));
        let place = Workplace::new(&sandbox).expect("a directory");
        place.make_directory(OUTPUT).expect("made");
        std::fs::write(outside.path().join("secret"), "hush").expect("written");
        place.write("output/good", b"12345").expect("written");
        symlink(outside.path().join("secret"), place.path("output/link")).expect("linked");
        symlink(outside.path(), place.path("way")).expect("linked");
        std::fs::create_dir(place.path("output/directory")).expect("made");
        assert_eq!(place.take("output/good", 5).as_deref(), Some(b"12345".as_slice()));
        assert_eq!(place.take("output/good", 4), None);
        for name in [
            "output/link",
            "way/secret",
            "output/directory",
            "output/absent",
            "output/../../secret",
            "output/./good",
            "../secret",
            "..",
            ".",
            "",
            "output/",
            "/etc/passwd",
            "output//etc/passwd",
        ] {
            assert_eq!(place.take(name, 100), None, "{name}");
        }
        std::fs::remove_dir_all(place.path(OUTPUT)).expect("removed");
        symlink(outside.path(), place.path(OUTPUT)).expect("linked");
        assert_eq!(place.take("output/secret", 100), None);
        drop(place);
        let left = std::fs::read_dir(outside.path()).expect("a directory").count();
        assert_eq!(left, 1, "only the secret");
    }

    #[test]
    fn programs_are_found() {
        assert_eq!(installed("sh").map(|path| path.ends_with("sh")), Some(true));
        assert_eq!(installed("nothing-of-this-name"), None);
    }
}
