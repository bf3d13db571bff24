//! Matches many rules at once: one bit a rule, one row of bits a class of values (Lakshman and Stiliadis, SIGCOMM
//! 1998).
//!
//! One idea: for each field of a tuple, the values that satisfy the same rules are one class, and the class has a row
//! with a bit for each of those rules. Five small lookups give five rows; the first bit set in all of them is the rule.
//! Few classes differ, so equal rows are stored once. A row begins with a summary, a bit for each stretch of it that
//! has any rule (Baboescu and Varghese, SIGCOMM 2001). So of a thousand rules, a packet reads one or two words.
//!
//! The parent module decides what a rule means; here are only sets.

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::sync::Arc;

use foldhash::fast::RandomState;
use ipnet::IpNet;

use crate::dataplane::{Lpm, LpmBuilder};
use crate::wire::{Protocol, Tuple};

use super::{AclRule, has_ports};

#[derive(Debug)]
pub(super) struct BitVector {
    src: Lpm<Row>,
    dst: Lpm<Row>,
    src_ports: Intervals,
    dst_ports: Intervals,
    /// By protocol number. The row of a protocol without ports holds only rules that do not restrict ports; all rows of
    /// the port fields contain those.
    protocols: Box<[Row]>,
    rows: Rows,
}

/// Where a row begins in [`Rows::words`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Row(u32);

impl BitVector {
    pub(super) fn new(rules: &[AclRule]) -> Self {
        let mut rows = RowBuilder::new(rules.len());
        Self {
            src: prefixes(rules, |rule| &rule.src, &mut rows),
            dst: prefixes(rules, |rule| &rule.dst, &mut rows),
            src_ports: Intervals::new(rules, |rule| &rule.src_ports, &mut rows),
            dst_ports: Intervals::new(rules, |rule| &rule.dst_ports, &mut rows),
            protocols: protocols(rules, &mut rows),
            rows: rows.build(),
        }
    }

    /// The index of the first rule that matches.
    #[inline]
    pub(super) fn first_match(&self, tuple: &Tuple) -> Option<usize> {
        self.rows.first_common([
            self.src.lookup(tuple.src)?,
            self.dst.lookup(tuple.dst)?,
            self.src_ports.lookup(tuple.src_port),
            self.dst_ports.lookup(tuple.dst_port),
            self.protocols[usize::from(tuple.protocol.0)],
        ])
    }

    /// Bytes held on the heap.
    pub(super) fn memory(&self) -> usize {
        self.src.memory()
            + self.dst.memory()
            + self.src_ports.memory()
            + self.dst_ports.memory()
            + size_of_val(&*self.protocols)
            + size_of_val(&*self.rows.words)
    }
}

/// All rows, each a summary and then `width` words, bit *n* of those being rule *n*.
#[derive(Debug)]
struct Rows {
    words: Box<[u64]>,
    width: usize,
    /// Words that one bit of a summary stands for.
    stretch: usize,
}

impl Rows {
    /// The first bit set in all of the rows.
    #[inline]
    fn first_common(&self, rows: [Row; 5]) -> Option<usize> {
        let rows = rows.map(|Row(at)| &self.words[at as usize..][..=self.width]);
        let common = |word: usize| rows[0][word] & rows[1][word] & rows[2][word] & rows[3][word] & rows[4][word];
        let mut summary = common(0);
        while summary != 0 {
            let first = summary.trailing_zeros() as usize * self.stretch;
            for word in first..self.width.min(first + self.stretch) {
                let rules = common(1 + word);
                if rules != 0 {
                    return Some(word * 64 + rules.trailing_zeros() as usize);
                }
            }
            summary &= summary - 1;
        }
        None
    }
}

/// A set of rules while tables are built.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct RuleSet(Box<[u64]>);

impl RuleSet {
    fn insert(&mut self, rule: usize) {
        self.0[rule / 64] |= 1 << (rule % 64);
    }

    fn unite(&mut self, other: &Self) {
        self.0.iter_mut().zip(&other.0).for_each(|(word, other)| *word |= other);
    }
}

/// Stores each different set of rules once.
struct RowBuilder {
    words: Vec<u64>,
    width: usize,
    stretch: usize,
    known: HashMap<RuleSet, Row, RandomState>,
}

impl RowBuilder {
    fn new(rules: usize) -> Self {
        let width = rules.div_ceil(64);
        let stretch = width.div_ceil(u64::BITS as usize).max(1);
        Self { words: Vec::new(), width, stretch, known: HashMap::default() }
    }

    fn empty_set(&self) -> RuleSet {
        RuleSet(vec![0; self.width].into())
    }

    fn row(&mut self, set: &RuleSet) -> Row {
        if let Some(row) = self.known.get(set) {
            return *row;
        }
        let row = Row(self.words.len() as u32);
        let any = |words: &[u64]| u64::from(words.iter().any(|word| *word != 0));
        let stretches = set.0.chunks(self.stretch).zip(0..);
        self.words.push(stretches.fold(0, |summary, (words, bit)| summary | any(words) << bit));
        self.words.extend_from_slice(&set.0);
        self.known.insert(set.clone(), row);
        row
    }

