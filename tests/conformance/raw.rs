//! Packets that no ordinary socket sends.

use std::net::{IpAddr, SocketAddr};

use vnet::wire::build;

use crate::Outcome;
use crate::capture::send_raw;
use crate::expect::Expect;

use crate::scenario::Packet;
use crate::sight::Traffic;
use crate::stage::Stage;
use crate::watch::Watch;

/// What a packet carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Ipip,
    Udp { src_port: u16, dst_port: u16 },
    Gre,
    Esp,
    Ah,
}

impl Protocol {
    /// `esp`, `udp`, `udp 68 67`.
    pub(crate) fn named(name: &str) -> Result<Self, String> {
        if let Some(ports) = name.strip_prefix("udp ") {
            let ports = ports.split_once(' ').and_then(|(src, dst)| Some((src.parse().ok()?, dst.parse().ok()?)));
            let (src_port, dst_port) = ports.ok_or("`udp SOURCE-PORT DESTINATION-PORT` is expected")?;
            return Ok(Self::Udp { src_port, dst_port });
        }
        Ok(match name {
            "ipip" => Self::Ipip,
            "udp" => Self::Udp { src_port: 4000, dst_port: 4000 },
            "gre" => Self::Gre,
            "esp" => Self::Esp,
            "ah" => Self::Ah,
            _ => return Err(format!("`{name}` is none of ipip, udp, gre, esp, ah")),
        })
    }

    pub(crate) fn packet(self, src: IpAddr, dst: IpAddr) -> Vec<u8> {
        match self {
            Self::Ipip => build::raw(src, dst, 4, &build::icmp_echo(src, dst, 1, 1, false)),
            Self::Udp { src_port, dst_port } => {
                build::udp(SocketAddr::new(src, src_port), SocketAddr::new(dst, dst_port), b"conformance")
            }
            Self::Gre => build::raw(src, dst, 47, &[0; 16]),
            Self::Esp => build::raw(src, dst, 50, &[0; 32]),
            Self::Ah => {
                build::raw(src, dst, 51, &[59, 4, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])
            }
        }
    }
}

/// Drops that must be counted: more than a guest's own chatter makes meanwhile.
const PACKETS: usize = 16;

/// Puts packets on the wire and holds what happens against what should.
pub(crate) fn send(stage: &Stage, packet: &Packet, expect: &Expect) -> Outcome {
    let Packet { from, source, to, protocol } = packet;
    let dst = stage.address(to)?;
    let own = *stage.node(from)?.first().ok_or("it has no address")?;
    let src =
        source.as_ref().map_or(Ok(own), |source| source.parse().map_err(|_| format!("`{source}` is no address")))?;
    let bytes = protocol.packet(src, dst);
    let traffic = Traffic { protocol: bytes[9], src, dst, src_port: None, dst_port: None };
    let mut watch = Watch::begin(stage, traffic, stage.owner(dst)).of_burst(PACKETS);
    let mut sent = false;
    watch.fate(stage, expect, |wait| {
        if sent {
            std::thread::sleep(wait);
        } else {
            (0..PACKETS).for_each(|_| stage.lab.inside(from, || send_raw(&bytes)));
            sent = true;
        }
        Ok(false)
    })
}
