//! Prints the facts of a document as JSON, and writes a preview where a path for it is given:
//! `document FILE [SIDE PREVIEW.png]`. The benchmark runs this beside pdfinfo and pdftoppm.

use std::error::Error;
use std::fs::{self, File};

use cloakroom_documents::{Limits, inspect, preview, recognise_office};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (path, picture) = match arguments.as_slice() {
        [path] => (path, None),
        [path, side, picture] => (path, Some((side.parse()?, picture))),
        _ => return Err("usage: document FILE [SIDE PREVIEW.png]".into()),
    };
    let limits = Limits::default();
    let bytes = fs::read(path)?;
    if !bytes.starts_with(b"%PDF-") {
        println!("{:?}", recognise_office(File::open(path)?)?);
        return Ok(());
    }
    let document = inspect(bytes, &limits)?;
    println!("{document:?} {:?} {:?}", document.title, document.author);
    if let Some((side, path)) = picture {
        let preview = preview(&document, side, &limits)?;
        println!("{} x {} pixels", preview.width, preview.height);
        fs::write(path, preview.png)?;
    }
    Ok(())
}
