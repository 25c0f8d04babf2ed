//! A list of 64-bit words that one owner appends to while any number of readers look at it without
//! a lock: what the index of an active segment needs. Knows nothing of what the words mean.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Words in the first chunk; each further chunk is twice as long as the one before.
const FIRST: usize = 64;
/// Chunks at most: 64 × (2^20 − 1) words, far above what one segment needs.
const CHUNKS: usize = 20;

/// Append-only words. Chunks never move, so a reader needs nothing but the length, which is
/// published after the word it counts.
#[derive(Debug)]
pub(super) struct Words {
    chunks: [OnceLock<Box<[AtomicU64]>>; CHUNKS],
    len: AtomicUsize,
}

impl Words {
    pub(super) fn new() -> Words {
        Words { chunks: [const { OnceLock::new() }; CHUNKS], len: AtomicUsize::new(0) }
    }

    pub(super) fn len(&self) -> usize {
        self.len.load(Ordering::Acquire)
    }

    /// The word at `i`.
    ///
    /// # Panics
    /// When there is none yet: callers take `i` from below a length they have seen.
    pub(super) fn get(&self, i: usize) -> u64 {
        let (chunk, at) = place(i);
        let chunk = self.chunks[chunk].get().expect("a word below the length has its chunk");
        chunk[at].load(Ordering::Relaxed)
    }

    /// Appends a word. Only the owner of the log may.
    pub(super) fn push(&self, word: u64) {
        let i = self.len.load(Ordering::Relaxed);
        self.cell(i).store(word, Ordering::Relaxed);
        self.len.store(i + 1, Ordering::Release);
    }

    /// The `i`th bit, when the words are taken for a set of bits. Bits nobody set are zero.
    pub(super) fn bit(&self, i: usize) -> bool {
        let (chunk, at) = place(i / 64);
        let Some(chunk) = self.chunks[chunk].get() else { return false };
        chunk[at].load(Ordering::Acquire) & (1 << (i % 64)) != 0
    }

    /// Sets the `i`th bit. Anybody may, at any time.
    pub(super) fn set_bit(&self, i: usize) {
        self.cell(i / 64).fetch_or(1 << (i % 64), Ordering::AcqRel);
    }

    fn cell(&self, i: usize) -> &AtomicU64 {
        let (chunk, at) = place(i);
        let words = self.chunks[chunk]
            .get_or_init(|| (0..FIRST << chunk).map(|_| AtomicU64::new(0)).collect());
        &words[at]
    }
}

/// Chunk of the word and its place within.
fn place(i: usize) -> (usize, usize) {
    let chunk = (i / FIRST + 1).ilog2() as usize;
    assert!(chunk < CHUNKS, "a segment is far too small to need {i} words");
    (chunk, i - FIRST * ((1 << chunk) - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_read_back_across_chunks() {
        let words = Words::new();
        for i in 0..1_000u64 {
            words.push(i * 3);
        }
        assert_eq!(words.len(), 1_000);
        assert!((0..1_000).all(|i| words.get(i) == i as u64 * 3));
    }

    #[test]
    fn bits_are_clear_until_set() {
        let bits = Words::new();
        bits.set_bit(5_000);
        assert!(bits.bit(5_000));
        assert!(!bits.bit(4_999) && !bits.bit(5_001) && !bits.bit(1_000_000));
    }
}
