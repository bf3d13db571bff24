//! A poptrie: longest-prefix match in a few dependent loads (Asai and Ohara, SIGCOMM 2015).
//!
//! One idea: a node covers six bits of the address. Instead of 64 pointers it keeps 64 bits that say where a child is.
//! Children lie side by side, so counting the bits up to the address's slot finds the child. Leaves are found the same
//! way, and neighbours with equal values share one. In front of the nodes is an array indexed by the first bits in
//! which addresses differ; the number of prefixes decides its size, so tiny tables stay tiny. The bits that all
//! prefixes share are compared once, before the array. Where many bits have only one path, as in the sparse plans of
//! IPv6, a chain compares them all at once. A prefix that is alone in a slot is a tail: the rest of it is compared at
//! once, too.
//!
//! Immutable: built whole from all prefixes.

use std::hint::select_unpredictable;
use std::sync::Arc;

/// A table from prefixes of the integer `K` to `V`. A clone shares everything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::dataplane) struct Poptrie<K, V> {
    /// Its first `stem_bits` bits are the ones that every prefix but the default begins with.
    stem: K,
    stem_bits: u32,
    /// The default's value, for keys with another stem.
    outside: Option<V>,
    /// Indexed by the `root_bits` bits of the key after the stem.
    root: Arc<[Slot<V>]>,
    root_bits: u32,
    nodes: Arc<[Node]>,
    leaves: Arc<[Option<V>]>,
    chains: Arc<[Chain<K, V>]>,
    tails: Arc<[Tail<K, V>]>,
    len: usize,
}

/// The prefix of `len` bits; those of `bits` beyond are zero.
#[derive(Clone, Copy, Debug)]
pub(in crate::dataplane) struct Prefix<K, V> {
    pub(in crate::dataplane) bits: K,
    pub(in crate::dataplane) len: u8,
    pub(in crate::dataplane) value: V,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Slot<V> {
    Leaf(Option<V>),
    /// Index in `nodes`.
    Node(u32),
    /// Index in `tails`.
    Tail(u32),
}

/// 64 slots for the next six bits of a key; with neither children nor leaves, it stands for chain `first_child`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Node {
    /// The slots that continue, to a child or a tail. Nodes of children lie from `first_child` on, in order.
    onward: u64,
    /// Among the slots that continue: the tails, which lie from `first_tail` on. Among the others: those with a leaf
    /// that differs from the one before; leaves lie from `first_leaf` on.
    ends: u64,
    first_child: u32,
    first_leaf: u32,
    first_tail: u32,
}

/// A stretch of bits shared by everything beyond it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Chain<K, V> {
    /// Its first `width` bits are the stretch.
    bits: K,
    width: u32,
    /// For keys that leave the stretch.
    outside: Option<V>,
    /// Index in `nodes` of what comes after.
    next: u32,
}

/// A prefix that is alone beyond a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Tail<K, V> {
    /// Its first `width` bits are what is left of the prefix.
    bits: K,
    width: u32,
    value: V,
    /// For keys that are not in it.
    outside: Option<V>,
}

impl<K: Key, V: Copy> Tail<K, V> {
    #[inline]
    fn lookup(&self, rest: K) -> Option<V> {
        // Half of the packets that come here may not match: a branch would be mispredicted as often.
        select_unpredictable(rest.shared(self.bits) < self.width, self.outside, Some(self.value))
    }
}

/// Bits of the key that one node takes.
const STRIDE: u32 = 6;

/// A chain is two loads, so it must save more nodes than that.
const SHORTEST_CHAIN: u32 = 3 * STRIDE;

impl<K: Key, V: Copy + Eq> Poptrie<K, V> {
    /// Of equal prefixes the last one wins.
    pub(in crate::dataplane) fn new(prefixes: &[Prefix<K, V>]) -> Self {
        // Without their values: one sort serves tables of all kinds.
        let mut order: Vec<_> = (0..).zip(prefixes).map(|(at, prefix)| (prefix.bits, prefix.len, at)).collect();
        order.sort_unstable();
        let mut prefixes: Vec<_> = order.into_iter().map(|(_, _, at): (_, _, usize)| prefixes[at]).collect();
        prefixes.dedup_by(|later, kept| {
            let same = (later.bits, later.len) == (kept.bits, kept.len);
            if same {
                kept.value = later.value;
            }
            same
        });
        let (outside, inside) = match prefixes.split_first() {
            Some((default, rest)) if default.len == 0 => (Some(default.value), rest),
            Some(_) | None => (None, &prefixes[..]),
        };
        let stem = inside.first().map_or(K::ZERO, |first| first.bits);
        // Whole strides, as the bits of the root are.
        let stem_bits = if inside.is_empty() { 0 } else { shared(inside) / STRIDE * STRIDE };
        let mut builder = Builder { nodes: Vec::new(), leaves: Vec::new(), chains: Vec::new(), tails: Vec::new() };
        let root_bits = root_bits(prefixes.len());
        let root = builder.root(Branch { value: outside, longer: inside }, stem_bits, root_bits);
        Self {
            stem,
            stem_bits,
            outside,
            root,
            root_bits,
            nodes: builder.nodes.into(),
            leaves: builder.leaves.into(),
            chains: builder.chains.into(),
            tails: builder.tails.into(),
            len: prefixes.len(),
        }
    }

