//! The virus scanner.

use std::time::Instant;

use cloakroom_core::ports::clock::Clock as _;
use cloakroom_objects::s3::probe::Verdict;
use jiff::{Timestamp, civil::DateTime, fmt::strtime, tz::TimeZone};

use super::report::{Line, Report};
use crate::config::Config;
use crate::runtime::SystemClock;
use crate::wire;

/// Signatures that are older, in days, are missing what went round since: ClamAV gives out new ones every day.
const AGE_DAYS_MAX: i64 = 7;
const SECONDS_OF_A_DAY: i64 = 24 * 60 * 60;

/// Looks at it, where one is configured.
pub(super) async fn look(config: &Config, report: &mut Report) {
    let settings = &config.settings;
    let (Some(address), Some(scanner)) = (&settings.scan_address, wire::scanner::scanner(settings)) else {
        return;
    };
    report.subject("scanner", address.0.to_string(), false);
    let began = Instant::now();
    let answered = scanner.ping().await;
    let found = match &answered {
        Ok(version) => format!(
            "{}, {:.1} ms",
            version.split('/').next().unwrap_or_default(),
            began.elapsed().as_secs_f64() * 1000.0
        ),
        Err(error) => error.to_string(),
    };
    report.add(Line::ok("reach", "scanner_reached", "it answers", found).unless(
        answered.is_ok(),
        Verdict::Fail,
        "files of collections that are scanned wait in processing until it answers",
        "start clamd, or check scan.address, the network and who may open the socket",
    ));
    let Ok(version) = answered else { return };
    let (found, fresh) = judge(&version, SystemClock::default().now());
    report.add(
        Line::ok(
            "reach",
            "scanner_signatures",
            "its signatures are of this week",
            found,
        )
        .unless(
            fresh,
            Verdict::Warn,
            "it does not know what came up since, or only what you told it yourself",
            "run freshclam and let it run on; clamd loads by itself what it brings",
        ),
    );
}

/// What clamd's version tells of its signatures (`ClamAV 1.4.3/27829/Fri Nov 14 09:41:12 2025`), and whether they are fresh.
fn judge(version: &str, now: Timestamp) -> (String, bool) {
    let mut parts = version.splitn(3, '/').skip(1);
    let Some(number) = parts.next() else {
        return ("none of ClamAV's own".to_owned(), false);
    };
    let made = parts.next().and_then(|made| {
        // Blanks fill up days of one digit.
        let words: Vec<&str> = made.split_ascii_whitespace().collect();
        let made = strtime::parse("%a %b %d %H:%M:%S %Y", words.join(" ")).ok()?;
        // Of its own clock and zone; a few hours do not matter here.
        let made: DateTime = made.to_datetime().ok()?;
        made.to_zoned(TimeZone::UTC).ok().map(|made| made.timestamp())
    });
    match made.map(|made| (now.as_second() - made.as_second()) / SECONDS_OF_A_DAY) {
        Some(days) => (format!("number {number}, {days} days old"), days <= AGE_DAYS_MAX),
        None => (format!("number {number}, of unknown age"), false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_age_of_signatures_is_in_the_version() {
        let now: Timestamp = "2025-11-20T12:00:00Z".parse().unwrap();
        let table = [
            (
                "ClamAV 1.4.3/27829/Fri Nov 14 09:41:12 2025",
                "number 27829, 6 days old",
                true,
            ),
            (
                "ClamAV 1.4.3/27790/Sun Oct  5 09:41:12 2025",
                "number 27790, 46 days old",
                false,
            ),
            (
                "ClamAV 1.4.3/27829/yesterday",
                "number 27829, of unknown age",
                false,
            ),
            ("ClamAV 1.4.6", "none of ClamAV's own", false),
        ];
        for (version, found, fresh) in table {
            assert_eq!(judge(version, now), (found.to_owned(), fresh), "{version}");
        }
    }
}
