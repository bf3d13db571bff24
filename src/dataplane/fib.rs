//! Longest-prefix match. (interface; bodies to come)
use ipnet::IpNet;
use std::net::IpAddr;

/// An immutable longest-prefix-match table over IPv4 and IPv6.
#[derive(Debug)]
pub struct Lpm<V> {
    v: std::marker::PhantomData<V>,
}

/// Collects prefixes for an [`Lpm`]; a later value for the same prefix replaces the earlier.
#[derive(Debug)]
pub struct LpmBuilder<V> {
    v: std::marker::PhantomData<V>,
}

#[allow(unused_variables, clippy::todo)]
impl<V: Copy> LpmBuilder<V> {
    pub fn new() -> Self {
        todo!()
    }
    pub fn insert(&mut self, prefix: IpNet, value: V) {
        todo!()
    }
    pub fn build(&self) -> Lpm<V> {
        todo!()
    }
}

#[allow(unused_variables, clippy::todo)]
impl<V: Copy> Lpm<V> {
    pub fn lookup(&self, address: IpAddr) -> Option<V> {
        todo!()
    }
}

#[allow(clippy::todo)]
impl<V: Copy> FromIterator<(IpNet, V)> for Lpm<V> {
    fn from_iter<I: IntoIterator<Item = (IpNet, V)>>(_iter: I) -> Self {
        todo!()
    }
}
