//! A typed reader over a parsed file that reports what is wrong and goes on.
//!
//! serde stops at the first mistake and has forgotten the place by the time a value is checked. Here a [`Section`] knows
//! where it stands and which keys were asked for; a value that cannot be used is reported and read as absent, so that the
//! rest is still checked. Nothing built from a reported file is ever used.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::time::Duration;

use toml::de::{DeTable, DeValue};

use super::error::{Report, Severity};
use super::file::Source;
use super::keys;
use super::value::Value;
use crate::units::Ratio;

/// A place in a file, under the key that problems name.
#[derive(Clone, Debug)]
pub(super) struct Spot<'a> {
    pub(super) source: &'a Source,
    pub(super) report: &'a Report,
    pub(super) key: String,
    pub(super) offset: usize,
}

/// Something read, and where it stood.
#[derive(Clone, Debug)]
pub(super) struct Located<'a, T> {
    pub(super) value: T,
    pub(super) spot: Spot<'a>,
}

/// A table, or the absence of one: then every key in it is absent.
#[derive(Debug)]
pub(super) struct Section<'a> {
    pub(super) spot: Spot<'a>,
    schema: String,
    table: Option<&'a DeTable<'a>>,
    asked: Vec<&'static str>,
}

impl<'a> Spot<'a> {
    pub(super) fn error(&self, message: impl Display) {
        self.source.report(self.report, Severity::Error, self.offset, &self.key, message.to_string(), None);
    }

    pub(super) fn error_with(&self, message: impl Display, hint: impl Display) {
        let hint = Some(hint.to_string());
        self.source.report(self.report, Severity::Error, self.offset, &self.key, message.to_string(), hint);
    }

    /// An error whose hint is the candidate nearest to `written`, if one is near.
    pub(super) fn error_near<'c>(
        &self,
        message: impl Display,
        written: &str,
        candidates: impl IntoIterator<Item = &'c str>,
    ) {
        match keys::nearest(written, candidates) {
            Some(near) => self.error_with(message, format_args!("did you mean `{near}`?")),
            None => self.error(message),
        }
    }

    pub(super) fn warning(&self, message: impl Display) {
        self.source.report(self.report, Severity::Warning, self.offset, &self.key, message.to_string(), None);
    }

    /// `file:line`, for problems elsewhere that refer to this place.
    pub(super) fn shown(&self) -> String {
        format!("{}:{}", self.source.name, self.source.position(self.offset).0)
    }

    fn below(&self, name: &str, offset: usize) -> Spot<'a> {
        // A quoted key may hold anything; a problem stays one line.
        Spot { key: join(&self.key, &name.escape_debug().to_string()), offset, ..self.clone() }
    }
}

fn join(parent: &str, name: &str) -> String {
    if parent.is_empty() { name.to_owned() } else { format!("{parent}.{name}") }
}

