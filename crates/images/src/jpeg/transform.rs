//! From coefficients to samples, at an eighth, a quarter, half or all of the size: an N-point inverse DCT of the
//! lowest N×N coefficients (T.81 A.3.3, scaled by N/8).

/// Zigzag position to row-major position (T.81 figure A.6).
pub(super) const ZIGZAG: [u8; 64] = [
    0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13, 6, 7,
    14, 21, 28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59, 52, 45, 38, 31, 39,
    46, 53, 60, 61, 54, 47, 55, 62, 63,
];

/// Stands for a coefficient that the scale does not need.
pub(super) const UNNEEDED: u8 = 255;

/// How many samples each way come of a block of eight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Scale {
    Eighth,
    Quarter,
    Half,
    Full,
}

impl Scale {
    /// The smallest that makes at least `wanted` samples of `stored`.
    pub fn for_size(stored: (u32, u32), wanted: (u32, u32)) -> Self {
        let enough = |scale: &Self| {
            let samples = u64::from(scale.samples());
            u64::from(stored.0) * samples >= u64::from(wanted.0) * 8
                && u64::from(stored.1) * samples >= u64::from(wanted.1) * 8
        };
        [Self::Eighth, Self::Quarter, Self::Half]
            .into_iter()
            .find(enough)
            .unwrap_or(Self::Full)
    }

    pub const fn samples(self) -> u32 {
        match self {
            Self::Eighth => 1,
            Self::Quarter => 2,
            Self::Half => 4,
            Self::Full => 8,
        }
    }

    /// Where in the N×N coefficients a zigzag position lies, or `UNNEEDED`.
    pub fn slots(self) -> [u8; 64] {
        let samples = self.samples() as u8;
        ZIGZAG.map(|position| {
            let (row, column) = (position / 8, position % 8);
            if row < samples && column < samples {
                row * samples + column
            } else {
                UNNEEDED
            }
        })
    }
}

/// Rounds, lifts by 128 and limits to a byte. The constant puts the integer into the lowest bits of the float.
#[inline]
fn sample(value: f32) -> u8 {
    const INTEGER: f32 = 12_582_912.0;
    ((value + 128.0).clamp(0.0, 255.0) + INTEGER).to_bits() as u8
}

/// One sample: the mean of the block.
#[inline]
pub(super) fn eighth(dc: i32) -> u8 {
    (((dc + 4) >> 3) + 128).clamp(0, 255) as u8
}

/// Two by two samples. The values must lie within ±2^20.
#[inline]
pub(super) fn quarter(c: [i32; 4], out: &mut [u8], stride: usize) {
    let (top, bottom) = (c[0] + c[2], c[0] - c[2]);
    let (top_difference, bottom_difference) = (c[1] + c[3], c[1] - c[3]);
    let byte = |value: i32| (((value + 4) >> 3) + 128).clamp(0, 255) as u8;
    out[..2].copy_from_slice(&[byte(top + top_difference), byte(top - top_difference)]);
    out[stride..stride + 2]
        .copy_from_slice(&[byte(bottom + bottom_difference), byte(bottom - bottom_difference)]);
}

/// Four by four samples.
#[inline]
pub(super) fn half(c: &[f32; 16], out: &mut [u8], stride: usize) {
    const C1: f32 = 1.306_563; // √2·cos(π/8)
    const C3: f32 = 0.541_196_1; // √2·cos(3π/8)
    let pass = |a: f32, b: f32, c: f32, d: f32| {
        let (sum, difference) = (a + c, a - c);
        let (outer, inner) = (C1 * b + C3 * d, C3 * b - C1 * d);
        [sum + outer, difference + inner, difference - inner, sum - outer]
    };
    let mut columns = [0.0; 16];
    for x in 0..4 {
        let column = pass(c[x], c[4 + x], c[8 + x], c[12 + x]);
        for y in 0..4 {
            columns[y * 4 + x] = column[y] * 0.125;
        }
    }
    for y in 0..4 {
        let row = &columns[y * 4..y * 4 + 4];
        let samples = pass(row[0], row[1], row[2], row[3]).map(sample);
        out[y * stride..y * stride + 4].copy_from_slice(&samples);
    }
}

/// What the coefficients are multiplied with before `full` (Arai, Agui and Nakajima's factors, and 1/8).
pub(super) fn full_factors() -> [f32; 64] {
    let factor = |index: usize| {
        if index == 0 {
            1.0
        } else {
            (index as f32 * std::f32::consts::PI / 16.0).cos() * std::f32::consts::SQRT_2
        }
    };
    std::array::from_fn(|index| factor(index / 8) * factor(index % 8) / 8.0)
}

