//! Lists of keys, in byte order of the keys.
//!
//! A directory is a node whose keys all begin alike, so it can wait, unread, in a heap with the keys around it until
//! its turn comes; that also puts the keys of continued names (`%+`) where they belong. A directory of any size is
//! read in slices, so that memory is bounded by the page and not by the bucket.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use cloakroom_core::ports::objects::{ListOptions, ListedObject, ObjectError, ObjectList, Result};
use rustix::fs::FileType;
use rustix::io::Errno;

use super::names::Opened;
use super::{Shared, failure, layout, open_directory, open_file};
use crate::bucket_name::is_legal_name;

/// Most keys on a page (S3 API, `ListObjectsV2`, `max-keys`).
const PAGE_KEYS_MAX: u32 = 1_000;

/// A key, or a directory with the text that all of its keys begin with.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Node {
    text: String,
    kind: NodeKind,
    /// Below the root; of a directory with `/` at the end.
    path: String,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum NodeKind {
    Key,
    Directory,
    /// What is left of a directory after `text`, whose entries begin with this.
    Rest {
        prefix: String,
        after_directory: bool,
    },
}

enum Found {
    Object(ListedObject),
    CommonPrefix(String),
}

impl Found {
    fn text(&self) -> &str {
        match self {
            Self::Object(object) => &object.key,
            Self::CommonPrefix(prefix) => prefix,
        }
    }
}

struct Walk<'a> {
    shared: &'a Shared,
    options: &'a ListOptions,
    bucket: &'a str,
    heap: BinaryHeap<Reverse<Node>>,
    /// So many entries of a directory are taken at once.
    slice: usize,
    /// The common prefix that was found last.
    folded: Option<String>,
}

/// A page of keys. Blocks.
pub(super) fn list(shared: &Shared, bucket: &str, options: &ListOptions) -> Result<ObjectList> {
    if !is_legal_name(bucket) {
        return Err(ObjectError::NoSuchBucket(bucket.to_owned()));
    }
    shared.check_bucket(bucket)?;
    let limit = options.limit.min(PAGE_KEYS_MAX) as usize;
    if limit == 0 {
        return Ok(ObjectList::default());
    }
    let mut walk = Walk::new(shared, bucket, options, limit + 1);
    let mut page = ObjectList::default();
    let mut count = 0;
    let mut last = None;
    while let Some(found) = walk.next()? {
        if count == limit {
            page.next = last;
            break;
        }
        count += 1;
        last = Some(found.text().to_owned());
        match found {
            Found::Object(object) => page.objects.push(object),
            Found::CommonPrefix(prefix) => page.common_prefixes.push(prefix),
        }
    }
    Ok(page)
}

impl<'a> Walk<'a> {
    fn new(shared: &'a Shared, bucket: &'a str, options: &'a ListOptions, slice: usize) -> Self {
        let directory = options.prefix.rfind('/').map_or("", |at| &options.prefix[..=at]);
        let start = Node {
            text: directory.to_owned(),
            kind: NodeKind::Directory,
            path: format!("{bucket}/{}", layout::directory_of_prefix(directory)),
        };
        let mut walk = Self {
            shared,
            options,
            bucket,
            heap: BinaryHeap::from([Reverse(start)]),
            slice,
            folded: None,
        };
        walk.folded = options
            .after
            .clone()
            .filter(|after| walk.fold(after) == Some(after));
        walk
    }

    fn next(&mut self) -> Result<Option<Found>> {
        while let Some(Reverse(node)) = self.heap.pop() {
            if !matches!(node.kind, NodeKind::Rest { .. }) && self.is_folded(&node.text) {
                continue;
            }
            match node.kind {
                NodeKind::Key => {
                    if let Some(found) = self.key(&node)? {
                        return Ok(Some(found));
                    }
                }
                NodeKind::Directory => {
                    let prefix = self.fold(&node.text).map(str::to_owned);
                    // Where the page begins inside of the directory, its keys must be looked at one by one.
                    let begins_inside = self
                        .options
                        .after
                        .as_ref()
                        .is_some_and(|after| after.starts_with(&node.text));
                    match prefix {
                        Some(prefix) if !begins_inside => {
                            if self.has_key(&node.path)? {
                                self.folded = Some(prefix.clone());
                                return Ok(Some(Found::CommonPrefix(prefix)));
                            }
                        }
                        _ => self.expand(&node.path, &node.text, None)?,
                    }
                }
                NodeKind::Rest {
                    prefix,
                    after_directory,
                } => {
                    self.expand(&node.path, &prefix, Some((&node.text, after_directory)))?;
                }
            }
        }
        Ok(None)
    }

    /// What a key adds to the page: itself, or the prefix that stands for it.
    fn key(&mut self, node: &Node) -> Result<Option<Found>> {
        if !self.is_canonical(node) {
            return Ok(None);
        }
        let Some(prefix) = self.fold(&node.text).map(str::to_owned) else {
            return Ok(self.look_at(node)?.map(Found::Object));
        };
        self.folded = Some(prefix.clone());
        Ok(Some(Found::CommonPrefix(prefix)))
    }

