//! A baseline encoder (T.81), from planes as they come out of the decoder and the resizing: no colour conversion in
//! between. Its Huffman tables are made for each picture.

use super::transform::ZIGZAG;

/// Resolution of the chroma planes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Chroma {
    /// Half of the luma's each way, rounded up (4:2:0).
    Halved,
    /// That of the luma (4:4:4).
    Full,
}

/// Typical tables of T.81 annex K.1, row by row, for quality 50.
const LUMA: [u16; 64] = [
    16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56, 14, 17,
    22, 29, 51, 87, 80, 62, 18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92, 49, 64, 78,
    87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99,
];
const CHROMA: [u16; 64] = [
    17, 18, 24, 47, 99, 99, 99, 99, 18, 21, 26, 66, 99, 99, 99, 99, 24, 26, 56, 99, 99, 99, 99, 99, 47, 66,
    99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99,
    99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99,
];

/// The table for a quality from 1 to 100, on the scale that the Independent JPEG Group's software made usual.
fn quantisation(base: &[u16; 64], quality: u8) -> [u16; 64] {
    let quality = u32::from(quality.clamp(1, 100));
    let percent = if quality < 50 {
        5000 / quality
    } else {
        200 - 2 * quality
    };
    base.map(|value| ((u32::from(value) * percent + 50) / 100).clamp(1, 255) as u16)
}

/// Encodes a grey picture (`planes` is the luma alone) or a YCbCr one. Each plane is packed, rows of its own width.
pub(crate) fn encode(width: u32, height: u32, planes: &[&[u8]], chroma: Chroma, quality: u8) -> Vec<u8> {
    let tables = [quantisation(&LUMA, quality), quantisation(&CHROMA, quality)];
    let factor = if planes.len() > 1 && chroma == Chroma::Halved {
        2
    } else {
        1
    };
    let (columns, rows) = (width.div_ceil(8 * factor), height.div_ceil(8 * factor));
    let mut components: Vec<Component> = planes
        .iter()
        .enumerate()
        .map(|(index, samples)| {
            let luma = index == 0;
            let size = if luma {
                (width, height)
            } else {
                (width.div_ceil(factor), height.div_ceil(factor))
            };
            let factor = if luma { factor } else { 1 };
            let blocks = (columns * factor, rows * factor);
            Component::new(samples, size, blocks, factor, &tables[usize::from(!luma)])
        })
        .collect();

    // Predictions follow the order of the file.
    let mut statistics = [Statistics::default(), Statistics::default()];
    in_order(&mut components, columns, rows, |index, block| {
        statistics[usize::from(index > 0)].count(block);
    });
    let codes = statistics.map(|statistics| (Codes::new(&statistics.dc), Codes::new(&statistics.ac)));

    let mut out = Vec::with_capacity((width * height / 4) as usize + 1024);
    out.extend_from_slice(b"\xFF\xD8\xFF\xE0\0\x10JFIF\0\x01\x01\0\0\x01\0\x01\0\0");
    let used = planes.len().min(2);
    for (number, table) in tables.iter().take(used).enumerate() {
        out.extend_from_slice(&[0xFF, 0xDB, 0, 67, number as u8]);
        out.extend(ZIGZAG.iter().map(|&position| table[usize::from(position)] as u8));
    }
    let ([h1, h0], [w1, w0]) = ((height as u16).to_be_bytes(), (width as u16).to_be_bytes());
    let count = planes.len() as u8;
    out.extend_from_slice(&[0xFF, 0xC0, 0, 8 + 3 * count, 8, h1, h0, w1, w0, count]);
    for (index, component) in components.iter().enumerate() {
        out.extend_from_slice(&[
            index as u8 + 1,
            (component.factor * 0x11) as u8,
            u8::from(index > 0),
        ]);
    }
    for (number, (dc, ac)) in codes.iter().take(used).enumerate() {
        dc.write(number as u8, &mut out);
        ac.write(0x10 | number as u8, &mut out);
    }
    out.extend_from_slice(&[0xFF, 0xDA, 0, 6 + 2 * count, count]);
    for index in 0..count {
        out.extend_from_slice(&[index + 1, if index > 0 { 0x11 } else { 0 }]);
    }
    out.extend_from_slice(&[0, 63, 0]);
    let mut writer = BitWriter {
        out,
        bits: 0,
        count: 0,
    };
    in_order(&mut components, columns, rows, |index, block| {
        let (dc, ac) = &codes[usize::from(index > 0)];
        writer.block(block, dc, ac);
    });
    let mut out = writer.finish();
    out.extend_from_slice(&[0xFF, 0xD9]);
    out
}

