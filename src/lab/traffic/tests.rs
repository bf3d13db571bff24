//! How a trial is judged, and sockets that answer, refuse or keep silent.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, TcpStream};

use super::*;
use crate::lab::tests::{self, Place, node};
use crate::model::{CloudIx, ConnectionIx, GatewayIx, RouteServerIx, Side, Tier, VnetIx};
use crate::sys::closing::closed;

const SOON: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(250);

const LAB: &str = "
name: lab
internet: {addresses: [198.51.100.7], run: serve}
virtualNetworks:
  - {name: v, location: westeurope, addressSpace: [10.1.0.0/16], subnets: [{name: s, addressPrefix: 10.1.1.0/24}]}
virtualMachines:
  - {name: a, networkInterfaces: [{name: nic1, subnet: v/s, privateIPAddress: 10.1.1.4}]}
  - {name: b, run: serve, networkInterfaces: [{name: nic1, subnet: v/s, privateIPAddress: 10.1.1.5}]}
  - {name: c, guest: {masquerade: all}, networkInterfaces: [{name: nic1, subnet: v/s, privateIPAddress: 10.1.1.6}]}
  - name: d
    networkInterfaces: [{name: nic1, subnet: v/s, privateIPAddress: 10.1.1.7, attach: {namespace: /nowhere, interface: eth7}}]
";

fn nic(number: usize) -> Attachment {
    Attachment::Nic(NicIx(number))
}

fn address(last: u8) -> IpAddr {
    Ipv4Addr::new(10, 1, 1, last).into()
}

/// From `a` to `b`.
fn trial(probe: Probe) -> Trial {
    Trial {
        from: nic(0),
        bind: None,
        to: Some(nic(1)),
        destination: address(5),
        listener: address(5),
        probe,
        patience: SHORT,
        follow: false,
    }
}

fn attempt(answer: Answer) -> Attempt {
    let flow = Flow::tcp((address(4), 4000), (address(5), 80));
    Attempt { answer, flow, took: Duration::from_millis(7) }
}

