//! What a backend writes in a response about its own load.
//!
//! `X-Backend-Load` is a number. `endpoint-load-metrics` is ORCA's (Open Request Cost Aggregation; gRPC A51, and A58 for
//! which of its figures counts): `TEXT cpu_utilization=0.3,…` or `JSON {"cpu_utilization":0.3,…}`, with the names of
//! `xds.data.orca.v3.OrcaLoadReport`. Its form in protobuf (`BIN`, `endpoint-load-metrics-bin`) is not read: no server of
//! HTTP needs it, and it would be a decoder more for bytes from outside.

use serde::Deserialize;

use super::load::Load;

/// Longer values are not read: a report has a few figures.
const LONGEST: usize = 4096;

/// The figures of a report that matter.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
struct Report {
    #[serde(alias = "applicationUtilization")]
    application_utilization: f64,
    #[serde(alias = "cpuUtilization")]
    cpu_utilization: f64,
}

impl Report {
    /// As in gRPC A58: what the application says of itself, else the processor's. Zero is what protobuf has for nothing, so
    /// a report without a figure is none.
    fn load(self) -> Option<Load> {
        let figures = [self.application_utilization, self.cpu_utilization];
        figures.into_iter().find(|figure| *figure > 0.0).and_then(Load::new)
    }
}

/// The value of `X-Backend-Load`; `None` if it is no number from 0 upwards.
pub fn read_plain(value: &[u8]) -> Option<Load> {
    number(std::str::from_utf8(value).ok()?).and_then(Load::new)
}

/// The value of `endpoint-load-metrics`; `None` if it has no figure that counts, or is in no form that is read.
pub fn read_orca(value: &[u8]) -> Option<Load> {
    let value = std::str::from_utf8(value).ok().filter(|value| value.len() <= LONGEST)?;
    let (form, report) = value.trim().split_once(' ')?;
    match form {
        "TEXT" => read_text(report).load(),
        // A list would be taken for the fields in their order.
        "JSON" if report.trim_start().starts_with('{') => serde_json::from_str::<Report>(report).ok()?.load(),
        _ => None,
    }
}

/// What of `name=number, …` can be read.
fn read_text(report: &str) -> Report {
    let mut read = Report::default();
    for (name, figure) in report.split(',').filter_map(|part| part.split_once('=')) {
        let field = match name.trim() {
            "application_utilization" => &mut read.application_utilization,
            "cpu_utilization" => &mut read.cpu_utilization,
            _ => continue,
        };
        *field = number(figure).unwrap_or(*field);
    }
    read
}

/// A decimal number; what `f64` reads besides (`inf`, `nan`) is none.
fn number(text: &str) -> Option<f64> {
    text.trim().parse().ok().filter(|number: &f64| number.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn plain(text: &str) -> Option<f64> {
        read_plain(text.as_bytes()).map(Load::get)
    }

    fn orca(text: &str) -> Option<f64> {
        read_orca(text.as_bytes()).map(Load::get)
    }

    #[test]
    fn a_plain_load_is_a_number() {
        assert_eq!(["0", "0.25", " 1 ", "1e0", "250"].map(plain), [0.0, 0.25, 1.0, 1.0, 65.535].map(Some));
        for bad in ["", "high", "-0.1", "0.5%", "0,5", "nan", "inf", "0.1 0.2"] {
            assert_eq!(plain(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn orca_is_read_in_both_of_its_text_forms() {
        assert_eq!(orca("TEXT cpu_utilization=0.3,mem_utilization=0.8"), Some(0.3));
        assert_eq!(orca("TEXT cpu_utilization=0.3, application_utilization=0.9"), Some(0.9));
        assert_eq!(orca("TEXT application_utilization=0,cpu_utilization=1.3"), Some(1.3));
        assert_eq!(orca("TEXT named_metrics.queue=7,cpu_utilization=0.5"), Some(0.5));
        assert_eq!(orca("JSON {\"cpu_utilization\": 0.3, \"rps_fractional\": 12}"), Some(0.3));
        assert_eq!(orca("JSON {\"cpuUtilization\":0.3,\"applicationUtilization\":0.7}"), Some(0.7));
    }

    #[test]
    fn a_report_without_a_figure_is_none() {
        for bad in [
            "",
            "TEXT",
            "TEXT ",
            "TEXT cpu_utilization",
            "TEXT cpu_utilization=much",
            "TEXT cpu_utilization=nan",
            "TEXT cpu_utilization=-1",
            "TEXT mem_utilization=0.8",
            "JSON {}",
            "JSON {\"cpu_utilization\": \"0.3\"}",
            "JSON [0.3]",
            "JSON {\"cpu_utilization\": 0.3",
            "BIN CZqZmZmZmbk/",
            "cpu_utilization=0.3",
        ] {
            assert_eq!(orca(bad), None, "{bad:?}");
        }
        assert_eq!(orca(&format!("TEXT cpu_utilization=0.3,{}", "x".repeat(LONGEST))), None);
        assert_eq!(orca(&format!("JSON {}", "[".repeat(4000))), None);
    }

    proptest! {
        #[test]
        fn whatever_comes_is_read_or_refused(bytes: Vec<u8>, text in "(TEXT|JSON) \\PC*") {
            let _ = (read_plain(&bytes), read_orca(&bytes), read_orca(text.as_bytes()));
        }
    }
}
