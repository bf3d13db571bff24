//! One route to several appliances: every flow uses one of them (RSEL-06).
//!
//! One idea: the choice is a function of the packet. So nothing is remembered, and every worker, a restarted daemon and
//! `explain` choose alike. The two directions of a flow are two inputs: Azure promises no symmetry for appliances that
//! share a route, so a design that needs it must fail here too. Members are not probed: flows of a member with an
//! address that no NIC owns are dropped, and no flow moves for it.

use std::net::IpAddr;

use crate::dataplane::NextHop;
use crate::wire::Tuple;

/// The members of a route to several appliances, in the route's order.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Spread(Box<[NextHop]>);

impl Spread {
    pub fn new(members: impl IntoIterator<Item = NextHop>) -> Self {
        Self(members.into_iter().collect())
    }

    pub fn members(&self) -> &[NextHop] {
        &self.0
    }

    /// The index in [`Self::members`] of the member that carries a flow.
    #[inline]
    pub fn share(&self, flow: &Tuple) -> usize {
        // Multiplying by the count spreads the high half evenly, and is cheaper than a remainder.
        (((hash(flow) >> 32) * self.0.len() as u64) >> 32) as usize
    }

    #[inline]
    pub fn choose(&self, flow: &Tuple) -> NextHop {
        self.0.get(self.share(flow)).copied().unwrap_or(NextHop::Unreachable)
    }
}

/// Hashes addresses, protocol and ports; for a ping its identifier is in both ports. A folded multiplication mixes a
/// word in about a nanosecond. There is no secret seed: a sender may as well choose its appliance.
#[inline]
pub(in crate::dataplane) fn hash(flow: &Tuple) -> u64 {
    // The first digits of pi.
    const SALT: [u64; 3] = [0x243f_6a88_85a3_08d3, 0x1319_8a2e_0370_7344, 0xa409_3822_299f_31d0];
    let ports = u64::from(flow.src_port) << 32 | u64::from(flow.dst_port) << 16 | u64::from(flow.protocol.0);
    let src = fold(word(&flow.src) ^ SALT[0], ports ^ SALT[1]);
    fold(src ^ SALT[2], word(&flow.dst) ^ SALT[1])
}

#[inline]
fn word(address: &IpAddr) -> u64 {
    match address {
        IpAddr::V4(address) => address.to_bits().into(),
        IpAddr::V6(address) => {
            let bits = address.to_bits();
            fold((bits >> 64) as u64 ^ 0x082e_fa98_ec4e_6c89, bits as u64 ^ 0x4528_21e6_38d0_1377)
        }
    }
}

#[inline]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    (product >> 64) as u64 ^ product as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataplane::NicId;
    use crate::wire::Protocol;

    fn spread(members: u32) -> Spread {
        Spread::new((0..members).map(|nic| NextHop::Nic(NicId(nic))))
    }

    fn flow(src: &str, src_port: u16, dst: &str, dst_port: u16) -> Tuple {
        let address = |text: &str| text.parse().expect("an address");
        Tuple { src: address(src), dst: address(dst), protocol: Protocol::TCP, src_port, dst_port }
    }

    /// Flows that differ in one field only, whichever, fall on the members evenly: within 20 % of a fair share.
    #[test]
    fn rsel_06_flows_spread_evenly() {
        let by_port: Vec<_> = (0..16_000).map(|i| flow("10.1.0.4", 32_768 + i, "10.2.0.4", 443)).collect();
        let by_host: Vec<_> =
            (0..16_000).map(|i| flow(&format!("10.1.{}.{}", i / 250, i % 250), 50_000, "10.2.0.4", 443)).collect();
        let by_v6: Vec<_> = (0..16_000).map(|i| flow("fd00:1::4", 50_000, &format!("fd00:2::{i:x}"), 443)).collect();
        for (flows, members) in [(by_port, 2), (by_host, 7), (by_v6, 64)] {
            let mut shares = vec![0_usize; members];
            for flow in &flows {
                shares[spread(members as u32).share(flow)] += 1;
            }
            let fair = flows.len() / members;
            assert!(shares.iter().all(|share| share.abs_diff(fair) * 5 < fair), "{members}: {shares:?}");
        }
    }

    /// Half of the flows come back by the other of two appliances.
    #[test]
    fn rsel_06_the_two_directions_choose_for_themselves() {
        let two = spread(2);
        let flows = (0..2_000).map(|i| flow("10.1.0.4", 40_000 + i, "10.2.0.4", 443));
        let crossed = flows.filter(|flow| two.share(flow) != two.share(&flow.mirrored())).count();
        assert!((800..1_200).contains(&crossed), "{crossed}");
    }

    /// A change of this function moves every flow of every user to another appliance.
    #[test]
    fn rsel_06_the_choice_never_changes() {
        let seven = spread(7);
        let chosen: Vec<_> = (0..8).map(|i| seven.share(&flow("10.1.0.4", 50_000 + i, "10.2.0.4", 443))).collect();
        assert_eq!(chosen, [4, 6, 1, 0, 1, 6, 4, 0]);
        let six = seven.share(&flow("fd00:1::4", 50_000, "fd00:2::4", 443));
        assert_eq!(seven.choose(&flow("fd00:1::4", 50_000, "fd00:2::4", 443)), NextHop::Nic(NicId(six as u32)));
        assert_eq!(spread(0).choose(&flow("10.1.0.4", 1, "10.2.0.4", 2)), NextHop::Unreachable, "no member, no panic");
    }
}
