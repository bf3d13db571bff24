//! A resource as ARM knows it: id, type, and the object as it was written.

use std::fmt;
use std::hash::{Hash, Hasher};

use super::tree::{Node, Place};

/// An ARM resource id, `/subscriptions/…/providers/Microsoft.Network/virtualNetworks/hub`. Compared without case.
#[derive(Clone, Debug)]
pub struct ResourceId(String);

/// A resource, whatever document it came from. A child resource (`virtualNetworks/subnets`) may be one of its own or stand
/// in its parent's properties.
#[derive(Clone, Debug)]
pub struct Resource {
    pub id: ResourceId,
    /// The full type, as written: `Microsoft.Network/virtualNetworks/subnets`.
    pub kind: String,
    /// The full name, as written: `hub/default` for a child.
    pub name: String,
    pub at: Place,
    /// The object: `properties`, `location`, `sku`, `zones`, `tags` and so on, with all expressions evaluated.
    pub body: Node,
    /// It is only referred to (`existing`): the document does not say what it has.
    pub existing: bool,
}

impl ResourceId {
    pub fn new(id: impl Into<String>) -> Self {
        Self(id.into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl PartialEq for ResourceId {
    fn eq(&self, other: &Self) -> bool {
        self.0.eq_ignore_ascii_case(&other.0)
    }
}

impl Eq for ResourceId {}

impl Hash for ResourceId {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // The two cases of a letter differ in one bit. That others differ in it, too, only costs a comparison.
        const CASE: u64 = u64::from_ne_bytes([0x20; 8]);
        let (words, rest) = self.0.as_bytes().as_chunks::<8>();
        for word in words {
            state.write_u64(u64::from_ne_bytes(*word) | CASE);
        }
        for byte in rest {
            state.write_u8(byte | 0x20);
        }
        state.write_usize(self.0.len());
    }
}

impl fmt::Display for ResourceId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}
