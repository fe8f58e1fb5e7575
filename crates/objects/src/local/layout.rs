//! Where a key lies on disk, so that a person finds `photos/2026/a.jpg` at `photos/2026/a.jpg`, and yet every legal
//! key has exactly one path and every path at most one key.
//!
//! A key is cut at `/` into segments; the last one becomes a file, the others directories.
//!
//! | rule | example | why |
//! |---|---|---|
//! | `%`, `\` and control characters are percent-encoded | `50%` → `50%25` | escapes stay unambiguous, names printable |
//! | `.` is percent-encoded in directories | `v1.2/x` → `v1%2E2/x.%` | directories never hold a `.` ... |
//! | a file name without `.` ends in `.%` | `n` → `n.%`, beside `n/b` → `n/b.%` | ... and files always do, so they cannot collide |
//! | a leading `.` of a file is percent-encoded | `.env` → `%2Eenv.%` | no hidden files, no `..` |
//! | an empty segment is `%` | `a//` → `a/%/%.%` | `/` cannot be repeated in a path |
//! | names over 200 bytes go on in a directory whose name ends in `%+` | | file systems stop at 255 bytes |
//!
//! Names are cut between characters, never inside of one or of an escape.

/// The longest name that this layout makes, in bytes.
const NAME_BYTES_MAX: usize = 200;

/// Ends the name of a directory in which the segment goes on.
const CONTINUED: &str = "%+";

/// Ends a file name that has no `.` of its own.
const WITHOUT_DOT: &str = ".%";

/// Stands for an empty segment.
const EMPTY: &str = "%";

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Directory,
    File,
}

/// The path of a key, relative to its bucket's directory. Any string is accepted; keys of up to 1,024 bytes have
/// paths of less than 3,300 bytes.
pub fn key_to_path(key: &str) -> String {
    let mut path = String::with_capacity(key.len() + 8);
    let mut segments = key.split('/').peekable();
    while let Some(segment) = segments.next() {
        if segments.peek().is_some() {
            push_segment(&mut path, segment, Kind::Directory);
            path.push('/');
        } else {
            push_segment(&mut path, segment, Kind::File);
        }
    }
    path
}

/// The key that lies at a path relative to its bucket's directory; `None` for a path that [`key_to_path`] does not
/// make.
pub fn path_to_key(path: &str) -> Option<String> {
    let mut key = String::with_capacity(path.len());
    let (directories, file) = path
        .rsplit_once('/')
        .map_or(("", path), |(directories, file)| (directories, file));
    if !directories.is_empty() {
        for name in directories.split('/') {
            push_decoded_directory(&mut key, name)?;
        }
    }
    push_decoded_file(&mut key, file)?;
    (key_to_path(&key) == path).then_some(key)
}

/// The directory in which keys lie that begin with `prefix`, which ends in `/` or is empty. Ends in `/` unless empty.
pub(super) fn directory_of_prefix(prefix: &str) -> String {
    let mut path = String::with_capacity(prefix.len());
    for segment in prefix.split_inclusive('/') {
        push_segment(
            &mut path,
            segment.strip_suffix('/').unwrap_or(segment),
            Kind::Directory,
        );
        path.push('/');
    }
    path
}

/// Appends what a directory's name says of the keys below it: the segment and `/`, or the beginning of a segment.
/// `None` when this layout does not make such names.
pub(super) fn push_decoded_directory(key: &mut String, name: &str) -> Option<()> {
    if name == EMPTY {
        key.push('/');
    } else if let Some(beginning) = name.strip_suffix(CONTINUED) {
        push_decoded(key, beginning)?;
    } else {
        push_decoded(key, name)?;
        key.push('/');
    }
    Some(())
}

/// Appends what a file's name says: the rest of its key. `None` when this layout does not make such names.
pub(super) fn push_decoded_file(key: &mut String, name: &str) -> Option<()> {
    let name = name.strip_suffix(WITHOUT_DOT).unwrap_or(name);
    if name == EMPTY {
        Some(())
    } else {
        push_decoded(key, name)
    }
}

fn push_segment(path: &mut String, segment: &str, kind: Kind) {
    let mut rest = segment;
    loop {
        let start = path.len();
        push_name(path, rest, kind);
        if path.len() - start <= NAME_BYTES_MAX {
            return;
        }
        path.truncate(start);
        let mut taken = 0;
        for character in rest.chars() {
            let before = path.len();
            push_character(path, character, Kind::Directory);
            if path.len() - start > NAME_BYTES_MAX - CONTINUED.len() {
                path.truncate(before);
                break;
            }
            taken += character.len_utf8();
        }
        path.push_str(CONTINUED);
        path.push('/');
        rest = &rest[taken..];
    }
}

fn push_name(path: &mut String, segment: &str, kind: Kind) {
    let start = path.len();
    if segment.is_empty() {
        path.push_str(EMPTY);
    }
    for (offset, character) in segment.char_indices() {
        push_character(path, character, if offset == 0 { Kind::Directory } else { kind });
    }
    if kind == Kind::File && !path[start..].contains('.') {
        path.push_str(WITHOUT_DOT);
    }
}