    fn build(self) -> Rows {
        Rows { words: self.words.into(), width: self.width, stretch: self.stretch }
    }
}

/// For each prefix, the rules that name it or one around it: so the longest match gives all rules of an address.
fn prefixes(rules: &[AclRule], field: fn(&AclRule) -> &Arc<[IpNet]>, rows: &mut RowBuilder) -> Lpm<Row> {
    let lists = by_list(rules, field, rows);
    let mut named: Vec<(IpNet, usize)> = Vec::new();
    for (index, list) in lists.iter().enumerate() {
        named.extend(list.prefixes.iter().map(|prefix| (prefix.trunc(), index)));
    }
    // By address, then length: a prefix comes after those around it.
    named.sort_unstable();
    let mut lpm = LpmBuilder::new();
    let mut around: Vec<(IpNet, RuleSet)> = Vec::new();
    for same in named.chunk_by(|a, b| a.0 == b.0) {
        let prefix = same[0].0;
        while around.last().is_some_and(|(outer, _)| !outer.contains(&prefix)) {
            around.pop();
        }
        let mut set = around.last().map_or_else(|| rows.empty_set(), |(_, outer)| outer.clone());
        for (_, list) in same {
            set.unite(&lists[*list].rules);
        }
        lpm.insert(prefix, rows.row(&set));
        around.push((prefix, set));
    }
    lpm.build()
}

/// A list of prefixes and the rules that have it.
struct RulesOfList<'a> {
    prefixes: &'a [IpNet],
    rules: RuleSet,
}

/// Each list once: ten rules that name one tag cost as much as one.
fn by_list<'a>(rules: &'a [AclRule], field: fn(&AclRule) -> &Arc<[IpNet]>, rows: &RowBuilder) -> Vec<RulesOfList<'a>> {
    let mut lists: Vec<RulesOfList<'_>> = Vec::new();
    let mut known: HashMap<*const IpNet, usize, RandomState> = HashMap::default();
    for (index, rule) in rules.iter().enumerate() {
        let prefixes = field(rule);
        let at = *known.entry(prefixes.as_ptr()).or_insert(lists.len());
        if at == lists.len() {
            lists.push(RulesOfList { prefixes, rules: rows.empty_set() });
        }
        lists[at].rules.insert(index);
    }
    lists
}

fn protocols(rules: &[AclRule], rows: &mut RowBuilder) -> Box<[Row]> {
    let row = |number| {
        let protocol = Protocol(number);
        let mut set = rows.empty_set();
        for (index, rule) in rules.iter().enumerate() {
            if rule.protocol.matches(protocol) && (has_ports(protocol) || !rule.restricts_ports()) {
                set.insert(index);
            }
        }
        rows.row(&set)
    };
    (0..=u8::MAX).map(row).collect()
}

/// Port numbers cut where some rule's range begins or ends; an interval is found as a poptrie finds a leaf, by counting
/// bits. Measured against a binary search within each high byte: of a thousand rules, a fifth of the whole match.
#[derive(Debug)]
struct Intervals {
    /// One for each 64 ports up to the last start, and one for all beyond.
    blocks: Box<[Block]>,
    /// By interval.
    rows: Box<[Row]>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Block {
    /// The ports at which an interval starts.
    starts: u64,
    /// How many intervals start in the blocks before.
    before: u32,
}

impl Intervals {
    fn new(rules: &[AclRule], field: fn(&AclRule) -> &[RangeInclusive<u16>], rows: &mut RowBuilder) -> Self {
        let ends = |range: &RangeInclusive<u16>| [Some(*range.start()), range.end().checked_add(1)];
        let mut starts: Vec<u16> = rules.iter().flat_map(field).flat_map(ends).flatten().chain([0]).collect();
        starts.sort_unstable();
        starts.dedup();
        let mut sets = vec![rows.empty_set(); starts.len()];
        for (index, rule) in rules.iter().enumerate() {
            for range in field(rule) {
                let first = starts.partition_point(|start| start < range.start());
                let end = starts.partition_point(|start| start <= range.end());
                sets.iter_mut().take(end).skip(first).for_each(|set| set.insert(index));
            }
        }
        let mut blocks = vec![Block::default(); starts.last().map_or(0, |last| usize::from(last >> 6)) + 2];
        for start in &starts {
            blocks[usize::from(start >> 6)].starts |= 1 << (start & 63);
        }
        let mut before = 0;
        for block in &mut blocks {
            block.before = before;
            before += block.starts.count_ones();
        }
        Self { blocks: blocks.into(), rows: sets.iter().map(|set| rows.row(set)).collect() }
    }

    #[inline]
    fn lookup(&self, port: u16) -> Row {
        let block = self.blocks[usize::from(port >> 6).min(self.blocks.len() - 1)];
        let up_to_port = u64::MAX >> (63 - (port & 63));
        self.rows[(block.before + (block.starts & up_to_port).count_ones() - 1) as usize]
    }

    fn memory(&self) -> usize {
        size_of_val(&*self.blocks) + size_of_val(&*self.rows)
    }
}
