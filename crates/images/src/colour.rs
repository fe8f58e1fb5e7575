//! Colours, of small pictures only: to RGB, to sRGB by the picture's profile, and back to YCbCr for JPEG.

use std::sync::Arc;

use moxcms::{ColorProfile, DataColorSpace, Layout, TransformExecutor, TransformOptions};

use crate::raster::{Model, Plane, Raster};

/// What turns a picture's colours into sRGB. `None` where they are sRGB already.
pub(crate) struct ToSrgb(Option<(Arc<dyn TransformExecutor<u8> + Send + Sync>, DataColorSpace)>);

impl ToSrgb {
    /// From the picture's profile. A profile that cannot be read or is for other colours than the picture has is
    /// passed over, as viewers do.
    pub fn new(profile: Option<&[u8]>, model: Model) -> Self {
        Self(profile.and_then(|profile| transform(profile, model)))
    }

    pub const fn is_needed(&self) -> bool {
        self.0.is_some()
    }

    /// Packs a raster whose planes all have the same size into grey, RGB or RGBA (not multiplied) of sRGB.
    pub fn pack(&self, raster: &Raster) -> Plane {
        let planes = &raster.planes;
        let (width, height) = (planes[0].width, planes[0].height);
        let packed = |channels, samples| Plane::new(width, height, channels, samples);
        match raster.model {
            Model::Gray => match &self.0 {
                Some((transform, DataColorSpace::Gray)) => {
                    let mut rgb = vec![0; planes[0].samples.len() * 3];
                    match transform.transform(&planes[0].samples, &mut rgb) {
                        Ok(()) => packed(1, rgb.iter().step_by(3).copied().collect()),
                        Err(_) => planes[0].clone(),
                    }
                }
                _ => planes[0].clone(),
            },
            Model::YCbCr => packed(3, self.apply(interleave(planes, ycbcr_to_rgb), 3)),
            Model::Rgb if planes.len() == 1 => packed(3, self.apply(planes[0].samples.clone(), 3)),
            Model::Rgb => packed(3, self.apply(interleave(planes, |rgb| rgb), 3)),
            Model::Rgba => packed(4, self.apply(divide_alpha(&planes[0].samples), 4)),
            Model::Cmyk | Model::Ycck => packed(3, self.inks(raster)),
        }
    }

    fn apply(&self, samples: Vec<u8>, channels: usize) -> Vec<u8> {
        let Some((transform, DataColorSpace::Rgb)) = &self.0 else {
            return samples;
        };
        let mut converted = vec![0; samples.len()];
        let done = if channels == 4 {
            // The transform takes three channels; alpha is copied.
            let rgb: Vec<u8> = samples
                .as_chunks::<4>()
                .0
                .iter()
                .flat_map(|pixel| [pixel[0], pixel[1], pixel[2]])
                .collect();
            let mut out = vec![0; rgb.len()];
            let done = transform.transform(&rgb, &mut out);
            let pixels = converted
                .as_chunks_mut::<4>()
                .0
                .iter_mut()
                .zip(out.as_chunks::<3>().0);
            for ((pixel, &[r, g, b]), from) in pixels.zip(samples.as_chunks::<4>().0) {
                *pixel = [r, g, b, from[3]];
            }
            done
        } else {
            transform.transform(&samples, &mut converted)
        };
        if done.is_ok() { converted } else { samples }
    }

    /// CMYK, by its profile, or as if the inks were perfect.
    fn inks(&self, raster: &Raster) -> Vec<u8> {
        let [c, m, y, k] = &raster.planes[..] else {
            return Vec::new();
        };
        let pixels = c.samples.iter().zip(&m.samples).zip(&y.samples).zip(&k.samples);
        let inverted = pixels.map(|(((&c, &m), &y), &k)| {
            let [c, m, y] = if raster.model == Model::Ycck {
                // YCCK says in YCbCr how much ink there is, and Adobe stores the ink's complement (as of K).
                ycbcr_to_rgb([c, m, y]).map(|ink| 255 - ink)
            } else {
                [c, m, y]
            };
            [c, m, y, k]
        });
        if let Some((transform, DataColorSpace::Cmyk)) = &self.0 {
            let inks: Vec<u8> = inverted
                .clone()
                .flat_map(|pixel| pixel.map(|value| 255 - value))
                .collect();
            let mut rgb = vec![0; inks.len() / 4 * 3];
            if transform.transform(&inks, &mut rgb).is_ok() {
                return rgb;
            }
        }
        let times = |value: u8, k: u8| ((u32::from(value) * u32::from(k) + 127) / 255) as u8;
        inverted
            .flat_map(|[c, m, y, k]| [times(c, k), times(m, k), times(y, k)])
            .collect()
    }
}

