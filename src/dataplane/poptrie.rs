//! A poptrie: longest-prefix match in a few dependent loads (Asai and Ohara, SIGCOMM 2015).
//!
//! One idea: a node stands for six bits of the address, and instead of 64 pointers it keeps 64 bits that say where a
//! child is. Children lie side by side, so counting the bits up to the address's slot finds the one to go to. Leaves are
//! found the same way, and neighbours with equal values share one. In front of the nodes lies an array indexed by the
//! address's first bits, sized by the number of prefixes so that tiny tables stay tiny.
//!
//! Immutable: built whole from all prefixes.

/// A table from prefixes of the integer `K` to `V`.
#[derive(Debug)]
pub(super) struct Poptrie<K, V> {
    /// Indexed by the first `root_bits` bits of the key.
    root: Box<[Slot<V>]>,
    root_bits: u32,
    nodes: Box<[Node]>,
    leaves: Box<[Option<V>]>,
    len: usize,
    key: std::marker::PhantomData<K>,
}

/// The prefix of `len` bits; those of `bits` beyond are zero.
#[derive(Clone, Copy, Debug)]
pub(super) struct Prefix<K, V> {
    pub(super) bits: K,
    pub(super) len: u8,
    pub(super) value: V,
}

#[derive(Clone, Copy, Debug)]
enum Slot<V> {
    Leaf(Option<V>),
    /// Index in `nodes`.
    Node(u32),
}

/// 64 slots for the next six bits of a key.
#[derive(Clone, Copy, Debug, Default)]
struct Node {
    /// The slots that lead to a child. Their nodes lie from `first_child` on, in order.
    children: u64,
    /// Of the other slots those whose leaf differs from the one before. Their leaves lie from `first_leaf` on, in order.
    leaves: u64,
    first_child: u32,
    first_leaf: u32,
}

/// Bits of the key that one node takes.
const STRIDE: u32 = 6;

impl<K: Key, V: Copy + Eq> Poptrie<K, V> {
    /// Of equal prefixes the last one counts.
    pub(super) fn new(mut prefixes: Vec<Prefix<K, V>>) -> Self {
        prefixes.sort_by_key(|prefix| (prefix.bits, prefix.len));
        prefixes.dedup_by(|later, kept| {
            let same = (later.bits, later.len) == (kept.bits, kept.len);
            if same {
                kept.value = later.value;
            }
            same
        });
        let mut builder = Builder { nodes: Vec::new(), leaves: Vec::new() };
        let root_bits = root_bits(prefixes.len());
        let root = builder.root(&prefixes, root_bits);
        Self {
            root,
            root_bits,
            nodes: builder.nodes.into(),
            leaves: builder.leaves.into(),
            len: prefixes.len(),
            key: std::marker::PhantomData,
        }
    }

