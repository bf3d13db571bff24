//! Forwarding in memory, rule by rule: a packet goes in at a NIC, a verdict and its steps come out.

mod chain;
mod fabric;
mod fuzz;
mod loops;
mod nsg;
mod opening;
mod peering;
mod spread;
mod state;
mod world;

use std::net::{IpAddr, SocketAddr};

use vnet::dataplane::{DropReason, NicId, PortId, Verdict};
use vnet::wire::build;

use world::Lab;

const SYN: u8 = 0x02;
const SYN_ACK: u8 = 0x12;

/// Sends a packet and expects its verdict.
#[track_caller]
fn check(lab: &Lab, from: NicId, packet: &[u8], expected: Verdict) {
    assert_eq!(lab.send(from, packet), expected);
}

fn to(nic: NicId) -> Verdict {
    Verdict::Forward(PortId(nic.0))
}

fn dropped(reason: DropReason) -> Verdict {
    Verdict::Drop(reason)
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// An echo request.
fn ping(src: &str, dst: &str) -> Vec<u8> {
    build::icmp_echo(ip(src), ip(dst), 7, 1, false)
}

/// The answer to [`ping`].
fn pong(src: &str, dst: &str) -> Vec<u8> {
    build::icmp_echo(ip(src), ip(dst), 7, 1, true)
}

fn tcp(src: &str, dst: &str, flags: u8) -> Vec<u8> {
    build::tcp(at(src), at(dst), flags, b"")
}

fn udp(src: &str, dst: &str) -> Vec<u8> {
    build::udp(at(src), at(dst), b"payload!")
}
