//! Makes pixels fewer while they come from a decoder, by the mean of squares of them, so that a large picture is never
//! held as a whole. What it leaves is at least twice as large as asked for, and resampled properly afterwards.

use crate::{
    Error, Limits,
    raster::{Model, Plane, Raster},
};

/// Collects pixels of 1 (grey), 3 (RGB) or 4 channels (RGB and alpha, not yet multiplied).
pub(crate) struct Reducer {
    width: usize,
    height: usize,
    channels: usize,
    /// Side of the squares.
    factor: usize,
    out_width: usize,
    out_height: usize,
    /// With factor 1 the pixels themselves.
    out: Vec<u8>,
    /// With a larger factor the sums of the squares.
    cells: Cells,
    /// Four channels are colours and alpha.
    multiplies: bool,
    premultiplied: Vec<u8>,
}

enum Cells {
    /// Rows come in order: one row of column sums, and how many rows are in it.
    Rows {
        sums: Vec<u16>,
        rows: usize,
        next: usize,
    },
    /// Pixels come in any order: sums of all squares.
    Any(Vec<u32>),
}

impl Reducer {
    /// For a picture of which at least `wanted` pixels are needed. `in_order` promises whole rows from the top.
    pub fn new(
        size: (u32, u32),
        wanted: (u32, u32),
        channels: usize,
        in_order: bool,
        limits: &Limits,
    ) -> Result<Self, Error> {
        let (width, height) = (size.0 as usize, size.1 as usize);
        let factor =
            (size.0 / wanted.0.saturating_mul(2).max(1)).min(size.1 / wanted.1.saturating_mul(2).max(1));
        // So that a column's sum fits into 16 bits, and a square's into the 24 of a float.
        let factor = factor.clamp(1, 256) as usize;
        let (out_width, out_height) = (width.div_ceil(factor), height.div_ceil(factor));
        let samples = out_width * out_height * channels;
        let sums = match (factor, in_order) {
            (1, _) => 0,
            (_, true) => width * channels,
            (_, false) => samples,
        };
        limits.check_memory((samples + sums * if in_order { 2 } else { 4 }) as u64)?;
        let cells = if in_order {
            Cells::Rows {
                sums: vec![0; sums],
                rows: 0,
                next: 0,
            }
        } else {
            Cells::Any(vec![0; sums])
        };
        Ok(Self {
            width,
            height,
            channels,
            factor,
            out_width,
            out_height,
            out: vec![0; samples],
            cells,
            multiplies: channels == 4,
            premultiplied: Vec::new(),
        })
    }

    /// The fourth channel is not alpha: nothing is multiplied.
    pub fn without_alpha(mut self) -> Self {
        self.multiplies = false;
        self
    }

    /// Takes the pixels of one row from column `x` on, `step` columns apart. What lies outside is ignored.
    pub fn add(&mut self, x: usize, y: usize, step: usize, pixels: &[u8]) {
        if x >= self.width || y >= self.height {
            return;
        }
        let room = (self.width - x).div_ceil(step) * self.channels;
        let pixels = &pixels[..pixels.len().min(room)];
        if self.multiplies && pixels.as_chunks::<4>().0.iter().any(|pixel| pixel[3] != 255) {
            let mut premultiplied = std::mem::take(&mut self.premultiplied);
            premultiplied.clear();
            premultiplied.extend(pixels.as_chunks::<4>().0.iter().copied().flat_map(premultiply));
            self.add_premultiplied(x, y, step, &premultiplied);
            self.premultiplied = premultiplied;
        } else {
            self.add_premultiplied(x, y, step, pixels);
        }
    }

    fn add_premultiplied(&mut self, x: usize, y: usize, step: usize, pixels: &[u8]) {
        let channels = self.channels;
        if self.factor == 1 {
            let row = &mut self.out[y * self.width * channels..(y + 1) * self.width * channels];
            if step == 1 {
                row[x * channels..x * channels + pixels.len()].copy_from_slice(pixels);
            } else {
                for (index, pixel) in pixels.chunks_exact(channels).enumerate() {
                    let at = (x + index * step) * channels;
                    row[at..at + channels].copy_from_slice(pixel);
                }
            }
            return;
        }
        match &mut self.cells {
            Cells::Rows { sums, rows, .. } => {
                for (sum, &sample) in sums.iter_mut().zip(pixels) {
                    *sum += u16::from(sample);
                }
                *rows += 1;
                if *rows == self.factor || y + 1 == self.height {
                    self.finish_row();
                }
            }
            Cells::Any(sums) => {
                let row = y / self.factor * self.out_width;
                for (index, pixel) in pixels.chunks_exact(channels).enumerate() {
                    let cell = (row + (x + index * step) / self.factor) * channels;
                    for (sum, &sample) in sums[cell..cell + channels].iter_mut().zip(pixel) {
                        *sum += u32::from(sample);
                    }
                }
            }
        }
    }

