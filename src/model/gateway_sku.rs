//! Sizes of gateways, and what a gateway of each size has.

use super::ClientProtocol;

/// VPN-04, ER-11.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GatewaySku {
    Basic,
    Standard,
    HighPerformance,
    VpnGw1,
    VpnGw2,
    VpnGw3,
    VpnGw4,
    VpnGw5,
    UltraPerformance,
    ErGw1,
    ErGw2,
    ErGw3,
}

impl GatewaySku {
    /// Whether a gateway of this size translates addresses (VPN-15).
    pub const fn has_nat(self) -> bool {
        match self {
            Self::VpnGw2 | Self::VpnGw3 | Self::VpnGw4 | Self::VpnGw5 => true,
            Self::Basic
            | Self::Standard
            | Self::HighPerformance
            | Self::VpnGw1
            | Self::UltraPerformance
            | Self::ErGw1
            | Self::ErGw2
            | Self::ErGw3 => false,
        }
    }

    /// Whether both instances of a VPN gateway of this size can be active (VPN-37).
    pub const fn has_active_active(self) -> bool {
        !matches!(self, Self::Basic | Self::Standard)
    }

    /// Tunnels that a gateway of this size may have (LIM-18).
    pub const fn tunnels(self) -> usize {
        match self {
            Self::Basic | Self::Standard => 10,
            Self::HighPerformance | Self::VpnGw1 | Self::VpnGw2 | Self::VpnGw3 => 30,
            Self::VpnGw4 | Self::VpnGw5 => 100,
            Self::ErGw1 | Self::ErGw2 | Self::ErGw3 | Self::UltraPerformance => 0,
        }
    }

    /// Circuits that a gateway of this size may be connected to (LIM-23).
    pub const fn circuits(self) -> usize {
        match self {
            Self::Standard | Self::ErGw1 => 4,
            Self::HighPerformance | Self::ErGw2 => 8,
            Self::UltraPerformance | Self::ErGw3 => 16,
            Self::Basic | Self::VpnGw1 | Self::VpnGw2 | Self::VpnGw3 | Self::VpnGw4 | Self::VpnGw5 => 0,
        }
    }

    /// Whether point-to-site clients may connect by a protocol (VPN-45): Basic has IKEv2 since November 2025, and no
    /// OpenVPN.
    pub const fn speaks(self, protocol: ClientProtocol) -> bool {
        match protocol {
            ClientProtocol::Sstp | ClientProtocol::IkeV2 => true,
            ClientProtocol::OpenVpn => !matches!(self, Self::Basic),
        }
    }

    /// Point-to-site clients that may be connected at once (VPN-45): 128 over SSTP, and others by size.
    pub fn clients(self, protocols: &[ClientProtocol]) -> usize {
        let sstp = 128;
        let others = match self {
            Self::VpnGw1 => 250,
            Self::VpnGw2 => 500,
            Self::VpnGw3 => 1_000,
            Self::VpnGw4 => 5_000,
            Self::VpnGw5 => 10_000,
            Self::Basic | Self::Standard | Self::HighPerformance => 0,
            Self::UltraPerformance | Self::ErGw1 | Self::ErGw2 | Self::ErGw3 => return 0,
        };
        if others == 0 {
            return sstp;
        }
        let named = |protocol| protocols.contains(&protocol);
        let by_sstp = if named(ClientProtocol::Sstp) { sstp } else { 0 };
        let only_sstp = named(ClientProtocol::Sstp) && protocols.len() == 1;
        by_sstp + if only_sstp { 0 } else { others }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// VPN-45: clients over SSTP are counted apart from others; without a word on protocols there is no SSTP.
    #[test]
    fn vpn_45_clients_by_size_and_protocol() {
        use ClientProtocol::{IkeV2, OpenVpn, Sstp};
        let cases: [(GatewaySku, &[ClientProtocol], usize); 9] = [
            (GatewaySku::Basic, &[], 128),
            (GatewaySku::Standard, &[Sstp], 128),
            (GatewaySku::VpnGw1, &[], 250),
            (GatewaySku::VpnGw1, &[Sstp], 128),
            (GatewaySku::VpnGw1, &[Sstp, IkeV2], 378),
            (GatewaySku::VpnGw2, &[OpenVpn], 500),
            (GatewaySku::VpnGw3, &[OpenVpn], 1_000),
            (GatewaySku::VpnGw5, &[OpenVpn], 10_000),
            (GatewaySku::ErGw1, &[OpenVpn], 0),
        ];
        for (sku, protocols, most) in cases {
            assert_eq!(sku.clients(protocols), most, "{sku:?} {protocols:?}");
        }
        let spoken = |sku: GatewaySku| [Sstp, IkeV2, OpenVpn].map(|protocol| sku.speaks(protocol));
        assert_eq!(spoken(GatewaySku::Basic), [true, true, false]);
        assert_eq!(spoken(GatewaySku::VpnGw1), [true; 3]);
    }
}
