//! Compressing.
//!
//! What each level is in a coding's own levels, and the windows, which are what a stream takes of memory while it lasts:
//!
//! | level | gzip | br | zstd |
//! |---|---|---|---|
//! | fast | 1 | 1 | 1 |
//! | default | 6 | 4 | 3 |
//! | best | 9 | 6 | 12 |
//! | window | 32 KiB | 512 KiB | 1 MiB |

use std::io::{self, Write};

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use zstd::stream::raw::CParameter;
use zstd::stream::write::Encoder as ZstdEncoder;

use crate::cache::codings::Coding;
use crate::cache::compression::Level;

/// Binary logarithm of brotli's window, which is what nginx takes.
const BR_WINDOW: u32 = 19;
/// The same of zstd; a client need not have room for more than 8 MiB (RFC 9659).
const ZSTD_WINDOW: u32 = 20;
/// Binary logarithm of the entries of each of zstd's two tables; at level 12 it would have tables of 8 MiB.
const ZSTD_TABLE: u32 = 17;
/// Brotli's buffer for what it gives out, in bytes.
const BR_BUFFER: usize = 4096;

/// A body that is being compressed.
pub(super) enum Encoder {
    Gzip(GzEncoder<Vec<u8>>),
    Br(Box<brotli::CompressorWriter<Vec<u8>>>),
    Zstd(ZstdEncoder<'static, Vec<u8>>),
}

impl Encoder {
    /// One that has read nothing yet.
    ///
    /// # Errors
    /// If there is no memory for it.
    pub(super) fn new(coding: Coding, level: Level) -> io::Result<Encoder> {
        Ok(match coding {
            Coding::Gzip => {
                let level = Compression::new(of(level, [1, 6, 9]));
                Encoder::Gzip(GzEncoder::new(Vec::new(), level))
            }
            Coding::Br => {
                let made = brotli::CompressorWriter::new(Vec::new(), BR_BUFFER, of(level, [1, 4, 6]), BR_WINDOW);
                Encoder::Br(Box::new(made))
            }
            Coding::Zstd => {
                let mut made = ZstdEncoder::new(Vec::new(), of(level, [1, 3, 12]))?;
                made.window_log(ZSTD_WINDOW)?;
                made.set_parameter(CParameter::HashLog(ZSTD_TABLE))?;
                made.set_parameter(CParameter::ChainLog(ZSTD_TABLE))?;
                Encoder::Zstd(made)
            }
        })
    }

    /// What comes of the next piece; all of it with `flush`.
    ///
    /// # Errors
    /// If the compressor fails.
    pub(super) fn push(&mut self, piece: &[u8], flush: bool) -> io::Result<Bytes> {
        let writer: &mut dyn Write = match self {
            Encoder::Gzip(writer) => writer,
            Encoder::Br(writer) => writer.as_mut(),
            Encoder::Zstd(writer) => writer,
        };
        writer.write_all(piece)?;
        if flush {
            writer.flush()?;
        }
        Ok(Bytes::from(std::mem::take(self.made())))
    }

    /// What is left.
    ///
    /// # Errors
    /// If the compressor fails.
    pub(super) fn finish(self) -> io::Result<Bytes> {
        Ok(Bytes::from(match self {
            Encoder::Gzip(writer) => writer.finish()?,
            Encoder::Br(writer) => writer.into_inner(),
            Encoder::Zstd(writer) => writer.finish()?,
        }))
    }

    fn made(&mut self) -> &mut Vec<u8> {
        match self {
            Encoder::Gzip(writer) => writer.get_mut(),
            Encoder::Br(writer) => writer.get_mut(),
            Encoder::Zstd(writer) => writer.get_mut(),
        }
    }
}

fn of<T: Copy>(level: Level, own: [T; 3]) -> T {
    own[level as usize]
}
