//! Many guests at one router: one that floods or stops reading does not delay the others.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use crate::lab::{Lab, SOON, eventually, pattern};

/// Guests `g0` to `g9`, and `sink`, which they talk to. One worker, so that all of them meet there.
fn crowd() -> Option<Lab> {
    let guest =
        |n| format!("  - {{name: g{n}, networkInterfaces: [{{subnet: v/s, privateIPAddress: 10.0.0.{}}}]}}\n", 10 + n);
    let guests: String = (0..10).map(guest).collect();
    Lab::up(&format!(
        "name: crowd
emulation: {{workers: 1, platformServices: false}}
virtualNetworks:
  - {{name: v, location: westeurope, addressSpace: [10.0.0.0/24], subnets: [{{name: s, addressPrefix: 10.0.0.0/24}}]}}
virtualMachines:
  - {{name: sink, networkInterfaces: [{{subnet: v/s, privateIPAddress: 10.0.0.4}}]}}
{guests}"
    ))
}

const SINK: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 4);

/// A socket of a guest's own, connected to the sink's of the same number.
fn pair(lab: &Lab, guest: usize) -> (UdpSocket, UdpSocket) {
    let at = SocketAddr::from((SINK, 7000 + guest as u16));
    let server = lab.inside("sink", || UdpSocket::bind(at).unwrap());
    let client = lab.inside(&format!("g{guest}"), || UdpSocket::bind("0.0.0.0:0").unwrap());
    client.connect(at).unwrap();
    (client, server)
}

/// While one guest sends as fast as it can, nine others ask and are answered: each by far most of the time, and that at
/// once, since a lost datagram is not sent again.
#[test]
fn one_guest_that_floods_leaves_nine_others_their_share() {
    const QUESTIONS: usize = 200;
    let Some(lab) = crowd() else { return };
    let (flooder, sink) = pair(&lab, 0);
    let pairs: Vec<_> = (1..10).map(|guest| pair(&lab, guest)).collect();
    let (over, sent) = (AtomicBool::new(false), AtomicUsize::new(0));
    let answered = thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                // A refusal is the guest's own queue, which is full.
                sent.fetch_add(usize::from(flooder.send(&[0; 64]).is_ok()), Ordering::Relaxed);
            }
        });
        eventually("the flood has begun", || sent.load(Ordering::Relaxed) > 10 * QUESTIONS);
        let others = pairs.into_iter().map(|(client, server)| scope.spawn(move || talk(&client, &server, QUESTIONS)));
        let answered: Vec<_> = others.collect::<Vec<_>>().into_iter().map(|other| other.join().unwrap()).collect();
        over.store(true, Ordering::Relaxed);
        answered
    });
    drop(sink);
    assert!(
        answered.iter().all(|answered| answered * 10 >= QUESTIONS * 9),
        "{answered:?} of {QUESTIONS}, beside {sent:?}"
    );
}

/// How many of so many questions arrive and are answered.
fn talk(client: &UdpSocket, server: &UdpSocket, questions: usize) -> usize {
    let mut buffer = [0; 64];
    for socket in [client, server] {
        socket.set_read_timeout(Some(SOON / 10)).unwrap();
    }
    let mut answered = 0;
    for question in 0..questions {
        client.send(&question.to_be_bytes()).unwrap();
        let Ok((length, peer)) = server.recv_from(&mut buffer) else { continue };
        server.send_to(&buffer[..length], peer).unwrap();
        answered +=
            usize::from(client.recv(&mut buffer).is_ok_and(|length| buffer[..length] == question.to_be_bytes()));
    }
    answered
}

/// A server that does not read its connection, and datagrams without a reader: others go on, and no queued byte is lost.
#[test]
fn a_guest_that_stops_reading_does_not_delay_others() {
    let Some(lab) = crowd() else { return };
    let listener = lab.inside("sink", || TcpListener::bind((SINK, 9000)).unwrap());
    let mut stuck = lab.inside("g0", || TcpStream::connect_timeout(&listener.local_addr().unwrap(), SOON)).unwrap();
    let (mut idle, _) = listener.accept().unwrap();
    stuck.set_write_timeout(Some(SOON / 50)).unwrap();
    let piece = pattern(1 << 16);
    let mut waiting = 0;
    while let Ok(written) = stuck.write(&piece[waiting % piece.len()..]) {
        waiting += written;
    }
    let (sender, unread) = pair(&lab, 1);
    for _ in 0..20_000 {
        let _ = sender.send(&[0; 1400]);
    }

    assert_eq!(lab.tcp("g2", "sink", "10.0.0.4", 9001, 4 << 20), Some(4 << 20), "to the same guest");
    assert_eq!(lab.tcp("g3", "g4", "10.0.0.14", 9001, 4 << 20), Some(4 << 20), "past it");
    lab.assert_ping("g1", "10.0.0.4");

    drop((stuck, unread));
    idle.set_read_timeout(Some(SOON)).unwrap();
    let mut late = Vec::new();
    idle.read_to_end(&mut late).unwrap();
    assert!(waiting > piece.len() && late.len() == waiting, "{} of {waiting}", late.len());
    assert!(late.chunks(piece.len()).all(|chunk| chunk == &piece[..chunk.len()]), "and as it was sent");
}
