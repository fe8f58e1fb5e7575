//! Names that come from a server, made safe for a local directory.
//!
//! A file name of the server is somebody else's text. It must never be a path, never hide a file, never look like
//! an option of the next command, and always fit the file system together with our endings.

use super::error::is_bidi_control;

/// Longest name that is written, in bytes: file systems take 255, and a partial download adds an ending.
const NAME_BYTES_MAX: usize = 230;

/// The name to save under; `fallback` (the file id) where nothing usable is left.
pub fn sanitised(name: &str, fallback: &str) -> String {
    let cleaned: String = name
        .chars()
        .map(|c| match c {
            '/' | '\\' | ':' => '_',
            c => c,
        })
        .filter(|c| !c.is_control() && !is_bidi_control(*c))
        .collect();
    let trimmed = cleaned.trim();
    // `.bashrc` in a home directory, `-rf` before a glob.
    let visible = match trimmed.strip_prefix(['.', '-']) {
        Some(rest) => format!("_{rest}"),
        None => trimmed.to_owned(),
    };
    if visible.chars().all(|c| matches!(c, '.' | '_' | ' ')) {
        return fallback.to_owned();
    }
    shortened(&visible)
}

/// Cut in the middle of the stem, on a character boundary, so that the ending survives.
fn shortened(name: &str) -> String {
    if name.len() <= NAME_BYTES_MAX {
        return name.to_owned();
    }
    let (stem, ending) = match name.rfind('.') {
        Some(dot) if name.len() - dot <= 20 => name.split_at(dot),
        _ => (name, ""),
    };
    let mut end = NAME_BYTES_MAX - ending.len();
    while !stem.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{ending}", &stem[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_becomes_a_name() {
        for (hostile, safe) in [
            ("report.pdf", "report.pdf"),
            ("Отчёт за май.csv", "Отчёт за май.csv"),
            ("../../etc/passwd", "_._.._etc_passwd"),
            ("/etc/passwd", "_etc_passwd"),
            ("..\\..\\boot.ini", "_._.._boot.ini"),
            ("C:\\x", "C__x"),
            (".bashrc", "_bashrc"),
            ("-rf", "_rf"),
            ("a\0b\nc\x1b[2Jd", "abc[2Jd"),
            ("gpj.\u{202e}exe", "gpj.exe"),
            ("  padded.txt  ", "padded.txt"),
            ("..", "the-id"),
            (".", "the-id"),
            ("", "the-id"),
            ("/", "the-id"),
            ("...", "the-id"),
        ] {
            assert_eq!(sanitised(hostile, "the-id"), safe, "{hostile:?}");
        }
    }

    #[test]
    fn a_long_name_keeps_its_ending_and_fits() {
        let name = sanitised(&format!("{}.pdf", "ж".repeat(255)), "the-id");
        assert!(name.len() <= NAME_BYTES_MAX && name.ends_with("ж.pdf"), "{name}");
        assert!(sanitised(&"x".repeat(300), "the-id").len() <= NAME_BYTES_MAX);
    }

    proptest::proptest! {
        #[test]
        fn every_name_stays_in_its_directory(name in ".*") {
            let safe = sanitised(&name, "the-id");
            let path = std::path::Path::new(&safe);
            proptest::prop_assert_eq!(path.components().count(), 1);
            proptest::prop_assert!(matches!(path.components().next(), Some(std::path::Component::Normal(_))));
            proptest::prop_assert!(safe.len() <= NAME_BYTES_MAX && !safe.starts_with(['.', '-']));
        }
    }
}
