//! Durations, sizes and shares: as they are written, and back.
//!
//! A bare number is refused everywhere. `timeout = 30` is seconds to one reader and milliseconds to the next, and both
//! find out in production.

use std::time::Duration;

use bytesize::ByteSize;

use crate::tail::rate::{Per, Rate};
use crate::units::Ratio;

const PERS: [(&str, Per); 3] = [("s", Per::Second), ("m", Per::Minute), ("h", Per::Hour)];

/// Reads `"1m 30s"`; the error says what is wrong.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    if is_bare(text) {
        return Err("has no unit".into());
    }
    humantime::parse_duration(text).map_err(|error| error.to_string())
}

/// Reads `"64MiB"` (powers of 1024) or `"64MB"` (powers of 1000); the error says what is wrong.
pub(super) fn size(text: &str) -> Result<u64, String> {
    if is_bare(text) {
        return Err("has no unit".into());
    }
    match text.trim().parse::<ByteSize>() {
        Ok(size) => Ok(size.as_u64()),
        Err(_) => Err("is not a size".into()),
    }
}

/// Reads `"20%"`; `None` for anything else.
pub(super) fn percent(text: &str) -> Option<Ratio> {
    let number = text.trim().strip_suffix('%')?.trim_end();
    Ratio::new(hundredth(number)?)
}

/// Reads the quantile `"p99.9"` as 0.999; `None` for anything else and outside 0 to 1.
pub(super) fn quantile(text: &str) -> Option<f64> {
    hundredth(text.strip_prefix('p')?).filter(|quantile| (0.0..=1.0).contains(quantile))
}

/// A hundredth of a plain number. By its digits, since a division makes 33.4 another number than 0.334.
fn hundredth(number: &str) -> Option<f64> {
    let is_plain = number.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    if is_plain { format!("{number}e-2").parse().ok() } else { None }
}

/// Reads `"20/s"`, `"100/m"` or `"5000/h"`; `None` for anything else, and for less than one or more than [`Rate::MAX`].
pub(super) fn rate(text: &str) -> Option<Rate> {
    let (count, per) = text.split_once('/')?;
    let per = PERS.iter().find(|(unit, _)| *unit == per.trim())?.1;
    let count = Some(count.trim()).filter(|count| count.bytes().all(|b| b.is_ascii_digit()))?.parse().ok()?;
    (1..=Rate::MAX).contains(&count).then_some(Rate { count, per })
}

fn is_bare(text: &str) -> bool {
    let text = text.trim();
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit() || b == b'.')
}

/// The rate as a user would write it.
pub(super) fn show_rate(rate: Rate) -> String {
    let unit = PERS.iter().find(|(_, per)| *per == rate.per).map_or("s", |(unit, _)| *unit);
    format!("{}/{unit}", rate.count)
}

/// The duration as a user would write it.
pub(super) fn show_duration(duration: Duration) -> String {
    humantime::format_duration(duration).to_string()
}

/// The size as a user would write it: in the largest unit that holds it exactly.
pub(super) fn show_size(bytes: u64) -> String {
    const UNITS: [(u64, &str); 8] = [
        (1 << 40, "TiB"),
        (1 << 30, "GiB"),
        (1 << 20, "MiB"),
        (1_000_000_000_000, "TB"),
        (1_000_000_000, "GB"),
        (1_000_000, "MB"),
        (1 << 10, "KiB"),
        (1_000, "kB"),
    ];
    match UNITS.iter().find(|(unit, _)| bytes >= *unit && bytes.is_multiple_of(*unit)) {
        Some((unit, name)) => format!("{}{name}", bytes / unit),
        None => format!("{bytes}B"),
    }
}

/// The share as a user would write it, without the noise of binary fractions.
pub(super) fn show_ratio(ratio: Ratio) -> String {
    format!("{}%", hundredfold(ratio.get()))
}

/// The quantile as a user would write it.
pub(super) fn show_quantile(quantile: f64) -> String {
    format!("p{}", hundredfold(quantile))
}

