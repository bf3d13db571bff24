//! To and from the platform: requests of guests, health probes of backends, and the answers to both (FAB-12, LB-10).
//!
//! One idea: these are packets like any others, except that no route leads to the platform. The guest's rules decide
//! (NSG-30, NSG-31), and the record that a request creates lets the answer back.

use crate::dataplane::platform::{METADATA, PLATFORM, PROBER_V6};
use crate::dataplane::{Direction, DropReason, NicId, Observer, Owner, PortId, Step, VnetId};
use crate::wire::Packet;

use super::admit::Admitted;
use super::route::Hop;
use super::{Leg, PacketView, check, packet_view};

impl Leg<'_> {
    /// From the platform into a VNet: a probe, or an answer.
    #[inline(never)]
    pub(super) fn leave_platform<O: Observer>(
        self,
        platform: NicId,
        vnet: VnetId,
        packet: &Packet<'_>,
        observer: &mut O,
    ) -> Result<PortId, DropReason> {
        // Link-local addresses that are valid beyond one link (FAB-12).
        if packet.src() != METADATA && packet.src() != PROBER_V6 {
            check::addresses(packet)?;
        }
        check::protocol(packet)?;
        observer.step(Step::Sent { nic: platform });
        if ![PLATFORM, METADATA, PROBER_V6].contains(&packet.src()) {
            return Err(DropReason::SpoofedSource);
        }
        let of_first = packet_view::tuple_of_first(packet, platform, &self.flows.fragments, self.now)?;
        let Some(Owner::Nic(receiver)) = self.snapshot.vnet(vnet).owners.lookup(packet.dst()) else {
            return Err(DropReason::NoEndpoint);
        };
        observer.step(Step::Arrive { nic: receiver });
        let view = PacketView::of(packet, of_first.as_ref(), self.now);
        self.deliver(Hop::Endpoint(receiver), &view.tuple.dst)?;
        let admitted =
            self.admit(&view.key(receiver, Direction::Inbound), receiver, Direction::Inbound, &view, observer)?;
        let nic = self.snapshot.nic(receiver);
        check::size(packet, nic)?;
        self.commit(None, Some(((receiver, Direction::Inbound, admitted), &view)), observer)?;
        Ok(nic.port)
    }

    /// From a guest to the platform: a request, or the answer to a probe.
    #[inline(never)]
    pub(super) fn reach_platform<O: Observer>(
        self,
        platform: NicId,
        (sender, admitted): (NicId, Admitted),
        view: &PacketView<'_>,
        packet: &Packet<'_>,
        observer: &mut O,
    ) -> Result<PortId, DropReason> {
        observer.step(Step::Arrive { nic: platform });
        let nic = self.snapshot.nic(platform);
        check::size(packet, nic)?;
        self.commit(Some(((sender, Direction::Outbound, admitted), view)), None, observer)?;
        Ok(nic.port)
    }
}