/// A block ready for entropy coding: the DC's difference, then the others in zigzag order, and which are not zero.
struct Block<'a> {
    difference: i32,
    values: &'a [i16; 64],
    present: u64,
}

struct Component {
    factor: u32,
    blocks_across: u32,
    values: Vec<[i16; 64]>,
    prediction: i32,
}

impl Component {
    fn new(samples: &[u8], size: (u32, u32), blocks: (u32, u32), factor: u32, table: &[u16; 64]) -> Self {
        let scale = |index: usize| {
            if index == 0 {
                1.0
            } else {
                (index as f32 * std::f32::consts::PI / 16.0).cos() * std::f32::consts::SQRT_2
            }
        };
        let factors: [f32; 64] =
            std::array::from_fn(|i| 1.0 / (f32::from(table[i]) * scale(i / 8) * scale(i % 8) * 8.0));
        let (width, height) = (size.0 as usize, size.1 as usize);
        let mut values = Vec::with_capacity((blocks.0 * blocks.1) as usize);
        for row in 0..blocks.1 as usize {
            for column in 0..blocks.0 as usize {
                // Beyond the edge the last sample is repeated.
                let left = (column * 8).min(width - 1);
                let lines: [[f32; 8]; 8] = std::array::from_fn(|y| {
                    let line = &samples[(row * 8 + y).min(height - 1) * width..][..width];
                    if let Some(eight) = line[left..].first_chunk::<8>().filter(|_| left == column * 8) {
                        eight.map(|sample| f32::from(sample) - 128.0)
                    } else {
                        std::array::from_fn(|x| f32::from(line[(column * 8 + x).min(width - 1)]) - 128.0)
                    }
                });
                values.push(quantise(lines, &factors));
            }
        }
        Self {
            factor,
            blocks_across: blocks.0,
            values,
            prediction: 0,
        }
    }
}

/// Calls `work` for each block in the order of the file.
fn in_order(components: &mut [Component], columns: u32, rows: u32, mut work: impl FnMut(usize, &Block<'_>)) {
    for component in &mut *components {
        component.prediction = 0;
    }
    for row in 0..rows {
        for column in 0..columns {
            for (index, component) in components.iter_mut().enumerate() {
                let factor = component.factor;
                for y in 0..factor {
                    for x in 0..factor {
                        let place = (row * factor + y) * component.blocks_across + column * factor + x;
                        let values = &component.values[place as usize];
                        let dc = i32::from(values[0]);
                        let mut present = 0;
                        for (k, value) in values.iter().enumerate().skip(1) {
                            present |= u64::from(*value != 0) << k;
                        }
                        work(
                            index,
                            &Block {
                                difference: dc - component.prediction,
                                values,
                                present,
                            },
                        );
                        component.prediction = dc;
                    }
                }
            }
        }
    }
}

/// The forward transform of Arai, Agui and Nakajima; each a lane of eight.
#[expect(
    clippy::needless_range_loop,
    reason = "a lane is a column through all eight rows"
)]
#[inline]
fn forward_pass(d: &mut [[f32; 8]; 8]) {
    const HALF_ROOT: f32 = std::f32::consts::FRAC_1_SQRT_2;
    for lane in 0..8 {
        let sum = |a: usize, b: usize| d[a][lane] + d[b][lane];
        let difference = |a: usize, b: usize| d[a][lane] - d[b][lane];
        let (s0, s1, s2, s3) = (sum(0, 7), sum(1, 6), sum(2, 5), sum(3, 4));
        let (d7, d6, d5, d4) = (
            difference(0, 7),
            difference(1, 6),
            difference(2, 5),
            difference(3, 4),
        );

        let (e0, e3, e1, e2) = (s0 + s3, s0 - s3, s1 + s2, s1 - s2);
        let z1 = (e2 + e3) * HALF_ROOT;
        let (o10, o11, o12) = (d4 + d5, d5 + d6, d6 + d7);
        let z5 = (o10 - o12) * 0.382_683_43;
        let (z2, z4, z3) = (0.541_196_1 * o10 + z5, 1.306_563 * o12 + z5, o11 * HALF_ROOT);
        let (z11, z13) = (d7 + z3, d7 - z3);

        d[0][lane] = e0 + e1;
        d[4][lane] = e0 - e1;
        d[2][lane] = e3 + z1;
        d[6][lane] = e3 - z1;
        d[5][lane] = z13 + z2;
        d[3][lane] = z13 - z2;
        d[1][lane] = z11 + z4;
        d[7][lane] = z11 - z4;
    }
}

