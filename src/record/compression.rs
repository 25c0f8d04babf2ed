//! The codecs of batch bodies, in the framings that Kafka's clients write and read: gzip members,
//! snappy blocks in xerial's framing or bare, LZ4 frames and zstd frames.
//!
//! Decompression trusts nothing that a stream declares: output is written piece by piece until it
//! ends or exceeds its cap, zstd windows are capped, and snappy, whose blocks declare their size up
//! front, may declare no more than its format can expand to.

use std::fmt;
use std::io::{self, BufRead, Read, Write};
use std::str::FromStr;

use super::BatchError;
use super::expansion::{Output, PIECE_BYTES, Problem};
use crate::limits;

/// How the records of a batch are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// RFC 1952; several members in a row count as one stream.
    Gzip,
    /// Snappy blocks in xerial's framing, as Kafka writes them; bare blocks are read, too.
    Snappy,
    /// One LZ4 frame.
    Lz4,
    /// RFC 8878; several frames in a row count as one stream.
    Zstd,
}

impl Compression {
    /// Every codec, in order of their numbers.
    pub const ALL: [Compression; 5] = [
        Compression::None,
        Compression::Gzip,
        Compression::Snappy,
        Compression::Lz4,
        Compression::Zstd,
    ];

    /// The number in the attributes of a batch.
    #[must_use]
    pub const fn codec(self) -> i16 {
        match self {
            Compression::None => 0,
            Compression::Gzip => 1,
            Compression::Snappy => 2,
            Compression::Lz4 => 3,
            Compression::Zstd => 4,
        }
    }

    /// The codec with this number, if there is one.
    #[must_use]
    pub fn from_codec(codec: i16) -> Option<Compression> {
        Compression::ALL.into_iter().find(|one| one.codec() == codec)
    }

