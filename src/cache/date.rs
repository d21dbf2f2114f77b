//! When is it that a date field names? (RFC 9110 §5.6.7, RFC 9111 §4.2)
//!
//! The `httpdate` crate reads the three forms, but is case-sensitive where a cache should not be (§4.2), and pins the
//! two-digit years of the RFC 850 form to 1970-2069 where the RFC lets them slide with the clock. Both are added here
//! by rewriting the odd ones into the preferred form on the stack; a well-formed date costs one parse.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::header::HeaderValue;

/// The longest form: `Wednesday, 06-Nov-94 08:49:37 GMT`.
const MAX_LEN: usize = 33;
/// `Sun, 06 Nov 1994 08:49:37 GMT`
const FIXDATE_LEN: usize = 29;
/// A mean Gregorian year in seconds.
const YEAR: u64 = 31_556_952;
/// The first second that has no four-digit year, since the epoch.
const END_OF_DATES: u64 = 253_402_300_800;

/// The time a date names; `now` decides the century of a two-digit year. `None` if it is no HTTP date: any zone but
/// GMT, a day name that does not fit, a leap second, a year before 1970.
pub fn parse(value: &HeaderValue, now: SystemTime) -> Option<SystemTime> {
    let value = value.as_bytes().trim_ascii();
    if value.len() == FIXDATE_LEN
        && let Some(time) = std::str::from_utf8(value).ok().and_then(|s| httpdate::parse_http_date(s).ok())
    {
        return Some(time);
    }
    let mut buffer = [0; MAX_LEN];
    let date = buffer.get_mut(..value.len())?;
    title_case(value, date);
    let date = std::str::from_utf8(date).ok()?;
    match date.split_once(", ") {
        Some((day, rest)) if day.len() > 3 => rfc850(day, rest, now),
        _ => httpdate::parse_http_date(date).ok(),
    }
}

/// A date field's value for `time`, to the second below; `None` outside the years 1970 to 9999.
pub fn field(time: SystemTime) -> Option<HeaderValue> {
    let since = time.duration_since(UNIX_EPOCH).ok()?;
    if since.as_secs() >= END_OF_DATES {
        return None;
    }
    HeaderValue::from_str(&httpdate::fmt_http_date(time)).ok()
}

fn title_case(from: &[u8], to: &mut [u8]) {
    let mut inside = false;
    for (from, to) in from.iter().zip(to.iter_mut()) {
        *to = if inside { from.to_ascii_lowercase() } else { from.to_ascii_uppercase() };
        inside = from.is_ascii_alphabetic();
    }
    if to.ends_with(b" Gmt")
        && let Some(zone) = to.last_chunk_mut::<3>()
    {
        *zone = *b"GMT";
    }
}

/// `Sunday` and `06-Nov-94 08:49:37 GMT`: the latest year with these two digits that is not more than 50 years ahead.
fn rfc850(day: &str, rest: &str, now: SystemTime) -> Option<SystemTime> {
    const DAYS: [&str; 7] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];
    if !DAYS.contains(&day) || rest.len() != 22 || !rest.is_ascii() || &rest[2..3] != "-" || &rest[6..7] != "-" {
        return None;
    }
    let digits: u64 = rest[7..9].bytes().all(|b| b.is_ascii_digit()).then(|| rest[7..9].parse().ok())??;
    let since = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let latest = 1970 + since / YEAR + 50;
    let year = latest - (latest + 100 - digits) % 100;
    let in_year = |year: u64| {
        let date = format!("{}, {} {} {:04}{}", &day[..3], &rest[..2], &rest[3..6], year, &rest[9..]);
        httpdate::parse_http_date(&date).ok()
    };
    let limit = now.checked_add(Duration::from_secs(50 * YEAR))?;
    in_year(year).filter(|time| *time <= limit).or_else(|| in_year(year - 100))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// 2026-07-01 00:00:00
    const NOW: u64 = 1_782_864_000;

    fn today() -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(NOW)
    }

    fn at(value: &'static str) -> Option<u64> {
        let time = parse(&HeaderValue::from_static(value), today())?;
        Some(time.duration_since(UNIX_EPOCH).unwrap().as_secs())
    }

    #[test]
    fn all_three_forms_name_the_same_second_rfc9110_5_6_7() {
        for date in ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"] {
            assert_eq!(at(date), Some(784_111_777), "{date}");
        }
    }

    #[test]
    fn case_does_not_matter_to_a_cache_rfc9111_4_2() {
        for date in ["SUN, 06 nov 1994 08:49:37 gmt", "sUNDAY, 06-NOV-94 08:49:37 Gmt", "sun nov  6 08:49:37 1994"] {
            assert_eq!(at(date), Some(784_111_777), "{date}");
        }
    }

    #[test]
    fn what_is_no_http_date_is_none() {
        for date in [
            "",
            "0",
            "-1",
            "Thu, 18 Aug 2050 02:01:18 UTC",
            "Thu, 18 Aug 2050 02:01:18 AEST",
            "Thu, 18 Aug 50 02:01:18 GMT",
            "Thu 18 Aug 2050 02:01:18 GMT",
            "Thu, 18  Aug  2050 02:01:18 GMT",
            "Thu, 18-Aug-2050 02:01:18 GMT",
            "Thu, 18 Aug 2050 02.01.18 GMT",
            "Thu, 18 Aug 2050 2:01:18 GMT",
            "Thu, 18 Aug 2050 02:01:18 GMT, Thu, 18 Aug 2050 02:01:18 GMT",
            "Thursday, 99-Foo-50 02:01:18 GMT",
        ] {
            assert_eq!(at(date), None, "{date}");
        }
    }

    #[test]
    fn a_two_digit_year_is_at_most_fifty_years_ahead_rfc9110_5_6_7() {
        // 1 January 2075 is a Tuesday, 1 January 1975 was a Wednesday: 49 years ahead stays ahead.
        assert_eq!(at("Tuesday, 01-Jan-75 00:00:00 GMT"), Some(3_313_526_400));
        // 1 January 1977 was a Saturday; 2077 would be 51 years ahead.
        assert_eq!(at("Saturday, 01-Jan-77 00:00:00 GMT"), Some(220_924_800));
    }

    #[test]
    fn a_time_without_a_date_is_none() {
        assert!(field(UNIX_EPOCH - Duration::from_secs(1)).is_none());
        assert!(field(UNIX_EPOCH + Duration::from_secs(END_OF_DATES)).is_none());
        assert_eq!(field(UNIX_EPOCH + Duration::from_millis(1500)).unwrap(), "Thu, 01 Jan 1970 00:00:01 GMT");
    }

    proptest! {
        #[test]
        fn a_written_date_reads_back(secs in 0..END_OF_DATES) {
            let time = UNIX_EPOCH + Duration::from_secs(secs);
            prop_assert_eq!(parse(&field(time).unwrap(), today()), Some(time));
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..40), now in 0u64..u64::from(u32::MAX) * 60) {
            if let Ok(value) = HeaderValue::from_bytes(&bytes) {
                let _ = parse(&value, UNIX_EPOCH + Duration::from_secs(now));
            }
        }

        #[test]
        fn no_near_date_panics(
            day in "[A-Za-z]{2,9}", date in "[0-9 -]{2}[- ][A-Za-zé]{3}[- ][0-9+]{2,4}", rest in "[0-9: ]{8,9} [GMTé]{3}"
        ) {
            if let Ok(value) = HeaderValue::from_str(&format!("{day}, {date} {rest}")) {
                let _ = parse(&value, today());
            }
        }
    }
}
