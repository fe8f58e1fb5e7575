//! Resampling of planes.

use fast_image_resize::{
    FilterType, PixelTrait, ResizeAlg, ResizeOptions, Resizer,
    images::{TypedImage, TypedImageRef},
    pixels,
};

use crate::{
    Error,
    layout::{Layout, Part},
    raster::{Model, Plane, Raster},
};

/// Resamples planes; its buffers are used again.
#[derive(Default)]
pub(crate) struct Resampler(Resizer);

impl Resampler {
    /// Resamples all planes of a raster, those of the chroma to half the size if asked for. The layout is that of the
    /// picture as stored.
    pub fn raster(&mut self, raster: &Raster, layout: &Layout, halved_chroma: bool) -> Result<Raster, Error> {
        let planes = raster.planes.iter().enumerate().map(|(index, plane)| {
            let divisor = if halved_chroma && index > 0 { 2 } else { 1 };
            self.plane(
                plane,
                layout.part,
                layout.width.div_ceil(divisor),
                layout.height.div_ceil(divisor),
            )
        });
        Ok(Raster {
            model: raster.model,
            planes: planes.collect::<Result<_, _>>()?,
        })
    }

    fn plane(&mut self, plane: &Plane, part: Part, width: u32, height: u32) -> Result<Plane, Error> {
        if part == Part::ALL && plane.extent == (width.into(), height.into()) {
            return Ok(plane.clone());
        }
        let (across, down) = plane.extent;
        let options = ResizeOptions::new()
            .resize_alg(ResizeAlg::Convolution(FilterType::Lanczos3))
            .use_alpha(false)
            .crop(
                part.left * across,
                part.top * down,
                part.width * across,
                part.height * down,
            );
        let samples = match plane.channels {
            1 => self.typed::<pixels::U8>(plane, width, height, &options),
            3 => self.typed::<pixels::U8x3>(plane, width, height, &options),
            _ => self.typed::<pixels::U8x4>(plane, width, height, &options),
        };
        let mut samples = samples.map_err(|error| Error::Unsupported {
            what: format!(
                "resampling {}x{} to {width}x{height} ({error})",
                plane.width, plane.height
            ),
            install: None,
        })?;
        if plane.channels == 4 {
            // The filter overshoots: a colour multiplied with its alpha is never above it.
            for [r, g, b, a] in samples.as_chunks_mut::<4>().0 {
                *r = (*r).min(*a);
                *g = (*g).min(*a);
                *b = (*b).min(*a);
            }
        }
        Ok(Plane::new(width, height, plane.channels, samples))
    }

    /// For one kind of pixel: the untyped call would compile all kinds that the crate knows.
    fn typed<P: PixelTrait>(
        &mut self,
        plane: &Plane,
        width: u32,
        height: u32,
        options: &ResizeOptions,
    ) -> Result<Vec<u8>, String> {
        let mut samples = vec![0; width as usize * height as usize * plane.channels];
        let source = TypedImageRef::<P>::from_buffer(plane.width, plane.height, &plane.samples)
            .map_err(|error| error.to_string())?;
        let mut target =
            TypedImage::<P>::from_buffer(width, height, &mut samples).map_err(|error| error.to_string())?;
        self.0
            .resize_typed(&source, &mut target, options)
            .map_err(|error| error.to_string())?;
        Ok(samples)
    }
}

/// Turns all planes of a small raster.
pub(crate) fn turn(raster: Raster, orientation: crate::orientation::Orientation) -> Raster {
    let Raster { model, planes } = raster;
    let planes = planes.into_iter().map(|plane| {
        let (width, height) = orientation.size(plane.width, plane.height);
        let samples = orientation.apply(plane.samples, plane.width, plane.height, plane.channels);
        Plane::new(width, height, plane.channels, samples)
    });
    Raster {
        model,
        planes: planes.collect(),
    }
}

/// Whether the model has luma and chroma apart.
pub(crate) const fn has_chroma(model: Model) -> bool {
    matches!(model, Model::YCbCr)
}
