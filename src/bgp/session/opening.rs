//! From OPEN to agreement: what ours says, whether the peer's suits us, and which of two connections stays.

use std::time::{Duration, Instant};

use super::connection::{Agreed, Phase};
use super::{Ending, Session, Side};
use crate::bgp::message::notification::{self, cease, code};
use crate::bgp::message::{Capabilities, Context, Notification, Open, open};

impl Session {
    pub(super) fn open(&self) -> Open {
        Open {
            asn: self.config.asn,
            hold_time: self.config.hold_time,
            identifier: self.config.identifier,
            capabilities: Capabilities {
                families: Some(self.config.families),
                route_refresh: true,
                four_byte_asn: true,
            },
        }
    }

    pub(super) fn handle_open(&mut self, side: Side, open: Open, now: Instant) {
        let agreed = match self.agree(open) {
            Ok(agreed) => agreed,
            Err(notification) => return self.refuse(side, notification, now),
        };
        let stays = self.stays(side, &agreed.peer);
        if let Some(connection) = self.slot(side) {
            connection.phase = Phase::OpenConfirm;
            connection.agreed = Some(agreed);
            connection.heard(now);
        }
        let loser = match stays {
            None => None,
            Some(true) => Some(side.other()),
            Some(false) => Some(side),
        };
        if let Some(loser) = loser {
            let last = self.last_ending().cloned();
            self.end(loser, Ending::Sent(Notification::new(code::CEASE, cease::COLLISION)), now);
            self.ending = last;
        }
        if loser != Some(side) {
            self.keepalive(side, now);
        }
    }

    /// RFC 4271 section 6.2, RFC 6286.
    fn agree(&self, peer: Open) -> Result<Agreed, Notification> {
        let error = |subcode| Notification::new(code::OPEN, subcode);
        let internal = peer.asn == self.config.asn;
        // Another system has another number (BGP-13).
        if peer.asn != self.config.peer_asn || internal && self.config.external {
            return Err(error(notification::open::BAD_PEER_AS));
        }
        if internal && peer.identifier == self.config.identifier {
            return Err(error(notification::open::BAD_IDENTIFIER));
        }
        let families = self.config.families.and(peer.capabilities.families());
        if families.is_empty() {
            let wanted: Vec<u8> = self.config.families.iter().flat_map(open::multiprotocol).collect();
            return Err(error(notification::open::CAPABILITY).with_data(wanted));
        }
        let hold_time = peer.hold_time.min(self.config.hold_time);
        Ok(Agreed {
            context: Context { four_byte_asn: peer.capabilities.four_byte_asn, internal },
            families,
            hold_time: (hold_time > 0).then(|| Duration::from_secs(hold_time.into())),
            peer,
        })
    }

    /// Whether the other connection stays, as far as its OPEN tells. An OPEN on this one could make the peer close the other,
    /// which may be established here.
    pub(super) fn is_late(&self, side: Side) -> bool {
        let other = self.connection(side.other()).and_then(|connection| connection.agreed.as_ref());
        other.is_some_and(|agreed| self.stays(side, &agreed.peer) == Some(false))
    }

    /// Whether this one of two connections stays, after its OPEN has arrived (RFC 4271 section 6.8); None if there is
    /// no other. Both sides choose alike: the connection that the higher identifier opened, or the higher AS number
    /// where identifiers are equal (RFC 6286 section 2.3). The other's OPEN need not have come, since this one tells
    /// the peer's identifier: or one side could establish what the other has just given up.
    fn stays(&self, side: Side, peer: &Open) -> Option<bool> {
        match self.phase(side.other())? {
            Phase::Established => Some(false),
            Phase::OpenSent | Phase::OpenConfirm => {
                let ours = (self.config.identifier, self.config.asn) > (peer.identifier, peer.asn);
                Some(ours == (side == Side::Local))
            }
            Phase::Connecting | Phase::Closing => None,
        }
    }
}
