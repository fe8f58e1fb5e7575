//! Makes one picture smaller: `thumbnail INPUT OUTPUT [SIDE] [REPEAT]`. The format follows the output's extension.
//! With REPEAT it does so several times over, for measurements. Prints the facts.

use std::{env, error::Error, fs, path::Path};

use cloakroom_images::{Fit, Limits, OutputFormat, Rendition, render};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [input, output, rest @ ..] = &arguments[..] else {
        return Err("usage: thumbnail INPUT OUTPUT [SIDE] [REPEAT]".into());
    };
    let side = rest.first().map_or(Ok(512), |side| side.parse())?;
    let repeat: usize = rest.get(1).map_or(Ok(1), |repeat| repeat.parse())?;
    let format = match Path::new(output)
        .extension()
        .and_then(|extension| extension.to_str())
    {
        Some("png") => OutputFormat::Png,
        Some("webp") => OutputFormat::Webp,
        Some("auto") => OutputFormat::Auto,
        _ => OutputFormat::Jpeg,
    };
    let rendition = Rendition {
        name: output.clone(),
        width: side,
        height: side,
        fit: Fit::Contain,
        format,
        quality: 80,
    };
    for _ in 0..repeat {
        let bytes = fs::read(input)?;
        let rendered = render(&bytes, std::slice::from_ref(&rendition), &Limits::default())?;
        for picture in &rendered.pictures {
            fs::write(output, &picture.bytes)?;
        }
        if repeat == 1 {
            println!("{:?}", rendered.facts);
        }
    }
    Ok(())
}
