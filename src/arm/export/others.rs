//! What a template has in another shape than a file: route servers, flow logs, private clouds, Global Reach.

use serde_json::{Value, json};

use super::tables::{self, Give, Table};
use super::{Exporter, NETWORK, SCHEMA, id, last, reference, text};

const CLOUDS: &str = "Microsoft.AVS/privateClouds";
/// The version of Azure VMware Solution's interface.
pub(super) const AVS: &str = "2023-09-01";
/// Where Azure keeps the watchers that it makes.
const WATCHERS: &str = "NetworkWatcherRG";

static HUB_CONFIGURATION: Table = Table::of(&[
    ("subnet", Give::Ref("Microsoft.Network/virtualNetworks/subnets")),
    ("publicIPAddress", Give::Ref("Microsoft.Network/publicIPAddresses")),
]);
pub(super) static ROUTE_SERVER: Table = Table {
    keys: &[
        ("kind", Give::Beside),
        ("ipConfigurations", Give::Apart(&HUB_CONFIGURATION)),
        ("bgpConnections", Give::Apart(&tables::PLAIN)),
        ("virtualRouterAsn", Give::Made),
    ],
    complete: route_server,
};
static AUTHORIZATION: Table = Table::of(&[("authorizationKey", Give::Made)]);
static SEGMENT: Table = Table {
    keys: &[("addresses", Give::Lab), ("virtualMachines", Give::Lab), ("run", Give::Lab), ("sandbox", Give::Lab)],
    complete: segment,
};
pub(super) static CLOUD: Table = Table {
    keys: &[
        ("sku", Give::Beside),
        ("authorizations", Give::Apart(&AUTHORIZATION)),
        ("globalReachConnections", Give::Apart(&tables::PLAIN)),
        ("workloadNetworks/segments", Give::Apart(&SEGMENT)),
        ("distributedFirewall", Give::Elsewhere("NSX-T Manager")),
        ("run", Give::Lab),
        ("sandbox", Give::Lab),
    ],
    complete: cloud,
};
pub(super) static REACH: Table = Table {
    keys: &[("peerExpressRouteCircuitPeering", Give::Ref("Microsoft.Network/expressRouteCircuits/peerings"))],
    complete: reach,
};

/// ARM has a route server as a virtual hub, and its place as a child of that.
fn route_server(_: &mut Exporter<'_>, item: &Value) -> Value {
    let mut item = item.clone();
    item["sku"] = json!("Standard");
    item["kind"] = json!("RouteServer");
    tables::in_subnet(item, "ipconfig1", "RouteServerSubnet")
}

/// The circuit that is named, by its private peering.
fn reach(_: &mut Exporter<'_>, item: &Value) -> Value {
    let mut item = item.clone();
    let named = text(item.get("peerExpressRouteCircuitPeering").unwrap_or(&Value::Null));
    if !named.is_empty() && !named.contains('/') {
        item["peerExpressRouteCircuitPeering"] = json!(format!("{named}/AzurePrivatePeering"));
    }
    item
}

fn cloud(exporter: &mut Exporter<'_>, item: &Value) -> Value {
    let mut item = item.clone();
    item["sku"] = json!({ "name": "AV36" });
    item["managementCluster"] = json!({ "clusterSize": 3 });
    for reach in item["globalReachConnections"].as_array_mut().into_iter().flatten() {
        let mut own = super::flat(reach);
        own["peerExpressRouteCircuit"] = json!(exporter.circuit(&own["peerExpressRouteCircuit"], &mut Vec::new()).0);
        *reach = own;
    }
    let mut segments = item["segments"].take();
    for segment in segments.as_array_mut().into_iter().flatten() {
        segment["name"] = json!(format!("default/{}", text(&segment["name"])));
    }
    if let Some(object) = item.as_object_mut() {
        object.remove("segments");
        object.insert("workloadNetworks/segments".to_owned(), segments);
    }
    item
}

/// A segment's range is said by its gateway, the first address.
fn segment(_: &mut Exporter<'_>, item: &Value) -> Value {
    let mut item = item.clone();
    let range = item["addressPrefix"].as_str().and_then(|range| range.parse::<ipnet::IpNet>().ok());
    let gateway = range.and_then(|range| Some(format!("{}/{}", range.hosts().next()?, range.prefix_len())));
    if let Some(object) = item.as_object_mut() {
        object.remove("addressPrefix");
        let own = object.get("name").map(text).unwrap_or_default();
        let own = own.rsplit('/').next().unwrap_or_default().to_owned();
        object.insert("displayName".to_owned(), json!(own));
        object.insert("subnet".to_owned(), json!({ "gatewayAddress": gateway }));
    }
    item
}

