//! Sets of addresses as lists of prefixes: the little arithmetic that service tags need.

use ipnet::IpNet;

/// The addresses of `from` that are in none of `holes`, as the fewest prefixes.
pub fn difference(from: &[IpNet], holes: &[IpNet]) -> Vec<IpNet> {
    let left = from.iter().flat_map(|prefix| without(*prefix, holes)).collect();
    IpNet::aggregate(&left)
}

/// A prefix minus others: all of it, nothing, or what is left of its halves.
fn without(prefix: IpNet, holes: &[IpNet]) -> Vec<IpNet> {
    let holes: Vec<_> = holes.iter().copied().filter(|hole| hole.contains(&prefix) || prefix.contains(hole)).collect();
    if holes.is_empty() {
        return vec![prefix];
    }
    if holes.iter().any(|hole| hole.contains(&prefix)) {
        return Vec::new();
    }
    let length = prefix.prefix_len() + 1;
    let halves = prefix.subnets(length).expect("a prefix that strictly contains another can be halved");
    halves.flat_map(|half| without(half, &holes)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(prefixes: &[&str]) -> Vec<IpNet> {
        prefixes.iter().map(|prefix| prefix.parse().expect("a prefix")).collect()
    }

    #[test]
    fn a_hole_leaves_the_halves_beside_it() {
        let left = difference(&set(&["10.0.0.0/8"]), &set(&["10.64.0.0/10", "10.192.0.0/16", "11.0.0.0/8"]));
        let expected = ["10.0.0.0/10", "10.128.0.0/10", "10.193.0.0/16", "10.194.0.0/15", "10.196.0.0/14"];
        assert_eq!(left, set(&[&expected[..], &["10.200.0.0/13", "10.208.0.0/12", "10.224.0.0/11"]].concat()));
    }

    #[test]
    fn nothing_is_left_of_a_set_inside_its_holes() {
        assert_eq!(difference(&set(&["10.0.0.0/8", "2001:db8::/32"]), &set(&["0.0.0.0/0", "::/0"])), []);
    }

    #[test]
    fn families_do_not_touch_and_neighbours_merge() {
        let left = difference(&set(&["10.0.0.0/9", "10.128.0.0/9", "::/0"]), &set(&["10.0.0.0/32", "10.0.0.1/32"]));
        let again = IpNet::aggregate(&[left.clone(), set(&["10.0.0.0/31"])].concat());
        assert_eq!(again, set(&["10.0.0.0/8", "::/0"]));
    }
}
