//! The chunked coding of a response's body (RFC 9112 §7.1), decoded in place.
//!
//! Extensions are read and dropped, the lines of trailers are kept. Lines end with CR LF and nothing else: what is lenient here is where two
//! readers differ.

use super::Broken;
use crate::trailers;

/// Bytes of one line of a chunk's size and extensions.
const MAX_LINE: usize = 4 * 1024;

/// How far into the coding the bytes seen so far have come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// In a chunk's size, and whether it has a digit by now.
    Size(bool),
    Extension,
    SizeEnd,
    Data,
    DataReturn,
    DataEnd,
    TrailerStart,
    Trailer,
    TrailerEnd,
    LastFeed,
    Done,
}

/// A decoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Chunked {
    state: State,
    /// The size that is being read, then what is left of the chunk's data.
    left: u64,
    /// Bytes of the present line, or of all trailers.
    line: usize,
}

/// What is at the front of the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Front {
    /// So many bytes of the body.
    Data(usize),
    /// Nothing: more must be read.
    Nothing,
    /// Nothing that belongs to this body.
    End,
}

impl Chunked {
    /// Before the first byte.
    pub(super) const START: Chunked = Chunked { state: State::Size(false), left: 0, line: 0 };

    /// How many of `bytes` are framing, and what comes after them. Data is taken for read; the lines of a trailer section are
    /// put into `trailers`.
    ///
    /// # Errors
    /// When it is not chunked as the RFC says, or too much of it is framing.
    pub(super) fn next(&mut self, bytes: &[u8], trailers: &mut Vec<u8>) -> Result<(usize, Front), Broken> {
        for (at, &byte) in bytes.iter().enumerate() {
            match self.state {
                State::Done => return Ok((at, Front::End)),
                State::Data => {
                    let n = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len() - at);
                    self.left -= n as u64;
                    if self.left == 0 {
                        self.state = State::DataReturn;
                    }
                    return Ok((at, Front::Data(n)));
                }
                state => {
                    self.state = self.after(state, byte)?;
                    let is_last = matches!(state, State::Size(_) | State::Extension | State::SizeEnd);
                    if !is_last && matches!(self.state, State::Trailer | State::TrailerEnd | State::TrailerStart) {
                        trailers.push(byte);
                    }
                }
            }
        }
        let front = if self.state == State::Done { Front::End } else { Front::Nothing };
        Ok((bytes.len(), front))
    }

    fn after(&mut self, state: State, byte: u8) -> Result<State, Broken> {
        self.line += 1;
        let most = match state {
            State::TrailerStart | State::Trailer | State::TrailerEnd | State::LastFeed => trailers::MAX,
            _ => MAX_LINE,
        };
        if self.line > most {
            return Err(Broken);
        }
        match (state, byte) {
            (State::Size(_), digit) if digit.is_ascii_hexdigit() => {
                let digit = (digit as char).to_digit(16).unwrap_or_default();
                self.left = self.left.checked_mul(16).and_then(|s| s.checked_add(digit.into())).ok_or(Broken)?;
                Ok(State::Size(true))
            }
            (State::Size(true) | State::Extension, b'\r') => Ok(State::SizeEnd),
            (State::Size(true), b';' | b' ' | b'\t') => Ok(State::Extension),
            (State::Extension, byte) if byte != b'\n' => Ok(State::Extension),
            (State::SizeEnd, b'\n') => {
                self.line = 0;
                Ok(if self.left == 0 { State::TrailerStart } else { State::Data })
            }
            (State::DataReturn, b'\r') => Ok(State::DataEnd),
            (State::DataEnd, b'\n') => {
                *self = Chunked::START;
                Ok(State::Size(false))
            }
            (State::TrailerStart, b'\r') => Ok(State::LastFeed),
            (State::LastFeed, b'\n') => Ok(State::Done),
            (State::Trailer, b'\r') => Ok(State::TrailerEnd),
            (State::TrailerEnd, b'\n') => Ok(State::TrailerStart),
            (State::TrailerStart | State::Trailer, byte) if byte != b'\n' => Ok(State::Trailer),
            _ => Err(Broken),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The body, what is left behind it, and whether it has ended; fed in pieces of `step` bytes.
    fn decode(bytes: &[u8], step: usize) -> Result<(Vec<u8>, usize, bool), Broken> {
        let (mut chunked, mut body, mut at, mut end) = (Chunked::START, Vec::new(), 0, step.min(bytes.len()));
        let mut trailers = Vec::new();
        loop {
            let (skip, front) = chunked.next(&bytes[at..end], &mut trailers)?;
            at += skip;
            match front {
                Front::Data(n) => {
                    body.extend_from_slice(&bytes[at..at + n]);
                    at += n;
                }
                Front::End => return Ok((body, bytes.len() - at, true)),
                Front::Nothing if end == bytes.len() => return Ok((body, 0, false)),
                Front::Nothing => end = (end + step).min(bytes.len()),
            }
        }
    }

    #[test]
    fn a_body_ends_after_its_last_chunk_and_trailers() {
        for (coded, body) in [
            ("0\r\n\r\n", ""),
            ("3\r\nabc\r\n0\r\n\r\n", "abc"),
            ("A;x=\"y\"\r\n0123456789\r\n000 \r\nX: y\r\nZ: a\r\n\r\n", "0123456789"),
            ("1\r\na\r\n1\r\nb\r\n0\r\n\r\n", "ab"),
        ] {
            for step in [1, 2, 7, 100] {
                let next = format!("{coded}HTTP/1.1 200 OK");
                let whole = decode(next.as_bytes(), step);
                let left = next.len().min(coded.len().div_ceil(step) * step) - coded.len();
                assert!(whole.as_ref().is_ok_and(|(found, _, ended)| found == body.as_bytes() && *ended), "{coded:?}");
                assert!(whole.is_ok_and(|(_, after, _)| after >= left), "{coded:?}");
            }
        }
    }

    #[test]
    fn what_is_not_framed_as_it_should_be_is_refused() {
        let endless = format!("1;{}", "x".repeat(MAX_LINE));
        let trailers = format!("0\r\n{}", "X: y\r\n".repeat(trailers::MAX / 6 + 1));
        for coded in [
            "\r\n",
            "x\r\n",
            "-1\r\n",
            "3\nabc",
            "3;a\nabc",
            "3\r\nabcd\r\n",
            "3\r\nabc\n0\r\n\r\n",
            "fffffffffffffffff\r\n",
            "0\r\n\rx",
            "0\r\nX: y\n\r\n",
            "0\r\n\n",
            &endless,
            &trailers,
        ] {
            assert_eq!(decode(coded.as_bytes(), 3), Err(Broken), "{coded:?}");
        }
    }

    #[test]
    fn one_that_breaks_off_has_not_ended() {
        for coded in ["", "3", "3\r\n", "3\r\nab", "3\r\nabc", "3\r\nabc\r\n", "0\r\n", "0\r\nX: y\r\n"] {
            assert!(decode(coded.as_bytes(), 2).is_ok_and(|(_, _, ended)| !ended), "{coded:?}");
        }
    }

    proptest! {
        #[test]
        fn it_gives_what_was_put_in_however_the_bytes_come(
            parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..5),
            step in 1usize..60,
        ) {
            let mut coded: Vec<u8> = Vec::new();
            for part in &parts {
                coded.extend(format!("{:x}\r\n", part.len()).bytes());
                coded.extend(part);
                coded.extend(b"\r\n");
            }
            coded.extend(b"0\r\n\r\n");
            prop_assert_eq!(decode(&coded, step), Ok((parts.concat(), 0, true)));
        }

        #[test]
        fn any_bytes_are_taken_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200), step in 1usize..60) {
            let _either = decode(&bytes, step);
        }
    }
}
