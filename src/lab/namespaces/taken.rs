//! A veth pair that stood before the lab, taken for an attachment that leaves its interface alone.
//!
//! One idea: nothing of the pair is moved, renamed or set up. A second pair leads from where its other end is into the
//! router's namespace, and two programs hand packets from one pair to the other. The second pair goes with the daemon.
//! What is left on the first is one program, which the journal names.

use std::fmt;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::sys::netlink::{Link, Netlink};
use crate::sys::netns::{self, Identity, Netns};
use crate::sys::veth::{self, End, OtherEnd};

use super::device::set;

/// Programs have the name of their lab behind this.
const PROGRAM: &str = "vnet lab ";

/// What of it is to be given back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::lab) struct Taken {
    lab: String,
    /// Where the lab attaches: the namespace, and the interface in it.
    pub(in crate::lab) at: (PathBuf, String),
    /// The other end.
    namespace: Identity,
    index: u32,
    name: String,
    was_up: bool,
}

impl fmt::Display for Taken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "program at device {} of namespace {}", self.name, self.namespace)
    }
}

impl Taken {
    /// Finds the other end of an interface, if that is free. An error says what to do.
    pub(super) fn find(
        lab: &str,
        path: &Path,
        interface: &str,
        namespace: &Netns,
        is_attached: impl Fn(&End) -> bool,
    ) -> io::Result<(Self, Netns)> {
        let refused = |why: String| Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        let end = match OtherEnd::of(namespace, interface) {
            Err(error) if Errno::from_io_error(&error) == Some(Errno::NODEV) => {
                return refused(format!(
                    "there is no {interface}; make a veth pair with that end, or leave `configure: false` out: vnet then makes one"
                ));
            }
            found => match found? {
                OtherEnd::NoPair => {
                    return refused("`device: veth` takes one end of a veth pair, and it is none".to_owned());
                }
                OtherEnd::Unknown => {
                    return refused(
                        "its other end is in a namespace that has no name and no process: give that a name with `ip netns attach`"
                            .to_owned(),
                    );
                }
                OtherEnd::Here(other) => {
                    return refused(format!(
                        "its other end, {other}, is in the same namespace: move that with `ip link set {other} netns NAME`"
                    ));
                }
                OtherEnd::There(end) => *end,
            },
        };
        if is_attached(&end) {
            let name = &end.name;
            return refused(format!("its other end, {name}, is attached too: each attachment takes a pair of its own"));
        }
        if let Some(use_) = in_use(&end) {
            return refused(use_);
        }
        let End { namespace: outside, identity, link, name, is_up, .. } = end;
        let at = (path.to_owned(), interface.to_owned());
        Ok((Self { lab: lab.to_owned(), at, namespace: identity, index: link.0, name, was_up: is_up }, outside))
    }

    /// The other end.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Whether this end of a pair is what it attaches.
    pub(super) fn is_at(&self, end: &End) -> bool {
        let (path, interface) = &self.at;
        *interface == end.name && netns::identity(path) == Some(end.identity)
    }

    /// What the pair that leads on is called beside it: its number is no other device's there.
    pub(super) fn relay(&self) -> String {
        format!("vnet-{}", self.index)
    }

    /// Puts the programs in place, in the calling thread's namespace: from now on packets take the other pair, once that
    /// is up.
    pub(super) fn lead_on(&self) -> io::Result<()> {
        let (mut netlink, end, name) = (Netlink::open()?, Link(self.index), self.relay());
        let relay = netlink.link(&name)?;
        set(&format!("ipv6/conf/{name}/disable_ipv6"), "1")?;
        let (back, on) = (veth::hand_to(end)?, veth::hand_to(relay)?);
        netlink.filter_ingress(relay, back.as_fd(), &self.program())?;
        netlink.filter_ingress(end, on.as_fd(), &self.program())?;
        let up = netlink.up(end);
        if up.is_err() {
            netlink.remove_filter(end, &self.program())?;
        }
        up
    }

    /// Why the pair could not be taken: there is something of that name or in that place.
    pub(super) fn explain(&self, error: io::Error) -> io::Error {
        if Errno::from_io_error(&error) != Some(Errno::EXIST) {
            return error;
        }
        let name = &self.name;
        let why = format!(
            "its other end, {name}, has programs or queueing of another owner: `tc filter show dev {name} ingress` lists them"
        );
        io::Error::new(io::ErrorKind::ResourceBusy, why)
    }

    /// Leaves the pair as it was. Does nothing where it is gone, or is another lab's now.
    pub(in crate::lab) fn undo(&self) -> io::Result<()> {
        let Some(namespace) = netns::find(self.namespace) else { return Ok(()) };
        namespace.run(|| {
            let mut netlink = Netlink::open()?;
            let end = Link(self.index);
            match netlink.link(&self.name) {
                Ok(link) if link == end => {}
                _ => return Ok(()),
            }
            netlink.remove_filter(end, &self.program())?;
            if self.was_up { Ok(()) } else { netlink.down(end) }
        })?
    }

    /// Whether a lab of this name took it.
    pub(in crate::lab) fn is_of(&self, lab: &str) -> bool {
        self.lab == lab
    }

    fn program(&self) -> String {
        format!("{PROGRAM}{}", self.lab)
    }
}

/// What it is used for already, and how to change that.
fn in_use(end: &End) -> Option<String> {
    let name = &end.name;
    if let Some(master) = &end.master {
        return Some(format!(
            "its other end, {name}, is a part of {master}: `ip link set {name} nomaster` sets it free"
        ));
    }
    let address = end.addresses.first()?;
    Some(format!("its other end, {name}, has the address {address}: `ip address flush dev {name}` sets it free"))
}
