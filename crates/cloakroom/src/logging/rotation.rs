//! The log file: lines are added to it until it would grow beyond its limit; then it becomes `<name>.1`, the one before
//! `<name>.2`, and the oldest goes (S3-023).

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// Logs say who did what: they are for the operator and the group.
const MODE: u32 = 0o640;

/// A file that does not grow beyond a limit. Of one process: two that rotate the same one would lose lines.
#[derive(Debug)]
pub(super) struct RotatingFile {
    path: PathBuf,
    size_max: u64,
    kept: u32,
    open: Mutex<Open>,
}

#[derive(Debug)]
struct Open {
    file: File,
    size: u64,
    /// That rotation failed was said.
    complained: bool,
}

impl RotatingFile {
    /// Goes on with what is there.
    pub(super) fn open(path: &Path, size_max: u64, kept: u32) -> io::Result<Self> {
        let file = append_to(path)?;
        let size = file.metadata()?.len();
        Ok(Self {
            path: path.to_owned(),
            size_max,
            kept,
            open: Mutex::new(Open {
                file,
                size,
                complained: false,
            }),
        })
    }

    /// Adds a line, which ends with a line feed. A line is never divided between files, nor dropped because they cannot be
    /// rotated.
    pub(super) fn add(&self, line: &str) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let added = line.len() as u64;
        if open.size > 0 && open.size.saturating_add(added) > self.size_max {
            match self.rotate() {
                Ok(file) => {
                    *open = Open {
                        file,
                        size: 0,
                        complained: false,
                    }
                }
                Err(error) if !open.complained => {
                    open.complained = true;
                    // Not as a log line: that would come here again.
                    let _ = writeln!(io::stderr(), "cloakroom: the log file cannot be rotated: {error}");
                }
                Err(_) => {}
            }
        }
        // Nothing can be done about a full disk here; standard error has the line as well.
        if open.file.write_all(line.as_bytes()).is_ok() {
            open.size += added;
        }
    }

    fn rotate(&self) -> io::Result<File> {
        if self.kept == 0 {
            return File::create(&self.path).and_then(|_| append_to(&self.path));
        }
        for number in (1..self.kept).rev() {
            match std::fs::rename(self.numbered(number), self.numbered(number + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        std::fs::rename(&self.path, self.numbered(1))?;
        append_to(&self.path)
    }

    fn numbered(&self, number: u32) -> PathBuf {
        let mut name = self.path.as_os_str().to_owned();
        name.push(format!(".{number}"));
        PathBuf::from(name)
    }
}

fn append_to(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).mode(MODE).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(directory: &Path) -> Vec<(String, String)> {
        let entries = std::fs::read_dir(directory).expect("a directory");
        let mut texts: Vec<_> = entries
            .map(|entry| {
                let entry = entry.expect("an entry");
                let text = std::fs::read_to_string(entry.path()).expect("text");
                (entry.file_name().into_string().expect("a name"), text)
            })
            .collect();
        texts.sort();
        texts
    }

    fn names(expected: &[(&str, &str)]) -> Vec<(String, String)> {
        let owned = |(name, text): &(&str, &str)| ((*name).to_owned(), (*text).to_owned());
        expected.iter().map(owned).collect()
    }

    #[test]
    fn the_oldest_file_goes() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("log");
        let log = RotatingFile::open(&path, 8, 2).expect("a file");
        for line in ["one\n", "two\n", "three\n", "four\n", "a longer line\n", "six\n"] {
            log.add(line);
        }
        let expected = [
            ("log", "six\n"),
            ("log.1", "a longer line\n"),
            ("log.2", "four\n"),
        ];
        assert_eq!(texts(directory.path()), names(&expected));
        // Whoever starts anew goes on with it.
        let again = RotatingFile::open(&path, 8, 2).expect("a file");
        again.add("7\n");
        assert_eq!(texts(directory.path())[0].1, "six\n7\n");
    }

    #[test]
    fn none_may_be_kept() {
        let directory = tempfile::tempdir().expect("a directory");
        let log = RotatingFile::open(&directory.path().join("log"), 8, 0).expect("a file");
        for line in ["one\n", "two\n", "three\n"] {
            log.add(line);
        }
        assert_eq!(texts(directory.path()), names(&[("log", "three\n")]));
    }

    #[test]
    fn a_line_is_kept_when_files_cannot_be_rotated() {
        let directory = tempfile::tempdir().expect("a directory");
        let log = RotatingFile::open(&directory.path().join("log"), 8, 1).expect("a file");
        // What has contents cannot be replaced by a file.
        std::fs::create_dir_all(directory.path().join("log.1").join("x")).expect("a directory");
        for line in ["one\n", "two\n", "three\n"] {
            log.add(line);
        }
        let text = std::fs::read_to_string(directory.path().join("log")).expect("text");
        assert_eq!(text, "one\ntwo\nthree\n");
    }
}
