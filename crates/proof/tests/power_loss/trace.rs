//! Reads what `strace -f -y` writes.

use std::collections::HashMap;

/// Calls that change files, names, or say what was acknowledged.
pub const CALLS: &str = "openat,write,pwrite64,writev,pwritev,copy_file_range,sendfile,ftruncate,fallocate,fsetxattr,\
    fremovexattr,ioctl,fsync,fdatasync,linkat,renameat,renameat2,rename,unlinkat,mkdirat,mkdir";

/// A call that has succeeded. Paths are absolute.
#[derive(Debug)]
pub enum Event {
    /// A file was made, under this name (one without a name has one that nobody can open).
    Made(String),
    /// Bytes or attributes of a file were changed.
    Changed(String),
    /// A file or directory was synced.
    Synced(String),
    /// A file got a name.
    Linked { from: String, to: String },
    /// A file or directory got another name.
    Renamed { from: String, to: String },
    /// A name was taken away.
    Unlinked(String),
    /// A directory was made.
    MadeDirectory(String),
    /// The process said that it was told so.
    Acknowledged(String),
}

/// Every event, in order.
pub fn events(text: &str) -> Vec<Event> {
    let mut reader = Reader::default();
    text.lines().filter_map(|line| reader.line(line)).collect()
}

#[derive(Default)]
struct Reader {
    /// Beginnings of calls that others came between.
    unfinished: HashMap<String, String>,
    /// Paths of open files.
    open: HashMap<String, String>,
}

impl Reader {
    fn line(&mut self, line: &str) -> Option<Event> {
        let (thread, call) = line.split_once(' ')?;
        let call = call.trim_start();
        if let Some(begun) = call.strip_suffix("<unfinished ...>") {
            self.unfinished.insert(thread.to_owned(), begun.to_owned());
            return None;
        }
        let whole = match call
            .strip_prefix("<... ")
            .and_then(|rest| rest.split_once(" resumed>"))
        {
            Some((_, rest)) => self.unfinished.remove(thread)? + rest,
            None => call.to_owned(),
        };
        self.call(&whole)
    }

    fn call(&mut self, call: &str) -> Option<Event> {
        let (name, rest) = call.split_once('(')?;
        // A call that another one came into is filled up with spaces.
        let (arguments, result) = rest.rsplit_once(" = ")?;
        let arguments = arguments.trim_end().strip_suffix(')')?;
        if result.starts_with('-') {
            return None;
        }
        let arguments = split(arguments);
        let first = arguments.first()?;
        match name {
            "openat" => {
                let path = path_of(result)?;
                let number = result.split('<').next()?.to_owned();
                self.open.insert(number, path.clone());
                let flags = arguments.get(2)?;
                let made = flags.contains("O_CREAT") || flags.contains("O_TMPFILE");
                made.then_some(Event::Made(path))
            }
            "write" | "writev" if first.starts_with("2<") => {
                let said = arguments.get(1)?.split_once("ACKNOWLEDGED ")?.1;
                Some(Event::Acknowledged(
                    said.split("\\n").next()?.trim_end_matches('"').to_owned(),
                ))
            }
            "write" | "pwrite64" | "writev" | "pwritev" | "ftruncate" | "fallocate" | "fsetxattr"
            | "fremovexattr" | "sendfile" => path_of(first).map(Event::Changed),
            "copy_file_range" => path_of(arguments.get(2)?).map(Event::Changed),
            "ioctl" if arguments.get(1)?.starts_with("FICLONE") => path_of(first).map(Event::Changed),
            "fsync" | "fdatasync" => path_of(first).map(Event::Synced),
            "linkat" => {
                let from = unquote(arguments.get(1)?);
                let from = match from.strip_prefix("/proc/self/fd/") {
                    Some(number) => self.open.get(number)?.clone(),
                    None if from.is_empty() => path_of(first)?,
                    None => joined(first, &from)?,
                };
                let to = joined(arguments.get(2)?, &unquote(arguments.get(3)?))?;
                Some(Event::Linked { from, to })
            }
            "renameat" | "renameat2" => {
                let from = joined(first, &unquote(arguments.get(1)?))?;
                let to = joined(arguments.get(2)?, &unquote(arguments.get(3)?))?;
                Some(Event::Renamed { from, to })
            }
            "unlinkat" => joined(first, &unquote(arguments.get(1)?)).map(Event::Unlinked),
            "mkdirat" => joined(first, &unquote(arguments.get(1)?)).map(Event::MadeDirectory),
            "mkdir" => Some(Event::MadeDirectory(unquote(first))),
            _ => None,
        }
    }
}

/// Arguments of a call; commas within quotes and brackets part nothing.
fn split(arguments: &str) -> Vec<String> {
    let (mut parts, mut part) = (Vec::new(), String::new());
    let (mut quoted, mut escaped, mut depth) = (false, false, 0_i32);
    for c in arguments.chars() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => quoted = !quoted,
            '[' | '{' | '<' if !quoted => depth += 1,
            ']' | '}' | '>' if !quoted => depth -= 1,
            ',' if !quoted && depth == 0 => {
                parts.push(std::mem::take(&mut part).trim().to_owned());
                continue;
            }
            _ => {}
        }
        part.push(c);
    }
    parts.push(part.trim().to_owned());
    parts
}

/// The path that a descriptor is shown with: `13</a/b>`.
fn path_of(descriptor: &str) -> Option<String> {
    let (_, path) = descriptor.split_once('<')?;
    let path = path
        .trim_end()
        .strip_suffix('>')
        .or_else(|| path.split_once(">(").map(|(path, _)| path))?;
    Some(path.trim_end_matches(" (deleted)").to_owned())
}

fn unquote(text: &str) -> String {
    text.trim_matches('"').to_owned()
}

fn joined(directory: &str, name: &str) -> Option<String> {
    if name.starts_with('/') {
        return Some(name.to_owned());
    }
    Some(format!("{}/{name}", path_of(directory)?))
}
