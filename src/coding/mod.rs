//! Bodies from one content coding to another, piece by piece. (RFC 1952, RFC 7932, RFC 8878)
//!
//! Nothing here waits or keeps more of a body than the codings need. What a piece is decoded to is bounded, as a small body
//! may say a very large one: by the size of the whole, and by how many times larger it is than what was read.

mod decode;
mod encode;

use bytes::Bytes;

use crate::cache::codings::Coding;
use crate::cache::compression::{Level, Recode};
use decode::Decoder;
use encode::Encoder;

/// Why a body could not be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// It is not of its coding.
    Corrupt,
    /// It ends before its end, or its end does not fit what came before.
    Incomplete,
    /// There is more in it than may come of it.
    Bomb,
    /// The compressor failed, as it does for want of memory.
    Failed,
}

impl Broken {
    /// All of them.
    pub const ALL: [Broken; 4] = [Broken::Corrupt, Broken::Incomplete, Broken::Bomb, Broken::Failed];

    /// The word for logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Broken::Corrupt => "corrupt",
            Broken::Incomplete => "incomplete",
            Broken::Bomb => "bomb",
            Broken::Failed => "failed",
        }
    }
}

/// How many bytes have gone through one coding, one way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amount {
    /// What was read.
    pub input: u64,
    /// What came of it.
    pub output: u64,
}

/// A body on its way from one coding to another.
pub struct Recoder {
    recode: Recode,
    decoder: Option<Decoder>,
    encoder: Option<Encoder>,
    decoded: Amount,
    encoded: Amount,
}

impl Recoder {
    /// One that has read nothing yet. Decoding fails beyond `max_decompressed` bytes.
    ///
    /// # Errors
    /// If there is no memory for it.
    pub fn new(recode: Recode, level: Level, max_decompressed: u64) -> Result<Recoder, Broken> {
        let decoder = recode.from.map(|coding| Decoder::new(coding, max_decompressed)).transpose();
        let encoder = recode.to.map(|coding| Encoder::new(coding, level)).transpose();
        let (Ok(decoder), Ok(encoder)) = (decoder, encoder) else { return Err(Broken::Failed) };
        Ok(Recoder { recode, decoder, encoder, decoded: Amount::default(), encoded: Amount::default() })
    }

    /// What comes of the next piece, perhaps nothing. With `flush` nothing of it is held back, which costs some bytes.
    ///
    /// # Errors
    /// If it cannot be decoded. Then nothing more is to be asked.
    pub fn push(&mut self, piece: &[u8], flush: bool) -> Result<Bytes, Broken> {
        let mut plain = Vec::new();
        let piece = match &mut self.decoder {
            Some(decoder) => {
                let read = decoder.push(piece, &mut plain);
                self.decoded.input += piece.len() as u64;
                self.decoded.output += plain.len() as u64;
                read?;
                plain.as_slice()
            }
            None => piece,
        };
        let Some(encoder) = &mut self.encoder else { return Ok(Bytes::from(plain)) };
        let coded = encoder.push(piece, flush && !piece.is_empty()).map_err(|_| Broken::Failed)?;
        self.encoded.input += piece.len() as u64;
        self.encoded.output += coded.len() as u64;
        Ok(coded)
    }

    /// What is left at the end of the body.
    ///
    /// # Errors
    /// If what was read was not all of a body.
    pub fn finish(&mut self) -> Result<Bytes, Broken> {
        if let Some(decoder) = &mut self.decoder {
            decoder.finish()?;
        }
        let coded =
            self.encoder.take().map(Encoder::finish).transpose().map_err(|_| Broken::Failed)?.unwrap_or_default();
        self.encoded.output += coded.len() as u64;
        Ok(coded)
    }

    /// The whole body that comes of `pieces`; `None` if that is more than `limit` bytes.
    ///
    /// # Errors
    /// If it cannot be decoded.
    pub fn whole(&mut self, pieces: impl Iterator<Item = Bytes>, limit: u64) -> Result<Option<Vec<Bytes>>, Broken> {
        let (mut made, mut length) = (Vec::new(), 0);
        for piece in pieces {
            made.push(self.push(&piece, false)?);
            length += made.last().map_or(0, |piece| piece.len() as u64);
            if length > limit {
                return Ok(None);
            }
        }
        made.push(self.finish()?);
        length += made.last().map_or(0, |piece| piece.len() as u64);
        made.retain(|piece| !piece.is_empty());
        Ok((length <= limit).then_some(made))
    }

