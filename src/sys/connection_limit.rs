//! A limit on open connections, shared among the clients that open them.
//!
//! One idea: a client that opens too many loses its own oldest. Where all clients together have too many, the client
//! with the most loses its oldest. So no client keeps others out, and a client with stuck connections can still open
//! new ones.

use std::collections::{BTreeMap, BTreeSet};

/// The connections of each, by tokens that rise with time.
#[derive(Debug)]
pub struct ConnectionLimit<K> {
    most: usize,
    share: usize,
    number: usize,
    tokens: BTreeMap<K, BTreeSet<u64>>,
}

impl<K: Ord + Clone> ConnectionLimit<K> {
    /// `most` of all, `share` of each.
    pub const fn new(most: usize, share: usize) -> Self {
        Self { most, share, number: 0, tokens: BTreeMap::new() }
    }

    pub const fn is_empty(&self) -> bool {
        self.number == 0
    }

    /// Counts a connection in; returns the one that is to be closed for it, which is counted out.
    pub fn enter(&mut self, of: K, token: u64) -> Option<u64> {
        let own = self.tokens.entry(of.clone()).or_default();
        self.number += usize::from(own.insert(token));
        let loses = if own.len() > self.share {
            of
        } else if self.number > self.most {
            self.tokens.iter().max_by_key(|(_, tokens)| tokens.len())?.0.clone()
        } else {
            return None;
        };
        let oldest = *self.tokens.get(&loses)?.first()?;
        self.leave(&loses, oldest);
        Some(oldest)
    }

    /// Counts one out, if it is in.
    pub fn leave(&mut self, of: &K, token: u64) {
        let Some(own) = self.tokens.get_mut(of) else { return };
        self.number -= usize::from(own.remove(&token));
        if own.is_empty() {
            self.tokens.remove(of);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_with_too_many_loses_its_oldest() {
        let mut limit = ConnectionLimit::new(5, 3);
        let mut enter = |of, token| limit.enter(of, token);
        assert_eq!([enter('a', 1), enter('a', 2), enter('a', 3), enter('a', 4)], [None, None, None, Some(1)]);
        assert_eq!([enter('b', 5), enter('c', 6)], [None, None]);
        assert_eq!(enter('d', 7), Some(2), "a has most");
        limit.leave(&'a', 2);
        limit.leave(&'a', 3);
        assert_eq!(limit.enter('a', 8), None, "the place that one left");
        for (of, token) in [('a', 4), ('a', 8), ('b', 5), ('c', 6), ('d', 7)] {
            assert!(!limit.is_empty());
            limit.leave(&of, token);
        }
        assert!(limit.is_empty() && limit.tokens.is_empty());
    }
}
