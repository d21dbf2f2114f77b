//! Files into text: which files, in which order, and where an offset lies in them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::error::{Problem, Report, Severity};
use super::recover;

/// One file of a configuration.
#[derive(Debug)]
pub(super) struct Source {
    /// Its place in the order of files.
    pub(super) number: usize,
    /// How problems name it.
    pub(super) name: String,
    /// What relative paths in it are relative to.
    pub(super) directory: PathBuf,
    text: String,
    /// `text` with unreadable statements blanked out, byte for byte.
    pub(super) readable: String,
}

impl Source {
    /// Takes the text in; syntax errors go to `report`.
    pub(super) fn new(number: usize, name: &str, directory: &Path, text: String, report: &Report) -> Source {
        let (readable, broken) = recover::readable(&text);
        let source = Source { number, name: name.to_owned(), directory: directory.to_owned(), text, readable };
        for mistake in broken {
            report.set_partial();
            source.report(report, Severity::Error, mistake.offset, "", mistake.message, None);
        }
        source
    }

    /// Adds a problem at the byte `offset`.
    pub(super) fn report(
        &self,
        report: &Report,
        severity: Severity,
        offset: usize,
        key: &str,
        message: String,
        hint: Option<String>,
    ) {
        let (line, column) = self.position(offset);
        let problem = Problem { severity, file: self.name.clone(), line, column, key: key.to_owned(), message, hint };
        report.push(self.number, problem);
    }

    /// Line and column of a byte offset, from 1, the column in characters.
    pub(super) fn position(&self, offset: usize) -> (usize, usize) {
        let before = self.text.get(..offset).unwrap_or(&self.text);
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
    }
}

/// Reads the file, or every `*.toml` of the directory in name order; hidden files are left out, as editors and volume
/// mounts leave copies there. What cannot be read goes to `report`.
pub(super) fn read(path: &Path, report: &Report) -> Vec<Source> {
    let files = if path.is_dir() { list(path) } else { Ok(vec![path.to_owned()]) };
    let files = match files {
        Ok(files) if files.is_empty() => {
            refuse(report, 0, path, "no *.toml file in this directory".into());
            return Vec::new();
        }
        Ok(files) => files,
        Err(error) => {
            refuse(report, 0, path, format!("cannot be listed: {error}"));
            return Vec::new();
        }
    };
    let mut sources = Vec::new();
    for (number, file) in files.iter().enumerate() {
        let name = file.display().to_string();
        let directory = file.parent().unwrap_or(Path::new(""));
        match fs::read(file).map(String::from_utf8) {
            Ok(Ok(text)) => sources.push(Source::new(number, &name, directory, text, report)),
            Ok(Err(error)) => {
                let at = error.utf8_error().valid_up_to();
                let line = error.as_bytes()[..at].iter().filter(|&&b| b == b'\n').count() + 1;
                refuse(report, number, file, format!("line {line} is not UTF-8"));
            }
            Err(error) => refuse(report, number, file, format!("cannot be read: {error}")),
        }
    }
    sources
}

fn list(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let is_hidden = path.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
        if !is_hidden && path.extension().is_some_and(|e| e == "toml") && path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn refuse(report: &Report, number: usize, path: &Path, message: String) {
    report.set_partial();
    let file = path.display().to_string();
    let problem =
        Problem { severity: Severity::Error, file, line: 0, column: 0, key: String::new(), message, hint: None };
    report.push(number, problem);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_count_lines_and_characters_from_one() {
        let source = Source::new(0, "a", Path::new(""), "ä = 1\nbc = 2".into(), &Report::default());
        assert_eq!(source.position(0), (1, 1));
        assert_eq!(source.position("ä ".len()), (1, 3));
        assert_eq!(source.position("ä = 1\nb".len()), (2, 2));
        assert_eq!(source.position(999), (2, 7));
    }
}