    /// How many bytes it has read.
    pub fn read(&self) -> u64 {
        if self.decoder.is_some() { self.decoded.input } else { self.encoded.input }
    }

    /// What it makes of what.
    pub fn recode(&self) -> Recode {
        self.recode
    }

    /// How much was decoded so far of which coding.
    pub fn decoded(&self) -> Option<(Coding, Amount)> {
        self.recode.from.map(|coding| (coding, self.decoded))
    }

    /// How much was compressed so far by which coding.
    pub fn encoded(&self) -> Option<(Coding, Amount)> {
        self.recode.to.map(|coding| (coding, self.encoded))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MAX: u64 = 64 << 20;

    fn all(from: Option<Coding>, to: Option<Coding>, pieces: &[&[u8]], flush: bool) -> Result<Vec<u8>, Broken> {
        let mut recoder = Recoder::new(Recode { from, to }, Level::Default, MAX).unwrap();
        let mut made = Vec::new();
        for piece in pieces {
            made.extend_from_slice(&recoder.push(piece, flush)?);
        }
        made.extend_from_slice(&recoder.finish()?);
        Ok(made)
    }

    fn decode(coding: Coding, body: &[u8]) -> Result<Vec<u8>, Broken> {
        all(Some(coding), None, &[body], false)
    }

    fn encode(coding: Coding, body: &[u8]) -> Vec<u8> {
        all(None, Some(coding), &[body], false).unwrap()
    }

    #[test]
    fn every_level_of_every_coding_makes_text_smaller() {
        let text = "Whose woods these are I think I know. ".repeat(200);
        for coding in Coding::ALL {
            for level in [Level::Fast, Level::Default, Level::Best] {
                let mut recoder = Recoder::new(Recode { from: None, to: Some(coding) }, level, MAX).unwrap();
                let made = recoder.whole([Bytes::from(text.clone())].into_iter(), MAX).unwrap().unwrap().concat();
                assert!(made.len() < text.len() / 10, "{coding:?} {level:?}: {}", made.len());
                assert_eq!(decode(coding, &made).unwrap(), text.as_bytes());
                let (_, amount) = recoder.encoded().unwrap();
                assert_eq!(amount, Amount { input: text.len() as u64, output: made.len() as u64 });
            }
        }
    }

    #[test]
    fn with_a_flush_nothing_is_held_back() {
        for coding in Coding::ALL {
            let mut there = Recoder::new(Recode { from: None, to: Some(coding) }, Level::Best, MAX).unwrap();
            let mut back = Recoder::new(Recode { from: Some(coding), to: None }, Level::Best, MAX).unwrap();
            for word in ["one", "two", "three"] {
                let coded = there.push(word.as_bytes(), true).unwrap();
                assert_eq!(back.push(&coded, true).unwrap(), word.as_bytes(), "{coding:?}");
            }
            let end = there.finish().unwrap();
            assert!(back.push(&end, true).unwrap().is_empty());
            back.finish().unwrap();
        }
    }

    #[test]
    fn a_body_that_is_cut_off_is_told_from_a_whole_one() {
        let text = "no two alike ".repeat(1000);
        for coding in Coding::ALL {
            let whole = encode(coding, text.as_bytes());
            for length in [0, 1, whole.len() / 2, whole.len() - 1] {
                assert_eq!(decode(coding, &whole[..length]), Err(Broken::Incomplete), "{coding:?} {length}");
            }
        }
    }

    #[test]
    fn what_is_of_no_coding_is_an_error() {
        for coding in Coding::ALL {
            let garbage = b"<!doctype html><title>This was never compressed</title>".repeat(20);
            assert_eq!(decode(coding, &garbage), Err(Broken::Corrupt), "{coding:?}");
            let whole = encode(coding, "no two alike ".repeat(1000).as_bytes());
            assert!(decode(coding, &[&whole[..], b"and more"].concat()).is_err(), "{coding:?}");
        }
    }

    #[test]
    fn more_than_there_is_room_for_is_not_made() {
        let (text, decoded) = ("no two alike ".repeat(1000), Recode { from: Some(Coding::Gzip), to: None });
        let coded = Bytes::from(encode(Coding::Gzip, text.as_bytes()));
        for (limit, fits) in [(text.len() as u64, true), (text.len() as u64 - 1, false)] {
            let mut recoder = Recoder::new(decoded, Level::Fast, MAX).unwrap();
            assert_eq!(recoder.whole([coded.clone()].into_iter(), limit).unwrap().is_some(), fits);
        }
    }

    #[test]
    fn a_changed_byte_of_gzip_is_seen() {
        let mut whole = encode(Coding::Gzip, "no two alike ".repeat(1000).as_bytes());
        let last = whole.len() - 5;
        whole[last] ^= 1;
        assert_eq!(decode(Coding::Gzip, &whole), Err(Broken::Incomplete));
    }

    #[test]
    fn members_and_frames_may_follow_each_other() {
        for coding in [Coding::Gzip, Coding::Zstd] {
            let two = [encode(coding, b"one"), encode(coding, b"two")].concat();
            assert_eq!(decode(coding, &two).unwrap(), b"onetwo", "{coding:?}");
        }
    }

    #[test]
    fn a_bomb_is_found_before_it_is_large() {
        let zeros = vec![0; 100 << 20];
        for coding in Coding::ALL {
            let bomb = encode(coding, &zeros);
            assert!(bomb.len() < 200_000);
            let mut recoder = Recoder::new(Recode { from: Some(coding), to: None }, Level::Fast, 1 << 30).unwrap();
            assert_eq!(recoder.whole([Bytes::from(bomb.clone())].into_iter(), MAX), Err(Broken::Bomb), "{coding:?}");
            let (_, amount) = recoder.decoded().unwrap();
            assert!(amount.output < 32 << 20, "{coding:?}: {}", amount.output);
            let mut recoder = Recoder::new(Recode { from: Some(coding), to: None }, Level::Fast, 1 << 20).unwrap();
            assert_eq!(recoder.push(&bomb, true), Err(Broken::Bomb), "{coding:?}");
        }
    }

    #[test]
    fn a_large_body_that_is_not_suspect_goes_through_up_to_the_bound() {
        let text: Vec<u8> =
            (0..200_000u32).flat_map(|n| format!("{:x},", n.wrapping_mul(2_654_435_761)).into_bytes()).collect();
        for coding in Coding::ALL {
            let coded = encode(coding, &text);
            let mut fits =
                Recoder::new(Recode { from: Some(coding), to: None }, Level::Fast, text.len() as u64).unwrap();
            assert_eq!(fits.whole([Bytes::from(coded.clone())].into_iter(), MAX).unwrap().unwrap().concat(), text);
            let mut less =
                Recoder::new(Recode { from: Some(coding), to: None }, Level::Fast, text.len() as u64 - 1).unwrap();
            assert_eq!(less.push(&coded, true), Err(Broken::Bomb));
        }
    }

    proptest! {
        /// What goes through any two codings in any pieces comes out as it was.
        #[test]
        fn there_and_back(
            pieces in proptest::collection::vec(proptest::collection::vec(0u8..4, 0..3000), 0..6),
            first in 0usize..3, second in 0usize..3, flush: bool, cut in 1usize..900,
        ) {
            let (first, second) = (Coding::ALL[first], Coding::ALL[second]);
            let pieces: Vec<&[u8]> = pieces.iter().map(Vec::as_slice).collect();
            let coded = all(None, Some(first), &pieces, flush).unwrap();
            let coded: Vec<&[u8]> = coded.chunks(cut).collect();
            let recoded = all(Some(first), Some(second), &coded, flush).unwrap();
            prop_assert_eq!(decode(second, &recoded).unwrap(), pieces.concat());
        }

        /// Whatever an origin sends, nothing worse than an error comes of it.
        #[test]
        fn garbage_does_no_harm(body in proptest::collection::vec(any::<u8>(), 0..2000), coding in 0usize..3) {
            let _any = decode(Coding::ALL[coding], &body);
        }
    }
}
