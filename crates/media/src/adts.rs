//! AAC in ADTS frames, and the configuration that MP4 keeps instead of them (ISO/IEC 14496-3).

use std::io::{Read, Seek};

use crate::input::Input;
use crate::{Error, Format, Media, seconds};

const RATES: [u32; 13] = [
    96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000, 7_350,
];

struct Frame {
    rate: u32,
    channels: u32,
    size: u64,
    samples: u64,
}

/// The frame header that `bytes` begin with (ISO/IEC 14496-3, 1.A.2.2).
fn parse(bytes: &[u8]) -> Option<Frame> {
    let [0xFF, second, third, fourth, fifth, sixth, seventh, ..] = *bytes else {
        return None;
    };
    if second & 0xF6 != 0xF0 {
        return None;
    }
    let rate = *RATES.get(usize::from(third >> 2 & 15))?;
    let size = u64::from(fourth & 3) << 11 | u64::from(fifth) << 3 | u64::from(sixth >> 5);
    let channels = match (third & 1) << 2 | fourth >> 6 {
        7 => 8,
        channels => channels.into(),
    };
    let samples = 1024 * (u64::from(seventh & 3) + 1);
    (size >= 7).then_some(Frame {
        rate,
        channels,
        size,
        samples,
    })
}

/// Reads the facts of an ADTS file whose frames begin at `start`; nothing where there are none.
pub(crate) fn inspect<R: Read + Seek>(input: &mut Input<R>, start: u64) -> Result<Option<Media>, Error> {
    let (mut at, mut samples, mut frames) = (start, 0_u64, 0_u64);
    let mut first: Option<Frame> = None;
    let mut share = 1.0;
    while at < input.length() {
        let frame = match input.count().and_then(|()| input.peek(at, 7)) {
            Ok(bytes) => parse(bytes),
            Err(Error::LimitExceeded { .. }) => {
                share = (input.length() - start) as f64 / (at - start).max(1) as f64;
                break;
            }
            Err(error) => return Err(error),
        };
        let Some(frame) = frame else { break };
        if first.as_ref().is_some_and(|first| first.rate != frame.rate) {
            break;
        }
        at += frame.size;
        samples += frame.samples;
        frames += 1;
        first.get_or_insert(frame);
    }
    // Twelve bits of sync are no proof: one frame must lead to the next, or be the whole file.
    let Some(first) = first.filter(|_| frames > 1 || at == input.length()) else {
        return Ok(None);
    };
    let mut media = Media::new(Format::Adts);
    media.has_audio = true;
    media.audio_codec = Some("aac".to_owned());
    media.sample_rate = Some(first.rate);
    media.channels = Some(first.channels).filter(|channels| *channels > 0);
    media.set_duration(seconds((samples as f64 * share) as u64, first.rate));
    Ok(Some(media))
}

/// Rate and channels of an `AudioSpecificConfig` (ISO/IEC 14496-3, 1.6.2.1). With explicit SBR the rate is that of
/// the output. Zero channels means that the stream itself says it.
pub(crate) fn audio_specific_config(bytes: &[u8]) -> Option<(u32, u32)> {
    let mut bits = Bits { bytes, at: 0 };
    let object = bits.object_type()?;
    let mut rate = bits.rate()?;
    let channels = match bits.take(4)? {
        7 => 8,
        channels => channels,
    };
    if object == 5 || object == 29 {
        rate = bits.rate()?;
    }
    // Parametric stereo: one channel is coded, two are heard.
    let channels = if object == 29 && channels == 1 {
        2
    } else {
        channels
    };
    Some((rate, channels))
}

struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Bits<'_> {
    fn take(&mut self, count: usize) -> Option<u32> {
        let mut value = 0;
        for _ in 0..count {
            let byte = *self.bytes.get(self.at / 8)?;
            value = value << 1 | u32::from(byte >> (7 - self.at % 8) & 1);
            self.at += 1;
        }
        Some(value)
    }

    fn object_type(&mut self) -> Option<u32> {
        match self.take(5)? {
            31 => Some(32 + self.take(6)?),
            object => Some(object),
        }
    }

    fn rate(&mut self) -> Option<u32> {
        match self.take(4)? {
            15 => self.take(24),
            index => RATES.get(index as usize).copied(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn configurations() {
        assert_eq!(audio_specific_config(&[0x12, 0x10]), Some((44_100, 2)));
        assert_eq!(
            audio_specific_config(&[0x2B, 0x8A, 0x08, 0x00]),
            Some((44_100, 1)),
            "HE-AAC: 22.05 kHz doubled"
        );
        assert_eq!(audio_specific_config(&[0x12]), None);
        assert_eq!(audio_specific_config(&[]), None);
    }
}
