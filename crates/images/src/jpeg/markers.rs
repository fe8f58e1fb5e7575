//! The segments of a JPEG (T.81 annex B) before and between its scans.

use super::huffman::Table;
use crate::{Error, Format, Limits, orientation::Orientation};

/// A colour component.
#[derive(Clone, Copy, Debug)]
pub(super) struct Component {
    pub id: u8,
    /// Horizontal sampling factor, 1 to 4.
    pub across: u32,
    /// Vertical sampling factor, 1 to 4.
    pub down: u32,
    /// Number of its quantisation table.
    pub quantisation: u8,
}

/// The frame header.
#[derive(Clone, Debug)]
pub(super) struct Frame {
    pub progressive: bool,
    pub width: u32,
    pub height: u32,
    pub components: Vec<Component>,
}

impl Frame {
    /// Largest sampling factors, across and down.
    pub fn largest_sampling(&self) -> (u32, u32) {
        let largest = |factor: fn(&Component) -> u32| self.components.iter().map(factor).max().unwrap_or(1);
        (
            largest(|component| component.across),
            largest(|component| component.down),
        )
    }

    /// Number of MCUs across and down.
    pub fn units(&self) -> (u32, u32) {
        let (across, down) = self.largest_sampling();
        (self.width.div_ceil(8 * across), self.height.div_ceil(8 * down))
    }

    /// Size of a component in samples (T.81 A.1.1).
    pub fn component_size(&self, component: &Component) -> (u32, u32) {
        let (across, down) = self.largest_sampling();
        (
            (self.width * component.across).div_ceil(across),
            (self.height * component.down).div_ceil(down),
        )
    }
}

/// A scan header.
#[derive(Clone, Debug)]
pub(super) struct Scan {
    /// Per component: index in the frame, DC table, AC table.
    pub components: Vec<(usize, u8, u8)>,
    /// First and last coefficient in zigzag order.
    pub band: (u8, u8),
    /// Successive approximation: position of the last bit before (0: first scan), and now.
    pub high: u8,
    pub low: u8,
}

/// The tables in force.
#[derive(Default)]
pub(super) struct Tables {
    pub dc: [Option<Table>; 4],
    pub ac: [Option<Table>; 4],
    /// In zigzag order.
    pub quantisation: [Option<[u16; 64]>; 4],
    /// MCUs between restart markers; 0 for none.
    pub restart_interval: u32,
}

/// What the segments for applications say.
#[derive(Default)]
pub(super) struct Applications {
    pub jfif: bool,
    /// The colour transform of Adobe's segment.
    pub adobe: Option<u8>,
    pub orientation: Option<Orientation>,
    /// Parts of the profile: number, and bytes.
    profile: Vec<(u8, Vec<u8>)>,
    profile_bytes: usize,
}

impl Applications {
    pub fn profile(&self) -> Option<Vec<u8>> {
        let mut parts: Vec<_> = self.profile.iter().collect();
        parts.sort_by_key(|(number, _)| *number);
        (!parts.is_empty()).then(|| parts.iter().flat_map(|(_, bytes)| bytes).copied().collect())
    }

    fn read(&mut self, marker: u8, segment: &[u8], limits: &Limits) -> Result<(), Error> {
        match marker {
            0xE0 if segment.starts_with(b"JFIF\0") => self.jfif = true,
            0xE1 if segment.starts_with(b"Exif\0\0") && self.orientation.is_none() => {
                self.orientation = Some(crate::orientation::from_exif_block(segment));
            }
            0xE2 => {
                if let Some([number, _, bytes @ ..]) = segment.strip_prefix(b"ICC_PROFILE\0") {
                    self.profile_bytes += bytes.len();
                    limits.check_profile(self.profile_bytes)?;
                    self.profile.push((*number, bytes.to_vec()));
                }
            }
            0xEE if segment.starts_with(b"Adobe") => self.adobe = segment.get(11).copied(),
            _ => {}
        }
        Ok(())
    }
}

