//! Which offset is the newest of each key, in bounded memory. Keys are remembered by a hash of 128
//! bits under a secret seed, as SipHash makes it: 24 bytes a key, whatever its length.
//!
//! Two keys of one hash would be taken for one, and the older record of the two would go. Among
//! 2^32 keys the probability that any two collide is below 2^-64, which is less than that of a disk
//! error nobody notices; and since the seed is drawn anew for every pass and never leaves the
//! process, nobody can look for keys that collide.

use std::hash::Hasher as _;

use siphasher::sip128::{Hasher128 as _, SipHasher13};

use crate::types::Offset;

/// Keys that there is room for at first.
const SLOTS_MIN: usize = 1 << 10;
/// Of so many slots, so many are used before there have to be more.
const LOAD: (usize, usize) = (3, 4);
const VACANT: i64 = -1;

#[derive(Clone, Copy)]
struct Slot {
    hash: (u64, u64),
    offset: i64,
}

/// The map. Never takes more than the bytes it was given, growing included.
pub(super) struct OffsetMap {
    seed: (u64, u64),
    slots: Vec<Slot>,
    used: usize,
    bytes_max: usize,
}

impl OffsetMap {
    pub(super) fn new(seed: u128, bytes_max: usize) -> OffsetMap {
        let slots = SLOTS_MIN.min(bytes_max / size_of::<Slot>()).max(8);
        let seed = ((seed >> 64) as u64, seed as u64);
        OffsetMap { seed, slots: vacant(slots), used: 0, bytes_max }
    }

    /// Keys in it.
    pub(super) fn len(&self) -> usize {
        self.used
    }

    /// Notes an offset, larger than all before it. Returns whether there was room.
    pub(super) fn put(&mut self, key: &[u8], offset: Offset) -> bool {
        let hash = self.hash(key);
        let mut at = self.find(hash);
        if self.slots[at].offset == VACANT {
            if !self.make_room() {
                return false;
            }
            at = self.find(hash);
            self.used += 1;
        }
        assert!(self.slots[at].offset < offset.0, "a log is read from front to back");
        self.slots[at] = Slot { hash, offset: offset.0 };
        true
    }

    /// The newest offset of a key.
    pub(super) fn get(&self, key: &[u8]) -> Option<Offset> {
        let slot = self.slots[self.find(self.hash(key))];
        (slot.offset != VACANT).then_some(Offset(slot.offset))
    }

    fn hash(&self, key: &[u8]) -> (u64, u64) {
        let mut hasher = SipHasher13::new_with_keys(self.seed.0, self.seed.1);
        hasher.write(key);
        let hash = hasher.finish128();
        (hash.h1, hash.h2)
    }

    /// The slot of a hash, or the one that it would get.
    fn find(&self, hash: (u64, u64)) -> usize {
        let count = self.slots.len();
        let mut at = ((u128::from(hash.0) * count as u128) >> 64) as usize;
        while self.slots[at].offset != VACANT && self.slots[at].hash != hash {
            at = if at + 1 == count { 0 } else { at + 1 };
        }
        at
    }

    /// Makes sure that one more key fits.
    fn make_room(&mut self) -> bool {
        let is_full = |used: usize, slots: usize| (used + 1) * LOAD.1 > slots * LOAD.0;
        if !is_full(self.used, self.slots.len()) {
            return true;
        }
        // While it grows, the old slots are there beside the new ones.
        let affordable = (self.bytes_max / size_of::<Slot>()).saturating_sub(self.slots.len());
        let larger = affordable.min(self.slots.len() * 2);
        if is_full(self.used, larger) {
            return false;
        }
        let slots = std::mem::replace(&mut self.slots, vacant(larger));
        for slot in slots.into_iter().filter(|slot| slot.offset != VACANT) {
            let at = self.find(slot.hash);
            self.slots[at] = slot;
        }
        true
    }
}

fn vacant(slots: usize) -> Vec<Slot> {
    vec![Slot { hash: (0, 0), offset: VACANT }; slots]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn the_newest_offset_of_every_key_is_found_however_often_the_map_grew() {
        let (mut map, mut model) = (OffsetMap::new(7, 1 << 20), BTreeMap::new());
        for offset in 0..60_000 {
            let key = format!("key {}", offset * 7_919 % 20_011);
            assert!(map.put(key.as_bytes(), Offset(offset)));
            model.insert(key, offset);
        }
        assert_eq!(map.len(), model.len());
        for (key, offset) in model {
            assert_eq!(map.get(key.as_bytes()), Some(Offset(offset)));
        }
        assert_eq!(map.get(b"another"), None);
    }

    /// What is full takes no new key, keeps what it has and still follows keys that it knows.
    #[test]
    fn a_full_map_stays_within_its_bytes() {
        for bytes in [0, 300, 10_000, 1 << 18] {
            let mut map = OffsetMap::new(1, bytes);
            let mut offset = 0;
            while map.put(format!("{offset}").as_bytes(), Offset(offset)) {
                offset += 1;
            }
            assert!(offset > 0 && map.len() as i64 == offset, "{bytes}: {offset}");
            assert!(map.slots.len() * size_of::<Slot>() <= bytes.max(8 * size_of::<Slot>()));
            assert!(map.put(b"0", Offset(offset)));
            assert_eq!(map.get(b"0"), Some(Offset(offset)));
            assert_eq!(map.get(format!("{offset}").as_bytes()), None);
        }
    }
}
