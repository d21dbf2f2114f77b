//! From a path to a checked configuration.

use std::path::Path;

use toml::de::DeTable;

use super::Config;
use super::check;
use super::error::{Problem, Report, Severity};
use super::file::{self, Source};

/// The commented default configuration: what `print-config` prints, and `conf/hedgerow.toml`.
pub const DEFAULT: &str = include_str!("../../conf/hedgerow.toml");

/// A configuration that can be used, and what is doubtful about it.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What is true.
    pub config: Config,
    /// Only of [`Severity::Warning`].
    pub warnings: Vec<Problem>,
}

/// Loads a file, or every `*.toml` of a directory in name order.
///
/// Of a directory, `[server]`, `[cache]`, `[log]`, `[access_log]` and `[slow]` may stand in one file each; `[[pool]]`, `[[route]]`
/// and `[profile.NAME]` add up. Paths in a file are relative to it. On failure all problems of all files come back,
/// warnings too, in the order of files and lines.
pub fn load(path: &Path) -> Result<Loaded, Vec<Problem>> {
    let report = Report::default();
    let sources = file::read(path, &report);
    finish(&sources, report)
}

/// Checks a text as if it were a file of this name in the current directory.
pub fn parse_str(name: &str, text: &str) -> Result<Loaded, Vec<Problem>> {
    let report = Report::default();
    let sources = [Source::new(0, name, Path::new(""), text.to_owned(), &report)];
    finish(&sources, report)
}

fn finish(sources: &[Source], report: Report) -> Result<Loaded, Vec<Problem>> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let files: Vec<_> = sources.iter().map(|source| (source, parse(source, &report))).collect();
    let config = check::check(&files, threads, &report);
    drop(files);
    let problems = report.into_problems();
    match config {
        Some(config) => Ok(Loaded { config, warnings: problems }),
        None => Err(problems),
    }
}

/// The statements that could be read; what remains are repeated keys.
fn parse<'s>(source: &'s Source, report: &Report) -> DeTable<'s> {
    let (table, errors) = DeTable::parse_recoverable(&source.readable);
    for error in errors {
        let span = error.span().unwrap_or_default();
        let key = source.readable.get(span.clone()).unwrap_or("").trim();
        source.report(report, Severity::Error, span.start, key, error.message().to_owned(), None);
    }
    table.into_inner()
}
