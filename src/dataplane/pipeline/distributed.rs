//! A private cloud's distributed firewall: the rules at the network adapter of each machine of a segment (AVS-12).
//!
//! One idea: a machine is the end of a tunnel, and a tunnel's end with rules is asked as a NIC is, by the same records.
//! Machines of one segment reach each other without a router, and so meet these rules alone.

use crate::dataplane::{Direction, DropReason, Gateway, NextHop, NicId, Observer, PortId, Step, SubnetId};
use crate::wire::Packet;

use super::{Leg, PacketView, Passage, check};

impl Leg<'_> {
    /// Whether a machine's rules let a packet out. None if it has none, as a site.
    pub(super) fn out_of_machine<O: Observer>(
        self,
        machine: NicId,
        view: &PacketView<'_>,
        observer: &mut O,
    ) -> Result<Option<Passage>, DropReason> {
        self.pass_machine(machine, Direction::Outbound, view, observer)
    }

    fn pass_machine<O: Observer>(
        self,
        machine: NicId,
        direction: Direction,
        view: &PacketView<'_>,
        observer: &mut O,
    ) -> Result<Option<Passage>, DropReason> {
        // Rules are there in both directions or in none.
        if self.snapshot.nic(machine).inbound.nic.is_none() {
            return Ok(None);
        }
        let admitted = self.admit(&view.key(machine, direction), machine, direction, view, observer)?;
        Ok(Some((machine, direction, admitted)))
    }

    /// Another machine of the sender's segment, if the packet is for one.
    pub(super) fn neighbour(self, router: &Gateway, sender: NicId, view: &PacketView<'_>) -> Option<NicId> {
        let segment = self.snapshot.nic(sender).subnet;
        if segment == SubnetId::NONE {
            return None;
        }
        let route = router.tunnels.lpm.lookup(view.tuple.dst)?;
        match router.tunnels.next_hops[route.0 as usize] {
            NextHop::Tunnel(other) if other != sender && self.snapshot.nic(other).subnet == segment => Some(other),
            _ => None,
        }
    }

    /// To the far end of a tunnel, by its rules if it has any; returns how they let it in. `asked` is the packet as its sender sees it, `view` as that
    /// end does.
    pub(super) fn into_tunnel<O: Observer>(
        self,
        tunnel: NicId,
        (sent, asked, view): (Option<Passage>, &PacketView<'_>, &PacketView<'_>),
        packet: &Packet<'_>,
        observer: &mut O,
    ) -> Result<(PortId, Option<Passage>), DropReason> {
        let nic = self.snapshot.nic(tunnel);
        check::size(packet, nic)?;
        observer.step(Step::Arrive { nic: tunnel });
        let received = self.pass_machine(tunnel, Direction::Inbound, view, observer)?;
        self.commit(sent.map(|sent| (sent, asked)), received.map(|received| (received, view)), observer)?;
        Ok((nic.port, received))
    }
}
