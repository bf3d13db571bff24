//! Random networks that work, with one mistake planted: what `explain` proposes is written into the file, and then the
//! packet arrives, by the same machines there and back, and nothing is open that the network without the mistake had not.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use vnet::analysis::{Explanation, Verdict, reach, traffic};
use vnet::compile::compile;

use super::applied::{File, closed, learned, opened};
use super::changes;

const NETWORKS: u64 = 24;
/// Pairs that one mistake breaks, of which so many are asked about.
const ASKED: usize = 3;

#[test]
fn a_fix_mends_a_planted_mistake_and_opens_nothing_else() {
    assert_mended(NETWORKS, Random::network, MISTAKES);
}

/// Each mistake in many random networks, with the fixes for some of the pairs that it breaks.
pub(super) fn assert_mended(networks: u64, network: fn(&mut Random) -> File, mistakes: &[(&str, Mistake)]) {
    let (mut met, mut wrong): (BTreeMap<&str, usize>, Vec<String>) = Default::default();
    for seed in 0..networks {
        let intact = network(&mut Random(seed));
        let reachable = reachable(&intact);
        for (kind, mistake) in mistakes {
            let mut broken = intact.clone();
            if mistake(&mut broken.0, &mut Random(seed)).is_none() {
                continue;
            }
            let lost = closed(&intact.differences(&broken, &[22]));
            for (source, destination, traffic) in
                lost.iter().filter(|(.., traffic)| !traffic.starts_with("udp")).take(ASKED)
            {
                let port = traffic.strip_prefix("tcp/").map(|port| format!(":{}", port.split('-').next().unwrap()));
                let asked = format!("{destination}{}", port.unwrap_or_default());
                *met.entry(kind).or_default() += 1;
                if let Err(error) = mended(&broken, (source, &asked), &reachable) {
                    wrong.push(format!("seed {seed}, {kind}, {source} to {asked}: {error}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {met:?}\n{}", wrong.len(), wrong.join("\n"));
    for (kind, _) in mistakes {
        assert!(met.get(kind).is_some_and(|count| *count >= 10), "{kind} is hardly met: {met:?}");
    }
}

/// Asks, does what the answer says, and asks again.
fn mended(broken: &File, (source, asked): (&str, &str), intact: &Pairs) -> Result<(), String> {
    let answer = broken.ask(source, asked);
    let told = |problem: String| {
        let obstacles = answer.further.iter().map(|one| (Some(&one.cause), &one.fix));
        let all = std::iter::once((answer.cause.as_ref(), &answer.fix)).chain(obstacles);
        let lines = all.map(|(cause, fix)| {
            format!("    {cause:?}\n      {:?}", fix.as_ref().map(|fix| (&fix.text, changes(fix))))
        });
        format!("{problem}\n{}", lines.collect::<Vec<_>>().join("\n"))
    };
    let mended = all_fixes(broken, &answer).map_err(told)?;
    let after = mended.ask(source, asked);
    if after.verdict != Verdict::Reachable {
        return Err(told(format!("still {}: {:?}", after.verdict, after.cause)));
    }
    if let Some(warning) = after.warnings.iter().find(|warning| warning.starts_with("asymmetric")) {
        return Err(told(warning.clone()));
    }
    let differences = broken.differences(&mended, &[22]);
    let wider: Vec<_> = opened(&differences).into_iter().filter(|pair| !intact.contains(pair)).collect();
    let closed = closed(&differences);
    if wider.is_empty() && closed.is_empty() {
        Ok(())
    } else {
        Err(told(format!("opens {wider:?}, closes {closed:?}")))
    }
}

/// All fixes of an answer, one after another, each of which must have been tried.
fn all_fixes(broken: &File, answer: &Explanation) -> Result<File, String> {
    let further = answer.further.iter().map(|further| further.fix.as_ref());
    let mut mended = broken.clone();
    // A table is added only for a subnet that has none in the file.
    let has_table = |path: &str| {
        let at: Vec<usize> = path.split(['[', ']']).filter_map(|part| part.parse().ok()).collect();
        !broken.0["virtualNetworks"][at[0]]["subnets"][at[1]]["routeTable"].is_null()
    };
    for fix in std::iter::once(answer.fix.as_ref()).chain(further) {
        let fix = fix.filter(|fix| fix.checked && !fix.changes.is_empty()).ok_or("an obstacle without a tried fix")?;
        let tables = |file: &File| file.0["routeTables"].as_array().map_or(0, Vec::len);
        let before = tables(&mended);
        mended = mended.with(fix);
        let given = fix.changes.iter().filter(|change| change.path.ends_with(".routeTable") && change.value.is_some());
        if tables(&mended) != before + given.clone().count() || given.clone().any(|change| has_table(&change.path)) {
            return Err("a table beside one that should be changed".to_owned());
        }
    }
    Ok(mended)
}

type Pairs = BTreeSet<(String, String, String)>;

fn reachable(file: &File) -> Pairs {
    let network = file.network();
    let compiled = compile(&network, &learned(&network), 1);
    let plain = vnet::model::Network { network_security_groups: Vec::new(), ..network.clone() };
    let matrix = reach(&network, &compiled, &traffic(&plain, None, [22, 23].into())).unwrap();
    let pairs = matrix.pairs.into_iter().filter(|pair| pair.verdict == Verdict::Reachable);
    pairs.map(|pair| (pair.source, pair.destination, pair.traffic.to_string())).collect()
}

pub(super) type Mistake = fn(&mut Value, &mut Random) -> Option<()>;

/// One mistake each, where the network has room for it.
const MISTAKES: &[(&str, Mistake)] = &[
    ("a link is missing", |file, random| {
        let vnet = random.pick(file["virtualNetworks"].as_array_mut()?)?;
        let links = vnet["virtualNetworkPeerings"].as_array_mut()?;
        links.remove(random.below(links.len())?);
        Some(())
    }),
    ("a link does not know its peer's range", |file, random| {
        let vnet = random.pick(file["virtualNetworks"].as_array_mut()?)?;
        let link = random.pick(vnet["virtualNetworkPeerings"].as_array_mut()?)?;
        link["remoteAddressSpace"] = json!(["172.31.0.0/16"]);
        Some(())
    }),
    ("a link allows no access", |file, random| {
        let vnet = random.pick(file["virtualNetworks"].as_array_mut()?)?;
        random.pick(vnet["virtualNetworkPeerings"].as_array_mut()?)?["allowVirtualNetworkAccess"] = json!(false);
        Some(())
    }),
    ("an appliance's interface does not forward", |file, random| {
        appliance(file, random)?["networkInterfaces"][0]["enableIPForwarding"] = json!(false);
        Some(())
    }),
    ("an appliance's guest does not forward", |file, random| {
        appliance(file, random)?["guest"] = json!({"forwarding": false});
        Some(())
    }),
    ("a machine is stopped", |file, random| {
        random.pick(file["virtualMachines"].as_array_mut()?)?["powerState"] = json!("stopped");
        Some(())
    }),
    ("a route is missing", |file, random| {
        let table = random.pick(file["routeTables"].as_array_mut()?)?;
        let routes = table["routes"].as_array_mut()?;
        routes.remove(random.below(routes.len())?);
        Some(())
    }),
    ("a route leads to an unused address", |file, random| {
        route(file, random)?["nextHopIpAddress"] = json!("10.1.255.77");
        Some(())
    }),
    ("a route leads nowhere", |file, random| {
        let route = route(file, random)?;
        route.as_object_mut()?.remove("nextHopIpAddress");
        route["nextHopType"] = json!("None");
        Some(())
    }),
    ("an appliance's own route leads back to it", |file, random| {
        let tables = file["routeTables"].as_array_mut()?.iter_mut();
        let own = tables.filter(|table| table["name"].as_str().is_some_and(|name| name.starts_with("rt-hub")));
        let mut own: Vec<_> = own.collect();
        let at = random.below(own.len())?;
        let table = own.swap_remove(at);
        let hub = if table["name"] == "rt-hub1" { 1 } else { 2 };
        let mut routes = vec![route_to("10.0.0.0/8", hub)];
        if random.chance(50) {
            routes.push(json!({"name": "test-net", "addressPrefix": "192.0.2.0/24", "nextHopType": "None"}));
        }
        table["routes"] = json!(routes);
        Some(())
    }),
    ("a rule denies", |file, random| {
        let group = random.pick(file["networkSecurityGroups"].as_array_mut()?)?;
        let direction = if random.chance(50) { "Inbound" } else { "Outbound" };
        group["securityRules"].as_array_mut()?.push(json!({
            "name": "allow-tcp-22", "priority": 100 + random.below(3)?, "direction": direction, "access": "Deny",
            "protocol": "Tcp", "sourceAddressPrefix": "*", "sourcePortRange": "*", "destinationAddressPrefix": "*",
            "destinationPortRange": "22",
        }));
        Some(())
    }),
];

fn appliance<'a>(file: &'a mut Value, random: &mut Random) -> Option<&'a mut Value> {
    let machines = file["virtualMachines"].as_array_mut()?.iter_mut();
    let mut appliances: Vec<_> =
        machines.filter(|machine| machine["name"].as_str().is_some_and(|name| name.starts_with("nva"))).collect();
    let at = random.below(appliances.len())?;
    Some(appliances.swap_remove(at))
}

fn route<'a>(file: &'a mut Value, random: &mut Random) -> Option<&'a mut Value> {
    let table = random.pick(file["routeTables"].as_array_mut()?)?;
    random.pick(table["routes"].as_array_mut()?)
}

/// SplitMix64: the same seed, the same network.
pub(super) struct Random(u64);

impl Random {
    pub(super) fn below(&mut self, bound: usize) -> Option<usize> {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % bound.max(1) as u64).ok().filter(|_| bound > 0)
    }

    pub(super) fn chance(&mut self, percent: usize) -> bool {
        self.below(100).is_some_and(|drawn| drawn < percent)
    }

    pub(super) fn pick<'a>(&mut self, from: &'a mut [Value]) -> Option<&'a mut Value> {
        let at = self.below(from.len())?;
        from.get_mut(at)
    }

    /// One or two hubs, each with one or two appliances and spokes around it; each spoke sends to the others through its
    /// hub's first appliance, and appliances to each other.
    fn network(&mut self) -> File {
        let hubs = 1 + self.below(2).unwrap();
        let spokes: Vec<usize> = (0..hubs).map(|_| 1 + self.below(2).unwrap()).collect();
        let (mut vnets, mut tables, mut groups, mut machines) = (vec![], vec![], vec![], vec![]);
        for hub in 1..=hubs {
            let name = format!("hub{hub}");
            let mut links: Vec<_> = (1..=spokes[hub - 1]).map(|spoke| link(&name, &format!("s{hub}{spoke}"))).collect();
            links.extend((1..=hubs).filter(|other| *other != hub).map(|other| link(&name, &format!("hub{other}"))));
            let mut subnets = vec![json!({"name": "nva", "addressPrefix": format!("10.{hub}.0.0/24")})];
            if hubs == 2 {
                subnets[0]["routeTable"] = json!(format!("rt-{name}"));
                let other = 3 - hub;
                let routes = (1..=spokes[other - 1]).map(|spoke| route_to(&format!("10.{other}{spoke}.0.0/16"), other));
                tables.push(json!({"name": format!("rt-{name}"), "routes": routes.collect::<Vec<_>>()}));
            }
            vnets.push(vnet(&name, &format!("10.{hub}.0.0/16"), &subnets, &links));
            machines.push(machine(&format!("nva{hub}"), &format!("{name}/nva"), Some(format!("10.{hub}.0.4"))));
            for spoke in 1..=spokes[hub - 1] {
                let name = format!("s{hub}{spoke}");
                let mut subnet = json!({"name": "app", "addressPrefix": format!("10.{hub}{spoke}.0.0/24")});
                let all = (1..=hubs).flat_map(|hub| (1..=spokes[hub - 1]).map(move |spoke| (hub, spoke)));
                let routes: Vec<_> = if self.chance(50) {
                    vec![route_to("10.0.0.0/8", hub)]
                } else {
                    let others = all.filter(|other| *other != (hub, spoke));
                    others.map(|(h, s)| route_to(&format!("10.{h}{s}.0.0/16"), hub)).collect()
                };
                if !routes.is_empty() {
                    subnet["routeTable"] = json!(format!("rt-{name}"));
                    tables.push(json!({"name": format!("rt-{name}"), "routes": routes}));
                }
                if self.chance(60) {
                    subnet["networkSecurityGroup"] = json!(format!("nsg-{name}"));
                    groups.push(json!({"name": format!("nsg-{name}"), "securityRules": []}));
                }
                let link = link(&name, &format!("hub{hub}"));
                vnets.push(vnet(&name, &format!("10.{hub}{spoke}.0.0/16"), &[subnet], &[link]));
                machines.push(machine(&format!("vm{hub}{spoke}"), &format!("{name}/app"), None));
            }
        }
        File(json!({
            "virtualNetworks": vnets, "routeTables": tables, "networkSecurityGroups": groups, "virtualMachines": machines,
        }))
    }
}

pub(super) fn vnet(name: &str, space: &str, subnets: &[Value], links: &[Value]) -> Value {
    json!({
        "name": name, "location": "westeurope", "addressSpace": [space], "subnets": subnets,
        "virtualNetworkPeerings": links,
    })
}

fn link(own: &str, remote: &str) -> Value {
    json!({"name": format!("{own}-{remote}"), "remoteVirtualNetwork": remote, "allowForwardedTraffic": true})
}

fn route_to(prefix: &str, hub: usize) -> Value {
    json!({
        "name": format!("to-{}", prefix.replace(['.', '/'], "-")), "addressPrefix": prefix,
        "nextHopType": "VirtualAppliance", "nextHopIpAddress": format!("10.{hub}.0.4"),
    })
}

pub(super) fn machine(name: &str, subnet: &str, appliance: Option<String>) -> Value {
    let mut interface = json!({"subnet": subnet});
    if let Some(address) = appliance {
        interface["privateIPAddress"] = json!(address);
        interface["enableIPForwarding"] = json!(true);
    }
    json!({"name": name, "networkInterfaces": [interface]})
}
