//! Functions on address ranges.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::arm::{Key, Value};

use super::super::machine::{Outcome, fault};
use super::arguments::Arguments;

pub(super) fn call(name: &str, given: &Arguments<'_>) -> Option<Outcome<Value>> {
    Some(match name {
        "cidrsubnet" => subnet(given),
        "cidrhost" => host(given),
        "parsecidr" => parsed(given),
        _ => return None,
    })
}

fn range(given: &Arguments<'_>) -> Outcome<IpNet> {
    let text = given.text(0)?;
    text.parse().map_err(|_| fault(format!("`{text:.60}` is not an address range such as 10.0.0.0/16")))
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(u32::from(address)),
        IpAddr::V6(address) => u128::from(address),
    }
}

/// The address with this number in the family of another.
fn address(like: IpAddr, number: u128) -> Option<IpAddr> {
    match like {
        IpAddr::V4(_) => u32::try_from(number).ok().map(|number| IpAddr::V4(number.into())),
        IpAddr::V6(_) => Some(IpAddr::V6(number.into())),
    }
}

fn subnet(given: &Arguments<'_>) -> Outcome<Value> {
    given.count(3, 3)?;
    let (range, length, index) = (range(given)?, given.size(1)?, given.size(2)?);
    let none = || fault(format!("{range} has no subnet {index} with a prefix length of {length}"));
    let length = u8::try_from(length).ok().filter(|it| (range.prefix_len()..=range.max_prefix_len()).contains(it));
    let length = length.ok_or_else(none)?;
    if (range.prefix_len() < length || index > 0) && index as u128 >> u32::from(length - range.prefix_len()) != 0 {
        return Err(none());
    }
    let step = (index as u128).checked_shl(u32::from(range.max_prefix_len() - length)).unwrap_or(0);
    let first = address(range.network(), number(range.network()).saturating_add(step)).ok_or_else(none)?;
    let subnet = IpNet::new(first, length).map_err(|_| none())?;
    Ok(Value::Text(subnet.to_string()))
}

/// The first usable address has number 0.
fn host(given: &Arguments<'_>) -> Outcome<Value> {
    given.count(2, 2)?;
    let (range, index) = (range(given)?, given.size(1)?);
    let found = address(range.network(), number(range.network()).saturating_add(index as u128 + 1));
    let found = found.filter(|found| range.contains(found) && (*found != range.broadcast() || range.addr().is_ipv6()));
    found
        .map(|address| Value::Text(address.to_string()))
        .ok_or_else(|| fault(format!("{range} has no usable address {index}")))
}

fn parsed(given: &Arguments<'_>) -> Outcome<Value> {
    given.count(1, 1)?;
    let range = range(given)?;
    let last = number(range.broadcast());
    let last = if range.addr().is_ipv4() { last.saturating_sub(1) } else { last };
    let shown = |number: u128| address(range.network(), number).map_or_else(String::new, |it| it.to_string());
    let mut entries = vec![("network", range.network().to_string()), ("netmask", range.netmask().to_string())];
    if range.addr().is_ipv4() {
        entries.push(("broadcast", range.broadcast().to_string()));
    }
    entries.push(("firstUsable", shown(number(range.network()).saturating_add(1))));
    entries.push(("lastUsable", shown(last)));
    let entries = entries.into_iter().map(|(key, text)| (Key::new(given.at, key), given.node(Value::Text(text))));
    let length = (Key::new(given.at, "cidr"), given.node(Value::Number(range.prefix_len().into())));
    Ok(Value::Object(entries.chain([length]).collect()))
}
