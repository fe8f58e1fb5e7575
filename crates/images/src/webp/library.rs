//! The calls into libwebp: the only unsafe code of this crate.

#![expect(
    unsafe_code,
    reason = "libwebp is a C library, and its scaled decoding has no safe binding"
)]

use libwebp_sys::{
    VP8StatusCode, WEBP_CSP_MODE, WebPDecode, WebPDecoderConfig, WebPEncodeRGB, WebPEncodeRGBA, WebPFree,
    WebPRGBABuffer, WebPYUVABuffer,
};

use super::malformed;
use crate::{
    Error, Limits,
    raster::{Model, Plane, Raster},
};

/// From this reduction on the edges between blocks need no smoothing: they are averaged away.
const UNFILTERED_FROM: u32 = 4;

/// Decodes a picture at one and a half times the wanted size, or as it is.
pub(super) fn decode(
    data: &[u8],
    (width, height): (u32, u32),
    wanted: (u32, u32),
    lossless: bool,
    alpha: bool,
    limits: &Limits,
) -> Result<Raster, Error> {
    let mut config = new_config()?;
    let reduction = (width / wanted.0.max(1)).min(height / wanted.1.max(1));
    let (mut out_width, mut out_height) = (width, height);
    if reduction > 2 {
        let scale =
            (f64::from(wanted.0) / f64::from(width)).max(f64::from(wanted.1) / f64::from(height)) * 1.5;
        out_width = ((f64::from(width) * scale).ceil() as u32).min(width);
        out_height = ((f64::from(height) * scale).ceil() as u32).min(height);
        config.options.use_scaling = 1;
        config.options.scaled_width = out_width as i32;
        config.options.scaled_height = out_height as i32;
        config.options.bypass_filtering = i32::from(reduction >= UNFILTERED_FROM);
    }
    let pixels = (out_width * out_height) as usize;
    limits.check_memory(
        pixels as u64 * 4
            + if lossless {
                u64::from(width) * u64::from(height) * 4
            } else {
                0
            },
    )?;
    if lossless || alpha {
        let (mode, model, channels) = if alpha {
            (WEBP_CSP_MODE::MODE_rgbA, Model::Rgba, 4)
        } else {
            (WEBP_CSP_MODE::MODE_RGB, Model::Rgb, 3)
        };
        let samples = packed(config, data, mode, out_width, out_height, channels)?;
        return Ok(Raster {
            model,
            planes: vec![Plane::new(out_width, out_height, channels, samples)],
        });
    }
    let mut luma = vec![0; pixels];
    let (chroma_width, chroma_height) = (out_width.div_ceil(2), out_height.div_ceil(2));
    let mut chroma = [
        vec![0; (chroma_width * chroma_height) as usize],
        vec![0; (chroma_width * chroma_height) as usize],
    ];
    config.output.colorspace = WEBP_CSP_MODE::MODE_YUV;
    config.output.is_external_memory = 1;
    let [u, v] = &mut chroma;
    config.output.u.YUVA = WebPYUVABuffer {
        y: luma.as_mut_ptr(),
        u: u.as_mut_ptr(),
        v: v.as_mut_ptr(),
        a: std::ptr::null_mut(),
        y_stride: out_width as i32,
        u_stride: chroma_width as i32,
        v_stride: chroma_width as i32,
        a_stride: 0,
        y_size: luma.len(),
        u_size: u.len(),
        v_size: v.len(),
        a_size: 0,
    };
    // SAFETY: the three planes live until after the call, and their sizes and strides are given above.
    check(unsafe { WebPDecode(data.as_ptr(), data.len(), &raw mut config) })?;
    // From video range to the full range of JPEG.
    let full_range = |low: u8, span: f32, lift: f32| -> [u8; 256] {
        std::array::from_fn(|value| {
            ((value as f32 - f32::from(low)) * 255.0 / span + lift + 0.5).clamp(0.0, 255.0) as u8
        })
    };
    let lift =
        |samples: &mut [u8], table: &[u8; 256]| samples.iter_mut().for_each(|s| *s = table[usize::from(*s)]);
    lift(&mut luma, &full_range(16, 219.0, 0.0));
    let table = full_range(128, 224.0, 128.0);
    let chroma = chroma.map(|mut samples| {
        lift(&mut samples, &table);
        let mut plane = Plane::new(chroma_width, chroma_height, 1, samples);
        plane.extent = (f64::from(out_width) / 2.0, f64::from(out_height) / 2.0);
        plane
    });
    let planes = std::iter::once(Plane::new(out_width, out_height, 1, luma))
        .chain(chroma)
        .collect();
    Ok(Raster {
        model: Model::YCbCr,
        planes,
    })
}

