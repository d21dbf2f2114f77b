//! Decoding, within bounds.

use std::io::{self, Write};

use brotli::DecompressorWriter;
use flate2::write::MultiGzDecoder;
use zstd::stream::write::Decoder as ZstdDecoder;

use super::Broken;
use crate::cache::codings::Coding;

/// How many times larger than what was read a body may become. Text rarely shrinks to a hundredth.
const MAX_RATIO: u64 = 256;
/// What is decoded whatever the ratio, in bytes: there is no harm in that much.
const HARMLESS: u64 = 4 << 20;
/// Binary logarithm of the largest window of zstd that is made room for, 8 MiB: no more may be asked of a client (RFC 9659).
const ZSTD_WINDOW: u32 = 23;
/// Brotli's buffer for what it gives out, in bytes.
const BR_BUFFER: usize = 4096;

/// A body that is being decoded.
pub(super) struct Decoder {
    kind: Kind,
    /// Of the coded body, in bytes.
    read: u64,
    max: u64,
}

enum Kind {
    Gzip(MultiGzDecoder<Bounded>),
    Br(Box<DecompressorWriter<Bounded>>),
    Zstd(ZstdDecoder<'static, Bounded>),
}

/// Where what was decoded goes: no further than it may.
#[derive(Default)]
struct Bounded {
    made: Vec<u8>,
    /// How much was made before, in bytes.
    taken: u64,
    /// How much may have been made by now, in bytes.
    bound: u64,
    is_over: bool,
}

impl Write for Bounded {
    fn write(&mut self, made: &[u8]) -> io::Result<usize> {
        if self.taken + (self.made.len() + made.len()) as u64 > self.bound {
            self.is_over = true;
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.made.extend_from_slice(made);
        Ok(made.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Decoder {
    /// One that has read nothing yet, and gives out at most `max` bytes.
    ///
    /// # Errors
    /// If there is no memory for it.
    pub(super) fn new(coding: Coding, max: u64) -> io::Result<Decoder> {
        let kind = match coding {
            Coding::Gzip => Kind::Gzip(MultiGzDecoder::new(Bounded::default())),
            Coding::Br => Kind::Br(Box::new(DecompressorWriter::new(Bounded::default(), BR_BUFFER))),
            Coding::Zstd => {
                let mut made = ZstdDecoder::new(Bounded::default())?;
                made.window_log_max(ZSTD_WINDOW)?;
                Kind::Zstd(made)
            }
        };
        Ok(Decoder { kind, read: 0, max })
    }

    /// Decodes the next piece into `plain`; what came of it before a failure is there, too.
    ///
    /// # Errors
    /// If it cannot be decoded, or is too much.
    pub(super) fn push(&mut self, piece: &[u8], plain: &mut Vec<u8>) -> Result<(), Broken> {
        self.read += piece.len() as u64;
        let bound = self.max.min(HARMLESS.max(self.read.saturating_mul(MAX_RATIO)));
        self.sink().bound = bound;
        let writer: &mut dyn Write = match &mut self.kind {
            Kind::Gzip(writer) => writer,
            Kind::Br(writer) => writer.as_mut(),
            Kind::Zstd(writer) => writer,
        };
        let written = writer.write_all(piece).and_then(|()| writer.flush());
        let sink = self.sink();
        let is_over = sink.is_over;
        *plain = std::mem::take(&mut sink.made);
        sink.taken += plain.len() as u64;
        written.map_err(|_| if is_over { Broken::Bomb } else { Broken::Corrupt })
    }

    /// Whether what was read was all of a body.
    ///
    /// # Errors
    /// If it was not.
    pub(super) fn finish(&mut self) -> Result<(), Broken> {
        let finished = match &mut self.kind {
            Kind::Gzip(writer) => writer.try_finish(),
            Kind::Br(writer) => writer.close(),
            Kind::Zstd(writer) => writer.do_finish(),
        };
        finished.map_err(|_| Broken::Incomplete)
    }

    fn sink(&mut self) -> &mut Bounded {
        match &mut self.kind {
            Kind::Gzip(writer) => writer.get_mut(),
            Kind::Br(writer) => writer.get_mut(),
            Kind::Zstd(writer) => writer.get_mut(),
        }
    }
}
