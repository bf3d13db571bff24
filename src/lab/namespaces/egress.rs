//! Real access for a lab's Internet: a pair of devices between its node and the daemon's namespace. The kernel there
//! forwards and translates the source to its own address.
//!
//! One idea: all that is outside the lab is one thing, recorded before it is made, which a later process undoes after
//! a crash, from any namespace. The node forwards only what comes from the fabric. IPv4 only.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use crate::model::{Internet, stable_hash};
use crate::sys::netlink::Netlink;
use crate::sys::netns::{self, Identity, Netns};
use crate::sys::{files, nftables};

use super::device::set;

/// What the names of devices begin with that lead out of labs; the rest is eight digits.
const DEVICE: &str = "vnetout";
/// The node's end.
const INSIDE: &str = "out0";
/// Pairs of addresses for the two ends: link-local, so that no network routes them, and away from clouds' metadata.
const PAIRS: Ipv4Addr = Ipv4Addr::new(169, 254, 240, 0);
const PAIRS_MAX: u32 = 1 << 10;
/// Routes of the node for what comes from the fabric.
const TABLE: u8 = 100;
const FORWARDING: &str = "/proc/sys/net/ipv4/ip_forward";

/// What stands in the daemon's namespace for one lab.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::lab) struct Egress {
    /// The end of the pair there, and the name of its rules.
    device: String,
    namespace: Identity,
}

impl fmt::Display for Egress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "device {} and its rules", self.device)
    }
}

impl Egress {
    /// Of a lab, in the calling thread's namespace.
    pub(in crate::lab) fn of(lab: &str) -> io::Result<Self> {
        let here = netns::identity(Path::new(netns::CURRENT));
        let namespace = here.ok_or_else(|| io::Error::other("the namespace of this process cannot be told"))?;
        Ok(Self { device: device(lab), namespace })
    }

    /// Whether it is the one that a lab would make.
    pub(in crate::lab) fn is_of(&self, lab: &str) -> bool {
        self.device == device(lab)
    }

    /// Whether anything of it is in the calling thread's namespace.
    pub(in crate::lab) fn stands(&self) -> bool {
        let has_device = Netlink::open().is_ok_and(|mut netlink| netlink.link(&self.device).is_ok());
        has_device || self.note().exists()
    }

    /// Leads from the Internet's node into the calling thread's namespace.
    pub(in crate::lab) fn make(&self, node: &Netns) -> io::Result<()> {
        let _alone = alone()?;
        let mut netlink = Netlink::open()?;
        let (outside, inside) = free_pair(&mut netlink, &self.device)?;
        netlink.add_pair(&self.device, INSIDE, node)?;
        let made = self.lead(&mut netlink, outside).and_then(|()| node.run(|| let_out(inside, outside.addr()))?);
        if made.is_err() {
            // Half of it is removed; the first error is reported.
            let _ = self.undo_here();
        }
        made
    }

    /// The end in this namespace.
    fn lead(&self, netlink: &mut Netlink, address: Ipv4Net) -> io::Result<()> {
        let link = netlink.link(&self.device)?;
        netlink.add_address(link, address.into())?;
        netlink.up(link)?;
        nftables::set_masquerade_from(&self.device, true)?;
        // Of a namespace that has gone; this one reuses its number.
        if !self.has_others()? {
            gone(fs::remove_file(self.note()))?;
        }
        if fs::read_to_string(FORWARDING)?.trim() == "0" {
            files::create(&self.note(), files::OWN)?;
            fs::write(FORWARDING, "1")?;
        }
        Ok(())
    }

    /// Removes all of it, also what a crash left half-made. It succeeds where it is gone already, and where the
    /// namespace can no longer be entered.
    pub(in crate::lab) fn undo(&self) -> io::Result<()> {
        let Some(namespace) = netns::find(self.namespace) else { return Ok(()) };
        namespace.run(|| {
            let _alone = alone()?;
            self.undo_here()
        })?
    }

    fn undo_here(&self) -> io::Result<()> {
        let rules = match nftables::set_masquerade_from(&self.device, false) {
            Err(error) if error.kind() == ErrorKind::Unsupported => Ok(()),
            done => done,
        };
        let device = Netlink::open().and_then(|mut netlink| netlink.remove_link(&self.device));
        // The last lab to go restores what the first one found.
        let is_noted = self.note().exists() && !self.has_others()?;
        let forwarding = if is_noted {
            fs::write(FORWARDING, "0").and_then(|()| gone(fs::remove_file(self.note())))
        } else {
            Ok(())
        };
        rules.and(device).and(forwarding)
    }

    /// Records, while it is there, that the kernel did not forward before the first lab.
    fn note(&self) -> PathBuf {
        Path::new("/run").join(format!("vnet-ip-forward-{}", self.namespace))
    }

    /// Whether other labs lead out of this namespace.
    fn has_others(&self) -> io::Result<bool> {
        let devices = fs::read_to_string("/proc/thread-self/net/dev")?;
        let mut names = devices.lines().filter_map(|line| line.split(':').next()).map(str::trim);
        Ok(names.any(|name| name.starts_with(DEVICE) && name != self.device))
    }
}

fn device(lab: &str) -> String {
    format!("{DEVICE}{:08x}", stable_hash(&[lab]) as u32)
}

/// The node's end, in its namespace.
fn let_out(address: Ipv4Net, router: Ipv4Addr) -> io::Result<()> {
    let mut netlink = Netlink::open()?;
    let link = netlink.link(INSIDE)?;
    netlink.add_address(link, address.into())?;
    netlink.up(link)?;
    netlink.add_default_in_table(link, router, TABLE)?;
    netlink.add_rule(Internet::INTERFACE, TABLE)?;
    set("ipv4/ip_forward", "1")?;
    nftables::set_masquerade(Some(&[]))
}

/// One at a time: what the last lab puts back, the next one must not have seen.
fn alone() -> io::Result<File> {
    let names = File::open(netns::NAMES)?;
    names.lock()?;
    Ok(names)
}

/// Two addresses that are free here, beginning with those that the device's name hashes to.
fn free_pair(netlink: &mut Netlink, device: &str) -> io::Result<(Ipv4Net, Ipv4Net)> {
    let first = stable_hash(&[device]) as u32;
    for nth in 0..PAIRS_MAX {
        let base = PAIRS.to_bits() + 4 * (first.wrapping_add(nth) % PAIRS_MAX);
        let [outside, inside] = [1, 2].map(|end| Ipv4Net::new_assert(Ipv4Addr::from_bits(base + end), 30));
        if !netlink.is_local(outside.addr().into())? {
            return Ok((outside, inside));
        }
    }
    Err(io::Error::new(ErrorKind::AddrInUse, format!("all addresses of {PAIRS}/20 are in use here")))
}

fn gone(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