impl Exporter<'_> {
    /// The id of a circuit, which may be a private cloud's own, and the name of that cloud.
    pub(super) fn circuit(&self, named: &Value, needs: &mut Vec<String>) -> (String, Option<String>) {
        let name = last(named);
        let mut clouds = self.items("privateClouds").into_iter().map(|cloud| text(&cloud["name"]));
        match clouds.find(|cloud| name.eq_ignore_ascii_case(&format!("{cloud}-circuit"))) {
            Some(cloud) => {
                let own = id(CLOUDS, &[&cloud]);
                let circuit = runtime(&own, "circuit.expressRouteID");
                needs.push(own);
                (circuit, Some(cloud))
            }
            None => (reference("Microsoft.Network/expressRouteCircuits", named, needs), None),
        }
    }

    /// The key of a connection to a private cloud: Azure makes it with the cloud's authorization.
    pub(super) fn cloud_key(&self, connection: &Value, needs: &mut Vec<String>) -> Option<Value> {
        let (_, cloud) = self.circuit(&connection["peer"], &mut Vec::new());
        let cloud = cloud.filter(|_| !connection["authorizationKey"].is_null())?;
        let clouds = self.items("privateClouds");
        let own = clouds.iter().find(|one| text(&one["name"]) == cloud)?;
        let mut keys = own["authorizations"].as_array().into_iter().flatten().map(super::flat);
        let key = keys.find(|key| key["authorizationKey"] == connection["authorizationKey"])?;
        let authorization = id(&format!("{CLOUDS}/authorizations"), &[&cloud, &text(&key["name"])]);
        let value = runtime(&authorization, "expressRouteAuthorizationKey");
        needs.push(authorization);
        Some(json!(value))
    }

    /// Flow logs belong to a watcher, which Azure keeps in a resource group of its own.
    pub(super) fn flow_logs(&mut self) {
        let mut logs = Vec::new();
        let mut needs = Vec::new();
        for (index, log) in self.items("flowLogs").iter().enumerate() {
            self.at = format!("flowLogs[{index}]");
            if !log["storagePath"].is_null() {
                self.omit("storagePath", "`storagePath` is of the lab alone");
            }
            let Some(target) = self.target(&text(&log["targetResourceId"]), &mut needs) else { continue };
            let mut properties = json!({ "targetResourceId": target, "storageId": "[parameters('storageId')]" });
            for key in ["enabled", "retentionPolicy", "format"] {
                if !log[key].is_null() {
                    properties[key] = log[key].clone();
                }
            }
            let location = self.location();
            logs.push(json!({
                "type": "Microsoft.Network/networkWatchers/flowLogs",
                "apiVersion": NETWORK,
                "name": format!("NetworkWatcher_{location}/{}", text(&log["name"])),
                "location": location,
                "properties": properties,
            }));
        }
        if logs.is_empty() {
            return;
        }
        needs.sort();
        needs.dedup();
        self.resources.push(json!({
            "type": "Microsoft.Resources/deployments",
            "apiVersion": "2022-09-01",
            "name": "flowLogs",
            "resourceGroup": WATCHERS,
            "dependsOn": needs,
            "properties": {
                "mode": "Incremental",
                "template": {
                    "$schema": SCHEMA,
                    "contentVersion": "1.0.0.0",
                    "resources": logs,
                },
            },
        }));
    }

    /// The id of what a flow log is of.
    fn target(&mut self, written: &str, needs: &mut Vec<String>) -> Option<String> {
        let segments: Vec<&str> = written.trim_matches('/').split('/').collect();
        let start = segments.iter().rposition(|part| part.contains('.')).map_or(0, |provider| provider + 1);
        let (kind, names) = match &segments[start..] {
            ["virtualMachines", machine, "networkInterfaces", nic] => {
                ("networkInterfaces".to_owned(), vec![format!("{machine}-{nic}")])
            }
            ["networkInterfaces", nic] => {
                let machines = self.items("virtualMachines");
                let has = |machine: &&Value| {
                    let nics = machine["networkInterfaces"].as_array().into_iter().flatten();
                    nics.into_iter().any(|own| text(&own["name"]) == *nic)
                };
                let machine = machines.iter().find(has)?;
                ("networkInterfaces".to_owned(), vec![format!("{}-{nic}", text(&machine["name"]))])
            }
            pairs => {
                let kinds: Vec<&str> = pairs.iter().step_by(2).copied().collect();
                let names = pairs.iter().skip(1).step_by(2).map(|name| (*name).to_owned()).collect();
                (kinds.join("/"), names)
            }
        };
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let top = kind.split('/').next().unwrap_or_default();
        needs.extend(names.first().map(|name| id(&format!("Microsoft.Network/{top}"), &[name])));
        Some(id(&format!("Microsoft.Network/{kind}"), &names))
    }
}

/// What a resource has once it runs: `[reference(resourceId(…), '…').circuit.expressRouteID]`.
fn runtime(id: &str, path: &str) -> String {
    let inner = id.trim_start_matches('[').trim_end_matches(']');
    format!("[reference({inner}, '{AVS}').{path}]")
}
