//! One value: typed when it is asked for, shown as it was written when it is not what was asked for.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use toml::de::DeValue;

use super::read::{Section, Spot};
use super::units;
use crate::tail::rate::Rate;
use crate::units::Ratio;

/// A value not yet typed.
#[derive(Clone, Debug)]
pub(super) struct Value<'a> {
    pub(super) spot: Spot<'a>,
    /// Its key as [`keys::KEYS`] has it.
    pub(super) schema: String,
    pub(super) value: &'a DeValue<'a>,
}

impl<'a> Value<'a> {
    /// The value as a message shows it.
    pub(super) fn found(&self) -> String {
        match self.value {
            DeValue::String(text) if text.chars().count() > 60 => {
                format!("\"{}...\"", text.chars().take(57).collect::<String>().escape_debug())
            }
            DeValue::String(text) => format!("\"{}\"", text.escape_debug()),
            DeValue::Integer(number) => number.to_string(),
            DeValue::Float(number) => number.to_string(),
            DeValue::Boolean(yes) => yes.to_string(),
            DeValue::Datetime(date) => date.to_string(),
            DeValue::Array(_) => "a list".into(),
            DeValue::Table(_) => "a table".into(),
        }
    }

    /// The path of a file, relative to the file it is written in.
    pub(super) fn path(&self) -> Option<PathBuf> {
        Some(self.spot.source.directory.join(self.text("the path of a file")?))
    }

    /// Reports that something else was expected.
    pub(super) fn expected(&self, expected: impl Display) {
        self.spot.error(format_args!("expected {expected}, found {}", self.found()));
    }

    fn expected_with(&self, expected: impl Display, hint: impl Display) {
        self.spot.error_with(format_args!("expected {expected}, found {}", self.found()), hint);
    }