    /// Makes a row of squares of the column sums.
    fn finish_row(&mut self) {
        let Cells::Rows { sums, rows, next } = &mut self.cells else {
            return;
        };
        let length = self.out_width * self.channels;
        let Some(out) = self.out.get_mut(*next * length..(*next + 1) * length) else {
            return;
        };
        match self.channels {
            1 => reduce_row::<1>(sums, self.factor, *rows, out),
            3 => reduce_row::<3>(sums, self.factor, *rows, out),
            _ => reduce_row::<4>(sums, self.factor, *rows, out),
        }
        sums.fill(0);
        *rows = 0;
        *next += 1;
    }

    /// The reduced picture.
    pub fn finish(mut self) -> Raster {
        if self.factor > 1
            && let Cells::Any(sums) = &self.cells
        {
            let row_length = self.out_width * self.channels;
            for (index, (sample, sum)) in self.out.iter_mut().zip(sums).enumerate() {
                let (x, y) = (index % row_length / self.channels, index / row_length);
                let across = self.factor.min(self.width - x * self.factor);
                let down = self.factor.min(self.height - y * self.factor);
                *sample = mean(*sum, (across * down) as u32);
            }
        }
        let model = match self.channels {
            1 => Model::Gray,
            3 => Model::Rgb,
            _ => Model::Rgba,
        };
        let mut plane = Plane::new(
            self.out_width as u32,
            self.out_height as u32,
            self.channels,
            self.out,
        );
        plane.extent = (
            self.width as f64 / self.factor as f64,
            self.height as f64 / self.factor as f64,
        );
        Raster {
            model,
            planes: vec![plane],
        }
    }
}

const fn mean(sum: u32, count: u32) -> u8 {
    ((sum + count / 2) / count) as u8
}

#[inline]
fn premultiply([r, g, b, a]: [u8; 4]) -> [u8; 4] {
    // Exact division by 255, rounded.
    let times = |value: u8| {
        let product = u32::from(value) * u32::from(a) + 128;
        ((product + (product >> 8)) >> 8) as u8
    };
    [times(r), times(g), times(b), a]
}

fn reduce_row<const CHANNELS: usize>(sums: &[u16], factor: usize, rows: usize, out: &mut [u8]) {
    let (pixels, _) = sums.as_chunks::<CHANNELS>();
    let (out, _) = out.as_chunks_mut::<CHANNELS>();
    let count = (factor * rows) as u32;
    // A multiplication instead of a division: exact enough for sums below 2^24 (the counts are small).
    let factor_of_mean = 1.0 / count as f32;
    for (square, out) in pixels.chunks(factor).zip(out) {
        let mut sum = [0_u32; CHANNELS];
        for pixel in square {
            for channel in 0..CHANNELS {
                sum[channel] += u32::from(pixel[channel]);
            }
        }
        *out = if square.len() == factor {
            sum.map(|sum| (sum as f32 * factor_of_mean + 0.5) as u8)
        } else {
            sum.map(|sum| mean(sum, (square.len() * rows) as u32))
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(channels: usize) -> Vec<u8> {
        let mut state = 1_u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        };
        (0..37 * 23 * channels).map(|_| next()).collect()
    }

    #[test]
    fn order_does_not_matter() {
        for channels in [1, 3, 4] {
            for wanted in [(37, 23), (9, 5), (4, 4), (1, 1)] {
                let pixels = picture(channels);
                let rows = pixels.chunks(37 * channels);
                let reducer = |in_order| {
                    Reducer::new((37, 23), wanted, channels, in_order, &Limits::default()).unwrap()
                };
                let (mut ordered, mut any) = (reducer(true), reducer(false));
                rows.clone()
                    .enumerate()
                    .for_each(|(y, row)| ordered.add(0, y, 1, row));
                for (y, row) in rows.enumerate().collect::<Vec<_>>().into_iter().rev() {
                    let odd: Vec<u8> = row
                        .chunks(channels)
                        .skip(1)
                        .step_by(2)
                        .flatten()
                        .copied()
                        .collect();
                    let even: Vec<u8> = row.chunks(channels).step_by(2).flatten().copied().collect();
                    any.add(1, y, 2, &odd);
                    any.add(0, y, 2, &even);
                }
                assert_eq!(
                    ordered.finish().planes,
                    any.finish().planes,
                    "{channels} {wanted:?}"
                );
            }
        }
    }

    #[test]
    fn takes_means_and_ignores_what_lies_outside() {
        let mut reducer = Reducer::new((5, 4), (1, 1), 1, true, &Limits::default()).unwrap();
        for y in 0..6 {
            reducer.add(0, y, 1, &[0, 100, 50, 50, 9, 77, 77]);
        }
        let raster = reducer.finish();
        assert_eq!(raster.planes[0].samples, [50, 50, 9, 50, 50, 9]);
        assert_eq!(raster.planes[0].extent, (2.5, 2.0));
    }

    #[test]
    fn transparent_pixels_have_no_colour() {
        let mut reducer = Reducer::new((4, 4), (1, 1), 4, true, &Limits::default()).unwrap();
        for y in 0..4 {
            reducer.add(
                0,
                y,
                1,
                &[200, 100, 50, 255, 255, 255, 255, 0, 200, 100, 50, 255, 0, 0, 0, 0],
            );
        }
        assert_eq!(reducer.finish().planes[0].samples[..4], [100, 50, 25, 128]);
    }
}
