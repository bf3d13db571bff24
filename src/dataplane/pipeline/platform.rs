//! The platform: health probes from its own address to a backend, and their answers back (LB-10, FAB-12), and what guests
//! ask its resolver.
//!
//! One idea: a probe is a packet like any other, except that it comes from nowhere: no route led it here. What its
//! receiver's rules say of it decides (NSG-31), and the record that it leaves lets the answer back, whatever the routes.

use super::admit::Admitted;
use super::route::Hop;
use super::{Leg, Subject, check};
use crate::dataplane::platform::PLATFORM;
use crate::dataplane::{Direction, DropReason, NicId, Observer, Owner, PortId, Step, VnetId};
use crate::wire::Packet;

impl Leg<'_> {
    /// From whoever probes in a VNet.
    #[inline(never)]
    pub(super) fn probe<O: Observer>(
        self,
        prober: NicId,
        vnet: VnetId,
        packet: &Packet<'_>,
        observer: &mut O,
    ) -> Result<PortId, DropReason> {
        observer.step(Step::Sent { nic: prober });
        if packet.src() != PLATFORM {
            return Err(DropReason::SpoofedSource);
        }
        let Some(Owner::Nic(receiver)) = self.snapshot.vnet(vnet).owners.lookup(packet.dst()) else {
            return Err(DropReason::NoEndpoint);
        };
        observer.step(Step::Arrive { nic: receiver });
        let subject = Subject::of(packet, None, self.now);
        self.deliver(Hop::Endpoint(receiver), &subject.tuple.dst)?;
        let admitted = self.admit(receiver, Direction::Inbound, &subject, observer)?;
        let nic = self.snapshot.nic(receiver);
        check::size(packet, nic)?;
        self.commit(None, Some(((receiver, Direction::Inbound, admitted), &subject)), observer)?;
        Ok(nic.port)
    }

    /// To the platform: back to who has probed, or a question to its resolver.
    #[inline(never)]
    pub(super) fn ask_platform<O: Observer>(
        self,
        prober: NicId,
        (sender, admitted): (NicId, Admitted),
        subject: &Subject<'_>,
        packet: &Packet<'_>,
        observer: &mut O,
    ) -> Result<PortId, DropReason> {
        observer.step(Step::Arrive { nic: prober });
        let nic = self.snapshot.nic(prober);
        check::size(packet, nic)?;
        self.commit(Some(((sender, Direction::Outbound, admitted), subject)), None, observer)?;
        Ok(nic.port)
    }
}
