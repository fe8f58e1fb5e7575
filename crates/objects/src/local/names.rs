//! Giving objects their names and taking them away, so that both are one step, durable, and leave no empty
//! directories behind.

use cloakroom_core::ports::objects::{
    ObjectAttributes, ObjectError, ObjectInfo, ObjectPath, Result, WriteConditions,
};
use rustix::fs::{AtFlags, Mode};
use rustix::io::Errno;

use super::attributes::{OBJECT_XATTR, Record};
use super::temp::{TempFile, link_existing};
use super::{Shared, failure, layout, sync};
use crate::bucket_name::is_legal_name;
use crate::conditions;

/// Mode of directories, before the umask.
pub(super) const DIRECTORY_MODE: Mode = Mode::from_raw_mode(0o750);

/// How often a write makes its directories anew when deletes of its neighbours keep removing them.
const DIRECTORY_ATTEMPTS: u32 = 1_000;

/// The longest key (S3 API, "Object key naming guidelines").
const KEY_BYTES_MAX: usize = 1_024;

/// Where an object is.
pub(super) struct Place {
    pub(super) bucket: String,
    pub(super) key: String,
    /// Below the root.
    pub(super) path: String,
}

impl Place {
    /// Checks bucket and key.
    pub(super) fn new(path: &ObjectPath) -> Result<Self> {
        if !is_legal_name(&path.bucket) {
            return Err(ObjectError::NoSuchBucket(path.bucket.clone()));
        }
        if !(1..=KEY_BYTES_MAX).contains(&path.key.len()) {
            return Err(ObjectError::InvalidArgument(format!(
                "a key has 1 to {KEY_BYTES_MAX} bytes, this one has {}",
                path.key.len()
            )));
        }
        Ok(Self {
            bucket: path.bucket.clone(),
            key: path.key.clone(),
            path: format!("{}/{}", path.bucket, layout::key_to_path(&path.key)),
        })
    }

    pub(super) fn directory(&self) -> &str {
        sync::parent_of(&self.path)
    }
}

impl Shared {
    /// Makes a finished file the object, durably, if the conditions hold for what it replaces.
    pub(super) fn publish(
        &self,
        place: &Place,
        mut temp: TempFile,
        conditions: &WriteConditions,
    ) -> Result<()> {
        self.publish_with(place, conditions, || temp.link(&place.path))
    }

    /// The same for a file that has another name, which it keeps.
    pub(super) fn publish_existing(
        &self,
        place: &Place,
        source: &str,
        conditions: &WriteConditions,
    ) -> Result<()> {
        self.publish_with(place, conditions, || {
            link_existing(&self.root, source, &place.path)
        })
    }

    fn publish_with(
        &self,
        place: &Place,
        conditions: &WriteConditions,
        mut link: impl FnMut() -> rustix::io::Result<()>,
    ) -> Result<()> {
        let epoch = self.directories.epoch();
        self.with_directory(place, || {
            let _guard = self.locks.lock(&place.path);
            if conditions::is_conditional(conditions) {
                conditions::check_write(conditions, self.current(place)?.as_ref())?;
            }
            Ok(link())
        })?;
        self.settle(place, epoch)
    }

    /// Runs `step` until it does not fail for want of the directory.
    fn with_directory(
        &self,
        place: &Place,
        mut step: impl FnMut() -> Result<rustix::io::Result<()>>,
    ) -> Result<()> {
        for _ in 0..DIRECTORY_ATTEMPTS {
            match step()? {
                Err(Errno::NOENT) => self.create_directories(place)?,
                other => return other.map_err(|error| failure::object(error, "give the object its name")),
            }
        }
        Err(ObjectError::Unavailable(
            "the object's directory keeps disappearing".to_owned(),
        ))
    }

