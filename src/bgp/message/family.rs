//! Address families: of all that multiprotocol BGP can carry (RFC 4760), IPv4 and IPv6 unicast.

use ipnet::IpNet;

/// Subsequent address family "unicast".
pub(super) const UNICAST: u8 = 1;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    Ipv4,
    Ipv6,
}

impl Family {
    pub const ALL: [Self; 2] = [Self::Ipv4, Self::Ipv6];

    pub const fn of(prefix: &IpNet) -> Self {
        match prefix {
            IpNet::V4(_) => Self::Ipv4,
            IpNet::V6(_) => Self::Ipv6,
        }
    }

    /// The address family's number (RFC 4760, IANA).
    pub const fn afi(self) -> u16 {
        match self {
            Self::Ipv4 => 1,
            Self::Ipv6 => 2,
        }
    }

    /// None for what we do not carry.
    pub(super) fn known(afi: u16, safi: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|family| family.afi() == afi && safi == UNICAST)
    }

    /// Bits of an address.
    pub(super) const fn bits(self) -> u8 {
        match self {
            Self::Ipv4 => 32,
            Self::Ipv6 => 128,
        }
    }
}

/// Which of them a session carries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Families {
    pub ipv4: bool,
    pub ipv6: bool,
}

impl Families {
    pub const IPV4: Self = Self { ipv4: true, ipv6: false };
    pub const BOTH: Self = Self { ipv4: true, ipv6: true };

    pub const fn has(self, family: Family) -> bool {
        match family {
            Family::Ipv4 => self.ipv4,
            Family::Ipv6 => self.ipv6,
        }
    }

    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self { ipv4: self.ipv4 && other.ipv4, ipv6: self.ipv6 && other.ipv6 }
    }

    pub const fn is_empty(self) -> bool {
        !self.ipv4 && !self.ipv6
    }

    pub fn iter(self) -> impl Iterator<Item = Family> {
        Family::ALL.into_iter().filter(move |family| self.has(*family))
    }
}

impl FromIterator<Family> for Families {
    fn from_iter<I: IntoIterator<Item = Family>>(families: I) -> Self {
        families.into_iter().fold(Self::default(), |set, family| match family {
            Family::Ipv4 => Self { ipv4: true, ..set },
            Family::Ipv6 => Self { ipv6: true, ..set },
        })
    }
}
