//! Buckets: directories below the root.

use cloakroom_core::ports::objects::{Bucket, ObjectError, Result};
use jiff::Timestamp;
use rustix::fs::{AtFlags, FileType, StatxFlags, XattrFlags};
use rustix::io::Errno;

use super::names::DIRECTORY_MODE;
use super::{Shared, attributes, failure, multipart, open_directory};
use crate::bucket_name::is_legal_name;

/// When a bucket was made, RFC 3339. A directory's own times change with its content.
const CREATED_XATTR: &str = "user.cloakroom.created";

/// Every bucket, by name.
pub(super) fn all(shared: &Shared) -> Result<Vec<Bucket>> {
    let names = directory_names(shared, ".")?;
    let mut buckets = Vec::new();
    for name in names.into_iter().filter(|name| is_legal_name(name)) {
        match one(shared, &name) {
            Ok(bucket) => buckets.push(bucket),
            Err(ObjectError::NoSuchBucket(_)) => {}
            Err(error) => return Err(error),
        }
    }
    buckets.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(buckets)
}

/// One bucket.
pub(super) fn one(shared: &Shared, name: &str) -> Result<Bucket> {
    if !is_legal_name(name) {
        return Err(ObjectError::NoSuchBucket(name.to_owned()));
    }
    shared.check_bucket(name)?;
    let created_at = created_at(shared, name).map_err(|error| match error {
        Errno::NOENT => ObjectError::NoSuchBucket(name.to_owned()),
        error => failure::object(error, "look at the bucket"),
    })?;
    Ok(Bucket {
        name: name.to_owned(),
        created_at,
    })
}

/// Makes a bucket.
pub(super) fn create(shared: &Shared, name: &str) -> Result<()> {
    if !is_legal_name(name) {
        return Err(ObjectError::InvalidArgument(format!(
            "{name:?} is not a legal bucket name"
        )));
    }
    let fail = |error| failure::object(error, "make the bucket");
    match rustix::fs::mkdirat(&shared.root, name, DIRECTORY_MODE) {
        Ok(()) => {}
        Err(Errno::EXIST) => return Err(ObjectError::BucketExists),
        Err(error) => return Err(fail(error)),
    }
    let directory = open_directory(&shared.root, name).map_err(fail)?;
    let stat = rustix::fs::fstat(&directory).map_err(fail)?;
    let created_at = attributes::modified_at(&stat).to_string();
    rustix::fs::fsetxattr(
        &directory,
        CREATED_XATTR,
        created_at.as_bytes(),
        XattrFlags::empty(),
    )
    .map_err(fail)?;
    rustix::fs::fsync(&directory).map_err(fail)?;
    shared.directories.sync(&shared.root, ".").map_err(fail)
}

/// Removes a bucket without objects, and the multipart uploads into it.
pub(super) fn delete(shared: &Shared, name: &str) -> Result<()> {
    if !is_legal_name(name) {
        return Err(ObjectError::NoSuchBucket(name.to_owned()));
    }
    shared.check_bucket(name)?;
    remove_empty_tree(shared, name).map_err(|error| match error {
        Errno::NOTEMPTY | Errno::EXIST => ObjectError::BucketNotEmpty,
        error => failure::object(error, "remove the bucket"),
    })?;
    shared
        .directories
        .sync(&shared.root, ".")
        .map_err(|error| failure::object(error, "remove the bucket"))?;
    multipart::discard_bucket(shared, name)
}

/// Removes a directory that holds nothing but directories. `NOTEMPTY` at the first file.
fn remove_empty_tree(shared: &Shared, path: &str) -> rustix::io::Result<()> {
    match shared.directories.remove_if_empty(&shared.root, path) {
        Err(Errno::NOTEMPTY | Errno::EXIST) => {}
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(error) => return Err(error),
    }
    for entry in rustix::fs::Dir::read_from(open_directory(&shared.root, path)?)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().to_str() else {
            return Err(Errno::NOTEMPTY);
        };
        if name != "." && name != ".." {
            if entry.file_type() != FileType::Directory {
                return Err(Errno::NOTEMPTY);
            }
            remove_empty_tree(shared, &format!("{path}/{name}"))?;
        }
    }
    shared.directories.remove_if_empty(&shared.root, path)
}

fn created_at(shared: &Shared, name: &str) -> rustix::io::Result<Timestamp> {
    let directory = open_directory(&shared.root, name)?;
    let mut text = [0_u8; 64];
    if let Ok(length) = rustix::fs::fgetxattr(&directory, CREATED_XATTR, &mut text[..])
        && let Some(time) = std::str::from_utf8(&text[..length])
            .ok()
            .and_then(|text| text.parse().ok())
    {
        return Ok(time);
    }
    // A directory that was made by hand: its birth, where the file system knows that.
    let stat = rustix::fs::statx(
        &directory,
        "",
        AtFlags::EMPTY_PATH,
        StatxFlags::BTIME | StatxFlags::MTIME,
    )?;
    let time = if stat.stx_mask & StatxFlags::BTIME.bits() == 0 {
        stat.stx_mtime
    } else {
        stat.stx_btime
    };
    let microseconds = i64::from(time.tv_nsec / 1_000);
    Ok(Timestamp::from_microsecond(time.tv_sec * 1_000_000 + microseconds).unwrap_or_default())
}

/// Names of the directories in a directory, in no order; what is not UTF-8 was not made by us.
pub(super) fn directory_names(shared: &Shared, path: &str) -> Result<Vec<String>> {
    let read = || -> rustix::io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::read_from(open_directory(&shared.root, path)?)? {
            let entry = entry?;
            let is_directory = matches!(entry.file_type(), FileType::Directory | FileType::Unknown);
            if let Ok(name) = entry.file_name().to_str()
                && is_directory
                && !matches!(name, "." | "..")
            {
                names.push(name.to_owned());
            }
        }
        Ok(names)
    };
    match read() {
        Ok(names) => Ok(names),
        Err(Errno::NOENT) => Ok(Vec::new()),
        Err(error) => Err(failure::object(error, "read a directory")),
    }
}