fn transform(
    profile: &[u8],
    model: Model,
) -> Option<(Arc<dyn TransformExecutor<u8> + Send + Sync>, DataColorSpace)> {
    let profile = ColorProfile::new_from_slice(profile).ok()?;
    let space = profile.color_space;
    let layout = match (model, space) {
        (Model::Gray, DataColorSpace::Gray) => Layout::Gray,
        (Model::YCbCr | Model::Rgb | Model::Rgba, DataColorSpace::Rgb) => Layout::Rgb,
        (Model::Cmyk | Model::Ycck, DataColorSpace::Cmyk) => Layout::Rgba,
        _ => return None,
    };
    let options = TransformOptions::default();
    let transform = profile
        .create_transform_8bit(layout, &ColorProfile::new_srgb(), Layout::Rgb, options)
        .ok()?;
    if layout == Layout::Rgb && changes_nothing(&*transform) {
        return None;
    }
    Some((transform, space))
}

/// Most profiles are sRGB by another name: seen by what they do to a few hundred colours.
fn changes_nothing(transform: &dyn TransformExecutor<u8>) -> bool {
    const STEPS: [u8; 7] = [0, 25, 64, 110, 160, 210, 255];
    let mut colours = Vec::with_capacity(STEPS.len().pow(3) * 3);
    for r in STEPS {
        for g in STEPS {
            for b in STEPS {
                colours.extend_from_slice(&[r, g, b]);
            }
        }
    }
    let mut converted = vec![0; colours.len()];
    transform.transform(&colours, &mut converted).is_ok()
        && colours
            .iter()
            .zip(&converted)
            .all(|(before, after)| before.abs_diff(*after) <= 2)
}

/// JFIF 1.02: full range, ITU-R BT.601.
#[inline]
fn ycbcr_to_rgb([y, cb, cr]: [u8; 3]) -> [u8; 3] {
    let (y, cb, cr) = (
        i32::from(y) << 16 | 1 << 15,
        i32::from(cb) - 128,
        i32::from(cr) - 128,
    );
    let byte = |value: i32| (value >> 16).clamp(0, 255) as u8;
    [
        byte(y + 91_881 * cr),
        byte(y - 22_554 * cb - 46_802 * cr),
        byte(y + 116_130 * cb),
    ]
}

fn interleave(planes: &[Plane], convert: impl Fn([u8; 3]) -> [u8; 3]) -> Vec<u8> {
    let [a, b, c] = planes else { return Vec::new() };
    let mut packed = vec![0; a.samples.len() * 3];
    let pixels = packed
        .as_chunks_mut::<3>()
        .0
        .iter_mut()
        .zip(&a.samples)
        .zip(&b.samples)
        .zip(&c.samples);
    for (((pixel, &a), &b), &c) in pixels {
        *pixel = convert([a, b, c]);
    }
    packed
}

/// Grey or RGB to the planes of a JPEG, with the chroma halved if asked for.
pub(crate) fn to_ycbcr(picture: &Plane, halved: bool) -> Vec<Vec<u8>> {
    let (width, height) = (picture.width as usize, picture.height as usize);
    let pixels = picture.samples.as_chunks::<3>().0;
    let plane = |[r, g, b]: [i32; 3], offset: i32| -> Vec<u8> {
        let convert = |pixel: &[u8; 3]| {
            let sum = r * i32::from(pixel[0]) + g * i32::from(pixel[1]) + b * i32::from(pixel[2]);
            (((sum + (1 << 15)) >> 16) + offset).clamp(0, 255) as u8
        };
        pixels.iter().map(convert).collect()
    };
    let luma = plane([19_595, 38_470, 7_471], 0);
    let chroma = [
        plane([-11_059, -21_709, 32_768], 128),
        plane([32_768, -27_439, -5_329], 128),
    ];
    let chroma = chroma.map(|plane| {
        if halved {
            halve(&plane, width, height)
        } else {
            plane
        }
    });
    std::iter::once(luma).chain(chroma).collect()
}

