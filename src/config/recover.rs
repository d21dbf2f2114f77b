//! What can still be read of a file with syntax errors.
//!
//! A TOML parser that recovers does so token by token: after `listen = ["a"` it takes the rest of the file for elements
//! of the list, reports each line of it, and every key behind it is lost. An operator thinks in statements. So a file
//! that does not parse is cut into statements, the shortest run of lines that parses alone; a statement that never does
//! is reported once, at its own first error, and blanked out, so that the rest of the file is still checked and every
//! offset stays true.

use std::ops::Range;

use toml::de::DeTable;

/// One statement that is not TOML.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Mistake {
    /// Byte offset in the text.
    pub(super) offset: usize,
    /// What the parser says.
    pub(super) message: String,
}

/// The longest run of lines that is tried as one statement.
const MAX_LINES: usize = 200;

/// `text` with statements that do not parse blanked out, and those statements.
pub(super) fn readable(text: &str) -> (String, Vec<Mistake>) {
    if DeTable::parse(text).is_ok() {
        return (text.to_owned(), Vec::new());
    }
    let lines: Vec<Range<usize>> = line_ranges(text);
    let mut out = String::with_capacity(text.len());
    let mut mistakes = Vec::new();
    // The name in a header that could not be read: what follows belongs to nothing we know.
    let mut lost_header: Option<&str> = None;
    let mut after_mistake = false;
    let mut i = 0;
    while i < lines.len() {
        let line = &text[lines[i].clone()];
        let is_statement = starts_statement(line);
        match statement(text, &lines[i..]) {
            Ok(count) => {
                let whole = &text[lines[i].start..lines[i + count - 1].end];
                if let Some(name) = header_name(line) {
                    let is_below = |lost: &str| name.strip_prefix(lost).is_some_and(|rest| rest.starts_with('.'));
                    lost_header = lost_header.filter(|lost| is_below(lost));
                }
                if lost_header.is_some() {
                    blank(&mut out, whole)
                } else {
                    out.push_str(whole)
                }
                after_mistake = after_mistake && !is_statement;
                i += count;
            }
            Err(mistake) => {
                // The tail of a broken statement, such as a lone `]`, is no mistake of its own.
                if is_statement || !after_mistake {
                    mistakes.push(Mistake { offset: lines[i].start + mistake.offset, message: mistake.message });
                }
                if let Some(name) = header_name(line) {
                    lost_header = Some(name);
                }
                blank(&mut out, line);
                after_mistake = true;
                i += 1;
            }
        }
    }
    (out, mistakes)
}

fn line_ranges(text: &str) -> Vec<Range<usize>> {
    let mut start = 0;
    let ranges = text.split_inclusive('\n').map(|line| {
        let range = start..start + line.len();
        start = range.end;
        range
    });
    ranges.collect()
}

/// How many of the first lines make one statement; the first line's own error if no number of them does.
fn statement(text: &str, lines: &[Range<usize>]) -> Result<usize, Mistake> {
    let start = lines[0].start;
    let first_error = match DeTable::parse(&text[lines[0].clone()]) {
        Ok(_) => return Ok(1),
        Err(error) => error,
    };
    if may_go_on(&text[lines[0].clone()]) {
        for (n, line) in lines.iter().enumerate().take(MAX_LINES).skip(1) {
            if header_name(&text[line.clone()]).is_some() {
                break;
            }
            if DeTable::parse(&text[start..line.end]).is_ok() {
                return Ok(n + 1);
            }
        }
    }
    let offset = first_error.span().map_or(0, |span| span.start);
    Err(Mistake { offset, message: first_error.message().to_owned() })
}

/// Whether a line could be the start of a longer statement.
fn may_go_on(line: &str) -> bool {
    starts_statement(line)
        && header_name(line).is_none()
        && ["[", "{", "\"\"\"", "'''"].iter().any(|opening| line.contains(opening))
}

