//! A line of words, some of which have a colour, and numbers as people read them.

/// How a word looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    Plain,
    Dim,
    Bold,
    Good,
    Warn,
    Bad,
}

/// A line on its way to the screen.
#[derive(Clone, Debug, Default)]
pub(super) struct Line(Vec<(Look, String)>);

impl Line {
    /// An empty one.
    pub(super) fn new() -> Line {
        Line::default()
    }

    /// Adds text that may come from outside: what would steer the terminal is shown as a dot.
    pub(super) fn with(mut self, look: Look, text: impl AsRef<str>) -> Line {
        let clean = text.as_ref().chars().map(|c| if c.is_control() || is_invisible(c) { '·' } else { c });
        self.0.push((look, clean.collect()));
        self
    }

    /// Adds a column: `text` cut or filled up to `width`, at its left.
    pub(super) fn left(self, look: Look, text: impl AsRef<str>, width: usize) -> Line {
        let text = cut(text.as_ref(), width);
        let padding = width.saturating_sub(text.chars().count());
        self.with(look, text + &" ".repeat(padding) + "  ")
    }

    /// Adds a column of numbers: at its right.
    pub(super) fn right(self, look: Look, text: impl AsRef<str>, width: usize) -> Line {
        let text = cut(text.as_ref(), width);
        let padding = width.saturating_sub(text.chars().count());
        self.with(look, " ".repeat(padding) + &text + "  ")
    }

    /// Its words, no more than `width` characters of them.
    pub(super) fn words(&self, width: usize) -> impl Iterator<Item = (Look, &str)> {
        let mut room = width;
        self.0.iter().map_while(move |(look, text)| {
            let end = text.char_indices().nth(room).map_or(text.len(), |(at, _)| at);
            let part = text.get(..end).unwrap_or_default();
            room -= part.chars().count();
            (!part.is_empty()).then_some((*look, part))
        })
    }

    /// Without colours, and without blanks at its end.
    pub(super) fn plain(&self, width: usize) -> String {
        let text: String = self.words(width).map(|(_, text)| text).collect();
        text.trim_end().to_owned()
    }
}

/// Marks that turn the direction of text round, and others without a width.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

fn cut(text: &str, width: usize) -> String {
    match text.char_indices().nth(width) {
        None => text.to_owned(),
        Some(_) => text.chars().take(width.saturating_sub(1)).chain(['…']).collect(),
    }
}

/// A text as lines of no more than `width` characters, broken between words.
pub(super) fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let Some(last) = lines.last_mut() else { break };
        match last.is_empty() {
            true => last.push_str(word),
            false if last.chars().count() + 1 + word.chars().count() <= width => *last += &format!(" {word}"),
            false => lines.push(word.to_owned()),
        }
    }
    lines
}

/// Where there is no value.
const NONE: &str = "-";

/// A number to about three digits.
pub(super) fn amount(value: f64) -> String {
    match value {
        v if !v.is_finite() => NONE.to_owned(),
        v if v >= 1e6 => format!("{:.1}M", v / 1e6),
        v if v >= 1e4 => format!("{:.1}k", v / 1e3),
        v if v >= 100.0 || v == v.trunc() => format!("{v:.0}"),
        v if v >= 10.0 => format!("{v:.1}"),
        v => format!("{v:.2}"),
    }
}

/// Milliseconds, without their unit.
pub(super) fn millis(value: Option<f64>) -> String {
    match value {
        None => NONE.to_owned(),
        Some(v) if v >= 100.0 => format!("{v:.0}"),
        Some(v) => format!("{v:.1}"),
    }
}

/// A share of one.
pub(super) fn percent(share: Option<f64>) -> String {
    share.map_or_else(|| NONE.to_owned(), |share| format!("{:.1} %", share * 1e2))
}

/// Bytes in a unit that fits.
pub(super) fn bytes(count: u64) -> String {
    bytesize::ByteSize(count).display().iec().to_string()
}

/// Seconds in two units at most.
pub(super) fn duration(seconds: u64) -> String {
    match seconds {
        s if s < 60 => format!("{s}s"),
        s if s < 3_600 => format!("{}m{:02}s", s / 60, s % 60),
        s if s < 86_400 => format!("{}h{:02}m", s / 3_600, s % 3_600 / 60),
        s => format!("{}d{:02}h", s / 86_400, s % 86_400 / 3_600),
    }
}

/// Seconds since 1970 as the time of day in UTC.
pub(super) fn time_of_day(seconds: f64) -> String {
    let of_day = seconds as u64 % 86_400;
    format!("{:02}:{:02}:{:02}", of_day / 3_600, of_day % 3_600 / 60, of_day % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_from_outside_does_not_steer_the_terminal() {
        let line = Line::new().with(Look::Plain, "/a\u{1b}[2J\u{9b}31m\r\n\u{202e}gpj").left(Look::Bad, "x\u{7}", 4);
        assert_eq!(line.plain(80), "/a·[2J·31m···gpjx·");
    }

    #[test]
    fn a_line_is_cut_where_the_screen_ends() {
        let line = Line::new().with(Look::Bold, "größer").with(Look::Dim, "als");
        for (width, shown) in [(0, ""), (3, "grö"), (6, "größer"), (8, "größeral"), (99, "größerals")] {
            assert_eq!(line.plain(width), shown);
        }
        assert_eq!(line.words(7).collect::<Vec<_>>(), [(Look::Bold, "größer"), (Look::Dim, "a")]);
    }

    #[test]
    fn columns_stand_below_each_other() {
        let line = |name, n| Line::new().left(Look::Plain, name, 6).right(Look::Plain, n, 5).plain(80);
        assert_eq!(line("web", "12"), "web        12");
        assert_eq!(line("a-long-name", "123456"), "a-lon…  1234…");
    }

    #[test]
    fn texts_are_broken_between_words() {
        assert_eq!(wrapped("one two three", 8), ["one two", "three"]);
        assert_eq!(wrapped("immeasurable x", 3), ["immeasurable", "x"]);
        assert_eq!(wrapped("", 3), [""]);
    }

    #[test]
    fn numbers_have_as_many_digits_as_mean_something() {
        for (value, shown) in [(0.0, "0"), (0.256, "0.26"), (12.34, "12.3"), (999.6, "1000"), (12_345.0, "12.3k")] {
            assert_eq!(amount(value), shown);
        }
        assert_eq!((millis(None), millis(Some(7.04)), millis(Some(1234.5))), ("-".into(), "7.0".into(), "1234".into()));
        assert_eq!([0, 61, 7_325, 90_000].map(duration), ["0s", "1m01s", "2h02m", "1d01h"]);
        assert_eq!(time_of_day(86_400.0 * 3.0 + 3_661.9), "01:01:01");
        assert_eq!((percent(Some(0.0514)), percent(None)), ("5.1 %".into(), "-".into()));
    }
}
