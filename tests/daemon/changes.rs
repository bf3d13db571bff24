//! Changes of the network, and of what was learned about it, while packets flow.

use std::collections::HashMap;

use vnet::model::Learned;

use crate::{CLIENT, LAB, Lab, guest, network, received};

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
