//! The planes that blocks are decoded into.

use super::{
    markers::{Component, Frame},
    transform::{self, Scale},
};
use crate::raster::Plane;

/// The quantisation table of a component in both forms that the transforms take, in zigzag order.
pub(super) struct Factors {
    integers: [i32; 64],
    floats: [f32; 64],
}

impl Factors {
    pub fn new(quantisation: &[u16; 64], scale: Scale) -> Self {
        let full = transform::full_factors();
        Self {
            integers: quantisation.map(i32::from),
            floats: std::array::from_fn(|index| {
                let factor = if scale == Scale::Full {
                    full[usize::from(transform::ZIGZAG[index])]
                } else {
                    1.0
                };
                f32::from(quantisation[index]) * factor
            }),
        }
    }

    /// The value at a zigzag position, limited so that sums of a few do not overflow.
    #[inline]
    pub fn integer(&self, index: usize, value: i32) -> i32 {
        value
            .saturating_mul(self.integers[index])
            .clamp(-(1 << 20), 1 << 20)
    }

    #[inline]
    pub fn float(&self, index: usize, value: i32) -> f32 {
        value as f32 * self.floats[index]
    }
}

/// A component's plane while it is filled: whole MCUs.
pub(super) struct Target {
    pub scale: Scale,
    pub slots: [u8; 64],
    pub samples: Vec<u8>,
    /// Samples from one row to the next.
    pub stride: usize,
    /// Number of blocks across and down, with those that only fill the last MCUs.
    pub blocks: (u32, u32),
    /// Number of blocks across and down that hold something of the picture: those of a scan of this component alone.
    pub own_blocks: (u32, u32),
    pub factors: Factors,
    /// Width and height of the picture in samples.
    extent: (f64, f64),
}

impl Target {
    pub fn bytes(frame: &Frame, component: &Component, scale: Scale) -> u64 {
        let (across, down) = frame.units();
        u64::from(across * component.across * scale.samples())
            * u64::from(down * component.down * scale.samples())
    }

    pub fn new(frame: &Frame, component: &Component, scale: Scale) -> Self {
        let units = frame.units();
        let blocks = (units.0 * component.across, units.1 * component.down);
        let samples = scale.samples();
        let stride = (blocks.0 * samples) as usize;
        let (width, height) = frame.component_size(component);
        let largest = frame.largest_sampling();
        let extent = |size: u32, factor: u32, largest: u32| {
            f64::from(size) * f64::from(factor) / f64::from(largest) * f64::from(samples) / 8.0
        };
        Self {
            scale,
            slots: scale.slots(),
            samples: vec![0; stride * (blocks.1 * samples) as usize],
            stride,
            blocks,
            own_blocks: (width.div_ceil(8), height.div_ceil(8)),
            factors: Factors::new(&[1; 64], scale),
            extent: (
                extent(frame.width, component.across, largest.0),
                extent(frame.height, component.down, largest.1),
            ),
        }
    }

    /// Where a block's first sample lies.
    #[inline]
    pub fn place(&self, column: u32, row: u32) -> usize {
        let samples = self.scale.samples() as usize;
        row as usize * samples * self.stride + column as usize * samples
    }

    /// Cuts off what only fills the last MCUs.
    pub fn into_plane(mut self) -> Plane {
        let (width, height) = (self.extent.0.ceil() as usize, self.extent.1.ceil() as usize);
        if width < self.stride {
            for row in 1..height {
                self.samples
                    .copy_within(row * self.stride..row * self.stride + width, row * width);
            }
        }
        self.samples.truncate(width * height);
        Plane {
            width: width as u32,
            height: height as u32,
            channels: 1,
            extent: self.extent,
            samples: self.samples,
        }
    }
}
