//! Where log lines end: a file or standard output.
//!
//! A failed write is not an error that anybody waits for, so it is counted in lines, and told to the operator when
//! it begins and when it is over rather than once per line.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::config::LogOutput;

/// An output for whole lines.
pub(super) trait Sink: Send {
    /// Writes lines; how many of them are lost.
    fn write(&mut self, lines: &[u8]) -> u64;
    /// Opens the output anew by its name, if it has one.
    fn reopen(&mut self);
}

/// The output of the configuration.
#[derive(Debug)]
pub(super) struct Output {
    target: Target,
    /// The last write left a part of a line behind.
    torn: bool,
    /// The last write failed.
    failing: bool,
}

#[derive(Debug)]
enum Target {
    Stdout,
    File(PathBuf, File),
}

impl Output {
    /// Opens a file for appending, and makes it if there is none.
    pub(super) fn open(output: &LogOutput) -> io::Result<Output> {
        let target = match output {
            LogOutput::Stdout => Target::Stdout,
            LogOutput::File(path) => Target::File(path.clone(), append_to(path)?),
        };
        Ok(Output { target, torn: false, failing: false })
    }
}

fn append_to(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).open(path)
}

impl Sink for Output {
    fn write(&mut self, lines: &[u8]) -> u64 {
        let mut rest = lines;
        let result = match &mut self.target {
            Target::Stdout => write_lines(&mut io::stdout().lock(), &mut self.torn, &mut rest),
            Target::File(_, file) => write_lines(file, &mut self.torn, &mut rest),
        };
        match result {
            Ok(()) if self.failing => {
                self.failing = false;
                log::info!("the access log can be written again");
            }
            Ok(()) => {}
            Err(error) => {
                if !std::mem::replace(&mut self.failing, true) {
                    log::warn!("cannot write the access log, its lines are lost: {error}");
                }
            }
        }
        rest.iter().filter(|byte| **byte == b'\n').count() as u64
    }

    fn reopen(&mut self) {
        if let Target::File(path, file) = &mut self.target {
            match append_to(path) {
                Ok(opened) => {
                    *file = opened;
                    self.torn = false;
                }
                Err(error) => {
                    log::warn!("cannot reopen the access log {}, still writing the old file: {error}", path.display())
                }
            }
        }
    }
}

/// Writes `rest` and leaves in it what was not written. A line torn by an earlier failure is ended first, so that
/// it takes no whole line with it.
fn write_lines(out: &mut impl Write, torn: &mut bool, rest: &mut &[u8]) -> io::Result<()> {
    if *torn {
        out.write_all(b"\n")?;
        *torn = false;
    }
    while !rest.is_empty() {
        match out.write(rest) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => {
                *torn = rest.get(n.saturating_sub(1)) != Some(&b'\n');
                *rest = rest.get(n..).unwrap_or_default();
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes `room` bytes, then fails.
    struct Full {
        taken: Vec<u8>,
        room: usize,
    }

    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let n = bytes.len().min(self.room);
            if n == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.taken.extend_from_slice(&bytes[..n]);
            self.room -= n;
            Ok(n)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_torn_line_is_ended_before_the_next() {
        let mut out = Full { taken: Vec::new(), room: 6 };
        let mut torn = false;
        let mut rest: &[u8] = b"one\ntwo\nthree\n";
        assert!(write_lines(&mut out, &mut torn, &mut rest).is_err());
        assert_eq!(rest, b"o\nthree\n");
        out.room = 100;
        rest = b"four\n";
        write_lines(&mut out, &mut torn, &mut rest).unwrap();
        assert_eq!(out.taken, b"one\ntw\nfour\n");
    }

    #[test]
    fn a_failure_between_lines_leaves_no_empty_line() {
        let mut out = Full { taken: Vec::new(), room: 4 };
        let mut torn = false;
        let mut rest: &[u8] = b"one\ntwo\n";
        assert!(write_lines(&mut out, &mut torn, &mut rest).is_err());
        out.room = 100;
        rest = b"four\n";
        write_lines(&mut out, &mut torn, &mut rest).unwrap();
        assert_eq!(out.taken, b"one\nfour\n");
    }
}
