//! What a picture may cost.

use serde::{Deserialize, Serialize};

use crate::{Error, error::Limit};

/// What is refused before it is decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Largest width times height. Default 50,000,000.
    pub pixels: u64,
    /// Largest width or height. Default 20,000.
    pub side: u32,
    /// Most frames of an animation. Default 1,000.
    pub frames: u32,
    /// Most scans of a JPEG: each one may visit every block. Default 50.
    pub scans: u32,
    /// Longest colour profile in bytes. Default 1 MiB.
    pub profile_bytes: usize,
    /// Most memory for pixels and coefficients in bytes, beside the input itself. Default 208 MiB, which keeps the
    /// process within 256 MiB.
    pub memory_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            pixels: 50_000_000,
            side: 20_000,
            frames: 1_000,
            scans: 50,
            profile_bytes: 1 << 20,
            memory_bytes: 208 << 20,
        }
    }
}

impl Limits {
    pub(crate) fn check_size(&self, width: u64, height: u64) -> Result<(), Error> {
        let side = width.max(height);
        if side > u64::from(self.side) {
            return exceeded(Limit::Side, side, u64::from(self.side));
        }
        let pixels = width * height;
        if pixels > self.pixels {
            exceeded(Limit::Pixels, pixels, self.pixels)
        } else {
            Ok(())
        }
    }

    pub(crate) fn check_frames(&self, frames: u32) -> Result<(), Error> {
        if frames > self.frames {
            return exceeded(Limit::Frames, frames.into(), self.frames.into());
        }
        Ok(())
    }

    pub(crate) fn check_scans(&self, scans: u32) -> Result<(), Error> {
        if scans > self.scans {
            return exceeded(Limit::Scans, scans.into(), self.scans.into());
        }
        Ok(())
    }

    pub(crate) fn check_profile(&self, length: usize) -> Result<(), Error> {
        if length > self.profile_bytes {
            return exceeded(Limit::Profile, length as u64, self.profile_bytes as u64);
        }
        Ok(())
    }

    pub(crate) fn check_memory(&self, bytes: u64) -> Result<(), Error> {
        if bytes > self.memory_bytes as u64 {
            return exceeded(Limit::Memory, bytes, self.memory_bytes as u64);
        }
        Ok(())
    }
}

fn exceeded(limit: Limit, value: u64, allowed: u64) -> Result<(), Error> {
    Err(Error::LimitExceeded {
        limit,
        value,
        allowed,
    })
}
