//! Words of a search, split once here so that every database finds the same (SQLite folds only ASCII, and no
//! engine joins `ё` and `е`).

use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

/// Words longer than this are cut, in characters.
const WORD_CHARS_MAX: usize = 64;
/// More words than this are dropped.
const WORDS_MAX: usize = 256;

/// Splits text into search words: compatibility-decomposed, lower-case, without combining marks (`Отчёт` and
/// `отчет` are one word, `é` is `e`), split wherever there is no letter or digit.
pub fn words(text: &str) -> Vec<String> {
    let folded: String = text
        .nfkd()
        .filter(|c| !is_combining_mark(*c))
        .flat_map(char::to_lowercase)
        .collect();
    // Lower-casing may bring new marks (Turkish dotted I), so they are dropped once more.
    let folded: String = folded.nfkd().filter(|c| !is_combining_mark(*c)).collect();
    folded
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(|word| word.chars().take(WORD_CHARS_MAX).collect())
        .take(WORDS_MAX)
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::words;

    #[test]
    fn latin_and_cyrillic_fold() {
        assert_eq!(
            words("Отчёт_за МАЙ-2025.pdf"),
            ["отчет", "за", "маи", "2025", "pdf"]
        );
        assert_eq!(words("Résumé (final).DOCX"), ["resume", "final", "docx"]);
        assert_eq!(words("İSTANBUL ﬁne"), ["istanbul", "fine"]);
        assert!(words(" _-.\0").is_empty());
    }

    proptest! {
        #[test]
        fn folding_twice_changes_nothing(text in ".{0,80}") {
            let once = words(&text);
            prop_assert_eq!(words(&once.join(" ")), once);
        }
    }
}
