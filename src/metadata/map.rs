//! A sorted map whose clones share what they have in common, so that publishing a changed image of
//! ten thousand topics copies a few hundred entries, not ten thousand. Two levels: a list of shared
//! chunks, each a sorted run. Knows nothing of what it holds.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

/// Entries of a chunk at most. A change copies one chunk and the list of chunks; with this size the
/// two are equally long at sixteen thousand entries.
const CHUNK_ENTRIES_MAX: usize = 128;

/// A sorted map with cheap clones.
#[derive(Clone)]
pub(super) struct SharedMap<K, V> {
    // Every chunk holds at least one entry, and all keys of a chunk are below those of the next.
    chunks: Vec<Arc<Vec<(K, V)>>>,
    len: usize,
}

impl<K: Ord + Clone, V: Clone> SharedMap<K, V> {
    /// An empty map.
    #[must_use]
    pub(super) const fn new() -> SharedMap<K, V> {
        SharedMap { chunks: Vec::new(), len: 0 }
    }

    /// How many entries there are.
    #[must_use]
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The value of a key.
    pub(super) fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        let chunk = self.chunks.get(self.chunk_of(key))?;
        let at = chunk.binary_search_by(|(k, _)| k.borrow().cmp(key)).ok()?;
        Some(&chunk[at].1)
    }

    /// Whether the key is there.
    pub(super) fn contains_key<Q: Ord + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.get(key).is_some()
    }

    /// Sets the value of a key; the value it had.
    pub(super) fn insert(&mut self, key: K, value: V) -> Option<V> {
        if self.chunks.is_empty() {
            self.chunks.push(Arc::new(vec![(key, value)]));
            self.len = 1;
            return None;
        }
        let at = self.chunk_of(&key).min(self.chunks.len() - 1);
        let chunk = Arc::make_mut(&mut self.chunks[at]);
        match chunk.binary_search_by(|(k, _)| k.cmp(&key)) {
            Ok(found) => Some(std::mem::replace(&mut chunk[found].1, value)),
            Err(gap) => {
                chunk.insert(gap, (key, value));
                self.len += 1;
                if chunk.len() > CHUNK_ENTRIES_MAX {
                    let upper = chunk.split_off(CHUNK_ENTRIES_MAX / 2);
                    self.chunks.insert(at + 1, Arc::new(upper));
                }
                None
            }
        }
    }

    /// Removes a key; the value it had.
    pub(super) fn remove<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        let at = self.chunk_of(key);
        let chunk = self.chunks.get_mut(at)?;
        let found = chunk.binary_search_by(|(k, _)| k.borrow().cmp(key)).ok()?;
        let chunk = Arc::make_mut(chunk);
        let (_, value) = chunk.remove(found);
        if chunk.is_empty() {
            self.chunks.remove(at);
        }
        self.len -= 1;
        Some(value)
    }

    /// All entries in the order of their keys.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.chunks.iter().flat_map(|chunk| chunk.iter().map(|(key, value)| (key, value)))
    }

    /// The entries from `key` on, in order.
    pub(super) fn starting_at<'a, Q: Ord + ?Sized>(
        &'a self,
        key: &Q,
    ) -> impl Iterator<Item = (&'a K, &'a V)>
    where
        K: Borrow<Q>,
    {
        let at = self.chunk_of(key);
        let skip =
            self.chunks.get(at).map_or(0, |chunk| chunk.partition_point(|(k, _)| k.borrow() < key));
        let rest = self.chunks.get(at..).unwrap_or_default().iter();
        rest.flat_map(|chunk| chunk.iter()).skip(skip).map(|(key, value)| (key, value))
    }

    /// The only chunk that may hold the key, or the number of chunks when all keys are below it.
    fn chunk_of<Q: Ord + ?Sized>(&self, key: &Q) -> usize
    where
        K: Borrow<Q>,
    {
        self.chunks.partition_point(|chunk| chunk.last().is_some_and(|(k, _)| k.borrow() < key))
    }
}

impl<K: Ord + Clone, V: Clone> Default for SharedMap<K, V> {
    fn default() -> SharedMap<K, V> {
        SharedMap::new()
    }
}

impl<K: Ord + Clone + PartialEq, V: Clone + PartialEq> PartialEq for SharedMap<K, V> {
    fn eq(&self, other: &SharedMap<K, V>) -> bool {
        self.len == other.len && self.iter().eq(other.iter())
    }
}

impl<K: Ord + Clone + fmt::Debug, V: Clone + fmt::Debug> fmt::Debug for SharedMap<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn it_behaves_as_a_tree_map_and_clones_do_not_see_later_changes(
            steps in prop::collection::vec((0u16..600, any::<bool>()), 0..1500),
            from in 0u16..600,
        ) {
            let mut map = SharedMap::new();
            let mut model = BTreeMap::new();
            let half = steps.len() / 2;
            let mut earlier = (map.clone(), model.clone());
            for (step, (key, insert)) in steps.into_iter().enumerate() {
                if step == half {
                    earlier = (map.clone(), model.clone());
                }
                if insert {
                    prop_assert_eq!(map.insert(key, step), model.insert(key, step));
                } else {
                    prop_assert_eq!(map.remove(&key), model.remove(&key));
                }
                prop_assert_eq!(map.get(&key), model.get(&key));
                prop_assert_eq!(map.len(), model.len());
            }
            prop_assert!(map.iter().eq(model.iter()));
            prop_assert!(map.starting_at(&from).eq(model.range(from..)));
            prop_assert!(earlier.0.iter().eq(earlier.1.iter()));
        }
    }

    #[test]
    fn a_changed_clone_shares_all_chunks_but_one() {
        let mut map = SharedMap::new();
        (0..10_000).for_each(|key| _ = map.insert(key, key));
        let mut changed = map.clone();
        changed.insert(5_000, 0);
        let own = changed.chunks.iter().filter(|chunk| Arc::strong_count(chunk) == 1).count();
        assert_eq!(own, 1);
        assert!(map.chunks.len() < 400, "chunks are not left tiny: {}", map.chunks.len());
    }
}