impl<'a> Section<'a> {
    /// The top of a file.
    pub(super) fn top(source: &'a Source, report: &'a Report, table: &'a DeTable<'a>) -> Section<'a> {
        let spot = Spot { source, report, key: String::new(), offset: 0 };
        Section::new(spot, String::new(), table)
    }

    /// The `table` at `spot`, with the keys that [`keys::KEYS`] has below `schema`.
    pub(super) fn new(spot: Spot<'a>, schema: String, table: &'a DeTable<'a>) -> Section<'a> {
        Section { spot, schema, table: Some(table), asked: Vec::new() }
    }

    /// A table that nobody wrote.
    pub(super) fn absent(spot: Spot<'a>, schema: &str) -> Section<'a> {
        Section { spot, schema: schema.to_owned(), table: None, asked: Vec::new() }
    }

    /// The value of a key, if it is there.
    pub(super) fn optional(&mut self, name: &'static str) -> Option<Value<'a>> {
        self.asked.push(name);
        let (key, value) = self.table?.get_key_value(name)?;
        let schema = join(&self.schema, name);
        // A table's span is its header's or its braces'; its key says better where it stands.
        let offset = if value.get_ref().is_table() { key.span().start } else { value.span().start };
        Some(Value { spot: self.spot.below(name, offset), schema, value: value.get_ref() })
    }

    /// The value of a key that must be there.
    pub(super) fn required(&mut self, name: &'static str, expected: &str) -> Option<Value<'a>> {
        let value = self.optional(name);
        if value.is_none() && !self.spot.report.is_partial() {
            self.spot.below(name, self.spot.offset).error(format_args!("is missing, expected {expected}"));
        }
        value
    }

    /// Where the value of a key stands, or the section if it is absent: for problems found after reading.
    pub(super) fn spot_of(&self, name: &str) -> Spot<'a> {
        let offset = self.table.and_then(|t| t.get(name)).map_or(self.spot.offset, |value| value.span().start);
        self.spot.below(name, offset)
    }

    /// Whether a key is written here.
    pub(super) fn has(&self, name: &str) -> bool {
        self.table.is_some_and(|table| table.contains_key(name))
    }

    /// The table under a key; an absent one if it is not there or not a table.
    pub(super) fn section(&mut self, name: &'static str) -> Section<'a> {
        let absent = Section::absent(self.spot.below(name, self.spot.offset), &join(&self.schema, name));
        self.optional(name).and_then(Value::section).unwrap_or(absent)
    }

    /// The table under a key that may also say `"off"`; `None` when it does.
    pub(super) fn section_or_off(&mut self, name: &'static str) -> Option<Section<'a>> {
        let absent = Section::absent(self.spot.below(name, self.spot.offset), &join(&self.schema, name));
        match self.optional(name) {
            Some(value) if value.as_text() == Some("off") => None,
            Some(value) if !value.is_table() => {
                value.expected("a table or \"off\"");
                Some(absent)
            }
            value => Some(value.and_then(Value::section).unwrap_or(absent)),
        }
    }

    /// Whether the table is there at all.
    pub(super) fn is_present(&self) -> bool {
        self.table.is_some()
    }

    pub(super) fn duration(
        &mut self,
        name: &'static str,
        range: RangeInclusive<Duration>,
        default: Duration,
    ) -> Duration {
        self.optional(name).and_then(|value| value.duration(range)).unwrap_or(default)
    }

    pub(super) fn size(&mut self, name: &'static str, range: RangeInclusive<u64>, default: u64) -> u64 {
        self.optional(name).and_then(|value| value.size(range)).unwrap_or(default)
    }

    pub(super) fn ratio(&mut self, name: &'static str, range: RangeInclusive<Ratio>, default: Ratio) -> Ratio {
        self.optional(name).and_then(|value| value.ratio_in(range)).unwrap_or(default)
    }

    pub(super) fn integer(&mut self, name: &'static str, range: RangeInclusive<u64>, default: u64) -> u64 {
        self.optional(name).and_then(|value| value.integer(range)).unwrap_or(default)
    }

    pub(super) fn boolean(&mut self, name: &'static str, default: bool) -> bool {
        self.optional(name).and_then(|value| value.boolean()).unwrap_or(default)
    }

    /// Every key with its value, for tables whose keys are data.
    pub(super) fn entries(&mut self) -> Vec<(&'a str, Value<'a>)> {
        let Some(table) = self.table else { return Vec::new() };
        let entry = |(key, value): (&'a toml::Spanned<toml::de::DeString<'a>>, &'a toml::Spanned<DeValue<'a>>)| {
            let name: &'a str = key.get_ref();
            let spot = self.spot.below(name, key.span().start);
            (name, Value { spot, schema: join(&self.schema, name), value: value.get_ref() })
        };
        table.iter().map(entry).collect()
    }

    /// Reports every key that was not asked for. Must be the last use.
    pub(super) fn finish(self) {
        let Some(table) = self.table else { return };
        for key in table.keys() {
            let name: &str = key.get_ref();
            let known = keys::children(&self.schema);
            if self.asked.contains(&name) && known.contains(&name) {
                continue;
            }
            let spot = self.spot.below(name, key.span().start);
            if let Some(near) = keys::nearest(name, known.iter().copied()) {
                spot.error_with("unknown key", format_args!("did you mean `{near}`?"));
            } else if let Some(key) = keys::elsewhere(&self.schema, name) {
                spot.error_with("unknown key", format_args!("did you mean `{key}`?"));
            } else {
                spot.error(format_args!("unknown key, expected one of `{}`", known.join("`, `")));
            }
        }
    }
}