    /// The value of the longest prefix of `key`. Each step takes six bits or more, so there are at most 22.
    #[inline]
    pub(in crate::dataplane) fn lookup(&self, key: K) -> Option<V> {
        if key.shared(self.stem) < self.stem_bits {
            return self.outside;
        }
        let key = key.skip(self.stem_bits);
        let mut rest = key.skip(self.root_bits);
        let mut node = match self.root[key.first(self.root_bits)] {
            Slot::Leaf(value) => return value,
            Slot::Node(node) => &self.nodes[node as usize],
            Slot::Tail(tail) => return self.tails[tail as usize].lookup(rest),
        };
        loop {
            let slot = rest.first(STRIDE);
            let up_to_slot = u64::MAX >> (63 - slot);
            if node.onward >> slot & 1 == 0 {
                if node.ends == 0 {
                    let chain = &self.chains[node.first_child as usize];
                    if rest.shared(chain.bits) < chain.width {
                        return chain.outside;
                    }
                    node = &self.nodes[chain.next as usize];
                    rest = rest.skip(chain.width);
                    continue;
                }
                let leaves = node.ends & !node.onward & up_to_slot;
                return self.leaves[(node.first_leaf + leaves.count_ones() - 1) as usize];
            }
            rest = rest.skip(STRIDE);
            if node.ends >> slot & 1 == 1 {
                let tails = node.ends & node.onward & up_to_slot;
                return self.tails[(node.first_tail + tails.count_ones() - 1) as usize].lookup(rest);
            }
            let children = node.onward & !node.ends & up_to_slot;
            node = &self.nodes[(node.first_child + children.count_ones() - 1) as usize];
        }
    }

    pub(in crate::dataplane) fn len(&self) -> usize {
        self.len
    }

    /// Bytes held on the heap.
    pub(in crate::dataplane) fn memory(&self) -> usize {
        size_of_val(&*self.root)
            + size_of_val(&*self.nodes)
            + size_of_val(&*self.leaves)
            + size_of_val(&*self.chains)
            + size_of_val(&*self.tails)
    }
}

/// Multiples of six from the root on, so that /24 and /48, where most prefixes end, are ends of nodes.
///
/// The array costs at most 128 bytes a prefix: with values of four bytes it takes 8 bytes, 512 bytes, 32 KiB or 2 MiB.
/// A whole table of 10 adjacent /24 takes 0.5 KiB, of 400 32 KiB, of 16,000 165 KiB.
fn root_bits(prefixes: usize) -> u32 {
    match prefixes {
        0..4 => 0,
        4..256 => 6,
        256..65_536 => 12,
        65_536.. => 18,
    }
}

struct Builder<K, V> {
    nodes: Vec<Node>,
    leaves: Vec<Option<V>>,
    chains: Vec<Chain<K, V>>,
    tails: Vec<Tail<K, V>>,
}

