//! Checksums of frames and pages, most significant bit first and from zero, as FLAC and Ogg have them.

/// CRC-8 with the polynomial x^8 + x^2 + x + 1 (RFC 9639, section 9.1.8).
pub(crate) fn crc8(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |crc: u8, byte| {
        (0..8).fold(
            crc ^ byte,
            |crc, _| if crc & 0x80 == 0 { crc << 1 } else { crc << 1 ^ 7 },
        )
    })
}

/// CRC-16 with the polynomial x^16 + x^15 + x^2 + 1 (RFC 9639, section 9.3), one byte further. Over bytes and the
/// checksum that follows them it is zero.
pub(crate) fn crc16(crc: u16, byte: u8) -> u16 {
    CRC16[usize::from(crc >> 8 ^ u16::from(byte))] ^ crc << 8
}

/// CRC-32 with the polynomial 0x04c11db7 (RFC 3533, section 6), further by these bytes.
pub(crate) fn crc32(crc: u32, bytes: &[u8]) -> u32 {
    bytes.iter().fold(crc, |crc, byte| {
        CRC32[(crc >> 24) as usize ^ usize::from(*byte)] ^ crc << 8
    })
}

static CRC16: [u16; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = (byte as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc >> 15 == 0 {
                crc << 1
            } else {
                crc << 1 ^ 0x8005
            };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
};

static CRC32: [u32; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = (byte as u32) << 24;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc >> 31 == 0 {
                crc << 1
            } else {
                crc << 1 ^ 0x04C1_1DB7
            };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    /// The check values of the catalogue of parametrised CRC algorithms, over the usual nine digits.
    #[test]
    fn checksums_are_those_of_the_specifications() {
        let digits = b"123456789";
        assert_eq!(crc8(digits), 0xF4);
        let sixteen = digits.iter().fold(0, |crc, byte| crc16(crc, *byte));
        assert_eq!(sixteen, 0xFEE8);
        assert_eq!(crc32(0, digits), 0x89A1_897F);
        assert_eq!(crc16(crc16(sixteen, 0xFE), 0xE8), 0);
    }
}