    /// The value of the longest prefix of `key`. At most one root slot, a node for each six bits, and a leaf are read.
    #[inline]
    pub(super) fn lookup(&self, key: K) -> Option<V> {
        let mut rest = key.skip(self.root_bits);
        let mut node = match self.root[key.first(self.root_bits)] {
            Slot::Leaf(value) => return value,
            Slot::Node(node) => &self.nodes[node as usize],
        };
        loop {
            let slot = rest.first(STRIDE);
            let up_to_slot = u64::MAX >> (63 - slot);
            if node.children >> slot & 1 == 0 {
                return self.leaves[(node.first_leaf + (node.leaves & up_to_slot).count_ones() - 1) as usize];
            }
            node = &self.nodes[(node.first_child + (node.children & up_to_slot).count_ones() - 1) as usize];
            rest = rest.skip(STRIDE);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Bytes held on the heap.
    pub(super) fn memory(&self) -> usize {
        size_of_val(&*self.root) + size_of_val(&*self.nodes) + size_of_val(&*self.leaves)
    }
}

/// Multiples of six from the root on, so that /24 and /48, where most prefixes end, are ends of nodes.
///
/// The array costs at most 128 bytes a prefix: with values of four bytes it takes 8 bytes, 512 bytes, 32 KiB or 2 MiB.
/// A whole table of 10 /24 takes 0.7 KiB, of 400 35 KiB, of 16,000 170 KiB.
fn root_bits(prefixes: usize) -> u32 {
    match prefixes {
        0..4 => 0,
        4..256 => 6,
        256..16_384 => 12,
        16_384.. => 18,
    }
}

struct Builder<V> {
    nodes: Vec<Node>,
    leaves: Vec<Option<V>>,
}

impl<V: Copy + Eq> Builder<V> {
    fn root<K: Key>(&mut self, prefixes: &[Prefix<K, V>], bits: u32) -> Box<[Slot<V>]> {
        let branches = branches(prefixes, 0, bits, None);
        // Reserving the nodes of the first level together keeps them apart from the deeper ones, as in `node`.
        let first = self.nodes.len();
        self.nodes.resize(first + branches.iter().filter(|branch| branch.goes_on()).count(), Node::default());
        let mut next = first;
        let slot = |branch: &Branch<'_, K, V>| {
            if !branch.goes_on() {
                return Slot::Leaf(branch.value);
            }
            self.nodes[next] = self.node(branch, bits);
            next += 1;
            Slot::Node((next - 1) as u32)
        };
        branches.iter().map(slot).collect()
    }

    /// The node for what lies in a branch `depth` bits down.
    fn node<K: Key>(&mut self, branch: &Branch<'_, K, V>, depth: u32) -> Node {
        let branches = branches(branch.inner, depth, STRIDE, branch.value);
        let mut node =
            Node { first_child: self.nodes.len() as u32, first_leaf: self.leaves.len() as u32, ..Node::default() };
        let mut last_leaf = None;
        for (slot, branch) in branches.iter().enumerate() {
            if branch.goes_on() {
                node.children |= 1 << slot;
                self.nodes.push(Node::default());
            } else if last_leaf != Some(branch.value) {
                node.leaves |= 1 << slot;
                self.leaves.push(branch.value);
                last_leaf = Some(branch.value);
            }
        }
        let inner = branches.iter().filter(|branch| branch.goes_on());
        for (child, branch) in (node.first_child as usize..).zip(inner) {
            self.nodes[child] = self.node(branch, depth + STRIDE);
        }
        node
    }
}

/// What a slot stands for: the value where nothing longer matches, and the prefixes that are longer.
#[derive(Clone, Copy)]
struct Branch<'a, K, V> {
    value: Option<V>,
    inner: &'a [Prefix<K, V>],
}

impl<K, V> Branch<'_, K, V> {
    fn goes_on(&self) -> bool {
        !self.inner.is_empty()
    }
}

/// Splits prefixes longer than `depth` by their next `width` bits; `outer` is the value of the prefix around them.
///
/// They are sorted by bits, then length. So a prefix comes after those that contain it, and those that begin in one slot
/// come together, first the ones that end at this level.
fn branches<K: Key, V: Copy>(
    prefixes: &[Prefix<K, V>],
    depth: u32,
    width: u32,
    outer: Option<V>,
) -> Vec<Branch<'_, K, V>> {
    let mut branches = vec![Branch { value: outer, inner: &[] }; 1 << width];
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
        branches[first].inner = longer;
    }
    branches
}

/// An address as an integer, read from its most significant bit on.
pub(super) trait Key: Copy + Ord {
    /// The first `width` bits.
    fn first(self, width: u32) -> usize;
    /// What follows the first `width` bits, zeros after the last.
    fn skip(self, width: u32) -> Self;
}

// Shifting twice lets `first` take a width of zero.
impl Key for u32 {
    #[inline]
    fn first(self, width: u32) -> usize {
        (self >> 1 >> (31 - width)) as usize
    }

    #[inline]
    fn skip(self, width: u32) -> Self {
        self << width
    }
}

impl Key for u128 {
    #[inline]
    fn first(self, width: u32) -> usize {
        (self >> 1 >> (127 - width)) as usize
    }

    #[inline]
    fn skip(self, width: u32) -> Self {
        self << width
    }
}
