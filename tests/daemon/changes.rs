//! Changes of the network, and of what was learned about it, while packets flow.

use std::collections::{BTreeMap, HashMap, HashSet};

use vnet::daemon::api::protocol::{FlowFilter, Request, Response};
use vnet::daemon::engine::Engine;
use vnet::model::Learned;
use vnet::sys::tun::{OffloadSupport, Tun};

use crate::{CLIENT, LAB, Lab, SERVER, eventually, guest, network, received};

/// What was learned is in the next tables; it outlives a change that was prepared before, and what did not change makes none.
#[test]
fn what_is_learned_is_published_and_outlives_a_change() {
    let lab = Lab::start();
    let engine = &lab.engine;
    let generation = || engine.published().generation();
    let before = generation();
    assert!(!engine.learn(|_| {}), "nothing new");
    let prepared = engine.prepare(network(LAB)).unwrap();
    assert_eq!(generation(), before);
    let fails = |learned: &mut Learned| {
        learned.down.insert("gw".to_owned());
    };
    assert!(engine.learn(fails) && !engine.learn(fails), "once");
    assert!(engine.learn(|learned| drop(learned.bgp.by_connection.insert("c".to_owned(), Vec::new()))));
    assert_eq!(generation(), before + 2);
    assert!(prepared.missing.is_empty() && prepared.restored.is_empty(), "all guests stay");
    engine.publish(prepared, HashMap::new()).unwrap();
    assert_eq!(generation(), before + 3);
    let learned = engine.compiled().learned().clone();
    assert!(learned.down.contains("gw") && learned.bgp.by_connection.contains_key("c"), "{learned:?}");
    lab.exchange(1000, b"after");

    // Once a guest is gone it gets no packets, and the others keep their devices.
    let smaller = engine.prepare(network(&LAB.replace("  - {name: spare, ", "  - {name: other, "))).unwrap();
    let last = engine.network().attachments()[2];
    assert_eq!(smaller.missing, [last], "the same place in the file, another machine");
    let error = engine.publish(smaller, HashMap::new()).unwrap_err();
    assert!(error.to_string().starts_with("no TUN for"), "{error}");
    let next = engine.prepare(network(&LAB.replace("  - {name: spare, ", "  - {name: other, "))).unwrap();
    let (tun, guest) = guest();
    engine.publish(next, HashMap::from([(last, (tun, Some(1400)))])).unwrap();
    assert_eq!(engine.compiled().learned().mtu.get(&last), Some(&1400));
    lab.send(CLIENT, ("10.0.1.4:1", "10.0.2.5:53"), b"to the new one");
    assert_eq!(received(&guest), b"to the new one");
    lab.exchange(1001, b"still there");
}

/// Threads and devices are made with these.
#[test]
fn what_a_lab_was_made_with_cannot_change() {
    let lab = Lab::start();
    for (property, value) in [
        ("workers", "2"),
        ("offload", "false"),
        ("udpSegmentation", "false"),
        ("device", "veth"),
        ("mtu", "1400"),
        ("platformServices", "true"),
        ("flowsPerNic", "1000"),
    ] {
        let (head, rest) = LAB.split_once("emulation: {workers: 1, platformServices: false, ").unwrap();
        let other = |one: &str, value: &str| if one == property { String::new() } else { format!("{one}: {value}, ") };
        let fixed = [other("workers", "1"), other("platformServices", "false")].concat();
        let text = format!("{head}emulation: {{{property}: {value}, {fixed}{rest}");
        let refused = lab.engine.prepare(network(&text)).unwrap_err();
        assert_eq!(refused.to_string(), format!("emulation.{property} cannot change while the lab runs"));
    }
    let same = lab.engine.prepare(network(&LAB.replace("flowLogRecordSeconds: 1", "flowLogRecordSeconds: 2")));
    assert!(same.is_ok(), "this is no matter of threads or devices");
}

/// Two changes that were prepared at the same time: the second knows another network than it replaces.
#[test]
fn a_change_is_made_to_the_network_that_it_was_prepared_for() {
    let lab = Lab::start();
    let [first, second] = [LAB, LAB].map(|text| lab.engine.prepare(network(text)).unwrap());
    lab.engine.publish(first, HashMap::new()).unwrap();
    let generation = lab.engine.published().generation();
    let refused = lab.engine.publish(second, HashMap::new()).unwrap_err();
    assert_eq!(refused.to_string(), "the network changed while this change was being prepared");
    assert_eq!(lab.engine.published().generation(), generation);
}