    /// The name in configuration and on the command line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Compression::None => "none",
            Compression::Gzip => "gzip",
            Compression::Snappy => "snappy",
            Compression::Lz4 => "lz4",
            Compression::Zstd => "zstd",
        }
    }

    /// The compressed form of `input`. A level outside the codec's range counts as the nearest one
    /// inside; snappy and LZ4 have none.
    #[must_use]
    pub fn compress(&self, level: Option<i32>, input: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        self.compress_into(level, input, &mut out);
        out
    }

    /// Appends the compressed form of `input`.
    pub(super) fn compress_into(self, level: Option<i32>, input: &[u8], out: &mut Vec<u8>) {
        match self {
            Compression::None => out.extend_from_slice(input),
            Compression::Gzip => compress_gzip(level, input, out),
            Compression::Snappy => xerial::compress(input, out),
            Compression::Lz4 => compress_lz4(input, out),
            Compression::Zstd => compress_zstd(level, input, out),
        }
    }

    /// Replaces the content of `out` with what `input` expands to, if that is at most `cap` bytes.
    /// `out` never grows far beyond what was really written to it.
    ///
    /// # Errors
    /// [`BatchError::Expansion`] beyond the cap, [`BatchError::Decompress`] when the stream is
    /// damaged, ends early or is followed by something else.
    pub fn decompress_into(
        &self,
        input: &[u8],
        cap: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), BatchError> {
        self.decompress_with(&mut Contexts::default(), input, Output::new(out, cap, None))
    }

    /// As [`decompress_into`](Compression::decompress_into), with contexts from earlier streams.
    pub(super) fn decompress_with(
        self,
        contexts: &mut Contexts,
        input: &[u8],
        mut output: Output<'_>,
    ) -> Result<(), BatchError> {
        let out = &mut output;
        let done = match self {
            Compression::None => out.append(input),
            Compression::Gzip => drain(flate2::bufread::MultiGzDecoder::new(input), out),
            Compression::Snappy => xerial::decompress(input, out),
            Compression::Lz4 => decompress_lz4(input, out),
            Compression::Zstd => decompress_zstd(contexts, input, out),
        };
        done.map_err(|problem| match problem {
            Problem::Cap => BatchError::Expansion { limit: out.cap() },
            Problem::Crowded => BatchError::Crowded,
            Problem::Damaged => BatchError::Decompress(self),
        })
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Compression {
    type Err = UnknownCompression;

    fn from_str(text: &str) -> Result<Compression, UnknownCompression> {
        let found = Compression::ALL.into_iter().find(|one| one.as_str() == text);
        found.ok_or_else(|| UnknownCompression(text.to_owned()))
    }
}

/// A name that no codec has.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("unknown compression {0:?}: none, gzip, snappy, lz4 or zstd")]
pub struct UnknownCompression(String);

/// What codecs need to work and can use again: for a small batch, making it costs more than the
/// decompression.
#[derive(Default)]
pub(super) struct Contexts {
    zstd: Option<zstd::zstd_safe::DCtx<'static>>,
}

impl Contexts {
    /// Memory that is held.
    pub(super) fn size_bytes(&self) -> usize {
        self.zstd.as_ref().map_or(0, |context| context.sizeof())
    }
}

fn drain(mut reader: impl Read, out: &mut Output<'_>) -> Result<(), Problem> {
    loop {
        // One byte more than is allowed tells a stream that ends at the cap from one that goes on.
        let piece = out.left().saturating_add(1).min(PIECE_BYTES);
        let read = reader.by_ref().take(piece as u64).read_to_end(out.room_for(piece)?)?;
        if out.is_beyond() {
            return Err(Problem::Cap);
        }
        if read < piece {
            return Ok(());
        }
    }
}

fn compress_gzip(level: Option<i32>, input: &[u8], out: &mut Vec<u8>) {
    let level = level.map_or(flate2::Compression::default(), |level| {
        flate2::Compression::new(level.clamp(0, 9) as u32)
    });
    let mut encoder = flate2::write::GzEncoder::new(out, level);
    let done = encoder.write_all(input).and_then(|()| encoder.finish());
    done.expect("writing to memory does not fail");
}

fn compress_lz4(input: &[u8], out: &mut Vec<u8>) {
    let mut encoder = lz4_flex::frame::FrameEncoder::new(out);
    encoder.write_all(input).expect("writing to memory does not fail");
    encoder.finish().expect("writing to memory does not fail");
}

fn decompress_lz4(input: &[u8], out: &mut Output<'_>) -> Result<(), Problem> {
    const MAGIC: [u8; 4] = 0x184D_2204_u32.to_le_bytes();
    if !input.starts_with(&MAGIC) {
        return Err(Problem::Damaged);
    }
    let source = Tail { bytes: input, starved: false };
    let mut decoder = lz4_flex::frame::FrameDecoder::new(source);
    loop {
        let piece = decoder.fill_buf()?;
        if piece.is_empty() {
            break;
        }
        out.append(piece)?;
        let length = piece.len();
        decoder.consume(length);
    }
    // The decoder takes a missing end mark for the end. Kafka's readers stop after one frame.
    let source = decoder.get_ref();
    if source.starved || !source.bytes.is_empty() { Err(Problem::Damaged) } else { Ok(()) }
}

/// A slice as a reader that remembers whether more was asked of it than it had.
struct Tail<'a> {
    bytes: &'a [u8],
    starved: bool,
}

impl Read for Tail<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.starved |= buffer.len() > self.bytes.len();
        self.bytes.read(buffer)
    }
}

fn compress_zstd(level: Option<i32>, input: &[u8], out: &mut Vec<u8>) {
    let level = level.unwrap_or(zstd::DEFAULT_COMPRESSION_LEVEL);
    let range = zstd::compression_level_range();
    let level = level.clamp(*range.start(), *range.end());
    let mut encoder = zstd::bulk::Compressor::new(level).expect("the level is within the range");
    if level > 19 {
        // These levels would use windows that readers, this broker among them, refuse.
        let window = zstd::zstd_safe::CParameter::WindowLog(limits::ZSTD_WINDOW_LOG_MAX);
        encoder.set_parameter(window).expect("zstd knows windows of this size");
    }
    let packed = encoder.compress(input).expect("memory for the worst case was reserved");
    out.extend_from_slice(&packed);
}

fn decompress_zstd(
    contexts: &mut Contexts,
    input: &[u8],
    out: &mut Output<'_>,
) -> Result<(), Problem> {
    if input.is_empty() {
        return Err(Problem::Damaged);
    }
    if contexts.zstd.is_none() {
        contexts.zstd = zstd::zstd_safe::DCtx::try_create();
    }
    let context = contexts.zstd.as_mut().ok_or(Problem::Damaged)?;
    let mut decoder = zstd::stream::read::Decoder::with_context(input, context);
    decoder.window_log_max(limits::ZSTD_WINDOW_LOG_MAX)?;
    drain(decoder, out)
}

