//! Listings that are followed: traces, captures and flows.

use vnet::daemon::api::client::Following;
use vnet::daemon::api::protocol::{Capture, FlowEventKind, FlowFilter, Request, Response, Topic};

use crate::{CLIENT, Lab, next, rest};

/// How many packets a trace has told.
fn traced(answer: Response) -> usize {
    match answer {
        Response::Traced(traced) => {
            assert_eq!(traced.missed, 0);
            traced.packets.len()
        }
        other => panic!("{other:?}"),
    }
}

/// By the network that decided on it, also across changes.
#[test]
fn each_packet_is_told_once_across_changes() {
    let lab = Lab::start();
    lab.exchange(999, b"before");
    let mut trace = lab.follow(Topic::Trace { filter: String::new() });
    assert_eq!(traced(next(&mut trace)), 0, "it has begun");
    for round in 0..7 {
        lab.exchange(1000 + round, b"first");
        lab.exchange(1000 + round, b"second");
        let mut told = 0;
        while told < 2 {
            let new = traced(next(&mut trace));
            assert!(new > 0, "it tells news alone");
            told += new;
        }
        assert_eq!(told, 2, "round {round}");
        assert!(lab.engine.learn(|learned| {
            learned.down.insert(format!("round {round}"));
        }));
    }
    lab.exchange(2000, b"last");
    assert_eq!(rest(trace).into_iter().map(traced).sum::<usize>(), 1);
}

/// The file, how many packets it has, and whether these are as many as were asked for.
fn captured(following: Following) -> (Vec<u8>, u64, bool) {
    let (mut file, mut packets, mut is_full) = (Vec::new(), 0, false);
    let mut end = Vec::new();
    for answer in rest(following) {
        let Response::Captured(piece) = answer else { panic!("{answer:?}") };
        assert_eq!((piece.missed, piece.lengths), (0, [piece.bytes.len(), piece.end.len()]));
        file.extend(piece.bytes);
        (packets, is_full, end) = (packets + piece.packets, is_full || piece.full, piece.end);
    }
    file.extend(end);
    (file, packets, is_full)
}

#[test]
fn a_capture_has_the_bytes_of_what_it_wants_and_no_more() {
    let lab = Lab::start();
    let begin = |nodes: &[&str], count, snap| {
        let nodes = nodes.iter().map(|node| (*node).to_owned()).collect();
        let mut capture = lab.follow(Topic::Capture(Capture { nodes, filter: String::new(), count, snap, cut: false }));
        assert!(matches!(next(&mut capture), Response::Captured(_)), "the file begins");
        capture
    };
    let (all, two, short) = (begin(&[], None, 1000), begin(&["server"], Some(2), 1000), begin(&[], None, 28 + 6));
    for payload in [b"packet-one", b"packet-two", b"packet-six"] {
        lab.exchange(1000, payload);
    }
    let has = |bytes: &[u8], words: &[u8]| bytes.windows(words.len()).filter(|window| *window == words).count();
    let (bytes, packets, is_full) = captured(all);
    assert_eq!((packets, is_full), (3, false));
    for words in [&b"packet-one"[..], b"packet-two", b"packet-six"] {
        assert_eq!(has(&bytes, words), 1, "{}", String::from_utf8_lossy(words));
    }
    let (bytes, packets, is_full) = captured(two);
    assert_eq!((packets, is_full), (2, true), "as many as were asked for");
    assert_eq!((has(&bytes, b"packet-two"), has(&bytes, b"packet-six")), (1, 0));
    let (bytes, packets, _) = captured(short);
    assert_eq!((packets, has(&bytes, b"packet"), has(&bytes, b"packet-")), (3, 3, 0), "so many bytes of each");
}

#[test]
fn flows_are_told_as_they_are_and_as_they_begin() {
    let lab = Lab::start();
    lab.exchange(1000, b"before");
    let mut flows =
        lab.follow(Topic::Flows { filter: FlowFilter { node: Some("server".to_owned()), ..FlowFilter::default() } });
    let mut told = Vec::new();
    let mut wait_for = |count| {
        while told.len() < count {
            let Response::FlowChanges(new) = next(&mut flows) else { panic!("no flows") };
            assert_eq!(new.missed, 0);
            told.extend(
                new.changes.into_iter().map(|change| (change.event, change.flow.node, change.flow.source_port)),
            );
        }
        told.clone()
    };
    let change = |event, port| (event, "server".to_owned(), port);
    assert_eq!(wait_for(1), [change(FlowEventKind::Running, 1000)]);
    lab.exchange(2000, b"new");
    assert_eq!(wait_for(2)[1..], [change(FlowEventKind::Begun, 2000)]);
    lab.send(0, ("10.0.1.4:3000", "10.0.2.4:9"), b"denied");
    assert_eq!(wait_for(3)[2..], [change(FlowEventKind::Denied, 3000)]);
}

/// The client is told of a flow that a rule refuses. It is not told of flows that pass, whether they are old or new.
#[test]
fn a_client_that_follows_denied_flows_is_told_of_no_others() {
    let lab = Lab::start();
    lab.exchange(1000, b"before");
    let denied = FlowFilter { state: Some("denied".to_owned()), ..FlowFilter::default() };
    let mut flows = lab.follow(Topic::Flows { filter: denied });
    let told = |answer: Response| match answer {
        Response::FlowChanges(new) => {
            new.changes.into_iter().map(|it| (it.event, it.flow.source_port, it.flow.access)).collect::<Vec<_>>()
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(told(next(&mut flows)), [], "it has begun");
    lab.exchange(2000, b"allowed");
    lab.send(CLIENT, ("10.0.1.4:3000", "10.0.2.4:9"), b"denied");
    assert_eq!(told(next(&mut flows)), [(FlowEventKind::Denied, 3000, "Deny".to_owned())]);
    assert_eq!(rest(flows).into_iter().flat_map(told).collect::<Vec<_>>(), []);
}

/// No answer grows: the rest comes with the next, and each flow once.
#[test]
fn many_flows_come_in_pages() {
    const FLOWS: u16 = 2_500;
    let lab = Lab::start();
    (0..FLOWS).for_each(|flow| lab.exchange(10_000 + flow, b"x"));
    let server = FlowFilter { node: Some("server".to_owned()), ..FlowFilter::default() };
    let (mut pages, mut from, mut ports) = (0, None, Vec::new());
    loop {
        let Response::Flows(page) = lab.ask(&Request::Flows { filter: server.clone(), from }) else {
            panic!("no page")
        };
        assert!(page.flows.len() < 2_000, "{}", page.flows.len());
        ports.extend(page.flows.iter().map(|flow| flow.source_port));
        (pages, from) = (pages + 1, page.next);
        if from.is_none() {
            break;
        }
    }
    let all = |mut ports: Vec<u16>| {
        ports.sort_unstable();
        ports.into_iter().eq(10_000..10_000 + FLOWS)
    };
    assert!(pages > 1 && all(ports), "{pages}");
    let mut flows = lab.follow(Topic::Flows { filter: server });
    let (mut answers, mut ports) = (0, Vec::new());
    while ports.len() < usize::from(FLOWS) {
        let Response::FlowChanges(new) = next(&mut flows) else { panic!("no flows") };
        assert!(new.missed == 0 && new.changes.len() < 2_000, "{}", new.changes.len());
        assert!(new.changes.iter().all(|change| change.event == FlowEventKind::Running));
        ports.extend(new.changes.iter().map(|change| change.flow.source_port));
        answers += 1;
    }
    assert!(answers > 1 && all(ports), "{answers}");
}
