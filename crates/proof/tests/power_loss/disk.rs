//! A disk that keeps only what was synced.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;
use std::process::Command;

use crate::trace::Event;

/// Files by number, names as processes see them, and names that would survive.
pub struct Disk {
    root: String,
    /// The file that each path leads to now.
    names: HashMap<String, usize>,
    /// Whether a file has changes that were not synced.
    dirty: Vec<bool>,
    directories: HashSet<String>,
    durable: BTreeMap<String, usize>,
    durable_directories: HashSet<String>,
    torn: Vec<String>,
    syncs: usize,
}

fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(parent, _)| parent)
}

impl Disk {
    /// An empty one, as far as this directory goes.
    pub fn new(root: &Path) -> Self {
        let root = root.to_str().expect("UTF-8").to_owned();
        Self {
            durable_directories: HashSet::from([root.clone()]),
            directories: HashSet::from([root.clone()]),
            root,
            names: HashMap::new(),
            dirty: Vec::new(),
            durable: BTreeMap::new(),
            torn: Vec::new(),
            syncs: 0,
        }
    }

    /// Names that files got before their bytes were synced.
    pub fn torn(&self) -> &[String] {
        &self.torn
    }

    /// How many syncs there were.
    pub fn syncs(&self) -> usize {
        self.syncs
    }

    fn file(&mut self, path: &str) -> usize {
        if let Some(file) = self.names.get(path) {
            return *file;
        }
        self.dirty.push(true);
        self.names.insert(path.to_owned(), self.dirty.len() - 1);
        self.dirty.len() - 1
    }

    /// A name that others can see: not of ours alone, like those below `.tmp`.
    fn is_shown(&self, path: &str) -> bool {
        let inside = path
            .strip_prefix(&self.root)
            .and_then(|rest| rest.strip_prefix('/'));
        inside.is_some_and(|inside| !inside.starts_with('.'))
    }

    fn named(&mut self, file: usize, to: &str) {
        if self.dirty[file] && self.is_shown(to) {
            self.torn.push(to.to_owned());
        }
        self.names.insert(to.to_owned(), file);
    }

    /// What a call does.
    pub fn apply(&mut self, event: &Event) {
        match event {
            Event::Made(path) => {
                if !self.directories.contains(path) {
                    self.file(path);
                }
            }
            Event::Changed(path) if path.starts_with(&self.root) => {
                let file = self.file(path);
                self.dirty[file] = true;
            }
            Event::Synced(path) => self.synced(path),
            Event::Linked { from, to } => {
                let file = self.file(from);
                self.named(file, to);
            }
            Event::Renamed { from, to } => {
                if self.directories.remove(from) {
                    self.directories.insert(to.clone());
                } else if let Some(file) = self.names.remove(from) {
                    self.named(file, to);
                }
            }
            Event::Unlinked(path) => {
                self.names.remove(path);
                self.directories.remove(path);
            }
            Event::MadeDirectory(path) => {
                self.directories.insert(path.clone());
            }
            Event::Changed(_) | Event::Acknowledged(_) => {}
        }
    }

    fn synced(&mut self, path: &str) {
        self.syncs += 1;
        if !self.directories.contains(path) {
            let file = self.file(path);
            self.dirty[file] = false;
            return;
        }
        // Names in this directory, and no others, are what they are now.
        self.durable.retain(|name, _| parent(name) != path);
        self.durable_directories
            .retain(|name| parent(name) != path || *name == self.root);
        let here = |name: &&String| parent(name) == path;
        self.durable_directories
            .extend(self.directories.iter().filter(here).cloned());
        for (name, file) in self.names.iter().filter(|(name, _)| parent(name) == path) {
            self.durable.insert(name.clone(), *file);
        }
    }

    /// Writes what would survive now: objects do not change, so their bytes are those of the end.
    pub fn write_out(&self, target: &Path) {
        for (name, file) in &self.durable {
            let mut above = parent(name);
            while above.len() > self.root.len() && self.durable_directories.contains(above) {
                above = parent(above);
            }
            let reachable = above == self.root;
            if self.dirty[*file] || !reachable || !self.is_shown(name) {
                continue;
            }
            // Gone again by the end: it was of no object that is asked for.
            if !Path::new(name).exists() {
                continue;
            }
            let to = target.join(&name[self.root.len() + 1..]);
            std::fs::create_dir_all(to.parent().expect("inside")).expect("a directory");
            // With extended attributes, which hold those of the object.
            let copied = Command::new("cp").arg("--archive").arg(name).arg(&to).status();
            assert!(copied.expect("cp is there").success());
        }
    }
}
