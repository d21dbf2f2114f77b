//! `compression` of a route or profile: what is compressed for clients, how, and what is decoded for them.

use super::read::Section;
use super::value::Value;
use crate::cache::codings::Coding;
use crate::cache::compression::{Level, Params, Types};

/// The words for codings.
pub(super) const CODINGS: [(&str, Coding); 3] = [("zstd", Coding::Zstd), ("br", Coding::Br), ("gzip", Coding::Gzip)];
/// The words for levels.
pub(super) const LEVELS: [(&str, Level); 3] =
    [("fast", Level::Fast), ("default", Level::Default), ("best", Level::Best)];

/// Each is compared with the type of every response.
const MAX_TYPES: usize = 64;

/// Reads `{ codings = ["zstd", "gzip"], types = ["text/*"], min_size = "1KiB", level = "fast" }`.
pub(super) fn read(mut section: Section<'_>) -> Params {
    let default = Params::default();
    let params = Params {
        codings: section.optional("codings").map_or(default.codings, |value| codings(&value)),
        types: section.optional("types").and_then(|value| types(&value)).unwrap_or(default.types),
        min_size: section.optional("min_size").and_then(|value| value.size(0..=1 << 30)).unwrap_or(default.min_size),
        level: section.optional("level").and_then(|value| value.word(&LEVELS)).unwrap_or(default.level),
        decompress: section.boolean("decompress", default.decompress),
        max_decompressed: section
            .optional("max_decompressed")
            .and_then(|value| value.size(1 << 10..=1 << 40))
            .unwrap_or(default.max_decompressed),
    };
    section.finish();
    params
}

/// Codings, best first.
fn codings(value: &Value<'_>) -> Vec<Coding> {
    let mut found = Vec::new();
    for element in value.list("a list of codings, best first, such as [\"zstd\", \"br\", \"gzip\"]") {
        match element.word(&CODINGS) {
            Some(coding) if found.contains(&coding) => {
                element.spot.error(format_args!("{} stands twice", element.found()))
            }
            Some(coding) => found.push(coding),
            None => {}
        }
    }
    found
}

fn types(value: &Value<'_>) -> Option<Types> {
    const TYPE: &str = "a media type such as \"text/html\", \"text/*\" or \"application/*+json\"";
    let all = value.list("a list of media types such as [\"text/*\", \"application/json\"]");
    if all.len() > MAX_TYPES {
        value.expected(format_args!("at most {MAX_TYPES} media types"));
    }
    let mut found = Vec::new();
    for element in &all {
        let text = element.text(TYPE)?;
        if Types::parse(&[text]).is_none() {
            element.expected(TYPE);
        }
        found.push(text);
    }
    Types::parse(&found)
}