/// Snappy as Kafka frames it, after xerial's snappy-java: sixteen bytes of header, then blocks of a
/// big-endian length and that many bytes of raw snappy. A header may turn up again where a block
/// could, which is how concatenated streams look.
mod xerial {
    use super::{Output, Problem};

    const HEADER: [u8; 16] = *b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01";
    const MAGIC: &[u8] = HEADER.split_at(8).0;
    /// What snappy-java and with it Kafka puts into one block.
    const BLOCK_BYTES: usize = 32 * 1024;
    /// A raw block expands most by copies of 64 bytes that take three.
    const EXPANSION: usize = 22;

    pub(super) fn compress(input: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(&HEADER);
        let mut encoder = snap::raw::Encoder::new();
        for block in input.chunks(BLOCK_BYTES) {
            let packed = encoder.compress_vec(block).expect("a block is far below 4 GiB");
            out.extend_from_slice(&(packed.len() as u32).to_be_bytes());
            out.extend_from_slice(&packed);
        }
    }

    pub(super) fn decompress(input: &[u8], out: &mut Output<'_>) -> Result<(), Problem> {
        if !input.starts_with(MAGIC) {
            return expand(input, out);
        }
        let mut rest = input;
        while !rest.is_empty() {
            if rest.starts_with(MAGIC) {
                rest = rest.get(HEADER.len()..).ok_or(Problem::Damaged)?;
                continue;
            }
            let (length, after) = rest.split_first_chunk().ok_or(Problem::Damaged)?;
            let length = u32::from_be_bytes(*length) as usize;
            let (block, after) = after.split_at_checked(length).ok_or(Problem::Damaged)?;
            expand(block, out)?;
            rest = after;
        }
        Ok(())
    }