/// Decodes a picture as it is to RGBA, the colours not multiplied.
pub(super) fn decode_rgba(data: &[u8], (width, height): (u32, u32)) -> Result<Vec<u8>, Error> {
    packed(new_config()?, data, WEBP_CSP_MODE::MODE_RGBA, width, height, 4)
}

fn new_config() -> Result<WebPDecoderConfig, Error> {
    WebPDecoderConfig::new().map_err(|()| Error::Unsupported {
        what: "WebP with this version of libwebp".to_owned(),
        install: None,
    })
}

fn packed(
    mut config: WebPDecoderConfig,
    data: &[u8],
    mode: WEBP_CSP_MODE,
    width: u32,
    height: u32,
    channels: usize,
) -> Result<Vec<u8>, Error> {
    let stride = width as usize * channels;
    let mut samples = vec![0_u8; stride * height as usize];
    config.output.colorspace = mode;
    config.output.is_external_memory = 1;
    config.output.u.RGBA = WebPRGBABuffer {
        rgba: samples.as_mut_ptr(),
        stride: stride as i32,
        size: samples.len(),
    };
    // SAFETY: the buffer lives until after the call, and its size and stride are given above.
    check(unsafe { WebPDecode(data.as_ptr(), data.len(), &raw mut config) })?;
    Ok(samples)
}

fn check(status: VP8StatusCode) -> Result<(), Error> {
    match status {
        VP8StatusCode::VP8_STATUS_OK => Ok(()),
        VP8StatusCode::VP8_STATUS_SUSPENDED | VP8StatusCode::VP8_STATUS_NOT_ENOUGH_DATA => {
            Err(malformed("it ends before the picture is complete"))
        }
        other => Err(malformed(format!("libwebp says {other:?}"))),
    }
}

/// Encodes grey, RGB or RGBA, lossy, with alpha kept.
pub(crate) fn encode(picture: &Plane, quality: u8) -> Result<Vec<u8>, Error> {
    let (width, height) = (picture.width as i32, picture.height as i32);
    let expanded: Vec<u8>;
    let samples = if picture.channels == 1 {
        expanded = picture.samples.iter().flat_map(|&grey| [grey; 3]).collect();
        &expanded
    } else {
        &picture.samples
    };
    let channels = if picture.channels == 4 { 4 } else { 3 };
    if samples.len() != picture.width as usize * picture.height as usize * channels
        || picture.width.max(picture.height) > 16_383
    {
        return Err(Error::Unsupported {
            what: format!("WebP of {width}x{height}"),
            install: None,
        });
    }
    let mut out = std::ptr::null_mut();
    let (stride, quality) = (width * channels as i32, f32::from(quality));
    // SAFETY: width, height and stride describe the samples (checked above); libwebp sets `out` to its own memory.
    let length = unsafe {
        if channels == 4 {
            WebPEncodeRGBA(samples.as_ptr(), width, height, stride, quality, &raw mut out)
        } else {
            WebPEncodeRGB(samples.as_ptr(), width, height, stride, quality, &raw mut out)
        }
    };
    if length == 0 || out.is_null() {
        return Err(Error::Unsupported {
            what: format!("writing WebP of {width}x{height}"),
            install: None,
        });
    }
    // SAFETY: libwebp wrote `length` bytes at `out`, which nothing else refers to and which is freed once.
    unsafe {
        let bytes = std::slice::from_raw_parts(out, length).to_vec();
        WebPFree(out.cast());
        Ok(bytes)
    }
}
