//! Where a chunked body ends (RFC 9112 §7.1), byte by byte; of its bytes only the lines of its trailers are kept.
//!
//! Pingora decodes the chunks; this keeps it from reading past them into the next request, and hears what it drops. What is not framed as
//! the RFC says has no end here: all of it is passed on, and pingora refuses it.

/// How far into the framing the bytes seen so far have come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Chunks {
    /// In a chunk's size; `None` before its first digit.
    Size(Option<u64>),
    /// In a chunk's extensions.
    Extension(u64),
    /// At the line feed after a chunk's size.
    SizeEnd(u64),
    /// In a chunk's data, with this many bytes to come.
    Data(u64),
    /// At the carriage return after a chunk's data.
    DataReturn,
    /// At the line feed after a chunk's data.
    DataEnd,
    /// At the start of a line of the trailer section.
    TrailerStart,
    /// In a line of the trailer section.
    Trailer,
    /// At the last line feed.
    LastFeed,
    /// Complete.
    Done,
    /// Not framed as it should be.
    Broken,
}

impl Chunks {
    /// Before the first byte.
    pub(super) const START: Chunks = Chunks::Size(None);

    /// How many of `bytes`, from the front, belong to the body. The lines of its trailers are put into `trailers`, but for
    /// what is more than there may be.
    pub(super) fn take(&mut self, bytes: &[u8], trailers: &mut Vec<u8>) -> usize {
        let mut at = 0;
        while at < bytes.len() && *self != Chunks::Done {
            match *self {
                Chunks::Broken => return bytes.len(),
                Chunks::Data(left) => {
                    let n = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len() - at);
                    at += n;
                    *self = match left - n as u64 {
                        0 => Chunks::DataReturn,
                        left => Chunks::Data(left),
                    };
                }
                state => {
                    *self = state.after(bytes[at]);
                    let is_line = matches!(state, Chunks::TrailerStart | Chunks::Trailer) && *self != Chunks::LastFeed;
                    if is_line && trailers.len() <= crate::trailers::MAX {
                        trailers.push(bytes[at]);
                    }
                    at += 1;
                }
            }
        }
        at
    }

    fn after(self, byte: u8) -> Chunks {
        match (self, byte) {
            (Chunks::Size(size), digit) if digit.is_ascii_hexdigit() => {
                let digit = (digit as char).to_digit(16).unwrap_or_default();
                match size.unwrap_or_default().checked_mul(16).and_then(|s| s.checked_add(digit.into())) {
                    Some(size) => Chunks::Size(Some(size)),
                    None => Chunks::Broken,
                }
            }
            (Chunks::Size(Some(size)) | Chunks::Extension(size), b'\r') => Chunks::SizeEnd(size),
            (Chunks::Size(Some(size)), b';' | b' ' | b'\t') => Chunks::Extension(size),
            (Chunks::Extension(size), byte) if byte != b'\n' => Chunks::Extension(size),
            (Chunks::SizeEnd(0), b'\n') => Chunks::TrailerStart,
            (Chunks::SizeEnd(size), b'\n') => Chunks::Data(size),
            (Chunks::DataReturn, b'\r') => Chunks::DataEnd,
            (Chunks::DataEnd, b'\n') => Chunks::START,
            (Chunks::TrailerStart, b'\r') => Chunks::LastFeed,
            (Chunks::LastFeed, b'\n') => Chunks::Done,
            (Chunks::TrailerStart | Chunks::Trailer, b'\n') => Chunks::TrailerStart,
            (Chunks::TrailerStart | Chunks::Trailer, _) => Chunks::Trailer,
            _ => Chunks::Broken,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn end(bytes: &[u8]) -> (usize, Chunks) {
        let mut chunks = Chunks::START;
        (chunks.take(bytes, &mut Vec::new()), chunks)
    }

    #[test]
    fn a_body_ends_after_its_last_chunk_and_trailers() {
        for body in ["0\r\n\r\n", "3\r\nabc\r\n0\r\n\r\n", "A;x=\"y\"\r\n0123456789\r\n0\r\nX: y\r\nZ: a\r\n\r\n"] {
            let next = format!("{body}GET / HTTP/1.1\r\n");
            assert_eq!(end(next.as_bytes()), (body.len(), Chunks::Done), "{body:?}");
        }
    }

    #[test]
    fn the_lines_of_trailers_are_kept() {
        for step in 1..20 {
            let (mut chunks, mut trailers) = (Chunks::START, Vec::new());
            b"1\r\na\r\n0;x\r\nX: y\r\nZ: a\r\n\r\n".chunks(step).for_each(|part| {
                chunks.take(part, &mut trailers);
            });
            assert_eq!((chunks, &trailers[..]), (Chunks::Done, &b"X: y\r\nZ: a\r\n"[..]));
        }
    }

    #[test]
    fn what_is_not_framed_has_no_end() {
        for body in ["\r\n", "x\r\n", "3\nabc", "3\r\nabcd\r\n", "fffffffffffffffff\r\n", "0\r\n\rx"] {
            assert_eq!(end(format!("{body} and more").as_bytes()).1, Chunks::Broken, "{body:?}");
        }
    }

    proptest! {
        #[test]
        fn the_end_is_found_however_the_bytes_come(
            parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..5),
            cut in 0usize..300,
        ) {
            let mut body: Vec<u8> = Vec::new();
            for part in &parts {
                body.extend(format!("{:x}\r\n", part.len()).bytes());
                body.extend(part);
                body.extend(b"\r\n");
            }
            body.extend(b"0\r\n\r\n");
            let len = body.len();
            body.extend(b"POST /next");
            let cut = cut.min(body.len());
            let mut chunks = Chunks::START;
            let mut trailers = Vec::new();
            let first = chunks.take(&body[..cut], &mut trailers);
            let second = if first == cut { chunks.take(&body[cut..], &mut trailers) } else { 0 };
            prop_assert_eq!((first + second, chunks), (len, Chunks::Done));
        }
    }
}
