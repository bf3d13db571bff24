//! Backends that the platform's probes do not reach, because a rule denies them (NSG-31, LB-42).
//!
//! A probe's packet is evaluated against the backend's rules; whether a program answers is not checked.

use std::net::IpAddr;

use crate::analysis::query::names::Names;
use crate::dataplane::platform::prober_of;
use crate::dataplane::{self, NicId, Recorder};
use crate::model::{AdminState, Backend, HealthProbe, PowerState};
use crate::wire::{Protocol, Tuple};

use super::masquerade::GuestStep;
use super::{Denial, Leg};

/// Any source port: no fix opens a single one.
const PROBING_PORT: u16 = 50_000;

/// A backend and the rule that denies its probe.
pub(in crate::analysis) struct Unprobed {
    pub(in crate::analysis) backend: Backend,
    pub(in crate::analysis) nic: NicId,
    pub(in crate::analysis) address: IpAddr,
    pub(in crate::analysis) denial: Denial,
}

impl Unprobed {
    /// None where the rules allow the probe, and where no rule matches it.
    pub(in crate::analysis) fn of(names: Names<'_>, backend: Backend, probe: &HealthProbe) -> Option<Self> {
        let (network, compiled) = (names.network, names.compiled);
        let machine = network.vm(network.nic(backend.nic).virtual_machine);
        if machine.power_state == PowerState::Stopped || backend.admin != AdminState::None {
            return None;
        }
        let (nic, address) = (compiled.nic_of(backend.nic), backend.address);
        let src = prober_of(address);
        let tuple = Tuple { src, dst: address, protocol: Protocol::TCP, src_port: PROBING_PORT, dst_port: probe.port };
        let mut recorder = Recorder::default();
        dataplane::evaluate(&compiled.snapshot, nic, dataplane::Direction::Inbound, &tuple, &mut recorder).err()?;
        let leg = Leg { from: nic, guest: GuestStep::Unchanged, src, steps: recorder.steps().to_vec() };
        Some(Self { backend, nic, address, denial: leg.denial()? })
    }

    /// `NSG app on subnet v/s, rule securityRules/x`
    pub(in crate::analysis) fn rule(&self, names: Names<'_>) -> String {
        names.rule(self.nic, self.denial.place, self.denial.acl, self.denial.rule)
    }
}