fn halve(plane: &[u8], width: usize, height: usize) -> Vec<u8> {
    let mut halved = Vec::with_capacity(width.div_ceil(2) * height.div_ceil(2));
    for y in (0..height).step_by(2) {
        let upper = &plane[y * width..(y + 1) * width];
        let lower = &plane[(y + 1).min(height - 1) * width..][..width];
        for (upper, lower) in upper.chunks(2).zip(lower.chunks(2)) {
            let sum = |pair: &[u8]| u16::from(pair[0]) + u16::from(pair[pair.len() - 1]);
            halved.push(((sum(upper) + sum(lower) + 2) / 4) as u8);
        }
    }
    halved
}

/// Colours that were multiplied with their alpha, as they were.
pub(crate) fn divide_alpha(samples: &[u8]) -> Vec<u8> {
    let divide = |&[r, g, b, a]: &[u8; 4]| {
        let by = |value: u8| {
            (u32::from(value) * 255 + u32::from(a) / 2)
                .checked_div(a.into())
                .unwrap_or(0)
                .min(255)
        };
        if a == 255 {
            [r, g, b, a]
        } else {
            [by(r) as u8, by(g) as u8, by(b) as u8, a]
        }
    };
    samples.as_chunks::<4>().0.iter().flat_map(divide).collect()
}

/// RGBA laid on white.
pub(crate) fn on_white(picture: &Plane) -> Plane {
    let lay = |&[r, g, b, a]: &[u8; 4]| {
        let on =
            |value: u8| ((u32::from(value) * u32::from(a) + 255 * (255 - u32::from(a)) + 127) / 255) as u8;
        [on(r), on(g), on(b)]
    };
    let samples = picture.samples.as_chunks::<4>().0.iter().flat_map(lay).collect();
    Plane::new(picture.width, picture.height, 3, samples)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        let colours: Vec<u8> = (0..=255)
            .flat_map(|v: u8| [v, v.wrapping_mul(3), 255 - v])
            .collect();
        let picture = Plane::new(256, 1, 3, colours.clone());
        let planes = to_ycbcr(&picture, false);
        let planes: Vec<Plane> = planes
            .into_iter()
            .map(|samples| Plane::new(256, 1, 1, samples))
            .collect();
        let back = ToSrgb(None).pack(&Raster {
            model: Model::YCbCr,
            planes,
        });
        assert!(
            back.samples
                .iter()
                .zip(&colours)
                .all(|(a, b)| a.abs_diff(*b) <= 2)
        );
    }

    #[test]
    fn nonsense_profiles_are_passed_over() {
        assert!(!ToSrgb::new(Some(b"nonsense"), Model::Rgb).is_needed());
        let srgb = ColorProfile::new_srgb().encode().unwrap();
        assert!(!ToSrgb::new(Some(&srgb), Model::YCbCr).is_needed());
        let p3 = ColorProfile::new_display_p3().encode().unwrap();
        assert!(ToSrgb::new(Some(&p3), Model::YCbCr).is_needed());
        assert!(!ToSrgb::new(Some(&p3), Model::Cmyk).is_needed());
    }

    #[test]
    fn wide_colours_become_srgb() {
        let p3 = ColorProfile::new_display_p3().encode().unwrap();
        let raster = Raster {
            model: Model::Rgb,
            planes: vec![Plane::new(1, 1, 3, vec![234, 51, 35])],
        };
        // Display P3 (234, 51, 35) is sRGB red.
        let converted = ToSrgb::new(Some(&p3), Model::Rgb).pack(&raster).samples;
        assert!(
            converted[0] >= 253 && converted[1] <= 12 && converted[2] <= 12,
            "{converted:?}"
        );
    }
}
