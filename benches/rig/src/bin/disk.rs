//! What the disk itself gives: durable writes (temporary file, fsync, rename, fsync of the directory) and reads of whole
//! files, by one thread or several.
//!
//! `disk write|read DIRECTORY SIZE_BYTES COUNT THREADS`, prints `{"operations":…, "seconds":…}`. `read` reads what
//! `write` left, which the page cache holds: it is the copy out of the kernel that is measured, as with the servers.

use std::error::Error;
use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

const BUFFER_BYTES: usize = 256 * 1024;

fn path(directory: &Path, index: usize) -> std::path::PathBuf {
    directory.join(format!("{index:08}"))
}

fn write(directory: &Path, index: usize, size: usize, buffer: &[u8]) -> std::io::Result<()> {
    let temporary = directory.join(format!("{index:08}.temporary"));
    let mut file = File::create_new(&temporary)?;
    let mut left = size;
    while left > 0 {
        let part = left.min(buffer.len());
        file.write_all(&buffer[..part])?;
        left -= part;
    }
    file.sync_all()?;
    std::fs::rename(&temporary, path(directory, index))?;
    File::open(directory)?.sync_all()
}

fn read(directory: &Path, index: usize, size: usize, buffer: &mut [u8]) -> std::io::Result<()> {
    let mut file = File::open(path(directory, index))?;
    let mut left = size;
    while left > 0 {
        match file.read(buffer)? {
            0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            part => left -= part,
        }
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, mode, directory, size, count, threads] = arguments.as_slice() else {
        return Err("usage: disk write|read DIRECTORY SIZE_BYTES COUNT THREADS".into());
    };
    let (directory, size, count) = (
        Path::new(directory),
        size.parse::<usize>()?,
        count.parse::<usize>()?,
    );
    let reading = match mode.as_str() {
        "read" => true,
        "write" => false,
        _ => return Err("the mode is read or write".into()),
    };
    let next = AtomicUsize::new(0);
    let started = Instant::now();
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads.parse::<usize>()?)
            .map(|_| {
                scope.spawn(|| {
                    let mut buffer = vec![0x5a; BUFFER_BYTES];
                    loop {
                        let index = next.fetch_add(1, Ordering::Relaxed);
                        if index >= count {
                            return Ok::<(), std::io::Error>(());
                        }
                        if reading {
                            read(directory, index, size, &mut buffer)?;
                        } else {
                            write(directory, index, size, &buffer)?;
                        }
                    }
                })
            })
            .collect();
        for worker in workers {
            worker.join().map_err(|_| "a worker panicked")??;
        }
        Ok::<(), Box<dyn Error>>(())
    })?;
    println!(
        "{{\"operations\":{count},\"seconds\":{}}}",
        started.elapsed().as_secs_f64()
    );
    Ok(())
}