    fn expand(block: &[u8], out: &mut Output<'_>) -> Result<(), Problem> {
        let declared = snap::raw::decompress_len(block).map_err(|_| Problem::Damaged)?;
        if declared > out.left() {
            return Err(Problem::Cap);
        }
        if declared > block.len().saturating_mul(EXPANSION) {
            return Err(Problem::Damaged);
        }
        let out = out.room_for(declared)?;
        let at = out.len();
        out.resize(at + declared, 0);
        let mut decoder = snap::raw::Decoder::new();
        let written = decoder.decompress(block, &mut out[at..]).map_err(|_| Problem::Damaged)?;
        if written == declared { Ok(()) } else { Err(Problem::Damaged) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAP: usize = 1 << 20;

    fn expand(compression: Compression, input: &[u8]) -> Result<Vec<u8>, BatchError> {
        let mut out = Vec::new();
        let done = compression.decompress_into(input, CAP, &mut out);
        let room = 2 * CAP + 1024;
        assert!(out.capacity() <= room, "{compression}: {} bytes of memory", out.capacity());
        done.map(|()| out)
    }

    fn text(length: usize) -> Vec<u8> {
        let words = b"every stream is a replay of a log ".iter().copied().cycle();
        words.enumerate().map(|(at, byte)| byte ^ (at / 999) as u8).take(length).collect()
    }

    #[test]
    fn names_and_numbers_find_their_codec() {
        for compression in Compression::ALL {
            assert_eq!(compression.to_string().parse(), Ok(compression));
            assert_eq!(Compression::from_codec(compression.codec()), Some(compression));
        }
        assert_eq!(Compression::from_codec(5), None);
        assert!("LZ4".parse::<Compression>().is_err());
    }

    #[test]
    fn every_level_reads_back_and_an_impossible_one_counts_as_the_nearest() {
        let input = text(100_000);
        for compression in Compression::ALL {
            for level in [None, Some(1), Some(9), Some(19), Some(22), Some(i32::MAX), Some(-5)] {
                let packed = compression.compress(level, &input);
                let expanded = expand(compression, &packed).expect("reads its own");
                assert!(expanded == input, "{compression} at {level:?}");
            }
        }
    }

    #[test]
    fn a_stream_that_ends_at_the_cap_passes_and_one_byte_more_does_not() {
        for compression in Compression::ALL {
            let exact = compression.compress(None, &vec![0; CAP]);
            assert_eq!(expand(compression, &exact).map(|out| out.len()), Ok(CAP));
            let more = compression.compress(None, &vec![0; CAP + 1]);
            let outcome = expand(compression, &more).err();
            assert_eq!(outcome, Some(BatchError::Expansion { limit: CAP }), "{compression}");
        }
    }

    /// Row 22: what expands a thousandfold costs no more than the cap.
    #[test]
    fn bombs_stop_at_the_cap() {
        let zeros = vec![0; 32 * CAP];
        for compression in [Compression::Gzip, Compression::Lz4, Compression::Zstd] {
            let bomb = compression.compress(None, &zeros);
            assert!(bomb.len() < zeros.len() / 200);
            let outcome = expand(compression, &bomb).err();
            assert_eq!(outcome, Some(BatchError::Expansion { limit: CAP }), "{compression}");
        }
        // Members and frames in a row, each of them within the cap.
        for compression in [Compression::Gzip, Compression::Zstd] {
            let bomb = compression.compress(None, &zeros[..CAP]).repeat(8);
            let outcome = expand(compression, &bomb).err();
            assert_eq!(outcome, Some(BatchError::Expansion { limit: CAP }), "{compression}");
        }
        let bomb = Compression::Snappy.compress(None, &zeros[..2 * CAP]);
        let outcome = expand(Compression::Snappy, &bomb).err();
        assert_eq!(outcome, Some(BatchError::Expansion { limit: CAP }));
    }

    #[test]
    fn snappy_gets_no_memory_for_what_it_only_declares() {
        // A varint of just under a megabyte, and nothing that could become it.
        let declared = [0xff, 0xff, 0x3f, 0x00];
        for input in [
            declared.to_vec(),
            [&b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01"[..], &[0, 0, 0, 4], &declared].concat(),
        ] {
            let mut out = Vec::new();
            let outcome = Compression::Snappy.decompress_into(&input, CAP, &mut out);
            assert_eq!(outcome, Err(BatchError::Decompress(Compression::Snappy)));
            assert!(out.capacity() < 1024, "{} bytes of memory", out.capacity());
        }
        // The densest block that there is: copies of 64 bytes that take three each.
        let dense = snap::raw::Encoder::new().compress_vec(&vec![7; 60_000]).expect("small");
        let mut out = Vec::new();
        assert_eq!(Compression::Snappy.decompress_into(&dense, CAP, &mut out), Ok(()));
        assert_eq!(out.len(), 60_000);
    }

    #[test]
    fn zstd_frames_that_want_a_large_window_are_refused() {
        // Magic, no flags, a window of 2^(10 + exponent), one last raw block without bytes.
        let frame = |log: u8| [0x28, 0xb5, 0x2f, 0xfd, 0, (log - 10) << 3, 1, 0, 0];
        assert_eq!(expand(Compression::Zstd, &frame(23)), Ok(vec![]));
        for log in [24, 27, 31, 41] {
            let outcome = expand(Compression::Zstd, &frame(log));
            assert_eq!(outcome, Err(BatchError::Decompress(Compression::Zstd)), "2^{log}");
        }
    }

    #[test]
    fn streams_in_a_row_count_as_one_where_kafkas_readers_think_so() {
        let (one, two) = (text(40_000), text(1_000));
        for compression in [Compression::Gzip, Compression::Snappy, Compression::Zstd] {
            let both = [compression.compress(None, &one), compression.compress(None, &two)];
            assert_eq!(expand(compression, &both.concat()), Ok([&one[..], &two].concat()));
        }
        let both = [&one, &two].map(|part| Compression::Lz4.compress(None, part)).concat();
        assert!(expand(Compression::Lz4, &both).is_err(), "the second frame would be lost");
    }

    #[test]
    fn bare_snappy_is_read_as_well() {
        let input = text(5_000);
        let bare = snap::raw::Encoder::new().compress_vec(&input).expect("small");
        assert_eq!(expand(Compression::Snappy, &bare), Ok(input));
    }

    #[test]
    fn a_stream_that_is_cut_or_goes_on_is_refused() {
        let input = text(3_000);
        for compression in &Compression::ALL[1..] {
            let packed = compression.compress(None, &input);
            for end in 0..packed.len() {
                let cut = expand(*compression, &packed[..end]);
                // Snappy's framing may end after its header: as a stream of nothing.
                assert!(cut.is_err() || cut == Ok(vec![]), "{compression} cut at {end}");
            }
            for more in [&[0][..], b"more than enough bytes to be something"] {
                let longer = [&packed, more].concat();
                assert!(expand(*compression, &longer).is_err(), "{compression} and more");
            }
        }
    }
}
