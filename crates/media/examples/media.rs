//! Prints the facts of a media file, and the command that makes its poster: `media FILE`. The benchmark runs this
//! beside ffprobe.

use std::error::Error;
use std::fs::File;

use cloakroom_media::{Limits, inspect, poster_command};

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args_os().nth(1).ok_or("usage: media FILE")?;
    let media = inspect(File::open(&path)?, &Limits::default())?;
    println!("{media:?}");
    if let Some(command) = poster_command(&media, 256, &path, "pipe:1".as_ref()) {
        println!("{} {:?}", command.program, command.arguments);
    }
    Ok(())
}
