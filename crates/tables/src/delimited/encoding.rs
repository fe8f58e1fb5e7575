//! Which encoding a text is in, and whether its bytes belong to it.

use chardetng::{EncodingDetector, Iso2022JpDetection, Utf8Detection};
use encoding_rs::{Encoding, UTF_8, UTF_16BE, UTF_16LE};

use crate::Error;

/// What the beginning of a text says about its encoding.
pub(super) struct Detected {
    pub(super) encoding: &'static Encoding,
    /// Bytes of the byte order mark.
    pub(super) mark: usize,
}

/// Finds the encoding: a byte order mark, then what was declared, then the pattern of UTF-16, then UTF-8 if the bytes
/// are valid, then the guess by letter frequency.
pub(super) fn detect(head: &[u8], complete: bool, declared: Option<&str>) -> Result<Detected, Error> {
    if head.starts_with(&[0xFF, 0xFE, 0, 0]) || head.starts_with(&[0, 0, 0xFE, 0xFF]) {
        return Err(Error::Unsupported("text in UTF-32".to_owned()));
    }
    if let Some((encoding, mark)) = Encoding::for_bom(head) {
        return Ok(Detected { encoding, mark });
    }
    if let Some(label) = declared {
        let encoding = Encoding::for_label(label.as_bytes())
            .filter(|encoding| *encoding != encoding_rs::REPLACEMENT)
            .ok_or_else(|| Error::Unsupported(format!("the encoding {label:?}")))?;
        return Ok(Detected { encoding, mark: 0 });
    }
    if let Some(encoding) = utf_16_by_pattern(head) {
        return Ok(Detected { encoding, mark: 0 });
    }
    Ok(Detected {
        encoding: eight_bit(head, complete),
        mark: 0,
    })
}

/// UTF-16 without a mark: every second byte of ASCII is NUL, and a table has ASCII in any language, its delimiters and
/// line ends at least, while the other half has no NUL. The letters of an alphabet share their upper byte, so that few
/// others come in its place: this tells UTF-16 from text with a NUL in it.
fn utf_16_by_pattern(head: &[u8]) -> Option<&'static Encoding> {
    let (units, _) = head.as_chunks::<2>();
    let zeros = |half: usize| units.iter().filter(|unit| unit[half] == 0).count();
    let (encoding, high) = match (zeros(0), zeros(1)) {
        (0, 1..) => (UTF_16LE, 1),
        (1.., 0) => (UTF_16BE, 0),
        _ => return None,
    };
    let mut counts = [0_usize; 256];
    for unit in units {
        counts[usize::from(unit[high])] += 1;
    }
    let commonest = counts.iter().skip(1).max().copied().unwrap_or(0);
    let alphabet = counts[0] * 20 >= units.len() && (counts[0] + commonest) * 10 >= units.len() * 7;
    if !alphabet && counts[0] * 10 < units.len() * 4 {
        return None;
    }
    let mut decoder = encoding.new_decoder_without_bom_handling();
    let mut text = vec![0; head.len() * 2 + 16];
    let whole = units.as_flattened();
    let (result, _, _) = decoder.decode_to_utf8_without_replacement(whole, &mut text, false);
    (!matches!(result, encoding_rs::DecoderResult::Malformed(..))).then_some(encoding)
}

/// UTF-8, or an older encoding where the bytes are not. Text with more sound than broken sequences of UTF-8 is UTF-8
/// that is broken: in other encodings such sequences come by rare accident.
pub(super) fn eight_bit(text: &[u8], complete: bool) -> &'static Encoding {
    let (mut sound, mut broken) = (0_usize, 0_usize);
    let whole = if complete {
        text
    } else {
        &text[..text.len() - cut_sequence(text)]
    };
    for chunk in whole.utf8_chunks() {
        sound += chunk.valid().chars().filter(|letter| !letter.is_ascii()).count();
        broken += usize::from(!chunk.invalid().is_empty());
    }
    if broken == 0 || sound >= broken && sound > 0 {
        return UTF_8;
    }
    let mut detector = EncodingDetector::new(Iso2022JpDetection::Deny);
    detector.feed(text, complete);
    detector.guess(None, Utf8Detection::Deny)
}

/// Bytes at the end that begin a sequence of UTF-8 which goes on behind them.
fn cut_sequence(text: &[u8]) -> usize {
    for back in 1..=text.len().min(3) {
        let byte = text[text.len() - back];
        let length = match byte {
            0xC2..=0xDF => 2,
            0xE0..=0xEF => 3,
            0xF0..=0xF4 => 4,
            0x80..=0xBF => continue,
            _ => return 0,
        };
        return if length > back { back } else { 0 };
    }
    0
}

/// Whether one byte is always one character, so that delimiters can be looked for without decoding.
pub(super) fn is_single_byte(encoding: &'static Encoding) -> bool {
    encoding.is_single_byte()
}

/// The bytes that an encoding of single bytes gives no character: none that anybody wrote as text.
pub(super) fn undefined_bytes(encoding: &'static Encoding) -> [bool; 256] {
    std::array::from_fn(|byte| {
        let Ok(byte) = u8::try_from(byte) else {
            return false;
        };
        byte >= 0x80
            && encoding
                .decode_without_bom_handling_and_without_replacement(&[byte])
                .is_none_or(|text| text.chars().any(char::is_control))
    })
}

/// Validates UTF-8 that comes in pieces.
#[derive(Debug, Default)]
pub(super) struct Utf8Check {
    /// The beginning of a sequence at the end of the piece before.
    cut: Vec<u8>,
}

impl Utf8Check {
    /// Whether a sequence is open from the piece before.
    pub(super) fn is_open(&self) -> bool {
        !self.cut.is_empty()
    }

    /// Bytes of that sequence.
    pub(super) fn open_bytes(&self) -> usize {
        self.cut.len()
    }

    /// Checks the next piece; the place of the first bad byte in it, none if the fault began before.
    pub(super) fn feed(&mut self, piece: &[u8], complete: bool) -> Result<(), Option<usize>> {
        let mut rest = piece;
        while !self.cut.is_empty() {
            match std::str::from_utf8(&self.cut) {
                Ok(_) => self.cut.clear(),
                Err(error) if error.error_len().is_some() => return Err(None),
                Err(_) => {
                    let Some((&next, after)) = rest.split_first() else {
                        return if complete { Err(None) } else { Ok(()) };
                    };
                    self.cut.push(next);
                    rest = after;
                }
            }
        }
        let cut = if complete { 0 } else { cut_sequence(rest) };
        let (whole, cut) = rest.split_at(rest.len() - cut);
        if simdutf8::basic::from_utf8(whole).is_err() {
            let sound = simdutf8::compat::from_utf8(whole).map_or_else(|error| error.valid_up_to(), str::len);
            return Err(Some(piece.len() - rest.len() + sound));
        }
        self.cut.extend_from_slice(cut);
        Ok(())
    }
}
