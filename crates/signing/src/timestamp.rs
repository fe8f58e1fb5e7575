//! Time as Signature Version 4 writes it: `20130524T000000Z`, to the second, in UTC.

use jiff::civil::DateTime;
use jiff::{Timestamp, tz::Offset};

use crate::error::SigningError;

const SECONDS_PER_DAY: i64 = 86_400;

/// A time in the basic ISO 8601 form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AmzTime {
    text: [u8; 16],
}

impl AmzTime {
    /// Writes a time, cut to the second.
    pub(crate) fn new(time: Timestamp) -> Result<Self, SigningError> {
        let civil = Offset::UTC.to_datetime(floor_to_second(time));
        let year = u16::try_from(civil.year()).map_err(|_| SigningError::InvalidTime)?;
        let mut text = *b"00000000T000000Z";
        put_digits(&mut text[0..4], year);
        put_digits(&mut text[4..6], civil.month().unsigned_abs().into());
        put_digits(&mut text[6..8], civil.day().unsigned_abs().into());
        put_digits(&mut text[9..11], civil.hour().unsigned_abs().into());
        put_digits(&mut text[11..13], civil.minute().unsigned_abs().into());
        put_digits(&mut text[13..15], civil.second().unsigned_abs().into());
        Ok(Self { text })
    }

    /// Reads exactly `YYYYMMDDTHHMMSSZ`; `None` for anything else and for days that do not exist.
    pub(crate) fn parse(text: &[u8]) -> Option<(Self, Timestamp)> {
        let text: [u8; 16] = text.try_into().ok()?;
        if text[8] != b'T' || text[15] != b'Z' {
            return None;
        }
        let year = i16::try_from(digits(&text[0..4])?).ok()?;
        let part = |range: std::ops::Range<usize>| i8::try_from(digits(&text[range])?).ok();
        let civil = DateTime::new(
            year,
            part(4..6)?,
            part(6..8)?,
            part(9..11)?,
            part(11..13)?,
            // A leap second does not exist in Unix time; clients that send one mean the second before.
            part(13..15)?.min(59),
            0,
        );
        let time = Offset::UTC.to_timestamp(civil.ok()?).ok()?;
        Some((Self { text }, time))
    }

    /// `20130524T000000Z`.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.text
    }

    /// `20130524`.
    pub(crate) fn date(&self) -> [u8; 8] {
        let mut date = [0; 8];
        date.copy_from_slice(&self.text[..8]);
        date
    }

    /// `20130524T000000Z` as text.
    pub(crate) fn to_text(self) -> String {
        crate::encode::ascii_string(self.text.to_vec())
    }
}

/// The number of the day in Unix time: the key of the signing-key cache, cheaper than a calendar.
pub(crate) fn unix_day(time: Timestamp) -> i64 {
    floor_to_second(time).as_second().div_euclid(SECONDS_PER_DAY)
}

/// Drops the fraction, downwards also before 1970, so that the date and the day number agree.
pub(crate) fn floor_to_second(time: Timestamp) -> Timestamp {
    let second = time.as_second() - i64::from(time.subsec_nanosecond() < 0);
    Timestamp::from_second(second).unwrap_or(Timestamp::MIN)
}

fn put_digits(out: &mut [u8], mut number: u16) {
    for digit in out.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

fn digits(text: &[u8]) -> Option<u16> {
    text.iter().try_fold(0u16, |number, &digit| {
        let digit = digit.is_ascii_digit().then(|| digit - b'0')?;
        number.checked_mul(10)?.checked_add(digit.into())
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn writes_and_reads_the_basic_form() {
        let time: Timestamp = "2013-05-24T07:08:09.987Z".parse().expect("valid");
        let amz = AmzTime::new(time).expect("a common year");
        assert_eq!(amz.as_bytes(), b"20130524T070809Z");
        assert_eq!(&amz.date(), b"20130524");
        let (read, at) = AmzTime::parse(b"20130524T070809Z").expect("ours");
        assert_eq!((read, at), (amz, floor_to_second(time)));
    }

    #[test]
    fn refuses_everything_else() {
        for text in [
            "",
            "20130524",
            "20130524T070809",
            "20130524T070809z",
            "20131324T070809Z",
            "20130230T000000Z",
            "20130524T240000Z",
            "2013-05-24T07:08",
            "+0130524T070809Z",
            "20130524 070809Z",
            "99991231T235959Z",
        ] {
            assert_eq!(AmzTime::parse(text.as_bytes()), None, "{text}");
        }
        assert_eq!(AmzTime::new(Timestamp::MIN), Err(SigningError::InvalidTime));
    }

    #[test]
    fn before_1970_date_and_day_agree() {
        let time: Timestamp = "1969-12-31T23:59:59.5Z".parse().expect("valid");
        assert_eq!(
            AmzTime::new(time).expect("a common year").as_bytes(),
            b"19691231T235959Z"
        );
        assert_eq!(unix_day(time), -1);
    }

    proptest! {
        #[test]
        fn reading_undoes_writing(second in -60_000_000_000_i64..250_000_000_000, nanos in 0..1_000_000_000_i32) {
            let time = Timestamp::new(second, nanos).expect("in range");
            let amz = AmzTime::new(time).expect("in range");
            prop_assert_eq!(AmzTime::parse(amz.as_bytes()), Some((amz, floor_to_second(time))));
        }

        #[test]
        fn reading_never_panics(text in "[0-9TZ+-]{14,18}", bytes in any::<Vec<u8>>()) {
            let _ = AmzTime::parse(text.as_bytes());
            let _ = AmzTime::parse(&bytes);
        }
    }
}