/// What comes next in the file.
pub(super) enum Next {
    Frame(Frame),
    /// A scan, and where its data begin.
    Scan(Scan, usize),
    End,
}

/// Reads segments one after the other.
pub(super) struct Segments<'a> {
    data: &'a [u8],
    pub at: usize,
    pub tables: Tables,
    pub applications: Applications,
    components: Vec<u8>,
    limits: Limits,
}

pub(super) fn malformed(message: impl std::fmt::Display) -> Error {
    Error::malformed(Format::Jpeg, message)
}

/// Where the next marker begins: 0xFF and neither a stuffed zero nor another 0xFF.
pub(super) fn next_marker(data: &[u8]) -> Option<usize> {
    let mut from = 0;
    loop {
        let found = from + memchr::memchr(0xFF, data.get(from..)?)?;
        match data.get(found + 1)? {
            0 => from = found + 2,
            0xFF => from = found + 1,
            _ => return Some(found),
        }
    }
}

impl<'a> Segments<'a> {
    pub fn new(data: &'a [u8], limits: &Limits) -> Self {
        Self {
            data,
            at: 2,
            tables: Tables::default(),
            applications: Applications::default(),
            components: Vec::new(),
            limits: *limits,
        }
    }

    /// Reads until the next frame header, scan header or the end.
    pub fn next(&mut self) -> Result<Next, Error> {
        loop {
            let rest = self.data.get(self.at..).unwrap_or_default();
            let Some(found) = next_marker(rest) else {
                return Err(malformed(format!(
                    "it ends at byte {} without a marker",
                    self.data.len()
                )));
            };
            let marker = rest[found + 1];
            self.at += found + 2;
            if matches!(marker, 0x01 | 0xD0..=0xD8) {
                continue;
            }
            if marker == 0xD9 {
                return Ok(Next::End);
            }
            let place = self.at - 2;
            let short = || malformed(format!("the segment at byte {place} is cut off"));
            let length = self
                .data
                .get(self.at..)
                .and_then(<[u8]>::first_chunk::<2>)
                .ok_or_else(short)?;
            let length = usize::from(u16::from_be_bytes(*length));
            if length < 2 {
                return Err(malformed(format!("the segment at byte {place} has no length")));
            }
            let segment = self.data.get(self.at + 2..self.at + length).ok_or_else(short)?;
            self.at += length;
            let wrong = |what: &str| malformed(format!("wrong {what} at byte {place}"));
            match marker {
                0xC0..=0xC2 => return self.frame(marker, segment).map(Next::Frame),
                0xC4 => self.huffman(segment).ok_or_else(|| wrong("Huffman table"))?,
                0xC3 | 0xC5..=0xCF => {
                    let what = match marker {
                        0xC9..=0xCB => "arithmetic coding",
                        0xC3 | 0xC7 => "lossless JPEG",
                        _ => "hierarchical JPEG",
                    };
                    return Err(Error::Unsupported {
                        what: what.to_owned(),
                        install: None,
                    });
                }
                0xDA => {
                    let scan = self.scan(segment).ok_or_else(|| wrong("scan header"))?;
                    return Ok(Next::Scan(scan, self.at));
                }
                0xDB => self
                    .quantisation(segment)
                    .ok_or_else(|| wrong("quantisation table"))?,
                0xDD => {
                    let interval = segment.first_chunk().ok_or_else(|| wrong("restart interval"))?;
                    self.tables.restart_interval = u16::from_be_bytes(*interval).into();
                }
                0xE0..=0xEF => self.applications.read(marker, segment, &self.limits)?,
                _ => {}
            }
        }
    }

