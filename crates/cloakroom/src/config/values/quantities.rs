//! Sizes and lengths of time.

use std::cmp::Ordering;
use std::fmt::Write as _;

use jiff::SignedDuration;

use super::{Raw, Value, expected};

/// A number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

const SIZE_UNITS: &[(&str, u64)] = &[
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
    ("KB", 1_000),
    ("B", 1),
];

impl Value for Size {
    const KIND: &'static str = "a size in bytes such as 1048576, 100MiB or 5GiB";

    fn read(raw: &Raw) -> Result<Self, String> {
        let bytes = match raw {
            Raw::Integer(bytes) => u64::try_from(*bytes).ok(),
            Raw::Text(text) => parse_size(text.trim()),
            _ => None,
        };
        bytes.map(Self).ok_or_else(|| expected::<Self>(raw))
    }

    fn show(&self) -> String {
        let binary = SIZE_UNITS.iter().find(|(name, factor)| {
            (name.ends_with("iB") || *name == "B") && self.0 >= *factor && self.0.is_multiple_of(*factor)
        });
        match binary {
            Some((name, factor)) => format!("{}{name}", self.0 / factor),
            None => format!("{}B", self.0),
        }
    }

    fn compare(&self, other: &Self) -> Option<Ordering> {
        self.partial_cmp(other)
    }
}

fn parse_size(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok()?;
    let unit = unit.trim_start();
    let factor = if unit.is_empty() {
        1
    } else {
        SIZE_UNITS.iter().find(|(name, _)| *name == unit)?.1
    };
    number
        .checked_mul(factor)
        .filter(|bytes| i64::try_from(*bytes).is_ok())
}

/// A length of time, in whole milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Period(pub SignedDuration);

const PERIOD_UNITS: &[(&str, i64)] = &[
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];
/// A hundred years: longer is a mistake, and every sum of such lengths and a timestamp stays in range.
const PERIOD_MILLIS_MAX: i64 = 100 * 366 * 86_400_000;

impl Period {
    /// Whole seconds, rounded up.
    pub fn seconds(self) -> u64 {
        // Never negative: no text reads as a negative length.
        self.0.as_millis().unsigned_abs().div_ceil(1000) as u64
    }

    /// As a duration of the standard library.
    pub fn std(self) -> std::time::Duration {
        self.0.unsigned_abs()
    }
}

impl Value for Period {
    const KIND: &'static str = "a duration such as 30s, 15m, 24h or 7d";

    fn read(raw: &Raw) -> Result<Self, String> {
        let millis = match raw {
            Raw::Integer(seconds) => seconds.checked_mul(1000).filter(|millis| *millis >= 0),
            Raw::Text(text) => parse_period(text.trim()),
            _ => None,
        };
        let millis = millis.ok_or_else(|| expected::<Self>(raw))?;
        if millis > PERIOD_MILLIS_MAX {
            return Err("must be at most 36600d".to_owned());
        }
        Ok(Self(SignedDuration::from_millis(millis)))
    }

    fn show(&self) -> String {
        let mut rest = i64::try_from(self.0.as_millis()).unwrap_or(i64::MAX);
        let mut out = String::new();
        for (unit, factor) in PERIOD_UNITS {
            if rest >= *factor {
                // Writing to a String cannot fail.
                let _ = write!(out, "{}{unit}", rest / factor);
                rest %= factor;
            }
        }
        if out.is_empty() { "0s".to_owned() } else { out }
    }

    fn compare(&self, other: &Self) -> Option<Ordering> {
        self.partial_cmp(other)
    }
}

/// `1d12h`, `90s`, `500ms`, or a plain number of seconds.
fn parse_period(text: &str) -> Option<i64> {
    if let Ok(seconds) = text.parse::<u32>() {
        return Some(i64::from(seconds) * 1000);
    }
    if text.is_empty() {
        return None;
    }
    let mut total = 0_i64;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let (number, after) = rest.split_at(digits);
        let letters = after
            .find(|c: char| !c.is_ascii_alphabetic())
            .unwrap_or(after.len());
        let (unit, after) = after.split_at(letters);
        let factor = PERIOD_UNITS.iter().find(|(name, _)| *name == unit)?.1;
        total = total.checked_add(number.parse::<i64>().ok()?.checked_mul(factor)?)?;
        rest = after;
    }
    Some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text<T: Value>(text: &str) -> Result<T, String> {
        T::read(&Raw::Text(text.to_owned()))
    }

    #[test]
    fn sizes() {
        for (written, bytes, shown) in [
            ("0", 0, "0B"),
            ("1048576", 1 << 20, "1MiB"),
            ("5GiB", 5 << 30, "5GiB"),
            ("100 MiB", 100 << 20, "100MiB"),
            ("100MB", 100_000_000, "100000000B"),
            ("1kB", 1000, "1000B"),
            ("1536B", 1536, "1536B"),
            ("5TiB", 5 << 40, "5TiB"),
        ] {
            let size = text::<Size>(written).expect(written);
            assert_eq!((size.0, size.show().as_str()), (bytes, shown), "{written}");
            assert_eq!(text::<Size>(shown), Ok(size), "{shown} reads back");
        }
        for bad in [
            "",
            "-1",
            "5 gigs",
            "5gib",
            "1.5GiB",
            "99999999999TiB",
            "GiB",
            "9223372036854775808",
        ] {
            assert!(text::<Size>(bad).is_err(), "{bad}");
        }
        assert!(Size::read(&Raw::Integer(-1)).is_err());
        assert!(Size::read(&Raw::Boolean(true)).is_err());
    }

    #[test]
    fn periods() {
        for (written, seconds, shown) in [
            ("90", 90, "1m30s"),
            ("15m", 900, "15m"),
            ("7d", 604_800, "7d"),
            ("1d12h", 129_600, "1d12h"),
            ("500ms", 1, "500ms"),
            ("0s", 0, "0s"),
        ] {
            let period = text::<Period>(written).expect(written);
            assert_eq!(
                (period.seconds(), period.show().as_str()),
                (seconds, shown),
                "{written}"
            );
            assert_eq!(text::<Period>(shown), Ok(period), "{shown} reads back");
        }
        for bad in [
            "",
            "-5m",
            "5 minutes",
            "m",
            "1.5h",
            "5m3",
            "999999999999999999d",
            "99999d",
        ] {
            assert!(text::<Period>(bad).is_err(), "{bad}");
        }
        assert_eq!(Period::read(&Raw::Integer(60)).map(Period::seconds), Ok(60));
        assert!(Period::read(&Raw::Integer(-60)).is_err());
    }
}
