//! JPEG (ITU T.81): a decoder that makes a small picture without making the large one, and an encoder.
//!
//! The decoder takes baseline, extended sequential and progressive files with Huffman coding, 8 bits, and 1, 3 or 4
//! components. It reads only as many coefficients of a block as the scale needs and passes over the others several
//! codes at a time. See `docs/decisions/0011-own-jpeg-decoder.md`.

mod bits;
mod encode;
mod huffman;
mod markers;
mod planes;
mod progressive;
mod sequential;
mod transform;

use bits::{Bits, Corrupt};
pub(crate) use encode::{Chroma, encode};
use markers::{Frame, Next, Scan, Segments, Tables, malformed};
use planes::{Factors, Target};
use progressive::{Band, Store};
use sequential::Part;
use transform::Scale;

use crate::{
    Error, Format, Limits,
    facts::Header,
    raster::{Model, Plane, Raster},
};

/// Reads what the headers say.
pub(crate) fn header(data: &[u8], limits: &Limits) -> Result<Header, Error> {
    let mut segments = Segments::new(data, limits);
    let mut frame = None;
    loop {
        match segments.next()? {
            Next::Frame(found) => frame = Some(found),
            Next::Scan(..) => break,
            Next::End => return Err(malformed("it ends before its first scan")),
        }
    }
    let frame: Frame = frame.ok_or_else(|| malformed("a scan before the frame header"))?;
    Ok(Header {
        format: Format::Jpeg,
        width: frame.width,
        height: frame.height,
        orientation: segments.applications.orientation.unwrap_or_default(),
        frames: 1,
        has_alpha: false,
        profile: segments.applications.profile(),
    })
}

/// Decodes at the smallest scale that has at least `wanted` samples; `halved_chroma` says that half of it is enough
/// for the chroma planes.
pub(crate) fn decode(
    data: &[u8],
    wanted: (u32, u32),
    halved_chroma: bool,
    limits: &Limits,
) -> Result<Raster, Error> {
    let mut segments = Segments::new(data, limits);
    let frame = match segments.next()? {
        Next::Frame(frame) => frame,
        Next::Scan(..) => return Err(malformed("a scan before the frame header")),
        Next::End => return Err(malformed("it ends before its first scan")),
    };
    let mut decoder = Decoder::new(data, frame, wanted, halved_chroma, limits)?;
    let scans = if decoder.frame.progressive {
        headers_of_scans(data, &segments, limits)?
    } else {
        Vec::new()
    };
    let mut number = 0;
    loop {
        let (scan, start) = match segments.next()? {
            Next::Scan(scan, start) => (scan, start),
            Next::End => break,
            Next::Frame(_) => return Err(malformed("a second frame")),
        };
        number += 1;
        limits.check_scans(number)?;
        segments.at = decoder.scan(&scan, &mut segments.tables, start, scans.get(number as usize..))?;
        // A missing end marker does no harm.
        let done = if decoder.frame.progressive {
            number as usize == scans.len()
        } else {
            decoder.complete()
        };
        if done {
            break;
        }
    }
    if !decoder.complete() {
        return Err(malformed("it ends before the scans of all its components"));
    }
    let model = model(
        &decoder.frame,
        segments.applications.jfif,
        segments.applications.adobe,
    );
    Ok(Raster {
        model,
        planes: decoder.finish(),
    })
}

/// The headers of all scans to come: which are needed depends on the later ones.
fn headers_of_scans(data: &[u8], segments: &Segments<'_>, limits: &Limits) -> Result<Vec<Scan>, Error> {
    let mut scans = Vec::new();
    let mut at = segments.at;
    while let Some(found) = data.get(at..).and_then(markers::next_marker) {
        at += found + 2;
        let marker = data[at - 1];
        if marker == 0xD9 {
            break;
        }
        if matches!(marker, 0x01 | 0xD0..=0xD8) {
            continue;
        }
        let Some(length) = data.get(at..).and_then(<[u8]>::first_chunk::<2>) else {
            break;
        };
        let length = usize::from(u16::from_be_bytes(*length)).max(2);
        if marker == 0xDA {
            scans.extend(
                data.get(at + 2..at + length)
                    .and_then(|segment| segments.scan(segment)),
            );
            limits.check_scans(scans.len() as u32)?;
        }
        at += length;
    }
    Ok(scans)
}

/// What the components mean: Adobe's segment says it, or JFIF, or the names of the components.
fn model(frame: &Frame, jfif: bool, adobe: Option<u8>) -> Model {
    match (frame.components.len(), adobe) {
        (1, _) => Model::Gray,
        (3, Some(0)) => Model::Rgb,
        (3, _) => {
            let rgb = frame.components.iter().map(|component| component.id).eq(*b"RGB");
            if rgb && !jfif && adobe.is_none() {
                Model::Rgb
            } else {
                Model::YCbCr
            }
        }
        (_, Some(2)) => Model::Ycck,
        _ => Model::Cmyk,
    }
}