impl<K: Key, V: Copy + Eq> Builder<K, V> {
    fn root(&mut self, all: Branch<'_, K, V>, depth: u32, bits: u32) -> Arc<[Slot<V>]> {
        let branches = branches(all.longer, depth, bits, all.value);
        let end = depth + bits;
        let slot = |branch: &Branch<'_, K, V>| match branch.longer {
            [] => Slot::Leaf(branch.value),
            [only] => Slot::Tail(self.tail(only, end, branch.value)),
            [..] => Slot::Node(self.add(branch, end)),
        };
        branches.iter().map(slot).collect()
    }

    /// Adds what lies in a branch `depth` bits down; returns the index of its node.
    fn add(&mut self, branch: &Branch<'_, K, V>, depth: u32) -> u32 {
        let index = self.nodes.len();
        self.nodes.push(Node::default());
        self.nodes[index] = self.node(branch, depth);
        index as u32
    }

    /// Adds what is left of a prefix `depth` bits down; returns its index.
    fn tail(&mut self, only: &Prefix<K, V>, depth: u32, outside: Option<V>) -> u32 {
        let width = u32::from(only.len) - depth;
        self.tails.push(Tail { bits: only.bits.skip(depth), width, value: only.value, outside });
        self.tails.len() as u32 - 1
    }

    fn node(&mut self, branch: &Branch<'_, K, V>, depth: u32) -> Node {
        let shared = shared(branch.longer);
        if shared >= depth + SHORTEST_CHAIN { self.chain(branch, depth, shared) } else { self.fork(branch, depth) }
    }

    fn chain(&mut self, branch: &Branch<'_, K, V>, depth: u32, end: u32) -> Node {
        let next = self.nodes.len() as u32;
        self.nodes.push(Node::default());
        self.nodes[next as usize] = self.fork(branch, end);
        let width = end - depth;
        self.chains.push(Chain { bits: branch.longer[0].bits.skip(depth), width, outside: branch.value, next });
        Node { first_child: self.chains.len() as u32 - 1, ..Node::default() }
    }

    fn fork(&mut self, branch: &Branch<'_, K, V>, depth: u32) -> Node {
        let branches = branches(branch.longer, depth, STRIDE, branch.value);
        let mut node = Node {
            first_child: self.nodes.len() as u32,
            first_leaf: self.leaves.len() as u32,
            first_tail: self.tails.len() as u32,
            ..Node::default()
        };
        let end = depth + STRIDE;
        let mut last_leaf = None;
        for (slot, branch) in branches.iter().enumerate() {
            match *branch.longer {
                [] if last_leaf == Some(branch.value) => {}
                [] => {
                    node.ends |= 1 << slot;
                    self.leaves.push(branch.value);
                    last_leaf = Some(branch.value);
                }
                [ref only] => {
                    node.onward |= 1 << slot;
                    node.ends |= 1 << slot;
                    self.tail(only, end, branch.value);
                }
                [..] => {
                    node.onward |= 1 << slot;
                    self.nodes.push(Node::default());
                }
            }
        }
        let children = branches.iter().filter(|branch| branch.longer.len() > 1);
        for (child, branch) in (node.first_child as usize..).zip(children) {
            self.nodes[child] = self.node(branch, end);
        }
        node
    }
}

/// What a slot stands for: the value where nothing longer matches, and the prefixes that are longer.
#[derive(Clone, Copy)]
struct Branch<'a, K, V> {
    value: Option<V>,
    longer: &'a [Prefix<K, V>],
}

/// Splits prefixes longer than `depth` by their next `width` bits; `outer` is the value of the prefix around them.
///
/// They are sorted by bits, then length. So a prefix comes after those that contain it, and those that begin in one
/// slot come together, first the ones that end at this level.
fn branches<K: Key, V: Copy>(
    prefixes: &[Prefix<K, V>],
    depth: u32,
    width: u32,
    outer: Option<V>,
) -> Vec<Branch<'_, K, V>> {
    let mut branches = vec![Branch { value: outer, longer: &[] }; 1 << width];
    let slot = |prefix: &Prefix<K, V>| prefix.bits.skip(depth).first(width);
    let end = depth + width;
    for group in prefixes.chunk_by(|a, b| slot(a) == slot(b)) {
        let first = slot(&group[0]);
        let (ending, longer) = group.split_at(group.partition_point(|prefix| u32::from(prefix.len) <= end));
        for prefix in ending {
            let covered = 1 << (end - u32::from(prefix.len));
            for branch in &mut branches[first..first + covered] {
                branch.value = Some(prefix.value);
            }
        }
        branches[first].longer = longer;
    }
    branches
}

/// How many bits all of these prefixes, at least one, begin with. A bit of the key is left for the node after them.
fn shared<K: Key, V>(prefixes: &[Prefix<K, V>]) -> u32 {
    let (first, last) = (prefixes[0].bits, prefixes[prefixes.len() - 1].bits);
    let shortest = prefixes.iter().map(|prefix| u32::from(prefix.len)).min();
    first.shared(last).min(K::BITS - 1).min(shortest.unwrap_or(0))
}

/// An address as an integer, read from its most significant bit on.
pub(in crate::dataplane) trait Key: Copy + Ord {
    const BITS: u32;
    const ZERO: Self;
    /// The first `width` bits.
    fn first(self, width: u32) -> usize;
    /// What follows the first `width` bits, zeros after the last.
    fn skip(self, width: u32) -> Self;
    /// How many bits both begin with.
    fn shared(self, other: Self) -> u32;
}

// Shifting twice lets `first` take a width of zero.
impl Key for u32 {
    const BITS: u32 = u32::BITS;
    const ZERO: Self = 0;

    #[inline]
    fn first(self, width: u32) -> usize {
        (self >> 1 >> (31 - width)) as usize
    }

    #[inline]
    fn skip(self, width: u32) -> Self {
        self << width
    }

    #[inline]
    fn shared(self, other: Self) -> u32 {
        (self ^ other).leading_zeros()
    }
}

impl Key for u128 {
    const BITS: u32 = u128::BITS;
    const ZERO: Self = 0;

    #[inline]
    fn first(self, width: u32) -> usize {
        (self >> 1 >> (127 - width)) as usize
    }

    #[inline]
    fn skip(self, width: u32) -> Self {
        self << width
    }

    #[inline]
    fn shared(self, other: Self) -> u32 {
        (self ^ other).leading_zeros()
    }
}
