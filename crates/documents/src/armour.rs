//! The two filters of PDF that make bytes into text (ISO 32000-2, 7.4.2 and 7.4.3), undone only to measure what is
//! under them.

use std::borrow::Cow;

use hayro::hayro_syntax::Filter;

/// `data` without the text filters that `filters` begin with.
pub(crate) fn strip<'a>(data: Cow<'a, [u8]>, filters: &[Filter]) -> Cow<'a, [u8]> {
    let mut data = data;
    for filter in filters {
        data = match filter {
            Filter::AsciiHexDecode => Cow::Owned(hexadecimal(&data)),
            Filter::Ascii85Decode => Cow::Owned(base_85(&data)),
            Filter::Crypt => data,
            _ => return data,
        };
    }
    data
}

fn hexadecimal(text: &[u8]) -> Vec<u8> {
    let digits = text.iter().take_while(|byte| **byte != b'>');
    let digits: Vec<u8> = digits
        .filter_map(|byte| char::from(*byte).to_digit(16))
        .map(|digit| digit as u8)
        .collect();
    digits
        .chunks(2)
        .map(|pair| pair[0] << 4 | pair.get(1).unwrap_or(&0))
        .collect()
}

fn base_85(text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len() / 5 * 4);
    let mut group = [84_u8; 5];
    let mut filled = 0;
    let text = text.strip_prefix(b"<~").unwrap_or(text);
    for byte in text.iter().take_while(|byte| **byte != b'~') {
        match byte {
            b'z' if filled == 0 => bytes.extend([0; 4]),
            b'!'..=b'u' => {
                group[filled] = byte - b'!';
                filled += 1;
                if filled == 5 {
                    bytes.extend(word(group));
                    (group, filled) = ([84; 5], 0);
                }
            }
            _ => {}
        }
    }
    if filled > 1 {
        bytes.extend(&word(group)[..filled - 1]);
    }
    bytes
}

fn word(group: [u8; 5]) -> [u8; 4] {
    group
        .iter()
        .fold(0_u32, |value, digit| {
            value.wrapping_mul(85).wrapping_add((*digit).into())
        })
        .to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_becomes_bytes() {
        assert_eq!(base_85(b"<~87cURD]i,\"Ebo80~>"), b"Hello World!");
        assert_eq!(base_85(b"87cUR D]i,\"\nEbo7"), b"Hello World");
        assert_eq!(base_85(b"z!!"), b"\0\0\0\0\0");
        assert_eq!(hexadecimal(b"48 65 6C6c 6F 7>00"), b"Hellop");
        let nested = strip(
            Cow::Borrowed(b"3837635552>"),
            &[Filter::AsciiHexDecode, Filter::Ascii85Decode],
        );
        assert_eq!(&*nested, b"Hell");
    }
}
