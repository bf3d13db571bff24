//! Answers whose route bypasses the device that translated the request.

use std::iter;

use crate::analysis::query::names::subnet_name;
use crate::analysis::walk::masquerade::GuestStep;
use crate::analysis::walk::narration::source;
use crate::dataplane::Step;
use crate::wire::Tuple;

use super::{Case, Diagnosis};

impl Case<'_> {
    /// The answer comes from another address than was asked: an appliance masked it, or it bypassed the load balancer.
    pub(super) fn elsewhere(&self, asked: &Tuple) -> Diagnosis {
        let masked = self.walk.legs.iter().find(|leg| matches!(leg.guest, GuestStep::Masked(_)));
        let masked = masked.map_or_else(String::new, |leg| {
            format!(": the guest of {} puts its own address in place of the answer's", self.names.node(leg.from))
        });
        let (found, asked) = (source(&self.walk.last), source(&asked.mirrored()));
        self.astray(format!("the answer comes from {found}, and {asked} was asked{masked}"))
    }

    /// An answer that passes appliances which the request did not pass.
    pub(super) fn astray(&self, cause: String) -> Diagnosis {
        let (names, walk) = (self.names, self.walk);
        let route = walk.legs[0].route().map(|(fib, route, hop)| names.route(walk.legs[0].router(), fib, route, hop));
        let led = route.map(|route| format!("the answer goes by {route}"));
        let missed = self.balancer().map(|rule| format!("past {rule}, which alone knows what was asked (LB-46)"));
        let cause = iter::once(cause).chain(led).chain(missed).collect::<Vec<_>>().join("; ");
        let appliances = names.via(walk).join(", ");
        match names.home(walk.legs[0].from) {
            Some(subnet) if !appliances.is_empty() => {
                let subnet = subnet_name(names.network, subnet);
                let text = format!(
                    "publish the server at {appliances} instead, or give subnet {subnet} a route for {} that does not lead there",
                    walk.dst
                );
                self.prose(cause, text)
            }
            Some(_) | None => Diagnosis::without_fix(cause),
        }
    }

    /// The load balancer rule that matched the request.
    fn balancer(&self) -> Option<String> {
        let (names, request) = (self.names, self.request?);
        request.legs.iter().flat_map(|leg| &leg.steps).find_map(|step| match *step {
            Step::Balance { frontend, rule, .. }
                if names.compiled.snapshot.frontend(frontend).address == request.dst =>
            {
                Some(names.balancing_rule(frontend, rule))
            }
            _ => None,
        })
    }
}
