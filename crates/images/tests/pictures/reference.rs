//! Our JPEG decoder and encoder beside zune-jpeg.

use cloakroom_images::{Fit, Limits, OutputFormat, Rendition, render};
use zune_jpeg::{
    JpegDecoder, zune_core::bytestream::ZCursor, zune_core::colorspace::ColorSpace,
    zune_core::options::DecoderOptions,
};

use super::{names, psnr, read, rgb};

fn theirs(bytes: &[u8]) -> (usize, usize, Vec<u8>) {
    let options = DecoderOptions::default().jpeg_set_out_colorspace(ColorSpace::RGB);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), options);
    let pixels = decoder.decode().unwrap();
    let (width, height) = decoder.dimensions().unwrap();
    (width, height, pixels)
}

/// At full size, where nothing is resampled but the chroma.
#[test]
fn full_size_is_the_same() {
    let unturned = |name: &String| {
        let other = ["orientation", "display-p3", "cmyk", "rgb.jpg", "srgb"]
            .iter()
            .any(|part| name.contains(part));
        name.contains(".jpg") && !other
    };
    let mut compared = 0;
    for name in names("good").iter().filter(|name| unturned(name)) {
        let bytes = read(&format!("good/{name}"));
        let (width, height, theirs) = theirs(&bytes);
        let rendition = Rendition {
            name: String::new(),
            width: width as u32,
            height: height as u32,
            fit: Fit::Contain,
            format: OutputFormat::Png,
            quality: 80,
        };
        let rendered = render(&bytes, &[rendition], &Limits::default()).unwrap();
        let (our_width, our_height, ours) = rgb(&rendered.pictures[0].bytes);
        assert_eq!((our_width, our_height), (width, height));
        let found = psnr(&ours, &theirs);
        // Without subsampling only roundings differ; with it, the filter that enlarges the chroma.
        let least = if name.contains("444") || name.contains("grey") {
            48.0
        } else if name.contains("size") {
            28.0
        } else {
            33.0
        };
        assert!(found > least, "{name}: {found:.1} dB");
        compared += 1;
    }
    assert!(compared >= 12, "{compared}");
}

#[test]
fn others_read_what_we_write() {
    for name in [
        "rgb.png",
        "grey.png",
        "size-7x9.jpg",
        "size-1x1.jpg",
        "baseline-444.jpg",
        "coarse.jpg",
    ] {
        let bytes = read(&format!("good/{name}"));
        for quality in [1, 50, 80, 89, 90, 100] {
            let rendition = |format| Rendition {
                name: String::new(),
                width: 83,
                height: 61,
                fit: Fit::Contain,
                format,
                quality,
            };
            let formats = [rendition(OutputFormat::Jpeg), rendition(OutputFormat::Png)];
            let rendered = render(&bytes, &formats, &Limits::default()).unwrap();
            let (width, height, jpeg) = theirs(&rendered.pictures[0].bytes);
            let (png_width, png_height, png) = rgb(&rendered.pictures[1].bytes);
            assert_eq!((width, height), (png_width, png_height));
            let least = match quality {
                1 => 14.0,
                50 => 24.0,
                100 => 38.0,
                _ => 26.0,
            };
            let found = psnr(&jpeg, &png);
            assert!(found > least, "{name} at {quality}: {found:.1} dB");
        }
    }
}