/// Eight values by the method of Arai, Agui and Nakajima; each a lane of eight.
#[expect(
    clippy::needless_range_loop,
    reason = "a lane is a column through all eight rows"
)]
#[inline]
fn full_pass(v: &mut [[f32; 8]; 8]) {
    for lane in 0..8 {
        let (a, b) = (v[0][lane] + v[4][lane], v[0][lane] - v[4][lane]);
        let c = v[2][lane] + v[6][lane];
        let d = (v[2][lane] - v[6][lane]) * std::f32::consts::SQRT_2 - c;
        let (e0, e3, e1, e2) = (a + c, a - c, b + d, b - d);

        let (z13, z10) = (v[5][lane] + v[3][lane], v[5][lane] - v[3][lane]);
        let (z11, z12) = (v[1][lane] + v[7][lane], v[1][lane] - v[7][lane]);
        let o7 = z11 + z13;
        let z5 = (z10 + z12) * 1.847_759;
        let o6 = z5 - z10 * 2.613_126 - o7;
        let o5 = (z11 - z13) * std::f32::consts::SQRT_2 - o6;
        let o4 = z5 - z12 * 1.082_392_2 - o5;

        v[0][lane] = e0 + o7;
        v[7][lane] = e0 - o7;
        v[1][lane] = e1 + o6;
        v[6][lane] = e1 - o6;
        v[2][lane] = e2 + o5;
        v[5][lane] = e2 - o5;
        v[3][lane] = e3 + o4;
        v[4][lane] = e3 - o4;
    }
}

/// Eight by eight samples, of coefficients that were multiplied with `full_factors`.
#[inline]
pub(super) fn full(c: &[f32; 64], out: &mut [u8], stride: usize) {
    let mut rows: [[f32; 8]; 8] = std::array::from_fn(|y| std::array::from_fn(|x| c[y * 8 + x]));
    full_pass(&mut rows);
    let mut columns: [[f32; 8]; 8] = std::array::from_fn(|x| std::array::from_fn(|y| rows[y][x]));
    full_pass(&mut columns);
    for y in 0..8 {
        let samples: [u8; 8] = std::array::from_fn(|x| sample(columns[x][y]));
        out[y * stride..y * stride + 8].copy_from_slice(&samples);
    }
}

/// Eight by eight equal samples.
#[inline]
pub(super) fn flat(dc: f32, out: &mut [u8], stride: usize) {
    let value = sample(dc);
    for y in 0..8 {
        out[y * stride..y * stride + 8].fill(value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The definition, T.81 A.3.3, for N points.
    fn reference(coefficients: &[f64], points: usize) -> Vec<u8> {
        let c = |index: usize| {
            if index == 0 {
                std::f64::consts::FRAC_1_SQRT_2
            } else {
                1.0
            }
        };
        let wave = |x: usize, u: usize| {
            c(u) * ((2 * x + 1) as f64 * u as f64 * std::f64::consts::PI / (2 * points) as f64).cos()
        };
        let mut samples = Vec::new();
        for y in 0..points {
            for x in 0..points {
                let mut sum = 0.0;
                for v in 0..points {
                    for u in 0..points {
                        sum += coefficients[v * points + u] * wave(x, u) * wave(y, v);
                    }
                }
                samples.push((sum / 4.0 + 128.0).round().clamp(0.0, 255.0) as u8);
            }
        }
        samples
    }

    fn coefficients(seed: u32, count: usize) -> Vec<i32> {
        let mut state = seed;
        (0..count)
            .map(|index| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                ((state >> 16) as i32 % 400 - 200) / (1 + index as i32 / 4)
            })
            .collect()
    }

    #[test]
    fn agree_with_the_definition() {
        for seed in 0..50 {
            for points in [1, 2, 4, 8] {
                let values = coefficients(seed, points * points);
                let exact: Vec<f64> = values.iter().map(|value| f64::from(*value)).collect();
                let mut out = vec![0; points * points];
                match points {
                    1 => out[0] = eighth(values[0]),
                    2 => quarter(values.try_into().unwrap(), &mut out, 2),
                    4 => half(&std::array::from_fn(|i| values[i] as f32), &mut out, 4),
                    _ => {
                        let factors = full_factors();
                        full(
                            &std::array::from_fn(|i| values[i] as f32 * factors[i]),
                            &mut out,
                            8,
                        );
                    }
                }
                for (got, expected) in out.iter().zip(reference(&exact, points)) {
                    assert!(
                        got.abs_diff(expected) <= 1,
                        "{points} points, seed {seed}: {got} {expected}"
                    );
                }
            }
        }
    }

    #[test]
    fn chooses_the_smallest_scale_that_is_enough() {
        assert_eq!(Scale::for_size((4000, 3000), (500, 375)), Scale::Eighth);
        assert_eq!(Scale::for_size((4000, 3000), (512, 384)), Scale::Quarter);
        assert_eq!(Scale::for_size((4000, 3000), (4000, 3000)), Scale::Full);
    }
}
