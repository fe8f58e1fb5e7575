//! Pictures good and hostile, made by `tests/corpus/make_images.py`, and the JPEG decoder against another one.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod corpus;
mod external;
mod hostile;
mod mutations;
mod reference;

use std::{fs, path::PathBuf};

/// The folder with the pictures.
fn folder() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/corpus/images"))
}

fn read(path: &str) -> Vec<u8> {
    let path = folder().join(path);
    fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Names of the files in a folder of the corpus, in order.
fn names(of: &str) -> Vec<String> {
    let entries = fs::read_dir(folder().join(of)).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert!(!names.is_empty(), "the corpus is there");
    names
}

/// A decoded PNG: width, height, RGB (alpha laid on white).
fn rgb(file: &[u8]) -> (usize, usize, Vec<u8>) {
    let mut decoder = png::Decoder::new(std::io::Cursor::new(file));
    decoder.set_transformations(png::Transformations::EXPAND);
    let mut reader = decoder.read_info().unwrap();
    let mut samples = vec![0; reader.output_buffer_size().unwrap()];
    let info = reader.next_frame(&mut samples).unwrap();
    samples.truncate(info.buffer_size());
    let on_white =
        |value: u8, a: u8| ((u32::from(value) * u32::from(a) + 255 * (255 - u32::from(a))) / 255) as u8;
    let rgb = match info.color_type {
        png::ColorType::Grayscale => samples.iter().flat_map(|grey| [*grey; 3]).collect(),
        png::ColorType::Rgb => samples,
        png::ColorType::Rgba => samples
            .chunks(4)
            .flat_map(|pixel| [0, 1, 2].map(|channel| on_white(pixel[channel], pixel[3])))
            .collect(),
        other => panic!("{other:?}"),
    };
    (info.width as usize, info.height as usize, rgb)
}

/// Peak signal-to-noise ratio in dB.
fn psnr(a: &[u8], b: &[u8]) -> f64 {
    assert_eq!(a.len(), b.len());
    let error: f64 = a
        .iter()
        .zip(b)
        .map(|(a, b)| f64::from(a.abs_diff(*b)).powi(2))
        .sum();
    10.0 * (255.0 * 255.0 / (error / a.len() as f64).max(1e-9)).log10()
}