    fn frame(&mut self, marker: u8, segment: &[u8]) -> Result<Frame, Error> {
        if !self.components.is_empty() {
            return Err(malformed("a second frame"));
        }
        let [precision, h1, h0, w1, w0, count, components @ ..] = segment else {
            return Err(malformed("the frame header is cut off"));
        };
        if *precision != 8 {
            return Err(Error::Unsupported {
                what: format!("JPEG with {precision} bits"),
                install: None,
            });
        }
        let (width, height) = (u16::from_be_bytes([*w1, *w0]), u16::from_be_bytes([*h1, *h0]));
        if width == 0 || height == 0 {
            return Err(malformed("its width or height is 0"));
        }
        self.limits.check_size(width.into(), height.into())?;
        if !matches!(count, 1 | 3 | 4) {
            return Err(Error::Unsupported {
                what: format!("JPEG with {count} components"),
                install: None,
            });
        }
        if components.len() != usize::from(*count) * 3 {
            return Err(malformed(
                "the frame header has another length than its components need",
            ));
        }
        let (components, _) = components.as_chunks::<3>();
        let components = components
            .iter()
            .map(|&[id, sampling, quantisation]| {
                let (across, down) = (u32::from(sampling >> 4), u32::from(sampling & 15));
                let valid = (1..=4).contains(&across) && (1..=4).contains(&down) && quantisation < 4;
                // A single component is never interleaved: its factors mean nothing (T.81 A.2.2).
                let (across, down) = if *count == 1 { (1, 1) } else { (across, down) };
                valid
                    .then_some(Component {
                        id,
                        across,
                        down,
                        quantisation,
                    })
                    .ok_or_else(|| malformed("a component has impossible sampling factors or tables"))
            })
            .collect::<Result<Vec<_>, _>>()?;
        self.components = components.iter().map(|component| component.id).collect();
        Ok(Frame {
            progressive: marker == 0xC2,
            width: width.into(),
            height: height.into(),
            components,
        })
    }

    pub fn scan(&self, segment: &[u8]) -> Option<Scan> {
        let (count, rest) = segment.split_first()?;
        let count = usize::from(*count);
        if count == 0 || count > self.components.len() || rest.len() != count * 2 + 3 {
            return None;
        }
        let mut components = Vec::with_capacity(count);
        for pair in rest[..count * 2].chunks_exact(2) {
            let index = self.components.iter().position(|id| *id == pair[0])?;
            if components.iter().any(|(other, _, _)| *other == index) || pair[1] >> 4 > 3 || pair[1] & 15 > 3
            {
                return None;
            }
            components.push((index, pair[1] >> 4, pair[1] & 15));
        }
        let &[first, last, approximation] = rest.last_chunk()?;
        Some(Scan {
            components,
            band: (first, last),
            high: approximation >> 4,
            low: approximation & 15,
        })
    }

    fn huffman(&mut self, mut segment: &[u8]) -> Option<()> {
        while !segment.is_empty() {
            let (&target, rest) = segment.split_first()?;
            let counts = rest.first_chunk::<16>()?;
            let total: usize = counts.iter().map(|count| usize::from(*count)).sum();
            let symbols = rest.get(16..16 + total)?;
            let table = Table::new(counts, symbols)?;
            let slot = usize::from(target & 15);
            match target >> 4 {
                0 if table.largest() > 16 => return None,
                0 => *self.tables.dc.get_mut(slot)? = Some(table),
                1 => *self.tables.ac.get_mut(slot)? = Some(table),
                _ => return None,
            }
            segment = &rest[16 + total..];
        }
        Some(())
    }

    fn quantisation(&mut self, mut segment: &[u8]) -> Option<()> {
        while let Some((&target, rest)) = segment.split_first() {
            let mut table = [0_u16; 64];
            let length = if target >> 4 == 0 { 64 } else { 128 };
            let values = rest.get(..length)?;
            for (index, value) in table.iter_mut().enumerate() {
                *value = if length == 64 {
                    values[index].into()
                } else {
                    u16::from_be_bytes([values[index * 2], values[index * 2 + 1]])
                };
            }
            *self.tables.quantisation.get_mut(usize::from(target & 15))? = Some(table);
            segment = &rest[length..];
        }
        Some(())
    }
}