    /// The part of a text up to the first delimiter after the prefix.
    fn fold<'t>(&self, text: &'t str) -> Option<&'t str> {
        let ListOptions {
            prefix, delimiter, ..
        } = self.options;
        if delimiter.is_empty() {
            return None;
        }
        let at = text.strip_prefix(prefix.as_str())?.find(delimiter.as_str())?;
        Some(&text[..prefix.len() + at + delimiter.len()])
    }

    fn is_folded(&self, text: &str) -> bool {
        self.folded
            .as_ref()
            .is_some_and(|folded| text.starts_with(folded.as_str()))
    }

    /// A file that was put where no key leads is not served, and so not listed.
    fn is_canonical(&self, node: &Node) -> bool {
        node.path[self.bucket.len() + 1..] == layout::key_to_path(&node.text)
    }

    fn look_at(&self, node: &Node) -> Result<Option<ListedObject>> {
        let opened = match open_file(&self.shared.root, &node.path) {
            Ok(file) => Opened::new(file, &node.text),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(None),
            Err(error) => return Err(failure::object(error, "open an object")),
        };
        match opened {
            Ok(opened) => Ok(Some(ListedObject {
                key: node.text.clone(),
                size_bytes: opened.record.size_bytes,
                modified_at: opened.record.modified_at(),
                etag: opened.record.etag,
            })),
            Err(ObjectError::NotFound) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Puts the entries of a directory on the heap that may matter: those after `floor`, as many as a page needs.
    fn expand(&mut self, path: &str, prefix: &str, floor: Option<(&String, bool)>) -> Result<()> {
        let mut nearest: BinaryHeap<(String, bool, String)> = BinaryHeap::new();
        let mut overflow = false;
        let mut text = String::new();
        read_directory(self.shared, path, |name, is_directory| {
            if decode(&mut text, prefix, name, is_directory).is_none()
                || !self.is_wanted(&text, is_directory)
                || floor.is_some_and(|(after, directory)| (&text, is_directory) <= (after, directory))
            {
                return Ok(true);
            }
            if nearest.len() == self.slice {
                overflow = true;
                if nearest
                    .peek()
                    .is_some_and(|(far, directory, _)| (&text, is_directory) > (far, *directory))
                {
                    return Ok(true);
                }
                nearest.pop();
            }
            nearest.push((text.clone(), is_directory, name.to_owned()));
            Ok(true)
        })?;
        if overflow && let Some((text, after_directory, _)) = nearest.peek() {
            self.heap.push(Reverse(Node {
                text: text.clone(),
                kind: NodeKind::Rest {
                    prefix: prefix.to_owned(),
                    after_directory: *after_directory,
                },
                path: path.to_owned(),
            }));
        }
        self.heap
            .extend(nearest.into_iter().map(|(text, is_directory, name)| {
                let (kind, end) = if is_directory {
                    (NodeKind::Directory, "/")
                } else {
                    (NodeKind::Key, "")
                };
                Reverse(Node {
                    text,
                    kind,
                    path: format!("{path}{name}{end}"),
                })
            }));
        Ok(())
    }

    fn is_wanted(&self, text: &str, is_directory: bool) -> bool {
        let ListOptions { prefix, after, .. } = self.options;
        let under_prefix = text.starts_with(prefix.as_str()) || is_directory && prefix.starts_with(text);
        let in_time = after
            .as_ref()
            .is_none_or(|after| text > after.as_str() || is_directory && after.starts_with(text));
        under_prefix && in_time && !self.is_folded(text)
    }

    /// Whether there is a key below a directory; a crash may have left an empty one.
    fn has_key(&self, path: &str) -> Result<bool> {
        let mut found = false;
        read_directory(self.shared, path, |name, is_directory| {
            found = if is_directory {
                self.has_key(&format!("{path}{name}/"))?
            } else {
                layout::path_to_key(&format!("{path}{name}")[self.bucket.len() + 1..]).is_some()
            };
            Ok(!found)
        })?;
        Ok(found)
    }
}

/// Puts the text that an entry of a directory stands for into `text`; `None` when it stands for none.
fn decode(text: &mut String, prefix: &str, name: &str, is_directory: bool) -> Option<()> {
    text.clear();
    text.push_str(prefix);
    if is_directory {
        layout::push_decoded_directory(text, name)
    } else {
        layout::push_decoded_file(text, name)
    }
}

/// Visits the files and directories in a directory until the visitor says stop. One that is gone has none.
fn read_directory(
    shared: &Shared,
    path: &str,
    mut visit: impl FnMut(&str, bool) -> Result<bool>,
) -> Result<()> {
    let fail = |error| failure::object(error, "read a directory");
    let directory = match open_directory(&shared.root, path) {
        Ok(directory) => directory,
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(()),
        Err(error) => return Err(fail(error)),
    };
    for entry in rustix::fs::Dir::read_from(&directory).map_err(fail)? {
        let entry = entry.map_err(fail)?;
        let Ok(name) = entry.file_name().to_str() else {
            continue;
        };
        let mut file_type = entry.file_type();
        if file_type == FileType::Unknown
            && let Ok(stat) = rustix::fs::statat(
                &directory,
                entry.file_name(),
                rustix::fs::AtFlags::SYMLINK_NOFOLLOW,
            )
        {
            file_type = FileType::from_raw_mode(stat.st_mode);
        }
        let go_on = match file_type {
            // Our directories never have a dot in their names; that leaves out `.` and `..`, too.
            FileType::Directory if !name.contains('.') => visit(name, true)?,
            FileType::RegularFile if !name.starts_with('.') => visit(name, false)?,
            _ => true,
        };
        if !go_on {
            break;
        }
    }
    Ok(())
}
