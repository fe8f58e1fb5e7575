//! The eight ways a camera may have been held: EXIF tag 0x0112, in JPEG, PNG, WebP and TIFF.

/// How stored pixels are to be turned: first mirrored left to right, then turned clockwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Orientation {
    /// Mirrored left to right, before turning.
    pub mirrored: bool,
    /// Quarter turns clockwise, 0 to 3.
    pub quarter_turns: u8,
}

impl Orientation {
    /// From the EXIF value. Anything but 2 to 8 means: as it is.
    pub const fn from_exif(value: u16) -> Self {
        let (mirrored, quarter_turns) = match value {
            2 => (true, 0),
            3 => (false, 2),
            4 => (true, 2),
            5 => (true, 3),
            6 => (false, 1),
            7 => (true, 1),
            8 => (false, 3),
            _ => (false, 0),
        };
        Self {
            mirrored,
            quarter_turns,
        }
    }

    /// The same followed by further quarter turns clockwise.
    pub const fn turned(self, quarter_turns: u8) -> Self {
        Self {
            mirrored: self.mirrored,
            quarter_turns: (self.quarter_turns + quarter_turns) % 4,
        }
    }

    /// The same followed by mirroring left to right.
    pub const fn then_mirrored(self) -> Self {
        Self {
            mirrored: !self.mirrored,
            quarter_turns: (4 - self.quarter_turns) % 4,
        }
    }

    pub const fn swaps_sides(self) -> bool {
        self.quarter_turns % 2 == 1
    }

    /// The size after turning.
    pub const fn size(self, width: u32, height: u32) -> (u32, u32) {
        if self.swaps_sides() {
            (height, width)
        } else {
            (width, height)
        }
    }

    /// Turns packed pixels of `CHANNELS` bytes.
    fn apply_packed<const CHANNELS: usize>(self, pixels: &[u8], width: usize, height: usize) -> Vec<u8> {
        let (source, _) = pixels.as_chunks::<CHANNELS>();
        let mut turned = Vec::with_capacity(pixels.len());
        let (out_width, out_height) = if self.swaps_sides() {
            (height, width)
        } else {
            (width, height)
        };
        // Where the first pixel comes from, and how far apart neighbours to the right and below are.
        let (right, bottom) = (width - 1, (height - 1) * width);
        let (first, along, down) = match (self.mirrored, self.quarter_turns) {
            (false, 0) => (0, 1, width as isize),
            (true, 0) => (right, -1, width as isize),
            (false, 1) => (bottom, -(width as isize), 1),
            (true, 1) => (bottom + right, -(width as isize), -1),
            (false, 2) => (bottom + right, -1, -(width as isize)),
            (true, 2) => (bottom, 1, -(width as isize)),
            (false, _) => (right, width as isize, -1),
            (true, _) => (0, width as isize, 1),
        };
        let first = first as isize;
        for y in 0..out_height as isize {
            for x in 0..out_width as isize {
                turned.extend_from_slice(&source[(first + y * down + x * along) as usize]);
            }
        }
        turned
    }

    /// Turns packed pixels; `channels` is 1, 3 or 4.
    pub fn apply(self, pixels: Vec<u8>, width: u32, height: u32, channels: usize) -> Vec<u8> {
        let (width, height) = (width as usize, height as usize);
        if self == Self::default() {
            return pixels;
        }
        match channels {
            1 => self.apply_packed::<1>(&pixels, width, height),
            3 => self.apply_packed::<3>(&pixels, width, height),
            _ => self.apply_packed::<4>(&pixels, width, height),
        }
    }
}

/// The orientation in a block of EXIF, which is a TIFF header with directories; the rest of it is not read.
pub(crate) fn from_exif_block(block: &[u8]) -> Orientation {
    let block = block.strip_prefix(b"Exif\0\0").unwrap_or(block);
    orientation_tag(block)
        .map(Orientation::from_exif)
        .unwrap_or_default()
}

fn orientation_tag(block: &[u8]) -> Option<u16> {
    const ORIENTATION: u16 = 0x0112;
    let Entry { at, little } = entry(block, ORIENTATION)?;
    let value = *block.get(at + 8..)?.first_chunk::<2>()?;
    let kind = *block.get(at + 2..)?.first_chunk::<2>()?;
    let number = |bytes: [u8; 2]| {
        if little {
            u16::from_le_bytes(bytes)
        } else {
            u16::from_be_bytes(bytes)
        }
    };
    // Only a SHORT is valid.
    (number(kind) == 3).then(|| number(value))
}

/// An entry of a TIFF directory.
pub(crate) struct Entry {
    /// Where its twelve bytes begin.
    pub at: usize,
    /// Whether numbers have their lowest byte first.
    pub little: bool,
}

/// Finds a tag in the first directory of a TIFF (not BigTIFF).
pub(crate) fn entry(block: &[u8], tag: u16) -> Option<Entry> {
    let little = match block.get(..4)? {
        b"II*\0" => true,
        b"MM\0*" => false,
        _ => return None,
    };
    let u16_at = |at: usize| {
        let bytes = *block.get(at..)?.first_chunk::<2>()?;
        Some(if little {
            u16::from_le_bytes(bytes)
        } else {
            u16::from_be_bytes(bytes)
        })
    };
    let u32_at = |at: usize| {
        let bytes = *block.get(at..)?.first_chunk::<4>()?;
        Some(if little {
            u32::from_le_bytes(bytes)
        } else {
            u32::from_be_bytes(bytes)
        })
    };
    let directory = u32_at(4)? as usize;
    let entries = usize::from(u16_at(directory)?);
    for entry in 0..entries {
        let at = directory.checked_add(2 + entry * 12)?;
        if u16_at(at)? == tag {
            return Some(Entry { at, little });
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A B
    /// C D, turned as the EXIF standard's table says where row 0 and column 0 are.
    #[test]
    fn turns_as_the_standard_says() {
        let cases: [(u16, &[u8]); 8] = [
            (1, b"ABCDEF"),
            (2, b"CBAFED"),
            (3, b"FEDCBA"),
            (4, b"DEFABC"),
            (5, b"ADBECF"),
            (6, b"DAEBFC"),
            (7, b"FCEBDA"),
            (8, b"CFBEAD"),
        ];
        for (value, expected) in cases {
            let turned = Orientation::from_exif(value).apply(b"ABCDEF".to_vec(), 3, 2, 1);
            assert_eq!(turned, expected, "orientation {value}");
        }
    }

    #[test]
    fn composes() {
        for value in 1..=8 {
            let orientation = Orientation::from_exif(value);
            let once = orientation.apply(b"ABCDEF".to_vec(), 3, 2, 1);
            let (width, height) = orientation.size(3, 2);
            let mirror = Orientation {
                mirrored: true,
                quarter_turns: 0,
            };
            let turn = Orientation {
                mirrored: false,
                quarter_turns: 1,
            };
            assert_eq!(
                orientation.then_mirrored().apply(b"ABCDEF".to_vec(), 3, 2, 1),
                mirror.apply(once.clone(), width, height, 1)
            );
            assert_eq!(
                orientation.turned(1).apply(b"ABCDEF".to_vec(), 3, 2, 1),
                turn.apply(once, width, height, 1)
            );
        }
    }

    #[test]
    fn reads_the_tag_and_survives_nonsense() {
        let mut block = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0".to_vec();
        assert_eq!(from_exif_block(&block), Orientation::from_exif(6));
        for length in 0..block.len() {
            from_exif_block(&block[..length]);
        }
        block[10..14].fill(0xFF);
        assert_eq!(from_exif_block(&block), Orientation::default());
    }
}
