//! What is wrong with a configuration, where, and what to write instead.
//!
//! Problems are collected, never thrown: a checker that stops at the first mistake makes its user run it twenty times.

use std::cell::{Cell, RefCell};
use std::fmt;

/// One mistake (or doubt), in the form `file:line:column: key: what is wrong, expected what`, and a `hint:` line if any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Whether the configuration can be used in spite of it.
    pub severity: Severity,
    /// The file, as its path was given.
    pub file: String,
    /// Counted from 1; 0 when the problem is the file itself.
    pub line: usize,
    /// In characters, counted from 1; 0 when the problem is the file itself.
    pub column: usize,
    /// The dotted key, such as `pool.health.interval`; empty when there is none.
    pub key: String,
    /// Lower case, no full stop.
    pub message: String,
    /// What to do instead.
    pub hint: Option<String>,
}

/// Whether a configuration with this problem can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// It cannot.
    Error,
    /// It can, but it probably does not do what its writer wants.
    Warning,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if self.line > 0 {
            write!(f, ":{}:{}", self.line, self.column)?;
        }
        f.write_str(": ")?;
        if self.severity == Severity::Warning {
            f.write_str("warning: ")?;
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.message)?;
        match &self.hint {
            Some(hint) => write!(f, "\n  hint: {hint}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Problem {}

/// Where problems gather while a configuration is read.
#[derive(Debug, Default)]
pub(super) struct Report {
    problems: RefCell<Vec<(usize, Problem)>>,
    partial: Cell<bool>,
}

impl Report {
    /// Adds a problem of the file that was read as number `file`.
    pub(super) fn push(&self, file: usize, problem: Problem) {
        self.problems.borrow_mut().push((file, problem));
    }

    /// Notes that some text could not be read: from here on, what seems to be missing may only be unread.
    pub(super) fn set_partial(&self) {
        self.partial.set(true);
    }

    /// Whether some text could not be read.
    pub(super) fn is_partial(&self) -> bool {
        self.partial.get()
    }

    /// Whether nothing found so far forbids use.
    pub(super) fn is_usable(&self) -> bool {
        !self.problems.borrow().iter().any(|(_, p)| p.severity == Severity::Error)
    }

    /// All problems in the order of the files and their lines, each once.
    pub(super) fn into_problems(self) -> Vec<Problem> {
        let mut problems = self.problems.into_inner();
        problems.sort_by_key(|(file, p)| (*file, p.line, p.column));
        problems.dedup();
        problems.into_iter().map(|(_, p)| p).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_reads_as_one_line_and_a_hint() {
        let mut problem = Problem {
            severity: Severity::Error,
            file: "a.toml".into(),
            line: 3,
            column: 7,
            key: "server.listen".into(),
            message: "expected a list, found \"x\"".into(),
            hint: Some("write `[\"x\"]`".into()),
        };
        assert_eq!(
            problem.to_string(),
            "a.toml:3:7: server.listen: expected a list, found \"x\"\n  hint: write `[\"x\"]`"
        );
        problem.severity = Severity::Warning;
        problem.hint = None;
        problem.key.clear();
        assert_eq!(problem.to_string(), "a.toml:3:7: warning: expected a list, found \"x\"");
        problem.line = 0;
        assert_eq!(problem.to_string(), "a.toml: warning: expected a list, found \"x\"");
    }
}