/// The planes of a picture on their way.
struct Decoder<'a> {
    data: &'a [u8],
    frame: Frame,
    targets: Vec<Target>,
    /// Empty unless progressive.
    stores: Vec<Store>,
    /// For each component, whether its (first) scan was seen.
    seen: Vec<bool>,
}

impl<'a> Decoder<'a> {
    fn new(
        data: &'a [u8],
        frame: Frame,
        wanted: (u32, u32),
        halved_chroma: bool,
        limits: &Limits,
    ) -> Result<Self, Error> {
        let scales: Vec<Scale> = frame
            .components
            .iter()
            .enumerate()
            .map(|(index, component)| {
                let chroma = halved_chroma && matches!(index, 1 | 2);
                let wanted = if chroma {
                    (wanted.0.div_ceil(2), wanted.1.div_ceil(2))
                } else {
                    wanted
                };
                Scale::for_size(frame.component_size(component), wanted)
            })
            .collect();
        let units = frame.units();
        let bytes = frame.components.iter().zip(&scales).map(|(component, &scale)| {
            let blocks = u64::from(units.0 * component.across) * u64::from(units.1 * component.down);
            let store = if frame.progressive {
                Store::bytes(blocks, scale)
            } else {
                0
            };
            store + Target::bytes(&frame, component, scale)
        });
        limits.check_memory(bytes.sum())?;
        let targets: Vec<Target> = frame
            .components
            .iter()
            .zip(&scales)
            .map(|(component, &scale)| Target::new(&frame, component, scale))
            .collect();
        let store =
            |target: &Target| Store::new(target.blocks.0 as usize * target.blocks.1 as usize, target.scale);
        let stores = if frame.progressive {
            targets.iter().map(store).collect()
        } else {
            Vec::new()
        };
        let seen = vec![false; frame.components.len()];
        Ok(Self {
            data,
            frame,
            targets,
            stores,
            seen,
        })
    }

    fn complete(&self) -> bool {
        self.seen.iter().all(|seen| *seen)
    }

    /// Decodes a scan and tells where the next marker is to be looked for. `later` are the scans after it.
    fn scan(
        &mut self,
        scan: &Scan,
        tables: &mut Tables,
        start: usize,
        later: Option<&[Scan]>,
    ) -> Result<usize, Error> {
        for &(index, ..) in &scan.components {
            if !self.seen[index] {
                let number = usize::from(self.frame.components[index].quantisation);
                let table = tables.quantisation[number]
                    .as_ref()
                    .ok_or_else(|| malformed(format!("there is no quantisation table {number}")))?;
                self.targets[index].factors = Factors::new(table, self.targets[index].scale);
            }
        }
        let mut bits = Bits::new(self.data, start);
        let done = if self.frame.progressive {
            self.progressive(scan, tables, &mut bits, later.unwrap_or_default())?
        } else {
            self.sequential(scan, tables, &mut bits)?
        };
        match done {
            Ok(()) => Ok(bits.position()),
            Err(corrupt) => {
                let what = match corrupt {
                    Corrupt::Code => "an unknown code",
                    Corrupt::Early => "the end of the data",
                    Corrupt::Value => "a value outside of its block",
                };
                Err(malformed(format!(
                    "{what} in the middle of a scan, before byte {}",
                    bits.position()
                )))
            }
        }
    }

    fn sequential(
        &mut self,
        scan: &Scan,
        tables: &mut Tables,
        bits: &mut Bits<'_>,
    ) -> Result<Result<(), Corrupt>, Error> {
        for &(_, _, ac) in &scan.components {
            if let Some(table) = &mut tables.ac[usize::from(ac)] {
                table.prepare_sequential();
            }
        }
        let mut parts = Vec::with_capacity(scan.components.len());
        for &(index, dc, ac) in &scan.components {
            let missing = || malformed("a Huffman table is missing");
            let dc = tables.dc[usize::from(dc)].as_ref().ok_or_else(missing)?;
            let ac = tables.ac[usize::from(ac)].as_ref().ok_or_else(missing)?;
            let tables = ac.sequential().ok_or_else(missing)?;
            parts.push((
                index,
                Part {
                    dc,
                    ac,
                    tables,
                    prediction: 0,
                },
            ));
            self.seen[index] = true;
        }
        let targets = &mut self.targets;
        Ok(each_unit(
            &self.frame,
            scan,
            targets_blocks(targets, scan),
            tables.restart_interval,
            bits,
            |bits, event| {
                match event {
                    Event::Restart => parts.iter_mut().for_each(|(_, part)| part.prediction = 0),
                    Event::Block { part, column, row } => {
                        let (index, part) = &mut parts[part];
                        let target = &mut targets[*index];
                        let place = target.place(column, row);
                        sequential::block(bits, part, target, place)?;
                    }
                }
                Ok(())
            },
        ))
    }