/// A device that is let go gets nothing, and the next change asks for another one; the others go on.
#[test]
fn a_device_that_is_gone_is_missing_until_a_change_brings_another() {
    let lab = Lab::start();
    let engine = &lab.engine;
    let server = engine.network().attachments()[SERVER];
    engine.disconnect(&[server]);
    eventually(|| !engine.counters().ports[SERVER].alive);
    lab.send(CLIENT, ("10.0.1.4:1000", "10.0.2.4:53"), b"lost");
    lab.settle(1);
    let ports = engine.counters().ports;
    assert_eq!((ports[CLIENT].dropped(), ports[SERVER].tx_packets, ports[CLIENT].alive), (1, 0, true));
    let next = engine.prepare(network(LAB)).unwrap();
    assert_eq!((&next.missing[..], &next.restored[..]), (&[server][..], &[server][..]));
    let (tun, guest) = guest();
    engine.publish(next, HashMap::from([(server, (tun, None))])).unwrap();
    lab.send(CLIENT, ("10.0.1.4:1000", "10.0.2.4:53"), b"again");
    assert_eq!(received(&guest), b"again");
    assert!(engine.counters().ports[SERVER].alive);
    // A machine that is new has no device to bring back.
    let more = LAB.replace("flowLogs:", "  - {name: more, networkInterfaces: [{subnet: v/clients}]}\nflowLogs:");
    let next = engine.prepare(network(&more)).unwrap();
    assert_eq!((next.missing.len(), next.restored.len()), (1, 0));
}

#[test]
fn an_engine_needs_a_device_for_each_attachment() {
    let network = network(LAB);
    let count = network.attachments().len();
    let start = |tuns: Vec<Tun>| Engine::start(network.clone(), tuns, Learned::default()).map(drop);
    let few = start((1..count).map(|_| guest().0).collect()).unwrap_err();
    assert_eq!(few.to_string(), format!("{} TUNs for {count} attachments", count - 1));
    let mut tuns: Vec<_> = (0..count).map(|_| guest().0).collect();
    tuns[2].offload = OffloadSupport::Tcp;
    assert_eq!(start(tuns).unwrap_err().to_string(), "TUN 2 has offload Tcp, the others Some(TcpUdp)");
    let mut tuns: Vec<_> = (0..count).map(|_| guest().0).collect();
    tuns[1].queues.clear();
    assert_eq!(start(tuns).unwrap_err().to_string(), "TUN 1 has no queue");
}

/// Rules that records still name keep their names though their group has changed.
#[test]
fn a_record_keeps_the_name_of_a_rule_that_has_gone() {
    let lab = Lab::start();
    let named = LAB.replace("access: Deny, protocol: Udp", "access: Allow, protocol: Udp").replace("'9'}", "'53'}");
    let apply = |text: &str| lab.engine.publish(lab.engine.prepare(network(text)).unwrap(), HashMap::new()).unwrap();
    apply(&named);
    lab.exchange(1000, b"by the rule");
    apply(&named.replace("{name: no, ", "{name: other, "));
    let rules = || match lab.ask(&Request::Flows { filter: FlowFilter::default(), from: None }) {
        Response::Flows(page) => page.flows.into_iter().flat_map(|row| row.rules).collect::<Vec<_>>().join(" "),
        other => panic!("{other:?}"),
    };
    assert!(rules().contains("securityRules/no"), "{}", rules());
    lab.exchange(2000, b"by the other");
    assert!(rules().contains("securityRules/no") && rules().contains("securityRules/other"), "{}", rules());
}

/// A machine of the lab.
const SPARE: &str = "  - {name: spare, networkInterfaces: [{subnet: v/servers, privateIPAddress: 10.0.2.5, loadBalancerBackendAddressPools: [first/pool]}]}\n";

/// What was learned of a device stays with it wherever the file has its machine; what was learned of a name, with all networks.
#[test]
fn what_is_learned_of_a_device_goes_where_its_machine_goes() {
    let lab = Lab::start();
    let engine = &lab.engine;
    let [client, server, spare, platform] = engine.network().attachments()[..] else { panic!("four devices") };
    engine.learn(|learned| {
        learned.mtu.extend([(client, 1400), (spare, 1300)]);
        learned.switched_off.extend([server, platform]);
        learned.sites.insert("dc".to_owned(), BTreeMap::from([("10.9.0.0/16".parse().unwrap(), Vec::new())]).into());
        learned.health = Some(BTreeMap::default());
    });
    let learned = engine.compiled().learned().clone();
    let spare_first = LAB.replace(SPARE, "").replace("virtualMachines:\n", &format!("virtualMachines:\n{SPARE}"));
    let next = engine.prepare(network(&spare_first)).unwrap();
    assert_eq!((&next.missing[..], &next.restored[..]), (&[][..], &[][..]));
    // The spare is the first now, so that each machine's device has another place.
    assert_eq!(next.staying, [(spare, client), (client, server), (server, spare), (platform, platform)]);
    engine.publish(next, HashMap::new()).unwrap();
    let now = engine.compiled().learned().clone();
    assert_eq!(now.mtu, HashMap::from([(server, 1400), (client, 1300)]));
    assert_eq!(now.switched_off, HashSet::from([spare, platform]));
    assert_eq!((&now.sites, &now.health), (&learned.sites, &learned.health));
    lab.exchange(1000, b"by the same devices");
    // A device that is gone takes with it what was learned of it.
    engine.disconnect(&[client]);
    let next = engine.prepare(network(LAB)).unwrap();
    assert_eq!((&next.missing[..], &next.restored[..]), (&[spare][..], &[spare][..]));
    engine.publish(next, HashMap::from([(spare, (guest().0, None))])).unwrap();
    let now = engine.compiled().learned().clone();
    assert_eq!((now.mtu, now.switched_off), (HashMap::from([(client, 1400)]), HashSet::from([server, platform])));
}
