//! The bytes of a simulated file as shared pages: copying a file, which every snapshot, sync and
//! crash does, copies references, and only a write to a shared page copies bytes.

use std::collections::BTreeMap;
use std::sync::Arc;

/// Size of a page of the simulated page cache.
pub(super) const PAGE_BYTES: u64 = 4096;

pub(super) type Page = Arc<[u8; PAGE_BYTES as usize]>;

/// Bytes `0..len`; pages that were never written are zeros and take no room. Whatever a page holds
/// beyond `len` is zero, so growing a file shows zeros.
#[derive(Clone, Debug, Default)]
pub(super) struct Pages {
    pages: BTreeMap<u64, Page>,
    len: u64,
}

/// The part of a byte range that lies in one page.
struct Span {
    page: u64,
    in_page: std::ops::Range<usize>,
    in_range: std::ops::Range<usize>,
}

/// Cuts `len` bytes at `at` into spans of single pages.
fn spans(at: u64, len: usize) -> impl Iterator<Item = Span> {
    let mut done = 0;
    std::iter::from_fn(move || {
        if done == len {
            return None;
        }
        let position = at + done as u64;
        let start = (position % PAGE_BYTES) as usize;
        let take = (PAGE_BYTES as usize - start).min(len - done);
        let span = Span {
            page: position / PAGE_BYTES,
            in_page: start..start + take,
            in_range: done..done + take,
        };
        done += take;
        Some(span)
    })
}

/// The pages that `len` bytes at `at` touch.
pub(super) fn touched(at: u64, len: u64) -> std::ops::Range<u64> {
    if len == 0 {
        return 0..0;
    }
    at / PAGE_BYTES..(at + len).div_ceil(PAGE_BYTES)
}

impl Pages {
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// How many pages take room.
    pub(super) fn allocated(&self) -> u64 {
        self.pages.len() as u64
    }

    /// The end of the last page that takes room.
    pub(super) fn end_of_pages(&self) -> u64 {
        self.pages.keys().next_back().map_or(0, |index| (index + 1) * PAGE_BYTES)
    }

    /// The pages that hold something else than zeros, in order.
    pub(super) fn occupied(&self) -> impl Iterator<Item = (u64, &Page)> {
        let occupied = |(_, page): &(&u64, &Page)| page.iter().any(|&byte| byte != 0);
        self.pages.iter().filter(occupied).map(|(&index, page)| (index, page))
    }

    pub(super) fn page(&self, index: u64) -> Option<&Page> {
        self.pages.get(&index)
    }

    /// Replaces a whole page, leaving the length as it is.
    pub(super) fn set_page(&mut self, index: u64, page: Option<Page>) {
        match page {
            Some(page) => self.pages.insert(index, page),
            None => self.pages.remove(&index),
        };
    }

    /// Writes bytes, growing the length as far as needed.
    pub(super) fn write(&mut self, at: u64, bytes: &[u8]) {
        for span in spans(at, bytes.len()) {
            self.page_mut(span.page)[span.in_page].copy_from_slice(&bytes[span.in_range]);
        }
        if !bytes.is_empty() {
            self.len = self.len.max(at + bytes.len() as u64);
        }
    }

    /// Reads up to the end of the file.
    pub(super) fn read(&self, at: u64, into: &mut [u8]) -> usize {
        let available = usize::try_from(self.len.saturating_sub(at)).unwrap_or(usize::MAX);
        let len = into.len().min(available);
        for span in spans(at, len) {
            let into = &mut into[span.in_range];
            match self.pages.get(&span.page) {
                Some(page) => into.copy_from_slice(&page[span.in_page]),
                None => into.fill(0),
            }
        }
        len
    }

    /// The bytes of a range as far as the file goes.
    pub(super) fn copy(&self, at: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        let read = self.read(at, &mut bytes);
        bytes.truncate(read);
        bytes
    }

    /// Fills with zeros what pages exist of a range; the length stays.
    pub(super) fn zero(&mut self, at: u64, len: u64) {
        let end = at.saturating_add(len);
        let existing: Vec<u64> =
            self.pages.range(at / PAGE_BYTES..end.div_ceil(PAGE_BYTES)).map(|(&p, _)| p).collect();
        for index in existing {
            let start = at.max(index * PAGE_BYTES) - index * PAGE_BYTES;
            let stop = end.min((index + 1) * PAGE_BYTES) - index * PAGE_BYTES;
            if stop - start == PAGE_BYTES {
                self.pages.remove(&index);
            } else {
                self.page_mut(index)[start as usize..stop as usize].fill(0);
            }
        }
    }

    /// Cuts or grows to `len`.
    pub(super) fn set_len(&mut self, len: u64) {
        self.pages.split_off(&len.div_ceil(PAGE_BYTES));
        if !len.is_multiple_of(PAGE_BYTES) {
            self.zero(len, PAGE_BYTES - len % PAGE_BYTES);
        }
        self.len = len;
    }

    fn page_mut(&mut self, index: u64) -> &mut [u8; PAGE_BYTES as usize] {
        let page = self.pages.entry(index).or_insert_with(|| Arc::new([0; PAGE_BYTES as usize]));
        Arc::make_mut(page)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Clone, Debug)]
    enum Step {
        Write(u64, Vec<u8>),
        SetLen(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0..20_000_u64, prop::collection::vec(any::<u8>(), 0..9_000))
                .prop_map(|(at, bytes)| Step::Write(at, bytes)),
            (0..20_000_u64).prop_map(Step::SetLen),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Pages are a vector of bytes, and a copy taken earlier does not change.
        #[test]
        fn pages_are_a_vector(steps in prop::collection::vec(step(), 1..12)) {
            let (mut pages, mut model) = (Pages::default(), Vec::new());
            for step in steps {
                let (before, before_model) = (pages.clone(), model.clone());
                match step {
                    Step::Write(at, bytes) => {
                        pages.write(at, &bytes);
                        let end = at as usize + bytes.len();
                        if !bytes.is_empty() && model.len() < end {
                            model.resize(end, 0);
                        }
                        if !bytes.is_empty() {
                            model[at as usize..end].copy_from_slice(&bytes);
                        }
                    }
                    Step::SetLen(len) => {
                        pages.set_len(len);
                        model.resize(len as usize, 0);
                    }
                }
                prop_assert_eq!(pages.copy(0, 50_000), model.clone());
                prop_assert_eq!(before.copy(0, 50_000), before_model);
            }
        }
    }
}
