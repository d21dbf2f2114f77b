//! `[cache]`, `[log]`, `[access_log]` and `[slow]`: the store all routes share, and what is written and kept where.

use std::path::PathBuf;
use std::time::Duration;

use http::HeaderName;
use log::LevelFilter;

use super::read::Section;
use super::value::Value;
use super::{AccessLog, Admission, Cache, Log, LogFormat, LogOutput, Reveal, Secret, Slow, defaults, purge, server};

/// Reads `[cache]`.
pub(super) fn cache(mut section: Section<'_>) -> Cache {
    let name = section.optional("name").and_then(|value| cache_name(&value));
    let memory = section.size("memory", 64 << 10..=1 << 50, defaults::CACHE_MEMORY);
    let max_object = section.size("max_object", 1..=4095 << 20, defaults::MAX_OBJECT.min(largest_object(memory)));
    if max_object > memory {
        section.spot_of("max_object").error("is larger than memory, so that it could never be stored");
    } else if max_object > largest_object(memory) {
        section.spot_of("max_object").warning("is larger than two fifths of memory, the largest that is stored");
    }
    let targets = section.optional("targets").map(|value| targets(&value));
    let reveal = reveal(section.section("reveal"));
    let tags = section.optional("tags").map_or_else(purge::default_tag_fields, |value| purge::tag_fields(&value));
    let admission = section.optional("admission");
    let admission = admission.and_then(|v| v.word(&[("tinylfu", Admission::TinyLfu), ("lru", Admission::Lru)]));
    section.finish();
    Cache {
        name: name.unwrap_or_else(|| defaults::CACHE_NAME.to_owned()),
        memory,
        max_object,
        targets: targets.unwrap_or_else(|| defaults::TARGETS.to_vec()),
        reveal,
        tags,
        admission: admission.unwrap_or_default(),
    }
}

/// The largest body that a store of `memory` bytes keeps, whatever `max_object` says.
fn largest_object(memory: u64) -> u64 {
    memory / 5 * 2
}

/// Names of targeted fields (RFC 9213), the one that goes first first.
fn targets(value: &Value<'_>) -> Vec<HeaderName> {
    let name = |value: &Value<'_>| {
        let name = field(value)?;
        if name == http::header::CACHE_CONTROL {
            value.spot.error("is what targeted fields go before, expected a field such as \"CDN-Cache-Control\"");
            return None;
        }
        Some(name)
    };
    let listed = value.list("a list of header fields such as [\"CDN-Cache-Control\"]");
    listed.iter().filter_map(name).collect()
}

fn field(value: &Value<'_>) -> Option<HeaderName> {
    const FIELD: &str = "the name of a header field such as \"CDN-Cache-Control\"";
    let name = HeaderName::try_from(value.text(FIELD)?).ok();
    if name.is_none() {
        value.expected(FIELD);
    }
    name
}

fn reveal(mut section: Section<'_>) -> Reveal {
    let clients = section.optional("clients").map(|value| server::networks(&value)).unwrap_or_default();
    let header = section.optional("header").and_then(|value| field(&value));
    let secret = section.optional("secret").and_then(|value| Secret::read(&value));
    if section.has("secret") != section.has("header") {
        let (there, lacking) = if section.has("secret") { ("secret", "header") } else { ("header", "secret") };
        section.spot_of(there).error(format_args!("stands alone, expected `{lacking}` beside it"));
    }
    section.finish();
    Reveal { clients, secret: header.zip(secret) }
}

/// A name that is a token of `Via` (RFC 9110 §7.6.3) and of `Cache-Status` (RFC 9211 §2) at once.
fn cache_name(value: &Value<'_>) -> Option<String> {
    let expected = "a name of letters, digits, `-`, `_` and `.` that starts with a letter, at most 64 long";
    let name = value.text(expected)?;
    let is_fine = name.starts_with(|c: char| c.is_ascii_alphabetic()) && super::is_name(name);
    if !is_fine {
        value.expected(expected);
        return None;
    }
    Some(name.to_owned())
}

/// Reads `[log]`.
pub(super) fn log(mut section: Section<'_>) -> Log {
    const LEVELS: [(&str, LevelFilter); 6] = [
        ("off", LevelFilter::Off),
        ("error", LevelFilter::Error),
        ("warn", LevelFilter::Warn),
        ("info", LevelFilter::Info),
        ("debug", LevelFilter::Debug),
        ("trace", LevelFilter::Trace),
    ];
    let level = section.optional("level").and_then(|value| value.word(&LEVELS));
    section.finish();
    Log { level: level.unwrap_or(defaults::LOG_LEVEL) }
}

/// Reads `[access_log]`.
pub(super) fn access_log(mut section: Section<'_>) -> AccessLog {
    const FORMATS: [(&str, Option<LogFormat>); 5] = [
        ("json", Some(LogFormat::Json)),
        ("logfmt", Some(LogFormat::Logfmt)),
        ("common", Some(LogFormat::Common)),
        ("combined", Some(LogFormat::Combined)),
        ("off", None),
    ];
    let format = section.optional("format").and_then(|value| value.word(&FORMATS));
    let output = section.optional("output").and_then(|value| output(&value));
    let sample = section.optional("sample").and_then(|value| value.ratio());
    let slow = section.duration("slow", server::TIMEOUT, defaults::LOG_SLOW);
    section.finish();
    AccessLog {
        format: format.unwrap_or(Some(LogFormat::Json)),
        output: output.unwrap_or(LogOutput::Stdout),
        sample: sample.unwrap_or(defaults::SAMPLE),
        slow,
    }
}

/// Reads `[slow]`.
pub(super) fn slow(mut section: Section<'_>) -> Slow {
    // Five parts of the window each keep so many of every route; a kept request takes one or two KiB.
    let keep = section.integer("keep", 0..=200, defaults::SLOW_KEEP);
    let window = Duration::from_secs(10)..=Duration::from_secs(86_400);
    let slow = Slow {
        keep: usize::try_from(keep).unwrap_or_default(),
        window: section.duration("window", window, defaults::SLOW_WINDOW),
        query: section.boolean("query", false),
    };
    section.finish();
    slow
}

fn output(value: &Value<'_>) -> Option<LogOutput> {
    let expected = "\"stdout\" or the path of a file";
    match value.text(expected)? {
        "stdout" => Some(LogOutput::Stdout),
        // `stderr` or `std-out` would otherwise become a file of that name.
        word if !word.contains(['/', '.']) => {
            let hint = format!("did you mean \"stdout\"? For a file write \"./{word}\"");
            value.spot.error_with(format_args!("expected {expected}, found {}", value.found()), hint);
            None
        }
        path => Some(LogOutput::File(value.spot.source.directory.join(PathBuf::from(path)))),
    }
}
