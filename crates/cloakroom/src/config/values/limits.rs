//! How often, and from where.

use std::cmp::Ordering;

use cloakroom_core::ports::limits::Rate;
use ipnet::IpNet;
use jiff::SignedDuration;

use super::quantities::Period;
use super::{Raw, Value, expected};

/// How often somebody may do something; `None` for as often as they like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit(pub Option<Rate>);

/// Units of one, as they are written after the stroke.
const UNITS: &[(&str, &str, i64)] = &[
    ("s", "sec", 1),
    ("min", "m", 60),
    ("h", "hour", 3_600),
    ("d", "day", 86_400),
];

impl Value for RateLimit {
    const KIND: &'static str = "a rate such as 10/min, 100/h or 5/30s, or 0 for no limit";

    fn read(raw: &Raw) -> Result<Self, String> {
        let limit = match raw {
            Raw::Integer(0) => Some(Self(None)),
            Raw::Text(text) => parse_rate(text.trim()),
            _ => None,
        };
        limit.ok_or_else(|| expected::<Self>(raw))
    }

    fn show(&self) -> String {
        let Some(rate) = self.0 else {
            return "0".to_owned();
        };
        let unit = UNITS
            .iter()
            .find(|(.., seconds)| SignedDuration::from_secs(*seconds) == rate.period);
        match unit {
            Some((name, ..)) => format!("{}/{name}", rate.count),
            None => format!("{}/{}", rate.count, Period(rate.period).show()),
        }
    }
}

fn parse_rate(text: &str) -> Option<RateLimit> {
    if text == "0" {
        return Some(RateLimit(None));
    }
    let (count, period) = text.split_once('/')?;
    let count = count.trim().parse().ok().filter(|count| *count > 0)?;
    let period = period.trim();
    let unit = UNITS
        .iter()
        .find(|(name, other, _)| period == *name || period == *other);
    let period = match unit {
        Some((.., seconds)) => SignedDuration::from_secs(*seconds),
        None => Period::read(&Raw::Text(period.to_owned())).ok()?.0,
    };
    (!period.is_zero()).then_some(RateLimit(Some(Rate { count, period })))
}

/// Addresses in CIDR notation (RFC 4632, RFC 4291 §2.3); one without a prefix is that address alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks(pub Vec<IpNet>);

impl Value for Networks {
    const KIND: &'static str = "a list of networks such as 10.0.0.0/8 or fd00::/8, or single addresses";

    fn read(raw: &Raw) -> Result<Self, String> {
        let read = |text: &String| {
            let alone = || text.parse::<std::net::IpAddr>().map(IpNet::from);
            text.parse::<IpNet>()
                .or_else(|_| alone())
                .map_err(|_| format!("must be {}, not {text:?}", Self::KIND))
        };
        Vec::<String>::read(raw)?
            .iter()
            .map(read)
            .collect::<Result<_, _>>()
            .map(Self)
    }

    fn show(&self) -> String {
        self.0
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(",")
    }

    fn compare(&self, _other: &Self) -> Option<Ordering> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text<T: Value>(text: &str) -> Result<T, String> {
        T::read(&Raw::Text(text.to_owned()))
    }

    #[test]
    fn rates() {
        for (written, shown) in [
            ("10/min", "10/min"),
            ("10 / m", "10/min"),
            ("1/sec", "1/s"),
            ("100/hour", "100/h"),
            ("5/30s", "5/30s"),
            ("7/60s", "7/min"),
            ("0", "0"),
        ] {
            let rate = text::<RateLimit>(written).expect(written);
            assert_eq!(rate.show(), shown);
            assert_eq!(text::<RateLimit>(shown), Ok(rate), "{shown} reads back");
        }
        for bad in [
            "",
            "10",
            "0/min",
            "-1/min",
            "x/min",
            "10/fortnight",
            "10/0s",
            "5000000000/s",
        ] {
            assert!(text::<RateLimit>(bad).is_err(), "{bad}");
        }
        assert_eq!(RateLimit::read(&Raw::Integer(0)), Ok(RateLimit(None)));
        assert!(RateLimit::read(&Raw::Integer(10)).is_err());
    }

    #[test]
    fn networks() {
        assert_eq!(
            text::<Networks>("10.0.0.0/8, 192.0.2.7,fd00::/8").map(|n| n.show()),
            Ok("10.0.0.0/8,192.0.2.7/32,fd00::/8".into())
        );
        assert_eq!(text::<Networks>(""), Ok(Networks::default()));
        for bad in ["10.0.0.0/33", "example.org", "10.0.0"] {
            assert!(text::<Networks>(bad).is_err(), "{bad}");
        }
    }
}