    /// The text of a string, silently `None` for anything else.
    pub(super) fn as_text(&self) -> Option<&'a str> {
        match self.value {
            DeValue::String(text) => Some(text),
            _ => None,
        }
    }

    /// The number, whole or not, silently `None` for anything else.
    pub(super) fn as_number(&self) -> Option<f64> {
        match self.value {
            DeValue::Integer(number) => parse_integer(number.as_str(), number.radix()).map(|n| n as f64),
            DeValue::Float(number) => number.as_str().parse().ok(),
            _ => None,
        }
    }

    pub(super) fn is_list(&self) -> bool {
        self.value.is_array()
    }

    pub(super) fn is_table(&self) -> bool {
        self.value.is_table()
    }

    pub(super) fn text(&self, expected: &str) -> Option<&'a str> {
        let text = self.as_text();
        if text.is_none() {
            self.expected(expected);
        }
        text
    }

    pub(super) fn boolean(&self) -> Option<bool> {
        let found = self.value.as_bool();
        if found.is_none() {
            self.expected("true or false");
        }
        found
    }

    /// The number of an integer, silently `None` for anything else.
    pub(super) fn as_integer(&self) -> Option<i64> {
        self.value.as_integer().and_then(|number| parse_integer(number.as_str(), number.radix()))
    }

    pub(super) fn integer(&self, range: RangeInclusive<u64>) -> Option<u64> {
        let found = self.as_integer().and_then(|n| u64::try_from(n).ok()).filter(|n| range.contains(n));
        if found.is_none() {
            self.expected(format_args!("a whole number from {} to {}", range.start(), range.end()));
        }
        found
    }

    pub(super) fn duration(&self, range: RangeInclusive<Duration>) -> Option<Duration> {
        let (low, high) = (units::show_duration(*range.start()), units::show_duration(*range.end()));
        let expected = format!("a duration from {low} to {high}");
        let Some(text) = self.as_text() else {
            match self.as_number() {
                Some(_) => self.expected_with(expected, format_args!("a duration has a unit: \"{}s\"", self.found())),
                None => self.expected(expected),
            }
            return None;
        };
        match units::duration(text) {
            Ok(duration) if range.contains(&duration) => return Some(duration),
            Ok(_) => self.expected(expected),
            Err(_) if !text.trim().is_empty() && text.trim().bytes().all(|b| b.is_ascii_digit()) => {
                self.expected_with(expected, format_args!("a duration has a unit: \"{}s\"", text.trim()));
            }
            Err(_) => self.expected_with(expected, "units are ms, s, m, h and days, as in \"1m 30s\""),
        }
        None
    }

    pub(super) fn size(&self, range: RangeInclusive<u64>) -> Option<u64> {
        let expected =
            format!("a size from {} to {}", units::show_size(*range.start()), units::show_size(*range.end()));
        let Some(text) = self.as_text() else {
            match self.as_integer().and_then(|n| u64::try_from(n).ok()) {
                Some(n) => self.expected_with(expected, format_args!("a size has a unit: \"{}\"", units::show_size(n))),
                None => self.expected(expected),
            }
            return None;
        };
        match units::size(text) {
            Ok(size) if range.contains(&size) => return Some(size),
            Ok(_) => self.expected(expected),
            Err(_) => self.expected_with(expected, "units are B, KiB, MiB, GiB (1024) and kB, MB, GB (1000)"),
        }
        None
    }

    pub(super) fn rate(&self) -> Option<Rate> {
        let expected = format!("a rate such as \"20/s\", \"100/m\" or \"5000/h\", of 1 to {}", Rate::MAX);
        let found = self.as_text().and_then(units::rate);
        if found.is_none() {
            let bare = self.as_integer().map(|count| count.to_string());
            match bare.as_deref().or(self.as_text()).filter(|text| text.bytes().all(|b| b.is_ascii_digit())) {
                Some(count) if !count.is_empty() => {
                    self.expected_with(expected, format_args!("a rate has a time: \"{count}/s\""));
                }
                _ => self.expected(expected),
            }
        }
        found
    }

    /// `"20%"` or `0.2`. A whole number is refused: `1` is one per cent to one reader and all to the next.
    pub(super) fn ratio(&self) -> Option<Ratio> {
        self.ratio_in(Ratio::ZERO..=Ratio::ONE)
    }

    /// The same within a range.
    pub(super) fn ratio_in(&self, range: RangeInclusive<Ratio>) -> Option<Ratio> {
        let found = match self.value {
            DeValue::String(text) => units::percent(text),
            DeValue::Float(number) => number.as_str().parse().ok().and_then(Ratio::new),
            _ => None,
        };
        let found = found.filter(|ratio| range.contains(ratio));
        if found.is_none() {
            let example = if range.contains(&Ratio::percent(20)) { Ratio::percent(20) } else { *range.end() };
            let [text, low, high] = [example, *range.start(), *range.end()].map(units::show_ratio);
            self.expected(format_args!("a share such as \"{text}\" or {}, from {low} to {high}", example.get()));
        }
        found
    }

    /// One of a few words.
    pub(super) fn word<T: Copy>(&self, words: &[(&'static str, T)]) -> Option<T> {
        let found = self.as_text().and_then(|text| words.iter().find(|(word, _)| *word == text));
        if found.is_none() {
            let names: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            let message = format!("expected \"{}\", found {}", names.join("\" or \""), self.found());
            self.spot.error_near(message, self.as_text().unwrap_or(""), names);
        }
        found.map(|(_, value)| *value)
    }

    /// The elements of a list; a problem and none for anything else.
    pub(super) fn list(&self, expected: &str) -> Vec<Value<'a>> {
        let Some(list) = self.value.as_array() else {
            if self.as_text().is_some() {
                self.expected_with(expected, format_args!("write `[{}]`", self.found()));
            } else {
                self.expected(expected);
            }
            return Vec::new();
        };
        let element = |element: &'a toml::Spanned<DeValue<'a>>| Value {
            spot: Spot { offset: element.span().start, ..self.spot.clone() },
            schema: self.schema.clone(),
            value: element.get_ref(),
        };
        list.iter().map(element).collect()
    }

    /// The tables of `[[name]]`; a problem and none for anything else.
    pub(super) fn sections(&self) -> Vec<Section<'a>> {
        if !self.value.is_array() {
            let name = &self.spot.key;
            self.expected_with("a list of tables", format_args!("write `[[{name}]]`, with two brackets"));
            return Vec::new();
        }
        self.list("a list of tables").into_iter().filter_map(Value::section).collect()
    }

    pub(super) fn section(self) -> Option<Section<'a>> {
        let Some(table) = self.value.as_table() else {
            self.expected("a table");
            return None;
        };
        Some(Section::new(self.spot, self.schema, table))
    }

    /// The same value under another key of [`keys::KEYS`]: a profile has the keys of a route.
    pub(super) fn with_schema(self, schema: &str) -> Value<'a> {
        Value { schema: schema.to_owned(), ..self }
    }
}

fn parse_integer(digits: &str, radix: u32) -> Option<i64> {
    i64::from_str_radix(digits, radix).ok()
}
