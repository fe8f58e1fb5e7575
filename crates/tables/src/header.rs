//! Whether a first row names the columns, and the names.
//!
//! Nothing in a CSV file says whether it has a header, so this is a judgement, by columns:
//!
//! 1. A first cell that is text, above a column of numbers, dates or truth values: for a header.
//! 2. A first cell that is a number, a date or a truth value: against one. A year above a column of other things is
//!    neither (`country;2024;2025`).
//! 3. A first cell that comes again among the first values of its column: against one.
//! 4. More for than against: a header. More against: none. A draw: a header, if the first row is text without
//!    duplicates, because most files have one.
//! 5. A first row alone is a header if all of it is text.

use std::collections::HashSet;

use crate::COLUMN_NAME_CHARS;

/// How many rows are looked at.
pub(crate) const MAX_SAMPLE_ROWS: usize = 100;

/// What a cell looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    Empty,
    /// A number, a date, a time, or a truth value.
    Typed,
    Year,
    Text,
}

/// Judges whether `first` is a header over the rows of `body`.
pub(crate) fn names_columns<Row: AsRef<[String]>>(first: &[String], body: &[Row]) -> bool {
    let looks: Vec<Look> = first.iter().map(|cell| look(cell)).collect();
    if looks.iter().all(|&look| look == Look::Empty) {
        return false;
    }
    let (mut pro, mut contra) = (0, 0);
    for (column, &head) in looks.iter().enumerate() {
        let cells = || body.iter().filter_map(|row| row.as_ref().get(column));
        let (mut typed, mut years, mut filled, mut again) = (0, 0, 0, false);
        for cell in cells() {
            let look = look(cell);
            filled += usize::from(look != Look::Empty);
            typed += usize::from(matches!(look, Look::Typed | Look::Year));
            years += usize::from(look == Look::Year);
            again |= cell == &first[column];
        }
        let mostly = |part: usize| part > 0 && part * 5 >= filled * 4;
        match head {
            Look::Text if mostly(typed) => pro += 1,
            Look::Text if again => contra += 1,
            Look::Typed => contra += 1,
            Look::Year if mostly(years) || filled == 0 => contra += 1,
            Look::Text | Look::Year | Look::Empty => {}
        }
    }
    if body.is_empty() || pro == contra {
        let mut seen = HashSet::new();
        return contra == 0
            && first
                .iter()
                .zip(&looks)
                .all(|(cell, &look)| look == Look::Empty || seen.insert(cell.trim()));
    }
    pro > contra
}

/// What the cell looks like, in the notations that spreadsheets write.
fn look(cell: &str) -> Look {
    let cell = cell.trim();
    if cell.is_empty() {
        return Look::Empty;
    }
    if cell.len() > 40 {
        return Look::Text;
    }
    let year = cell.len() == 4
        && cell
            .parse::<u32>()
            .is_ok_and(|year| (1900..=2100).contains(&year));
    if year {
        return Look::Year;
    }
    let truth = ["true", "false"]
        .iter()
        .any(|word| cell.eq_ignore_ascii_case(word));
    if truth || is_number(cell) || is_date_or_time(cell) {
        Look::Typed
    } else {
        Look::Text
    }
}

/// Digits with signs, separators of thousands and decimals, an exponent, a percent sign or a currency's.
fn is_number(cell: &str) -> bool {
    let body = cell.trim_start_matches(['+', '-', '(', '$', '€', '£', '₽', ' ']);
    let body = body.trim_end_matches(['%', ')', '$', '€', '£', '₽', ' ']);
    let mut letters = body.chars().filter(char::is_ascii_alphabetic);
    let exponent = match (letters.next(), letters.next()) {
        (None, _) => true,
        (Some(letter), None) => letter.eq_ignore_ascii_case(&'e') && !body.ends_with(letter),
        _ => false,
    };
    exponent
        && body.starts_with(|first: char| first.is_ascii_digit() || first == '.')
        && body.chars().any(|digit| digit.is_ascii_digit())
        && body.chars().all(|letter| {
            letter.is_ascii_alphanumeric()
                || matches!(letter, '.' | ',' | ' ' | '\u{A0}' | '\u{202F}' | '\'' | '+' | '-')
        })
}

/// Two or three groups of digits between `-`, `/`, `.` or `:`, perhaps with a time zone.
fn is_date_or_time(cell: &str) -> bool {
    let separators = cell
        .chars()
        .filter(|letter| matches!(letter, '-' | '/' | '.' | ':'))
        .count();
    let digits = cell.chars().filter(char::is_ascii_digit).count();
    separators > 0
        && digits >= 3
        && cell.starts_with(|first: char| first.is_ascii_digit())
        && cell.chars().all(|letter| {
            letter.is_ascii_digit()
                || matches!(
                    letter,
                    '-' | '/' | '.' | ':' | ' ' | '+' | 'T' | 'Z' | 'A' | 'P' | 'M'
                )
        })
}

/// A name as it is reported: blanks and control characters become single spaces, none at the ends, and it is cut at
/// [`COLUMN_NAME_CHARS`].
pub(crate) fn clean_name(name: &str) -> String {
    let mut cleaned = String::new();
    let words =
        name.split(|letter: char| letter.is_whitespace() || letter.is_control() || letter == '\u{FEFF}');
    for word in words.filter(|word| !word.is_empty()) {
        if !cleaned.is_empty() {
            cleaned.push(' ');
        }
        cleaned.push_str(word);
    }
    match cleaned.char_indices().nth(COLUMN_NAME_CHARS) {
        Some((end, _)) => cleaned[..end].trim_end().to_owned(),
        None => cleaned,
    }
}
