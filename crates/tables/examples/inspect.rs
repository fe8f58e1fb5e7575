//! Prints the facts of a table as JSON, or what is wrong with it (then the exit code is 1):
//! `inspect FILE [--ragged] [--piece BYTES]`.

use std::fs::File;

use cloakroom_tables::{Error, Limits, Options, inspect_delimited, inspect_workbook, recognise};

fn inspect(path: &str, options: &Options) -> Result<String, Error> {
    let mut file = File::open(path).map_err(Error::Io)?;
    let facts = match recognise(&mut file, &Limits::default())? {
        Some(kind) => serde_json::to_string(&inspect_workbook(file, kind, &Limits::default())?),
        None => serde_json::to_string(&inspect_delimited(file, options)?),
    };
    Ok(facts.expect("facts are JSON"))
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().expect("the first argument is a file");
    let mut options = Options::default();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--ragged" => options.strict = false,
            "--piece" => {
                let bytes = arguments.next().expect("--piece has a number");
                options.piece_bytes = bytes.parse().expect("--piece has a number");
            }
            other => panic!("no option {other}"),
        }
    }
    match inspect(&path, &options) {
        Ok(facts) => println!("{facts}"),
        Err(error) => {
            println!(
                "{}",
                serde_json::json!({ "code": error.code(), "message": error.to_string() })
            );
            std::process::exit(1);
        }
    }
}
