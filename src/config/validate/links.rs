//! Which gateways a circuit lets in: by key, by number and by place (ER-10, ER-11, ER-19).

use crate::config::schema::{Document, gateway as written};
use crate::config::yaml::diagnostic::{At, Report};
use crate::model::{
    CircuitIx, CircuitTier, Connection, ExpressRouteCircuit, Remote, SubnetIx, VirtualNetwork, VirtualNetworkGateway,
};

use super::express_route::Circuits;
use super::geography;

/// LIM-23: of one peering location, in one virtual network.
const SAME_LOCATION: usize = 4;

/// Every connection to a circuit.
pub(super) struct Links<'a> {
    pub(super) document: &'a Document,
    pub(super) vnets: &'a [VirtualNetwork],
    pub(super) gateways: &'a [VirtualNetworkGateway],
    pub(super) connections: &'a [Connection],
    pub(super) circuits: &'a Circuits,
}

impl Links<'_> {
    pub(super) fn check(&self, report: &mut Report) {
        // One that could not be made has shifted the others: the report has an error then.
        if self.connections.len() != self.document.connections.len() {
            return;
        }
        let mut before: Vec<(&Connection, CircuitIx)> = Vec::new();
        let mut connected: Vec<(CircuitIx, At)> = Vec::new();
        for (connection, written) in self.connections.iter().zip(&self.document.connections) {
            let Remote::Circuit(circuit) = connection.remote else { continue };
            self.check_key(connection, circuit, written, &before, report);
            self.check_place(connection, circuit, written, report);
            self.check_gateway(connection, circuit, written.at, &before, report);
            before.push((connection, circuit));
            connected.push((circuit, written.at));
        }
        self.circuits.check_links(&connected, report);
    }

    fn circuit(&self, circuit: CircuitIx) -> &ExpressRouteCircuit {
        &self.circuits.made[circuit.0]
    }

    /// ER-10.
    fn check_key(
        &self,
        connection: &Connection,
        ix: CircuitIx,
        written: &written::Connection,
        before: &[(&Connection, CircuitIx)],
        report: &mut Report,
    ) {
        let circuit = self.circuit(ix);
        let SubnetIx { vnet, .. } = self.gateways[connection.gateway.0].subnet;
        let own = self.document.virtual_networks[vnet.0].subscription.as_ref().map(|own| &own.value);
        let foreign = matches!((&circuit.subscription, own), (Some(theirs), Some(own)) if theirs != own);
        let rule = if self.circuits.is_clouds(ix) { "AVS-05" } else { "ER-10" };
        let Some(key) = &written.authorization_key else {
            if foreign || self.circuits.is_clouds(ix) {
                report
                    .error(written.at, format!("circuit `{}` is of another subscription", circuit.name))
                    .rule(rule)
                    .expected("an `authorizationKey` that was issued on it");
            }
            return;
        };
        let Some(authorization) = circuit.authorizations.iter().find(|one| one.key == key.value) else {
            report
                .warning(
                    key.at,
                    format!("circuit `{}` has no authorization with this key: no connection", circuit.name),
                )
                .rule("ER-10")
                .expected("a key of its `authorizations`");
            return;
        };
        if before.iter().any(|(other, _)| other.authorization_key.as_ref() == Some(&key.value)) {
            report
                .error(
                    key.at,
                    format!("authorization `{}` is InUse: another connection has its key", authorization.name),
                )
                .rule("ER-10")
                .expected("a key for each connection");
        }
    }

    /// ER-19.
    fn check_place(&self, connection: &Connection, ix: CircuitIx, written: &written::Connection, report: &mut Report) {
        let circuit = self.circuit(ix);
        let SubnetIx { vnet, .. } = self.gateways[connection.gateway.0].subnet;
        let region = geography::of_region(&self.vnets[vnet.0].location);
        if let (Some(near), Some(far)) = (geography::of_location(&circuit.peering_location), region)
            && near != far
            && circuit.tier != CircuitTier::Premium
        {
            report
                .error(written.at, format!("circuit `{}` in {near} reaches {far} as a Premium one only", circuit.name))
                .rule("ER-19")
                .expected("`sku: Premium`");
        }
    }

    /// LIM-23, and that a gateway has one connection to a circuit.
    fn check_gateway(
        &self,
        connection: &Connection,
        ix: CircuitIx,
        at: At,
        before: &[(&Connection, CircuitIx)],
        report: &mut Report,
    ) {
        let gateway = &self.gateways[connection.gateway.0];
        let own: Vec<_> = before.iter().filter(|(other, _)| other.gateway == connection.gateway).collect();
        if own.iter().any(|(_, other)| *other == ix) {
            report
                .error(at, format!("gateway `{}` is connected to this circuit already", gateway.name))
                .rule("ER-11")
                .expected("one connection for each circuit");
        }
        let most = gateway.sku.circuits();
        if own.len() == most && most > 0 {
            report
                .error(at, format!("gateway `{}` has {most} circuits already", gateway.name))
                .rule("LIM-23")
                .expected(format!("at most {most} connections with sku {:?}", gateway.sku));
        }
        let place = &self.circuit(ix).peering_location;
        let here = own.iter().filter(|(_, other)| self.circuit(*other).peering_location.eq_ignore_ascii_case(place));
        if !place.is_empty() && here.count() == SAME_LOCATION {
            report
                .error(at, format!("virtual network has {SAME_LOCATION} circuits of {place} already"))
                .rule("LIM-23")
                .expected(format!("at most {SAME_LOCATION} circuits of one peering location"));
        }
    }
}