fn hundredfold(fraction: f64) -> String {
    let text = format!("{:.6}", fraction * 100.0);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_bare_number_is_refused() {
        for text in ["10", " 10 ", "0", "1.5", ""] {
            assert!(duration(text).is_err(), "{text:?}");
            assert!(size(text).is_err(), "{text:?}");
            assert!(percent(text).is_none(), "{text:?}");
        }
    }

    #[test]
    fn units_are_read() {
        assert_eq!(duration("1m 30s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("0s"), Ok(Duration::ZERO));
        assert_eq!(size("64MiB"), Ok(64 << 20));
        assert_eq!(size("1.5 GiB"), Ok(3 << 29));
        assert_eq!(size("50MB"), Ok(50_000_000));
        assert_eq!(size("0B"), Ok(0));
        assert_eq!(percent("20%"), Ratio::new(0.2));
        assert_eq!(percent("0.5 %"), Ratio::new(0.005));
        assert_eq!(percent("33.4%"), Ratio::permille(334));
        assert_eq!((quantile("p95"), quantile("p99.9")), (Some(0.95), Some(0.999)));
    }

    #[test]
    fn a_rate_is_a_count_and_a_time() {
        assert_eq!(rate("20/s"), Some(Rate { count: 20, per: Per::Second }));
        assert_eq!(rate("100 / m"), Some(Rate { count: 100, per: Per::Minute }));
        for text in ["1/s", "5000/h", "1000000/m"] {
            assert_eq!(rate(text).map(show_rate).as_deref(), Some(text));
        }
        for text in ["20", "20/", "/s", "0/s", "-1/s", "+1/s", "1.5/s", "20/d", "20/sec", "20/s/s", "1000001/s", ""] {
            assert_eq!(rate(text), None, "{text:?}");
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["10 apples", "s", "-1s", "1e3s", "NaN s", "∞"] {
            assert!(duration(text).is_err(), "{text:?}");
        }
        for text in ["10 apples", "GiB", "-1MiB", "1e3B", "nanB", "."] {
            assert!(size(text).is_err(), "{text:?}");
        }
        for text in ["101%", "-1%", "nan%", "inf%", "%", "1e1%"] {
            assert!(percent(text).is_none(), "{text:?}");
        }
        for text in ["95", "p", "p.", "p101", "p-1", "p1e1", "pNaN", "P95", "p95%"] {
            assert!(quantile(text).is_none(), "{text:?}");
        }
    }

    #[test]
    fn values_are_shown_as_a_user_writes_them() {
        assert_eq!(show_size(1 << 30), "1GiB");
        assert_eq!(show_size(50_000_000), "50MB");
        assert_eq!(show_size(16 << 10), "16KiB");
        assert_eq!(show_size(1234), "1234B");
        assert_eq!(show_size(0), "0B");
        assert_eq!(show_duration(Duration::from_millis(90_500)), "1m 30s 500ms");
        assert_eq!(show_duration(Duration::ZERO), "0s");
        assert_eq!(show_ratio(Ratio::percent(7)), "7%");
        assert_eq!(show_ratio(Ratio::ONE), "100%");
        assert_eq!(show_ratio(Ratio::ZERO), "0%");
        assert_eq!(show_quantile(0.95), "p95");
        assert_eq!(show_quantile(0.999), "p99.9");
    }

    proptest! {
        #[test]
        fn what_is_shown_reads_back(nanos in any::<u64>(), bytes in any::<u64>(), per_mille in 0u16..=1000) {
            prop_assert_eq!(duration(&show_duration(Duration::from_nanos(nanos))), Ok(Duration::from_nanos(nanos)));
            prop_assert_eq!(size(&show_size(bytes)), Ok(bytes));
            let ratio = percent(&format!("{}%", f64::from(per_mille) / 10.0)).unwrap();
            prop_assert_eq!(show_ratio(percent(&show_ratio(ratio)).unwrap()), show_ratio(ratio));
        }

        #[test]
        fn no_text_panics(text in "\\PC{0,12}|[0-9.]{0,40}[a-zA-Zµ%]{0,3}") {
            let _ = (duration(&text), size(&text), percent(&text), quantile(&text), rate(&text));
        }
    }
}