fn quantise(mut lines: [[f32; 8]; 8], factors: &[f32; 64]) -> [i16; 64] {
    const INTEGER: f32 = 12_582_912.0;
    forward_pass(&mut lines);
    let mut columns: [[f32; 8]; 8] = std::array::from_fn(|x| std::array::from_fn(|y| lines[y][x]));
    forward_pass(&mut columns);
    let values: [i16; 64] = std::array::from_fn(|index| {
        let (row, column) = (index / 8, index % 8);
        // The rounded integer in the lowest bits of the float; it fits: samples have 8 bits.
        (columns[column][row] * factors[index] + INTEGER).to_bits() as i16
    });
    ZIGZAG.map(|position| values[usize::from(position)])
}

/// Number of bits of a value (T.81 F.1.2.1).
#[inline]
fn size(value: i32) -> u32 {
    32 - value.unsigned_abs().leading_zeros()
}

/// Calls `work` with symbol and value for each coefficient that is not zero, runs and the end of the block included.
#[inline]
fn symbols(block: &Block<'_>, mut work: impl FnMut(u8, i32)) {
    let (mut present, mut last) = (block.present, 0);
    while present != 0 {
        let index = present.trailing_zeros();
        present &= present - 1;
        let mut run = index - last - 1;
        while run > 15 {
            work(0xF0, 0);
            run -= 16;
        }
        let value = i32::from(block.values[index as usize]);
        work((run << 4 | size(value)) as u8, value);
        last = index;
    }
    if last != 63 {
        work(0, 0);
    }
}

/// How often each symbol occurs.
struct Statistics {
    dc: [u32; 256],
    ac: [u32; 256],
}

impl Default for Statistics {
    fn default() -> Self {
        Self {
            dc: [0; 256],
            ac: [0; 256],
        }
    }
}

impl Statistics {
    fn count(&mut self, block: &Block<'_>) {
        self.dc[size(block.difference) as usize] += 1;
        symbols(block, |symbol, _| self.ac[usize::from(symbol)] += 1);
    }
}

/// A Huffman table for writing.
struct Codes {
    /// Number of codes of each length from 1 to 16.
    counts: [u8; 16],
    symbols: Vec<u8>,
    /// By symbol: code and its length.
    by_symbol: [(u32, u32); 256],
}