    fn progressive(
        &mut self,
        scan: &Scan,
        tables: &mut Tables,
        bits: &mut Bits<'_>,
        later: &[Scan],
    ) -> Result<Result<(), Corrupt>, Error> {
        let band = Band {
            first: scan.band.0.into(),
            last: scan.band.1.into(),
            low: scan.low.into(),
        };
        let single = scan.components.len() == 1;
        let valid = if band.first == 0 {
            band.last == 0
        } else {
            single && band.last < 64 && band.first <= band.last
        };
        if !valid || scan.low > 13 || (scan.high != 0 && scan.high != scan.low + 1) {
            return Err(malformed("a scan of impossible coefficients"));
        }
        let own = targets_blocks(&self.targets, scan);
        let missing = || malformed("a Huffman table is missing");
        if band.first == 0 {
            let mut parts = Vec::with_capacity(scan.components.len());
            for &(index, dc, _) in &scan.components {
                let table = tables.dc[usize::from(dc)].as_ref();
                if scan.high == 0 && table.is_none() {
                    return Err(missing());
                }
                parts.push((index, table, 0));
                self.seen[index] = true;
            }
            let (stores, targets) = (&mut self.stores, &self.targets);
            return Ok(each_unit(
                &self.frame,
                scan,
                own,
                tables.restart_interval,
                bits,
                |bits, event| {
                    match event {
                        Event::Restart => parts.iter_mut().for_each(|(.., prediction)| *prediction = 0),
                        Event::Block { part, column, row } => {
                            let (index, table, prediction) = &mut parts[part];
                            let block = (row * targets[*index].blocks.0 + column) as usize;
                            match table {
                                Some(table) if scan.high == 0 => {
                                    stores[*index].first_dc(bits, table, prediction, block, band.low)?;
                                }
                                _ => stores[*index].refine_dc(bits, block, band.low),
                            }
                        }
                    }
                    Ok(())
                },
            ));
        }
        let (index, _, ac) = scan.components[0];
        let store = &mut self.stores[index];
        let refined = later.iter().any(|later| {
            let same = later.components[0].0 == index;
            let overlaps = u32::from(later.band.0) <= band.last && u32::from(later.band.1) >= band.first;
            same && later.high != 0 && later.band.0 != 0 && overlaps
        });
        if !store.needs(band.first, band.last) && !refined {
            return Ok(Ok(()));
        }
        let table = tables.ac[usize::from(ac)].as_mut().ok_or_else(missing)?;
        table.prepare_sequential();
        let table = &*table;
        let coded = table.sequential().ok_or_else(missing)?;
        let across = self.targets[index].blocks.0;
        let mut run = 0;
        Ok(each_unit(
            &self.frame,
            scan,
            own,
            tables.restart_interval,
            bits,
            |bits, event| match event {
                Event::Restart => {
                    run = 0;
                    Ok(())
                }
                Event::Block { column, row, .. } => {
                    let block = (row * across + column) as usize;
                    if scan.high == 0 {
                        store.first_ac(bits, (table, coded), band, &mut run, block)
                    } else {
                        store.refine_ac(bits, table, band, &mut run, block)
                    }
                }
            },
        ))
    }

    fn finish(mut self) -> Vec<Plane> {
        let mut stores = std::mem::take(&mut self.stores).into_iter();
        self.targets
            .into_iter()
            .map(|mut target| {
                if let Some(store) = stores.next() {
                    store.finish(&mut target);
                }
                target.into_plane()
            })
            .collect()
    }
}

/// What a scan consists of.
enum Event {
    /// Predictions and runs begin anew.
    Restart,
    /// A block of the scan's component `part`.
    Block { part: usize, column: u32, row: u32 },
}

/// For a scan of one component, the number of its blocks across and down.
fn targets_blocks(targets: &[Target], scan: &Scan) -> Option<(u32, u32)> {
    match scan.components[..] {
        [(index, ..)] => Some(targets[index].own_blocks),
        _ => None,
    }
}

/// Calls `work` for each block of a scan in the order of the file (T.81 A.2), and at each restart.
#[inline]
fn each_unit<'a>(
    frame: &Frame,
    scan: &Scan,
    own_blocks: Option<(u32, u32)>,
    restart_interval: u32,
    bits: &mut Bits<'a>,
    mut work: impl FnMut(&mut Bits<'a>, Event) -> Result<(), Corrupt>,
) -> Result<(), Corrupt> {
    let (columns, rows) = own_blocks.unwrap_or_else(|| frame.units());
    let shapes: Vec<(u32, u32)> = if own_blocks.is_some() {
        vec![(1, 1)]
    } else {
        let shape =
            |&(index, ..): &(usize, u8, u8)| (frame.components[index].across, frame.components[index].down);
        scan.components.iter().map(shape).collect()
    };
    let (mut left, mut number) = (restart_interval, 0);
    for row in 0..rows {
        for column in 0..columns {
            if restart_interval != 0 {
                if left == 0 {
                    bits.restart(number)?;
                    work(bits, Event::Restart)?;
                    number = (number + 1) % 8;
                    left = restart_interval;
                }
                left -= 1;
            }
            for (part, &(across, down)) in shapes.iter().enumerate() {
                for y in 0..down {
                    for x in 0..across {
                        let (column, row) = (column * across + x, row * down + y);
                        work(bits, Event::Block { part, column, row })?;
                    }
                }
            }
        }
        bits.check()?;
    }
    Ok(())
}