/// The name in a line that is, or is meant as, `[name]` or `[[name]]`.
fn header_name(line: &str) -> Option<&str> {
    let inner = line.trim_start().strip_prefix('[')?;
    let inner = inner.strip_prefix('[').unwrap_or(inner).trim_start();
    let end = inner.find(|c: char| !is_key_char(c) && c != '.').unwrap_or(inner.len());
    let rest = inner[end..].trim_start().trim_start_matches(']').trim();
    (end > 0 && (rest.is_empty() || rest.starts_with('#'))).then(|| &inner[..end])
}

/// Whether a line starts as `key =` or a header does.
fn starts_statement(line: &str) -> bool {
    let key = line.split('=').next().unwrap_or("").trim();
    let is_key = line.contains('=')
        && !key.is_empty()
        && key.chars().all(|c| is_key_char(c) || matches!(c, '.' | '"' | '\'' | ' ' | '\t'));
    is_key || header_name(line).is_some()
}

fn is_key_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_')
}

/// Appends as many bytes of blanks, keeping line ends.
fn blank(out: &mut String, text: &str) {
    out.extend(text.bytes().map(|b| if matches!(b, b'\n' | b'\r') { char::from(b) } else { ' ' }));
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn left(text: &str) -> (String, Vec<usize>) {
        let (readable, mistakes) = readable(text);
        let kept = readable.lines().map(str::trim_end).filter(|l| !l.is_empty()).collect::<Vec<_>>().join("\n");
        let lines = mistakes.iter().map(|m| text[..m.offset].matches('\n').count() + 1);
        (kept, lines.collect())
    }

    #[test]
    fn an_unclosed_list_costs_only_its_own_statement() {
        let (kept, lines) = left("[server]\nlisten = [\"a\",\n  \"b\"\nadmin = \"x\"\n[cache]\nmemory = \"1GiB\n");
        assert_eq!(kept, "[server]\nadmin = \"x\"\n[cache]");
        assert_eq!(lines, [2, 6]);
    }

    #[test]
    fn statements_over_several_lines_are_kept_whole() {
        let (kept, lines) =
            left("a = [\n 1, # one\n 2,\n]\nb = {\n c = 1,\n d = [2]\n}\ne = \n\nf = \"\"\"\ng =\n\"\"\"\n");
        assert_eq!(kept, "a = [\n 1, # one\n 2,\n]\nb = {\n c = 1,\n d = [2]\n}\nf = \"\"\"\ng =\n\"\"\"");
        assert_eq!(lines, [9]);
    }

    #[test]
    fn keys_below_a_broken_header_are_not_given_to_the_one_before() {
        let (kept, lines) =
            left("[[pool]]\nname = \"a\"\n[[route]\nname = \"r\"\n[route.cache]\nx = \n[log]\nlevel = \"info\"\n");
        assert_eq!(kept, "[[pool]]\nname = \"a\"\n[log]\nlevel = \"info\"");
        assert_eq!(lines, [3, 6]);
    }

    #[test]
    fn a_line_that_is_no_statement_is_one_mistake() {
        assert_eq!(left("a = 1\nhello\n= 3\nb = 2"), ("a = 1\nb = 2".into(), vec![2]));
    }

    #[test]
    fn what_parses_is_left_alone() {
        assert_eq!(left("a = 1\n[b]\nc = 2"), ("a = 1\n[b]\nc = 2".into(), vec![]));
    }

    proptest! {
        #[test]
        fn offsets_stay_true(text in "(\\[\\[?a\\]?\\]?|[a-c] = (\\[|\\{|\"|[1-3]|\\]|\\}|ä)*|\\PC{0,3}|\n){0,12}") {
            let (readable, mistakes) = readable(&text);
            prop_assert_eq!(readable.len(), text.len());
            prop_assert!(mistakes.iter().all(|m| m.offset <= text.len()));
            for (a, b) in readable.bytes().zip(text.bytes()) {
                prop_assert!(a == b || (a == b' ' && b != b'\n'));
            }
        }
    }
}
