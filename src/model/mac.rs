//! MAC addresses of interfaces (ADR-15), and the hash that lasting names are made of.
//!
//! One idea: Azure hands such things out and keeps them for an object's life. A lab has no such allocator, so they
//! follow from names alone, by a hash that never changes: the same today, tomorrow and on another machine.

use std::collections::HashSet;
use std::fmt;

use super::Network;

/// Of an interface. Written as Azure's logs do: twelve digits in upper case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Mac(pub [u8; 6]);

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02X}"))
    }
}

/// Those that are handed out, no two alike.
#[derive(Debug, Default)]
pub struct Macs(HashSet<Mac>);

impl Macs {
    /// That of an interface of `owner`, in a lab.
    pub fn of(&mut self, lab: &str, owner: &str, name: &str) -> Mac {
        // The first that is free: of a hundred interfaces two hash alike once in 7,000 labs.
        let free = (0_u32..).map(|n| number(&[lab, owner, name, &n.to_string()]));
        free.into_iter().find(|mac| self.0.insert(*mac)).expect("there are more addresses than interfaces")
    }
}

impl Network {
    /// Of each interface, by its index.
    pub fn macs(&self) -> Vec<Mac> {
        let mut macs = Macs::default();
        let nics = self.network_interfaces.iter();
        nics.map(|nic| macs.of(&self.name, &mac_owner(&self.vm(nic.virtual_machine).name), &nic.name)).collect()
    }
}

/// What a machine's interfaces belong to.
pub fn mac_owner(machine: &str) -> String {
    format!("virtualMachines/{machine}")
}

/// 00-0D-3A or 00-22-48, and 24 bits.
fn number(words: &[&str]) -> Mac {
    let [.., range, first, second, third] = stable_hash(words).to_be_bytes();
    let [one, two, three] = if range & 1 == 0 { [0x00, 0x0d, 0x3a] } else { [0x00, 0x22, 0x48] };
    Mac([one, two, three, first, second, third])
}

/// FNV-1a with 128 bits, without regard to case (ARM-03), mixed once more because neighbouring names differ in few of
/// its low bits.
pub fn stable_hash(words: &[&str]) -> u128 {
    const OFFSET: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    let bytes = words.iter().flat_map(|word| word.bytes().map(|byte| byte.to_ascii_lowercase()).chain([0]));
    let hash = bytes.fold(OFFSET, |hash, byte| (hash ^ u128::from(byte)).wrapping_mul(PRIME));
    (hash ^ hash >> 61).wrapping_mul(PRIME)
}
