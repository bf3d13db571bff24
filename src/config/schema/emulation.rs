//! The switches of `emulation:`.

use std::net::IpAddr;
use std::time::Duration;

use crate::config::yaml::decode::{Fields, boolean, list_of, number, record, word};
use crate::config::yaml::diagnostic::{Report, Spanned};
use crate::config::yaml::tree::{Node, Value};
use crate::config::yaml::values::address;
use crate::model::{CircuitTransit, DeviceKind, Emulation, FlowLogPace, ForwardedMode, PeeringAccessMode};

use super::{flag, values};

/// What stands below `emulation`.
#[derive(Default)]
pub(in crate::config) struct Switches {
    pub emulation: Emulation,
    pub dns_forwarders: Vec<IpAddr>,
}

/// `true`, `false`, or the services' settings: whether they run, and the resolver's upstream servers.
fn platform_services(node: &Node, report: &mut Report) -> Option<(bool, Vec<IpAddr>)> {
    match &node.value {
        Value::Map(_) => record(node, report, "the platform's services", |f| {
            (true, f.optional("dnsForwarders", list_of(address)).map_or_else(Vec::new, |list| values(list.value)))
        }),
        Value::Null | Value::Scalar { .. } | Value::List(_) => Some((boolean(node, report)?, Vec::new())),
    }
}

pub(super) fn switches(node: &Node, report: &mut Report) -> Option<Switches> {
    let peering_access =
        word(&[("explicit-allow", PeeringAccessMode::ExplicitAllow), ("tag-only", PeeringAccessMode::TagOnly)]);
    let forwarded = word(&[("tag-only", ForwardedMode::TagOnly), ("enforce", ForwardedMode::Enforce)]);
    let er_vnet_to_vnet = word(&[("property", CircuitTransit::Property), ("always", CircuitTransit::Always)]);
    let default = Emulation::default();
    let mut dns_forwarders = Vec::new();
    let emulation = record(node, report, "the emulation", |f| Emulation {
        peering_access: f.optional("peeringAccess", peering_access).map_or(default.peering_access, |mode| mode.value),
        forwarded: f.optional("forwarded", forwarded).map_or(default.forwarded, |mode| mode.value),
        er_vnet_to_vnet: f.optional("erVnetToVnet", er_vnet_to_vnet).map_or(default.er_vnet_to_vnet, |mode| mode.value),
        extra_none_routes: flag(f, "extraNoneRoutes", default.extra_none_routes),
        tcp_state_tracking: f
            .optional("tcpStateTracking", word(&[("on", true), ("off", false)]))
            .map_or(default.tcp_state_tracking, |mode| mode.value),
        workers: f.optional("workers", number(1..=256)).map(|workers| workers.value),
        offload: flag(f, "offload", default.offload),
        udp_segmentation: flag(f, "udpSegmentation", default.udp_segmentation),
        platform_services: f.optional("platformServices", platform_services).map_or(
            default.platform_services,
            |services| {
                dns_forwarders = services.value.1;
                services.value.0
            },
        ),
        device: f.optional("device", word(&DEVICES)).map_or(default.device, |kind| kind.value),
        mtu: f.optional("mtu", number(1280..=65_535)).map_or(default.mtu, |mtu| mtu.value),
        flows_per_nic: f.optional("flowsPerNic", number(1..=10_000_000)).map_or(default.flows_per_nic, |n| n.value),
        programming_delay: f
            .optional("programmingDelayMs", number(0..=60_000))
            .map_or(default.programming_delay, |delay| Duration::from_millis(delay.value)),
        flow_log_pace: flow_log_pace(f),
    });
    emulation.map(|emulation| Switches { emulation, dns_forwarders })
}

const DEVICES: [(&str, Option<DeviceKind>); 4] =
    [("auto", None), ("tun", Some(DeviceKind::Tun)), ("tap", Some(DeviceKind::Tap)), ("veth", Some(DeviceKind::Veth))];

fn flow_log_pace(f: &mut Fields<'_>) -> FlowLogPace {
    let default = FlowLogPace::default();
    let seconds = |number: Option<Spanned<u64>>, default| number.map_or(default, |n| Duration::from_secs(n.value));
    let mebibytes =
        f.optional("flowLogMebibytes", number(1..=1_000_000)).map(|mebibytes: Spanned<u64>| mebibytes.value);
    FlowLogPace {
        record: seconds(f.optional("flowLogRecordSeconds", number(1..=60)), default.record),
        continuation: seconds(f.optional("flowLogContinuationSeconds", number(1..=300)), default.continuation),
        room: mebibytes.map_or(default.room, |mebibytes| mebibytes << 20),
    }
}
