//! Devices in namespaces that exist already.

use std::fmt;
use std::path::PathBuf;

use ipnet::IpNet;

/// The TUN in an existing namespace (attach mode).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attach {
    pub namespace: AttachNamespace,
    pub interface: String,
    /// Addresses to set with their prefix lengths; for an interface they come from its ipConfigurations.
    pub addresses: Vec<IpNet>,
    /// Bring the device up, set the addresses, and route everything to it if the namespace has no default route.
    pub configure: bool,
}

/// How a namespace is named.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum AttachNamespace {
    /// As `ip netns` names it, below `/run/netns`.
    Name(String),
    Path(PathBuf),
    Pid(u32),
    /// Of Docker or Podman. A file knows its name alone; the lab looks for its first process.
    Container {
        name: String,
        process: Option<u32>,
    },
}

impl fmt::Display for AttachNamespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Path(path) => path.display().fmt(f),
            Self::Pid(pid) => write!(f, "pid:{pid}"),
            Self::Container { name, .. } => write!(f, "container:{name}"),
        }
    }
}
