//! Instances of gateways, and links of circuits, that are away for a while (VPN-30, VPN-33, ER-02).
//!
//! One idea: to the tables and to BGP, an instance is away if its tunnels are down. Its routers close their
//! sessions, so that no peer waits for a hold timer, as dead peers are detected in Azure. When it is back they start
//! anew.

use std::time::{Duration, Instant};

use crate::daemon::api::protocol::Refusal;
use crate::daemon::events::Happening;
use crate::daemon::outage::{Outage, outage};
use crate::lab::error::{During, Error};
use crate::lab::namespaces::device::Device;
use crate::model::{Attachment, CircuitIx, Connection, ConnectionIx, Network, Side};
use crate::sys::netlink::Netlink;
use crate::sys::netns::Netns;

use super::apply::Lab;

/// An hour: for longer, remove the gateway.
const LONGEST: Duration = Duration::from_secs(3600);

/// Those that are away, and until when.
#[derive(Debug, Default)]
pub(in crate::lab) struct Absences(Vec<(Instant, Absent)>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Absent {
    /// As [`Learned::down`](crate::model::Learned::down) has it.
    name: String,
    /// Of which circuit, if it is a link.
    link: Option<(String, Side)>,
}

impl Absences {
    /// How long to wait for the next that comes back, at most.
    pub(in crate::lab) fn patience(&self, most: Duration) -> Duration {
        let now = Instant::now();
        self.0.iter().map(|(until, _)| until.saturating_duration_since(now)).min().map_or(most, |next| next.min(most))
    }
}

impl Lab<'_> {
    /// A site that speaks no BGP sends nothing into a tunnel with its other end away: its device finds its peer dead, as
    /// VPN devices do (VPN-17, VPN-33). Of a gateway with one active instance there is no other tunnel. Returns what did
    /// not work.
    pub(in crate::lab) fn lead_around(&self) -> Vec<String> {
        let (network, compiled) = (self.engine.network(), self.engine.compiled());
        let learned = compiled.learned();
        let tunnels = (0..network.connections.len()).map(ConnectionIx).filter_map(|tunnel| {
            let (Connection { gateway, .. }, at) = (network.connection(tunnel), Attachment::Tunnel(tunnel));
            // A client's tunnel goes over to another instance.
            let instance = learned.instance_of(&network, tunnel);
            let fixed = network.gateway(*gateway).is_active_active() && network.bgp_over(tunnel).is_none();
            // One that is off leads nowhere as it is.
            let leads = fixed && !learned.switched_off.contains(&at);
            let (place, device) = self.site.guests.far(&network, at).filter(|_| leads)?;
            Some((place, device, learned.instance_is_down(&network, *gateway, instance)))
        });
        let done = tunnels.map(|(place, device, away)| {
            let bare = Device { routes: Vec::new(), ..device.clone() };
            let (before, after) = if away { (&device, &bare) } else { (&bare, &device) };
            let inside = Netns::open(&place).and_then(|namespace| namespace.run(|| after.rearrange(before)));
            inside.during(|| format!("cannot enter {}", place.display()))?
        });
        done.filter_map(|done: Result<(), Error>| Some(done.err()?.to_string())).collect()
    }

    pub(in crate::lab) fn fail_over(
        &mut self,
        gateway: &str,
        instance: usize,
        seconds: u64,
    ) -> Result<Outage, Refusal> {
        let network = self.engine.network();
        let known = &network.virtual_network_gateways;
        let Some(found) = known.iter().find(|known| known.name.eq_ignore_ascii_case(gateway)) else {
            let names: Vec<_> = known.iter().map(|known| known.name.as_str()).collect();
            return Err(Refusal::new(format_args!(
                "there is no gateway `{gateway}`; the lab has: {}",
                if names.is_empty() { "none".to_owned() } else { names.join(", ") }
            )));
        };
        if instance > 0 && !found.is_active_active() {
            return Err(Refusal::new(format_args!("{} has one active instance", found.name)));
        }
        let what = if found.is_active_active() {
            format!("instance {} of {}", instance + 1, found.name)
        } else {
            found.name.clone()
        };
        let gateway = found.instance_name(instance);
        let time = Duration::from_secs(seconds).min(LONGEST);
        self.history.tell(Happening::GatewayFailover { gateway: gateway.clone(), seconds: time.as_secs() });
        let absent = vec![Absent { name: gateway, link: None }];
        self.take_away(time, absent.clone());
        let warnings = self.route();
        Ok(self.outage(what, &absent, time, warnings))
    }

    /// Of both links where no side is given.
    pub(in crate::lab) fn fail_circuit(
        &mut self,
        circuit: &str,
        side: Option<Side>,
        seconds: u64,
    ) -> Result<Outage, Refusal> {
        let network = self.engine.network();
        let found = network.circuits().find(|(_, known)| known.name.eq_ignore_ascii_case(circuit));
        let Some((ix, found)) = found else {
            let names: Vec<_> = network.circuits().map(|(_, known)| known.name.as_str()).collect();
            return Err(Refusal::new(format_args!(
                "there is no circuit `{circuit}`; the lab has: {}",
                if names.is_empty() { "none".to_owned() } else { names.join(", ") }
            )));
        };
        let time = Duration::from_secs(seconds).min(LONGEST);
        let sides = side.map_or_else(|| Side::BOTH.to_vec(), |side| vec![side]);
        let link = |side: &Side| Absent {
            name: network.circuit_link_name(ix, *side),
            link: Some((found.name.clone(), *side)),
        };
        let absent: Vec<_> = sides.iter().map(link).collect();
        let what = match side {
            Some(side) => format!("the {side} link of {}", found.name),
            None => format!("both links of {}", found.name),
        };
        if time.is_zero() {
            self.mend(&absent);
            return Ok(self.outage(what, &absent, time, Vec::new()));
        }
        for one in &absent {
            self.history.tell(Happening::CircuitLinkFailed { link: one.name.clone(), seconds: time.as_secs() });
        }
        self.take_away(time, absent.clone());
        let mut warnings = self.route();
        warnings.extend(sides.into_iter().filter_map(|side| self.carry(&network, ix, side, false).err()));
        Ok(self.outage(what, &absent, time, warnings))
    }

    /// Brings back those that are away before their time; others stay as they are.
    fn mend(&mut self, absent: &[Absent]) {
        let now = Instant::now();
        self.absences.0.iter_mut().filter(|(_, away)| absent.contains(away)).for_each(|(until, _)| *until = now);
        self.come_back();
    }

    fn take_away(&mut self, time: Duration, absent: Vec<Absent>) {
        self.absences.0.retain(|(_, away)| !absent.contains(away));
        let until = Instant::now() + time;
        self.engine.learn(|learned| learned.down.extend(absent.iter().map(|one| one.name.clone())));
        self.absences.0.extend(absent.into_iter().map(|one| (until, one)));
    }

    /// What happened, for the client.
    fn outage(&self, what: String, absent: &[Absent], time: Duration, warnings: Vec<String>) -> Outage {
        let away: Vec<_> = absent.iter().map(|one| one.name.clone()).collect();
        let published = self.engine.published();
        let lost = || outage(&published.network, published.compiled.learned(), &away);
        // An instance that is back already has interrupted nothing.
        let (down, detours) = if time.is_zero() { (Vec::new(), Vec::new()) } else { lost() };
        Outage { lab: self.record.lab.clone(), what, away, seconds: time.as_secs(), down, detours, warnings }
    }

    /// Sets the carrier of a link at the customer's kernel: without one it takes another path.
    fn carry(&self, network: &Network, circuit: CircuitIx, side: Side, on: bool) -> Result<(), String> {
        let Some((place, device)) = self.site.guests.far(network, Attachment::CircuitLink(circuit, side)) else {
            return Ok(());
        };
        let set = Netns::open(&place).and_then(|namespace| match &self.site.queues.router {
            Some(router) => router.set_carrier(&namespace, &device.name, on),
            None => namespace.run(|| {
                let mut netlink = Netlink::open()?;
                let link = netlink.link(&device.name)?;
                netlink.set_carrier(link, on)
            })?,
        });
        set.map_err(|error| format!("{} keeps its carrier: {error}", device.name))
    }

    /// Brings back those that have been away long enough.
    pub(in crate::lab) fn come_back(&mut self) {
        let now = Instant::now();
        let back: Vec<_> = self.absences.0.extract_if(.., |(until, _)| *until <= now).map(|(_, one)| one).collect();
        if back.is_empty() {
            return;
        }
        self.engine.learn(|learned| learned.down.retain(|name| !back.iter().any(|one| one.name == *name)));
        let network = self.engine.network();
        let links = back.iter().filter_map(|one| {
            let (circuit, side) = one.link.as_ref()?;
            let (ix, _) = network.circuits().find(|(_, known)| known.name == *circuit)?;
            self.carry(&network, ix, *side, true).err()
        });
        let complaints: Vec<_> = links.collect();
        complaints.into_iter().chain(self.route()).for_each(|complaint| tracing::warn!("{complaint}"));
        for Absent { name, link } in back {
            self.history.tell(match link {
                None => Happening::GatewayRestored { gateway: name },
                Some(_) => Happening::CircuitLinkRestored { link: name },
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_that_comes_back_is_waited_for_and_no_longer() {
        let most = Duration::from_secs(1);
        let away =
            |seconds: u64| (Instant::now() + Duration::from_secs(seconds), Absent { name: String::new(), link: None });
        assert_eq!(Absences::default().patience(most), most, "nothing is away");
        assert_eq!(Absences(vec![away(3600), away(1800)]).patience(most), most);
        let soon = Absences(vec![away(3600), away(100), away(1800)]).patience(Duration::from_secs(200));
        assert!(soon <= Duration::from_secs(100) && soon > Duration::from_secs(60), "{soon:?}");
        assert_eq!(Absences(vec![away(0)]).patience(most), Duration::ZERO);
    }
}