impl Codes {
    /// The shortest codes for these frequencies (T.81 K.2).
    fn new(frequencies: &[u32; 256]) -> Self {
        // One symbol more, so that no code consists of ones alone. Of equal ones it must get the longest code.
        let mut trees: Vec<(u32, Vec<u16>)> = vec![(1, vec![256])];
        trees.extend(
            (0..256)
                .filter(|&s| frequencies[s] > 0)
                .map(|s| (frequencies[s], vec![s as u16])),
        );
        let mut lengths = [0_usize; 257];
        while trees.len() > 1 {
            // The two rarest; the sort is stable and of a list that is nearly sorted.
            trees.sort_by_key(|(frequency, _)| std::cmp::Reverse(*frequency));
            let (Some(a), Some(mut b)) = (trees.pop(), trees.pop()) else {
                break;
            };
            b.1.extend(a.1);
            for &symbol in &b.1 {
                lengths[usize::from(symbol)] += 1;
            }
            trees.push((a.0 + b.0, b.1));
        }
        let mut counts = [0_usize; 258];
        for &length in &lengths {
            counts[length] += usize::from(length > 0);
        }
        // No code may have more than 16 bits: two of the longest are moved up (T.81 figure K.3).
        for length in (17..counts.len()).rev() {
            while counts[length] > 0 {
                let Some(shorter) = (1..length - 1).rev().find(|&shorter| counts[shorter] > 0) else {
                    break;
                };
                counts[length] -= 2;
                counts[length - 1] += 1;
                counts[shorter + 1] += 2;
                counts[shorter] -= 1;
            }
        }
        // The reserved code is the last of the longest.
        if let Some(longest) = (1..=16).rev().find(|&length| counts[length] > 0) {
            counts[longest] -= 1;
        }
        let mut symbols: Vec<u8> = (0..256)
            .filter(|&s| frequencies[s] > 0)
            .map(|s| s as u8)
            .collect();
        symbols.sort_by_key(|&symbol| lengths[usize::from(symbol)]);
        let mut codes = [(0, 0); 256];
        let (mut code, mut next) = (0_u32, symbols.iter());
        for length in 1..=16_u32 {
            for &symbol in next.by_ref().take(counts[length as usize]) {
                codes[usize::from(symbol)] = (code, length);
                code += 1;
            }
            code <<= 1;
        }
        Self {
            counts: std::array::from_fn(|index| counts[index + 1] as u8),
            symbols,
            by_symbol: codes,
        }
    }

    fn write(&self, target: u8, out: &mut Vec<u8>) {
        out.extend_from_slice(&[0xFF, 0xC4]);
        out.extend_from_slice(&(19 + self.symbols.len() as u16).to_be_bytes());
        out.push(target);
        out.extend_from_slice(&self.counts);
        out.extend_from_slice(&self.symbols);
    }
}

struct BitWriter {
    out: Vec<u8>,
    /// The lowest `count` bits are to be written.
    bits: u64,
    count: u32,
}

impl BitWriter {
    #[inline]
    fn put(&mut self, value: u32, count: u32) {
        self.bits = self.bits << count | u64::from(value);
        self.count += count;
        if self.count >= 32 {
            self.count -= 32;
            let four = ((self.bits >> self.count) as u32).to_be_bytes();
            if four.contains(&0xFF) {
                for byte in four {
                    self.byte(byte);
                }
            } else {
                self.out.extend_from_slice(&four);
            }
        }
    }

    fn byte(&mut self, byte: u8) {
        self.out.push(byte);
        if byte == 0xFF {
            self.out.push(0);
        }
    }

    #[inline]
    fn value(&mut self, (code, length): (u32, u32), value: i32) {
        let size = size(value);
        // Negative values are one less in the same number of bits.
        let bits = (value + (value >> 31)) as u32 & ((1 << size) - 1);
        self.put(code << size | bits, length + size);
    }

    fn block(&mut self, block: &Block<'_>, dc: &Codes, ac: &Codes) {
        self.value(dc.by_symbol[size(block.difference) as usize], block.difference);
        symbols(block, |symbol, value| {
            self.value(ac.by_symbol[usize::from(symbol)], value);
        });
    }

    fn finish(mut self) -> Vec<u8> {
        // Padded with ones (T.81 F.1.2.3).
        let padding = (8 - self.count % 8) % 8;
        self.put((1 << padding) - 1, padding);
        while self.count > 0 {
            self.count -= 8;
            self.byte((self.bits >> self.count) as u8);
        }
        self.out
    }
}
