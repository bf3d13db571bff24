//! Instances of gateways that are away for a while (VPN-30, VPN-33).
//!
//! One idea: to the tables and to BGP an instance that is away is one whose tunnels are down. Its routers hang up, so that
//! nobody waits for a hold timer, as dead peers are found out in Azure; when it is back they begin anew.

use std::time::{Duration, Instant};

use super::apply::Lab;
use crate::control::events::Happening;
use crate::control::protocol::{Changed, Refusal};

/// An hour: whoever wants longer takes the gateway away.
const LONGEST: Duration = Duration::from_secs(3600);

/// Those that are away, and until when.
#[derive(Debug, Default)]
pub(super) struct Absences(Vec<(Instant, String)>);

impl Absences {
    /// How long to wait for the next that comes back, at most.
    pub(super) fn patience(&self, most: Duration) -> Duration {
        let now = Instant::now();
        self.0.iter().map(|(until, _)| until.saturating_duration_since(now)).min().map_or(most, |next| next.min(most))
    }
}

impl Lab<'_> {
    pub(super) fn fail_over(&mut self, gateway: &str, instance: usize, seconds: u64) -> Result<Changed, Refusal> {
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
        let name = found.instance_name(instance);
        let time = Duration::from_secs(seconds).min(LONGEST);
        self.absences.0.retain(|(_, away)| *away != name);
        self.absences.0.push((Instant::now() + time, name.clone()));
        self.engine.learn(|learned| {
            learned.down.insert(name.clone());
        });
        let warnings = self.route();
        self.history.tell(Happening::GatewayFailover { gateway: name, seconds: time.as_secs() });
        let generation = self.engine.counters().generation;
        Ok(Changed::without_plan(self.record.lab.clone(), generation, warnings))
    }

    /// Brings back those whose time is over.
    pub(super) fn come_back(&mut self) {
        let now = Instant::now();
        let back: Vec<_> = self.absences.0.extract_if(.., |(until, _)| *until <= now).map(|(_, name)| name).collect();
        if back.is_empty() {
            return;
        }
        self.engine.learn(|learned| learned.down.retain(|name| !back.contains(name)));
        self.route().iter().for_each(|complaint| tracing::warn!("{complaint}"));
        for gateway in back {
            self.history.tell(Happening::GatewayRestored { gateway });
        }
    }
}
