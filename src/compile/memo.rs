//! What an earlier compile worked out, found again by what it was worked out from.
//!
//! One idea: a step that is given its inputs and nothing else need not run twice for equal inputs, neither for two
//! subnets that see the same nor for a network that differs from the last one by a route. So a step's function takes
//! its key alone: then the key holds all that it depends on. Only what a compile uses is kept for the next one.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, BuildHasherDefault, Hash, Hasher};
use std::ops::Deref;
use std::sync::Arc;

use foldhash::fast::FixedState;

/// Results by their inputs.
#[derive(Debug)]
pub(super) struct Known<K, V>(HashMap<Hashed<K>, V, Given>);

/// The results of one compile as they come, with those of an earlier one at hand.
pub(super) struct Memo<'a, K, V> {
    earlier: &'a Known<K, V>,
    known: HashMap<Hashed<K>, V, Given>,
}

impl<'a, K: Eq + Hash, V: Clone> Memo<'a, K, V> {
    pub(super) fn after(earlier: &'a Known<K, V>) -> Self {
        Self { earlier, known: HashMap::default() }
    }

    /// What follows from these inputs.
    pub(super) fn recall(&mut self, inputs: K, work: impl FnOnce(&K) -> V) -> V {
        let inputs = Hashed::new(inputs);
        if let Some(known) = self.known.get(&inputs) {
            return known.clone();
        }
        let result = self.earlier.0.get(&inputs).cloned().unwrap_or_else(|| work(&inputs.thing));
        self.known.insert(inputs, result.clone());
        result
    }

    pub(super) fn into_known(self) -> Known<K, V> {
        Known(self.known)
    }
}

impl<K, V> Default for Known<K, V> {
    fn default() -> Self {
        Self(HashMap::default())
    }
}

/// Things that are kept once, however often they are made.
#[derive(Debug)]
pub(super) struct Kept<T>(HashSet<Arc<Hashed<T>>, Given>);

/// Those of one compile as they come.
pub(super) struct Pool<'a, T> {
    earlier: &'a Kept<T>,
    kept: HashSet<Arc<Hashed<T>>, Given>,
}

impl<'a, T: Eq + Hash> Pool<'a, T> {
    pub(super) fn after(earlier: &'a Kept<T>) -> Self {
        Self { earlier, kept: HashSet::default() }
    }

    /// The one that all equal things share.
    pub(super) fn share(&mut self, thing: T) -> Same<T> {
        let thing = Hashed::new(thing);
        if let Some(kept) = self.kept.get(&thing) {
            return Same(Arc::clone(kept));
        }
        let shared = self.earlier.0.get(&thing).cloned().unwrap_or_else(|| Arc::new(thing));
        self.kept.insert(Arc::clone(&shared));
        Same(shared)
    }

    /// Things that are shared already: what equals them later is to be the same.
    pub(super) fn keep(&mut self, known: &Same<T>) {
        if !self.kept.contains(&known.0) {
            self.kept.insert(Arc::clone(&known.0));
        }
    }

    pub(super) fn into_kept(self) -> Kept<T> {
        Kept(self.kept)
    }
}

impl<T> Default for Kept<T> {
    fn default() -> Self {
        Self(HashSet::default())
    }
}

/// A thing with its hash: it may be large, and is looked for in the tables of two compiles.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Hashed<T> {
    hash: u64,
    thing: T,
}

impl<T: Hash> Hashed<T> {
    fn new(thing: T) -> Self {
        Self { hash: FixedState::default().hash_one(&thing), thing }
    }
}

impl<T> Hash for Hashed<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

/// Takes the hash that a thing has.
type Given = BuildHasherDefault<AsItIs>;

#[derive(Default)]
pub(super) struct AsItIs(u64);

impl Hasher for AsItIs {
    fn write(&mut self, _: &[u8]) {
        unreachable!("a hashed thing has a number");
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// Shared, and equal to itself alone: a large input that costs a key one comparison. While a key holds it, nothing else
/// can come to stand in its place.
#[derive(Debug)]
pub(super) struct Same<T>(Arc<Hashed<T>>);

impl<T> Same<T> {
    pub(super) fn new(thing: T) -> Self {
        // It is never looked up by value.
        Self(Arc::new(Hashed { hash: 0, thing }))
    }
}

impl<T> Clone for Same<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Deref for Same<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0.thing
    }
}

impl<T> PartialEq for Same<T> {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl<T> Eq for Same<T> {}

impl<T> Hash for Same<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.0).hash(state);
    }
}
