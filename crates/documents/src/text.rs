//! Text strings of PDF (ISO 32000-2, 7.9.2.2): UTF-16, UTF-8 or PDFDocEncoding.

/// Characters of a title or name that are kept.
const LONGEST: usize = 500;

/// PDFDocEncoding where it differs from Latin-1 (ISO 32000-2, annex D.2), by ranges of code points.
const BREVES: [char; 8] = [
    '\u{2d8}', '\u{2c7}', '\u{2c6}', '\u{2d9}', '\u{2dd}', '\u{2db}', '\u{2da}', '\u{2dc}',
];
const SPECIALS: [char; 33] = [
    '\u{2022}', '\u{2020}', '\u{2021}', '\u{2026}', '\u{2014}', '\u{2013}', '\u{192}', '\u{2044}',
    '\u{2039}', '\u{203a}', '\u{2212}', '\u{2030}', '\u{201e}', '\u{201c}', '\u{201d}', '\u{2018}',
    '\u{2019}', '\u{201a}', '\u{2122}', '\u{fb01}', '\u{fb02}', '\u{141}', '\u{152}', '\u{160}', '\u{178}',
    '\u{17d}', '\u{131}', '\u{142}', '\u{153}', '\u{161}', '\u{17e}', '\u{fffd}', '\u{20ac}',
];

/// The text of a string, in one line and without control characters; nothing where nothing is left.
pub(crate) fn decode(bytes: &[u8]) -> Option<String> {
    let text = match bytes {
        [0xFE, 0xFF, rest @ ..] => utf16(rest, u16::from_be_bytes),
        [0xFF, 0xFE, rest @ ..] => utf16(rest, u16::from_le_bytes),
        [0xEF, 0xBB, 0xBF, rest @ ..] => String::from_utf8_lossy(rest).into_owned(),
        _ => bytes.iter().map(|byte| document_encoding(*byte)).collect(),
    };
    let one_line: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    let trimmed: String = one_line.trim().chars().take(LONGEST).collect();
    (!trimmed.is_empty()).then_some(trimmed)
}

fn utf16(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> String {
    let units = bytes.chunks_exact(2).map(|pair| unit([pair[0], pair[1]]));
    let decoded: String = char::decode_utf16(units)
        .map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER))
        .collect();
    // A language may be named between two escapes (7.9.2.2); it is no text.
    let mut parts = decoded.split('\u{1b}');
    let mut text = parts.next().unwrap_or_default().to_owned();
    while let (Some(_language), Some(part)) = (parts.next(), parts.next()) {
        text.push_str(part);
    }
    text
}

fn document_encoding(byte: u8) -> char {
    match byte {
        0x18..=0x1F => BREVES[usize::from(byte - 0x18)],
        0x80..=0xA0 => SPECIALS[usize::from(byte - 0x80)],
        _ => byte.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_encoding_is_read() {
        assert_eq!(decode(b"Caf\xE9 \x84 10 \xA0"), Some("Café — 10 €".to_owned()));
        assert_eq!(decode(b"\xFE\xFF\x04\x1F\x04\x40"), Some("Пр".to_owned()));
        assert_eq!(decode(b"\xFF\xFE\x1F\x04\x40\x04"), Some("Пр".to_owned()));
        assert_eq!(decode(b"\xEF\xBB\xBF\xD0\x9F"), Some("П".to_owned()));
        assert_eq!(decode(b"\xFE\xFF\0\x1B\0e\0n\0\x1B\0A"), Some("A".to_owned()));
    }

    #[test]
    fn nothing_is_left_of_blanks_and_half_characters_are_replaced() {
        assert_eq!(decode(b" \t\n "), None);
        assert_eq!(decode(b"\xFE\xFF"), None);
        assert_eq!(decode(b"\xFE\xFF\xD8\x00\0A"), Some("\u{fffd}A".to_owned()));
        assert_eq!(decode(b"\xFE\xFF\0A\x04"), Some("A".to_owned()));
        assert_eq!(decode(&[b'x'; 10_000]).map(|text| text.len()), Some(LONGEST));
    }
}