fn push_character(path: &mut String, character: char, kind: Kind) {
    let encode = match character {
        '%' | '\\' => true,
        '.' => kind == Kind::Directory,
        other => other.is_ascii_control(),
    };
    if encode {
        const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
        let code = character as usize;
        path.push('%');
        path.push(char::from(DIGITS[code >> 4 & 15]));
        path.push(char::from(DIGITS[code & 15]));
    } else {
        path.push(character);
    }
}

fn push_decoded(key: &mut String, name: &str) -> Option<()> {
    let mut pieces = name.split('%');
    key.push_str(pieces.next()?);
    for piece in pieces {
        let (digits, rest) = piece.split_at_checked(2)?;
        let byte = u8::from_str_radix(digits, 16).ok().filter(u8::is_ascii)?;
        key.push(char::from(byte));
        key.push_str(rest);
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn paths_are_as_documented() {
        let long = "x".repeat(300);
        let table = [
            ("photos/2026/a.jpg", "photos/2026/a.jpg"),
            ("n", "n.%"),
            ("n/b", "n/b.%"),
            ("n.%", "n.%25"),
            ("v1.2/x", "v1%2E2/x.%"),
            (".env", "%2Eenv.%"),
            (".a.b", "%2Ea.b"),
            ("../x", "%2E%2E/x.%"),
            ("..", "%2E."),
            (".", "%2E.%"),
            ("a/", "a/%.%"),
            ("/", "%/%.%"),
            ("%", "%25.%"),
            ("e//f/./g", "e/%/f/%2E/g.%"),
            ("tab\there\\", "tab%09here%5C.%"),
            ("Ünïcode/日本.txt", "Ünïcode/日本.txt"),
            (
                long.as_str(),
                &format!("{}%+/{}.%", "x".repeat(198), "x".repeat(102)),
            ),
        ];
        for (key, path) in table {
            assert_eq!(key_to_path(key), path, "{key:?}");
            assert_eq!(path_to_key(path).as_deref(), Some(key), "{path:?}");
        }
    }

    #[test]
    fn foreign_paths_are_no_keys() {
        for path in [
            "", "a", "a.b/c.d", ".hidden", "a%41.b", "a%2e.%", "a.%/b.%", "x%+/y.%", "a%ZZ.b", "a%F0.b",
            "a/b",
        ] {
            assert_eq!(path_to_key(path), None, "{path:?}");
        }
    }

    #[test]
    fn the_longest_keys_stay_below_path_max() {
        for unit in ["\u{1}", "%", "/", ".", "./", "a/", "é", "𝄞", "%/", "\\", "//."] {
            let key = unit.repeat(1024 / unit.len());
            let path = key_to_path(&key);
            assert!(path.len() < 3_300, "{unit:?}: {}", path.len());
            assert!(
                path.split('/')
                    .all(|name| (1..=NAME_BYTES_MAX).contains(&name.len())),
                "{unit:?}"
            );
            assert_eq!(path_to_key(&path), Some(key), "{unit:?}");
        }
    }

    fn keys() -> impl Strategy<Value = String> {
        let awkward = prop::collection::vec(
            prop_oneof![
                Just("/".to_owned()),
                Just(".".to_owned()),
                Just("%".to_owned()),
                Just("%+".to_owned()),
                Just("%2E".to_owned()),
                Just("\\\0".to_owned()),
                "[a-z]{1,60}",
                "\\PC{1,20}",
            ],
            1..40,
        );
        prop_oneof![any::<String>(), awkward.prop_map(|pieces| pieces.concat())]
            .prop_filter("1 to 1,024 bytes", |key| (1..=1024).contains(&key.len()))
    }

    proptest! {
        #[test]
        fn every_key_comes_back(key in keys()) {
            let path = key_to_path(&key);
            prop_assert!(!path.starts_with('/') && !path.ends_with('/') && !path.contains("//"));
            let names: Vec<_> = path.split('/').collect();
            let (file, directories) = names.split_last().unwrap();
            prop_assert!(file.contains('.') && !file.starts_with('.'));
            prop_assert!(directories.iter().all(|name| !name.contains('.')));
            prop_assert!(names.iter().all(|name| name.len() <= NAME_BYTES_MAX && !name.contains('\0')));
            prop_assert_eq!(path_to_key(&path), Some(key));
        }

        #[test]
        fn two_keys_never_share_a_path(one in keys(), other in keys()) {
            prop_assert_eq!(key_to_path(&one) == key_to_path(&other), one == other);
        }

        #[test]
        fn no_path_has_a_key_that_lies_elsewhere(path in "[a.%+/25E]{1,12}") {
            if let Some(key) = path_to_key(&path) {
                prop_assert_eq!(key_to_path(&key), path);
            }
        }

        #[test]
        fn a_prefix_leads_to_its_directory(key in keys()) {
            if let Some(at) = key.rfind('/') {
                prop_assert!(key_to_path(&key).starts_with(&directory_of_prefix(&key[..=at])));
            }
        }
    }
}