    /// A neighbour's delete may remove each of them again before the next is made: that is for the caller to see.
    fn create_directories(&self, place: &Place) -> Result<()> {
        self.check_bucket(&place.bucket)?;
        let directory = place.directory();
        let ends = directory[place.bucket.len()..]
            .match_indices('/')
            .map(|(at, _)| place.bucket.len() + at);
        for end in ends.skip(1).chain([directory.len()]) {
            if end == place.bucket.len() {
                continue;
            }
            match rustix::fs::mkdirat(&self.root, &directory[..end], DIRECTORY_MODE) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(Errno::NOENT) => break,
                Err(error) => return Err(failure::object(error, "make the object's directory")),
            }
        }
        Ok(())
    }

    fn settle(&self, place: &Place, epoch: sync::Epoch) -> Result<()> {
        self.directories
            .settle(&self.root, &place.bucket, place.directory(), epoch)
            .map_err(|error| failure::object(error, "sync the object's directory"))
    }

    /// Moves a file from one name to another, if both locks agree; see [`super::LocalStore`] for the rules.
    pub(super) fn promote(
        &self,
        from: &Place,
        generation: &str,
        to: &Place,
        attributes: &ObjectAttributes,
    ) -> Result<ObjectInfo> {
        let epoch = self.directories.epoch();
        let mut done = None;
        self.with_directory(to, || {
            let _guard = self.locks.lock_both(&from.path, &to.path);
            let source = match self.open(from) {
                Ok(source) if source.record.generation == generation => source,
                other => {
                    let missing = matches!(other, Err(ObjectError::NotFound));
                    if !missing && other.is_err() {
                        return other.map(|_| Ok(()));
                    }
                    let there = self.current(to)?;
                    let same = there.as_ref().is_some_and(|there| there.generation == generation);
                    return match there {
                        Some(there) if missing || same => {
                            done = Some(there);
                            Ok(Ok(()))
                        }
                        _ if missing => Err(ObjectError::NotFound),
                        _ => Err(ObjectError::PreconditionFailed("generation")),
                    };
                }
            };
            // Attributes first: a crash in between leaves the staging object, whole and with the same generation, and
            // the promotion is done again.
            let record = source.record.with_attributes(attributes.clone());
            record.write(&source.file, OBJECT_XATTR)?;
            rustix::fs::fsync(&source.file).map_err(|error| failure::object(error, "sync the object"))?;
            done = Some(record.into_info());
            Ok(rustix::fs::renameat(&self.root, &from.path, &self.root, &to.path))
        })?;
        self.settle(to, epoch)?;
        self.prune(from)?;
        done.ok_or(ObjectError::NotFound)
    }

    /// Removes an object, if there is one.
    pub(super) fn remove(&self, place: &Place) -> Result<()> {
        let removed = {
            let _guard = self.locks.lock(&place.path);
            rustix::fs::unlinkat(&self.root, &place.path, AtFlags::empty())
        };
        match removed {
            Ok(()) => self.prune(place),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::ISDIR) => self.check_bucket(&place.bucket),
            Err(error) => Err(failure::object(error, "remove the object")),
        }
    }

    /// Removes the directories that a name has left empty, and makes all that durable.
    fn prune(&self, place: &Place) -> Result<()> {
        let mut directory = place.directory();
        while directory.len() > place.bucket.len() {
            match self.directories.remove_if_empty(&self.root, directory) {
                Ok(()) | Err(Errno::NOENT) => directory = sync::parent_of(directory),
                Err(Errno::NOTEMPTY | Errno::EXIST) => break,
                Err(error) => return Err(failure::object(error, "remove an empty directory")),
            }
        }
        self.directories
            .sync(&self.root, directory)
            .map_err(|error| failure::object(error, "sync the object's directory"))
    }

    /// What is known of the object at a place, if there is one.
    fn current(&self, place: &Place) -> Result<Option<ObjectInfo>> {
        match self.open(place) {
            Ok(opened) => Ok(Some(opened.record.into_info())),
            Err(ObjectError::NotFound) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Opens the file of an object and reads its attributes. Blocks.
    pub(super) fn open(&self, place: &Place) -> Result<Opened> {
        match super::open_file(&self.root, &place.path) {
            Ok(file) => Opened::new(file, &place.key),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {
                self.check_bucket(&place.bucket)?;
                Err(ObjectError::NotFound)
            }
            Err(error) => Err(failure::object(error, "open the object")),
        }
    }

    /// [`ObjectError::NoSuchBucket`] unless the bucket's directory is there.
    pub(super) fn check_bucket(&self, bucket: &str) -> Result<()> {
        match rustix::fs::statat(&self.root, bucket, AtFlags::empty()) {
            Ok(stat) if rustix::fs::FileType::from_raw_mode(stat.st_mode).is_dir() => Ok(()),
            Ok(_) | Err(Errno::NOENT) => Err(ObjectError::NoSuchBucket(bucket.to_owned())),
            Err(error) => Err(failure::object(error, "look at the bucket")),
        }
    }
}

/// An object's file, which stays what it is while the name may go to another.
pub(super) struct Opened {
    pub(super) file: rustix::fd::OwnedFd,
    pub(super) record: Record,
}

impl Opened {
    /// [`ObjectError::NotFound`] for what is not a plain file.
    pub(super) fn new(file: rustix::fd::OwnedFd, key: &str) -> Result<Self> {
        let stat = rustix::fs::fstat(&file).map_err(|error| failure::object(error, "look at the object"))?;
        if !rustix::fs::FileType::from_raw_mode(stat.st_mode).is_file() {
            return Err(ObjectError::NotFound);
        }
        let record = Record::read(&file, OBJECT_XATTR, &stat)?;
        Ok(Self {
            record: record.unwrap_or_else(|| Record::of_foreign_file(&stat, key)),
            file,
        })
    }
}