/// Runs a check where trials of [`LAB`] happen.
fn on_ground(check: impl Fn(Ground<'_>)) {
    let network = tests::network(LAB);
    let mut nodes: Vec<_> = ["a", "b", "c", "internet"].iter().map(|name| node(name, "/nowhere".as_ref())).collect();
    nodes[3].devices = BTreeMap::from([("eth0".to_owned(), "eth0".to_owned())]);
    nodes[0].devices = BTreeMap::from([("nic1".to_owned(), "eth3".to_owned())]);
    let lab = tests::record(nodes);
    check(Ground { lab: &lab, network: &network });
}

#[test]
fn a_trial_leaves_by_the_interface_that_has_its_address() {
    on_ground(|ground| {
        let origin = |from, bind| {
            let Origin { device, address } = ground.origin(&Trial { from, bind, ..trial(Probe::Ping) });
            (device, address)
        };
        let bound = Some(address(4));
        assert_eq!(origin(nic(0), None), (None, None));
        assert_eq!(origin(nic(0), bound), (Some("eth3".to_owned()), bound));
        assert_eq!(origin(nic(3), bound), (Some("eth7".to_owned()), bound));
        assert_eq!(origin(Attachment::Internet, bound), (Some("eth0".to_owned()), bound));
        let tcp = trial(Probe::Tcp(80));
        assert_eq!((tcp.port(), trial(Probe::Udp(53)).port(), trial(Probe::Ping).port()), (80, 53, 0));
        let listens = SocketAddr::new(address(5), 80);
        assert_eq!(tcp.place(), Some((nic(1), listens, Transport::Tcp)));
        assert_eq!(trial(Probe::Ping).place(), None);
        assert_eq!(Trial { to: None, ..tcp }.place(), None);
    });
}

#[test]
fn machines_with_a_program_are_given_time_and_those_with_masquerade_are_followed() {
    on_ground(|ground| {
        let have =
            [nic(0), nic(1), Attachment::Internet, Attachment::Platform(VnetIx(0))].map(|at| ground.has_program(at));
        assert_eq!(have, [false, true, true, false]);
        assert!(ground.masquerades());
        assert!(!ground.translates_sources());
        let names = [nic(1), Attachment::Vnet(VnetIx(0)), Attachment::Internet, Attachment::Platform(VnetIx(0))];
        assert_eq!(names.map(|at| ground.name(at)), ["b", "v", "internet", "AzurePlatform"]);
        assert!(ground.namespace(Attachment::Vnet(VnetIx(0))).is_err());
    });
}

/// The nodes around gateways, circuits, private clouds and route servers, by what users call them.
#[test]
fn far_nodes_are_found_by_their_names() {
    let cloud = tests::network(include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/config/private-cloud-basic.yaml")));
    let lab = tests::record(Vec::new());
    let ground = Ground { lab: &lab, network: &cloud };
    let gateway = ground.name(Attachment::Gateway(GatewayIx(0)));
    let (first, _) = cloud.circuits().find(|(_, circuit)| circuit.name == "er-london").unwrap();
    let names = [
        Attachment::Edge(first),
        Attachment::CircuitLink(first, Side::Primary),
        Attachment::CloudRouter(CloudIx(0), Tier::One(0)),
        Attachment::Segment(CloudIx(0), 0),
    ];
    assert_eq!(gateway, "hub-er");
    let [edge, link, router, segment] = names.map(|at| (ground.name(at), ground.has_program(at)));
    assert_eq!((edge, link), (("er-london".to_owned(), false), ("dc".to_owned(), false)));
    assert_eq!(router, ("TNT7-T1".to_owned(), false));
    assert_eq!(segment.0, cloud.segment(CloudIx(0), 0).node);

    let site = tests::network(include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/config/site-to-site.yaml")));
    let mut nodes = vec![node("dc", "/nowhere".as_ref())];
    nodes[0].devices = BTreeMap::from([("hub-dc".to_owned(), "tun0".to_owned())]);
    let lab = tests::record(nodes);
    let ground = Ground { lab: &lab, network: &site };
    let tunnel = Attachment::Tunnel(ConnectionIx(0));
    assert_eq!((ground.name(tunnel).as_str(), ground.device(tunnel).as_str()), ("dc", "tun0"));
    let from_tunnel = Trial { from: tunnel, bind: Some(address(9)), ..trial(Probe::Ping) };
    assert_eq!(ground.origin(&from_tunnel).device, None, "answers may come by another tunnel");
    assert!(!ground.masquerades());

    let server = tests::network(include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/config/route-server.yaml")));
    let ground = Ground { lab: &lab, network: &server };
    assert_eq!(ground.name(Attachment::RouteServer(RouteServerIx(0))), "rs");
}

#[test]
fn an_outcome_says_what_the_answer_means_for_what_listens_there() {
    let seen = Seen::told(&[("b", attempt(Answer::Yes).flow, [64, 64])]);
    let held = || Listener::Tcp { _held: TcpListener::bind("127.0.0.1:0").unwrap() };
    on_ground(|ground| {
        let outcome = |answer, listener: &Listener, probe| {
            let attempt = attempt(answer);
            ground.outcome(&trial(probe), &attempt, listener, (&[attempt.flow], &seen))
        };
        let tcp = |answer, listener: &Listener| {
            let outcome = outcome(answer, listener, Probe::Tcp(80));
            assert_eq!((outcome.source_port, outcome.took), (4000, Duration::from_millis(7)));
            assert!(outcome.last_seen.is_none() && !outcome.elsewhere);
            (outcome.arrived, outcome.note.unwrap_or_default())
        };
        let filtered = "refused, although a program listens: look at what the guests filter".to_owned();
        assert_eq!(tcp(Answer::Yes, &held()), (true, String::new()));
        assert_eq!(tcp(Answer::Silence, &held()), (false, String::new()));
        assert_eq!(tcp(Answer::Refused, &Listener::None), (true, "refused: nothing listens there".to_owned()));
        assert_eq!(tcp(Answer::Refused, &held()), (false, filtered.clone()));
        assert_eq!(tcp(Answer::Refused, &Listener::Program), (false, filtered));
        assert_eq!(tcp(Answer::NoRoute, &held()).1, "the sender has no route to it");
        assert_eq!(tcp(Answer::Unreachable, &held()).1, "a guest answers that it cannot be reached");
        // A program need not answer a datagram: that it has come is all there is to see.
        let program = outcome(Answer::Silence, &Listener::Program, Probe::Udp(53));
        assert!(program.arrived && program.via_return.is_none());
        assert!(program.note.unwrap().starts_with("a program of the machine has the port"));
        assert!(!outcome(Answer::Silence, &Listener::Program, Probe::Tcp(53)).arrived);
        let unseen = ground.outcome(
            &trial(Probe::Udp(53)),
            &attempt(Answer::Silence),
            &Listener::Program,
            (&[], &Seen::told(&[])),
        );
        assert!(!unseen.arrived);
    });
}

/// Two machines may have one address: then the other one answers.
#[test]
fn an_answer_of_a_machine_that_never_saw_the_packet_is_another_ones() {
    let nothing = Seen::told(&[("b", Flow::udp((address(4), 1), (address(5), 1)), [64, 64])]);
    on_ground(|ground| {
        let outcome = |trial: &Trial, answer, names: usize, seen: &Seen| {
            let attempt = attempt(answer);
            ground.outcome(trial, &attempt, &Listener::None, (&vec![attempt.flow; names], seen))
        };
        let asked = trial(Probe::Tcp(80));
        for answer in [Answer::Yes, Answer::Refused] {
            let other = outcome(&asked, answer, 1, &nothing);
            assert!(other.elsewhere && !other.arrived);
            assert_eq!(other.note.unwrap(), "answered by another machine, which has the address too");
        }
        assert!(!outcome(&asked, Answer::Silence, 1, &nothing).elsewhere, "nobody has answered");
        assert!(!outcome(&asked, Answer::Yes, 2, &nothing).elsewhere, "a guest sends it elsewhere, and means to");
        assert!(!outcome(&asked, Answer::Yes, 1, &Seen::told(&[])).elsewhere, "it was not watched");
        let public = Trial { destination: [203, 0, 113, 9].into(), ..asked.clone() };
        assert!(!outcome(&public, Answer::Yes, 1, &nothing).elsewhere, "it comes under another name");
        assert!(!outcome(&Trial { to: Some(Attachment::Internet), ..asked }, Answer::Yes, 1, &nothing).elsewhere);
    });
}

#[test]
fn a_flow_that_a_guest_sends_on_is_asked_for_where_it_goes() {
    let asked = attempt(Answer::Refused);
    let sent_on = |last, port| Flow::tcp((address(4), 4000), (address(last), port));
    on_ground(|ground| {
        let moved = |trial: &Trial, answer, names: &[Flow], machine: &str| {
            let seen = Seen::told(&[(machine, *names.last().unwrap(), [64, 64])]);
            ground.moved(trial, &attempt(answer), names, &seen)
        };
        let follow = Trial { follow: true, ..trial(Probe::Tcp(80)) };
        let names = [asked.flow, sent_on(6, 8080)];
        let there = Some((nic(2), SocketAddr::new(address(6), 8080), Transport::Tcp));
        assert_eq!(moved(&follow, Answer::Silence, &names, "c"), there);
        assert_eq!(moved(&follow, Answer::Yes, &names, "c"), None, "it was answered");
        assert_eq!(moved(&trial(Probe::Tcp(80)), Answer::Silence, &names, "c"), None, "guests change nothing");
        assert_eq!(moved(&follow, Answer::Silence, &names, "b"), None, "its machine has not seen it");
        assert_eq!(moved(&follow, Answer::Silence, &[asked.flow], "b"), None, "where it was asked for");
        assert_eq!(moved(&follow, Answer::Silence, &[asked.flow, sent_on(4, 80)], "a"), None, "back to its sender");
        let port = [asked.flow, sent_on(5, 81)];
        assert_eq!(moved(&follow, Answer::Silence, &port, "b").map(|place| place.1.port()), Some(81));
    });
}

#[test]
fn it_is_said_where_a_packet_was_last() {
    let flow = attempt(Answer::Silence).flow;
    let last = |saw: &[_]| {
        let LastSeen { at, sent_on, text } = LastSeen::of(&Seen::told(saw), &[flow], ("a", Some("b")));
        (at.unwrap_or_default(), sent_on, text)
    };
    let is = |at: &str, sent_on, text: &str| (at.to_owned(), sent_on, text.to_owned());
    assert_eq!(last(&[]), is("", false, "the packet left a, if at all, and came to no machine"));
    assert_eq!(last(&[("b", flow, [62, 62])]), is("b", false, "the packet came to b, which did not answer"));
    assert_eq!(last(&[("c", flow, [63, 63])]), is("c", false, "c got the packet and did not send it on"));
    let sent_on = "c sent the packet on, and no machine answered it";
    assert_eq!(last(&[("c", flow, [64, 63])]), is("c", true, sent_on));
    let answer = flow.answer();
    assert_eq!(last(&[("c", answer, [63, 63])]), is("c", false, "c got the answer and did not send it on"));
    let on = "c sent the answer on, which did not arrive";
    assert_eq!(last(&[("c", answer, [64, 63])]), is("c", true, on));
}

fn patient(stop: &AtomicBool) -> Patience<'_> {
    Patience::new(SHORT, stop)
}

#[test]
fn a_datagram_is_answered_refused_or_lost() {
    let (server, over, stop) =
        (UdpSocket::bind("127.0.0.1:0").unwrap(), AtomicBool::new(false), AtomicBool::new(false));
    let at = server.local_addr().unwrap();
    let sent = || send(&Origin::default(), at, patient(&stop)).unwrap();
    let (answer, flow) = thread::scope(|scope| {
        scope.spawn(|| echo(&server, &over));
        let sent = send(&Origin::default(), at, Patience::new(SOON, &stop)).unwrap();
        over.store(true, Ordering::Relaxed);
        sent
    });
    assert!(answer == Answer::Yes);
    assert_eq!((flow.src.0, flow.dst), (at.ip(), (at.ip(), at.port())));
    let began = Instant::now();
    assert!(sent().0 == Answer::Silence);
    assert!((SHORT..SOON).contains(&began.elapsed()), "{:?}", began.elapsed());
    // It was asked more than once: 200 ms, and the rest.
    let mut buffer = [0; 64];
    server.set_read_timeout(Some(SHORT)).unwrap();
    let asked = (0..9).map_while(|_| server.recv(&mut buffer).ok()).collect::<Vec<_>>();
    assert_eq!(asked, [4, 4]);
    assert_eq!(&buffer[..4], b"vnet");
    drop(server);
    closed(|| sent().0 == Answer::Refused);
}

#[test]
fn a_connection_is_made_refused_or_given_up() {
    let (listener, stop) = (TcpListener::bind("127.0.0.1:0").unwrap(), AtomicBool::new(false));
    let at = listener.local_addr().unwrap();
    let (answer, flow) = connect(&Origin::default(), at, patient(&stop)).unwrap();
    assert!(answer == Answer::Yes);
    let client = listener.accept().unwrap().1;
    assert_eq!((flow.src, flow.dst), ((client.ip(), client.port()), (at.ip(), at.port())));
    listener.set_nonblocking(true).unwrap();
    assert!(listener.accept().is_err(), "once is enough");
    drop(listener);
    closed(|| TcpStream::connect(at).is_err());
    let began = Instant::now();
    assert!(connect(&Origin::default(), at, Patience::new(SOON, &stop)).unwrap().0 == Answer::Refused);
    assert!(began.elapsed() < SOON);
    stop.store(true, Ordering::Relaxed);
    let stopped = connect(&Origin::default(), at, patient(&stop)).map(drop).unwrap_err();
    assert_eq!(stopped.kind(), io::ErrorKind::Interrupted);
}

#[test]
fn what_has_a_port_already_is_a_program_of_the_machine() {
    let held = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = held.local_addr().unwrap();
    assert!(matches!(listen(at, Transport::Tcp, None), Ok(Listener::Program)));
    let began = Instant::now();
    assert!(matches!(listen(at, Transport::Tcp, Some(began + SOON)), Ok(Listener::Program)));
    assert!(began.elapsed() < SOON, "it is there, and not waited for");
    drop(held);
    closed(|| TcpStream::connect(at).is_err());
    let began = Instant::now();
    assert!(matches!(listen(at, Transport::Tcp, Some(began + SHORT)), Ok(Listener::Tcp { .. })));
    assert!(began.elapsed() >= SHORT, "a program may still come");
    assert!(matches!(listen(at, Transport::Udp, None), Ok(Listener::Udp(_))));
    let foreign = SocketAddr::from(([192, 0, 2, 77], 7));
    assert!(matches!(listen(foreign, Transport::Tcp, None), Ok(Listener::None)), "no machine has this address");
}

#[test]
fn a_ping_is_answered_or_not() {
    let Some(place) = Place::new() else { return };
    let stop = AtomicBool::new(false);
    let asked = || {
        let pinged = ping(&Origin::default(), Ipv4Addr::LOCALHOST.into(), Patience::new(SOON, &stop)).unwrap();
        let silent =
            ping(&Origin::default(), Ipv4Addr::LOCALHOST.into(), Patience::new(Duration::ZERO, &stop)).unwrap();
        (pinged, silent)
    };
    let ((answer, flow), (silent, _)) = place.namespace.run(asked).unwrap();
    assert!(answer == Answer::Yes && silent == Answer::Silence);
    assert_eq!(flow, Flow::echo(Ipv4Addr::LOCALHOST.into(), Ipv4Addr::LOCALHOST.into(), flow.src.1));
}
