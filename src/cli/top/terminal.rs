//! A screen of its own, and keys. Whatever ends it, the terminal is as it was before.

use std::io::{self, Write as _};
use std::time::Duration;

use crossterm::cursor::{Hide, MoveTo, Show};
use crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use crossterm::style::{Attribute, Color, SetAttribute, SetForegroundColor};
use crossterm::terminal::{
    Clear, ClearType, DisableLineWrap, EnableLineWrap, EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode,
    enable_raw_mode, size,
};
use crossterm::{execute, queue};

use super::line::{Line, Look};

/// The size where the terminal does not tell.
const SIZE: (u16, u16) = (100, 40);
/// Lines that a page key moves.
const PAGE: usize = 20;

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    Quit,
    Sort,
    Pause,
    Up(usize),
    Down(usize),
    Other,
}

/// The terminal, until dropped.
pub(super) struct Terminal {
    has_colour: bool,
}

impl Terminal {
    /// Takes the screen.
    ///
    /// # Errors
    /// It cannot be had.
    pub(super) fn open() -> io::Result<Terminal> {
        enable_raw_mode()?;
        // From here on dropping it gives the screen back. https://no-color.org
        let terminal = Terminal { has_colour: std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()) };
        execute!(io::stdout(), EnterAlternateScreen, Hide, DisableLineWrap)?;
        Ok(terminal)
    }

    /// Columns and lines.
    pub(super) fn size(&self) -> (usize, usize) {
        let (width, height) = size().ok().filter(|(width, height)| *width > 0 && *height > 0).unwrap_or(SIZE);
        (width.into(), height.into())
    }

    /// Shows these lines from the top, all at once, so that nothing flickers.
    ///
    /// # Errors
    /// The terminal is gone.
    pub(super) fn paint(&mut self, lines: &[Line], width: usize) -> io::Result<()> {
        let mut bytes = Vec::with_capacity(16 * 1024);
        for (line, row) in lines.iter().zip(0..) {
            queue!(bytes, MoveTo(0, row))?;
            for (look, text) in line.words(width) {
                self.dress(&mut bytes, look)?;
                bytes.extend_from_slice(text.as_bytes());
                queue!(bytes, SetAttribute(Attribute::Reset))?;
            }
            queue!(bytes, Clear(ClearType::UntilNewLine))?;
        }
        let mut out = io::stdout();
        out.write_all(&bytes)?;
        out.flush()
    }

    fn dress(&self, bytes: &mut Vec<u8>, look: Look) -> io::Result<()> {
        let (attribute, colour) = match look {
            Look::Plain => return Ok(()),
            Look::Dim => (Attribute::Dim, None),
            Look::Bold => (Attribute::Bold, None),
            Look::Good => (Attribute::NormalIntensity, Some(Color::Green)),
            Look::Warn => (Attribute::Bold, Some(Color::Yellow)),
            Look::Bad => (Attribute::Bold, Some(Color::Red)),
        };
        queue!(bytes, SetAttribute(attribute))?;
        match colour.filter(|_| self.has_colour) {
            Some(colour) => queue!(bytes, SetForegroundColor(colour)),
            None => Ok(()),
        }
    }

    /// The next key, if one is pressed within `nap`.
    ///
    /// # Errors
    /// The terminal is gone.
    pub(super) fn key(&mut self, nap: Duration) -> io::Result<Option<Key>> {
        if !event::poll(nap)? {
            return Ok(None);
        }
        Ok(match event::read()? {
            Event::Key(key) if key.kind != KeyEventKind::Release => Some(meaning(key.code, key.modifiers)),
            _ => None,
        })
    }
}

fn meaning(code: KeyCode, modifiers: KeyModifiers) -> Key {
    match code {
        // In raw mode Ctrl-C is a key like others.
        KeyCode::Char('c' | 'd') if modifiers.contains(KeyModifiers::CONTROL) => Key::Quit,
        KeyCode::Char('q') | KeyCode::Esc => Key::Quit,
        KeyCode::Char('s') => Key::Sort,
        KeyCode::Char('p' | ' ') => Key::Pause,
        KeyCode::Up | KeyCode::Char('k') => Key::Up(1),
        KeyCode::Down | KeyCode::Char('j') => Key::Down(1),
        KeyCode::PageUp => Key::Up(PAGE),
        KeyCode::PageDown => Key::Down(PAGE),
        KeyCode::Home => Key::Up(usize::MAX),
        KeyCode::End => Key::Down(usize::MAX),
        _ => Key::Other,
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // A terminal that is gone needs nothing.
        let _ = execute!(io::stdout(), EnableLineWrap, Show, LeaveAlternateScreen);
        let _ = disable_raw_mode();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_has_its_meaning() {
        let none = KeyModifiers::NONE;
        assert_eq!(meaning(KeyCode::Char('c'), KeyModifiers::CONTROL), Key::Quit);
        assert_eq!(meaning(KeyCode::Char('c'), none), Key::Other);
        assert_eq!(
            ["q", "s", "p", "j", "k"].map(|key| meaning(KeyCode::Char(key.chars().next().unwrap()), none)),
            [Key::Quit, Key::Sort, Key::Pause, Key::Down(1), Key::Up(1)]
        );
    }
}
