//! Names of others, by the forwarders of the file.

use std::net::{TcpListener, UdpSocket};
use std::thread;

use vnet::model::RecordType::A;

use super::sockets::bound;
use super::*;

const FIRST: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 53);
const SECOND: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 54);

/// An answer without records; its code tells who gave it.
fn answer_to(question: &[u8], code: u8, truncated: bool) -> Vec<u8> {
    let mut answer = question.to_vec();
    answer[2] |= 0x80 | if truncated { 0x02 } else { 0 };
    answer[3] |= code;
    answer
}

/// A forwarder's socket, and the next question that comes to it.
fn forwarder(address: Ipv4Addr) -> UdpSocket {
    let socket = bound(|| UdpSocket::bind((address, 53)));
    socket.set_read_timeout(Some(SOON)).unwrap();
    socket
}

fn heard(forwarder: &UdpSocket) -> (Vec<u8>, SocketAddr) {
    let mut bytes = [0; 512];
    let (len, from) = forwarder.recv_from(&mut bytes).unwrap();
    (bytes[..len].to_vec(), from)
}

#[test]
fn an_answer_of_the_forwarder_is_passed_back_under_the_guests_number() {
    served(&[FIRST.into(), SECOND.into()], |_| {
        let (first, second) = (forwarder(FIRST), forwarder(SECOND));
        second.set_nonblocking(true).unwrap();
        let asked = question("www.example.org", A);
        let guest = towards_resolver(WEB);
        guest.send(&asked).unwrap();
        let (passed_on, from) = heard(&first);
        assert_eq!(passed_on[2..], asked[2..]);
        // Others may not answer, and no other question is answered.
        let answer = answer_to(&passed_on, 3, false);
        second.send_to(&answer_to(&passed_on, 5, false), from).unwrap();
        first.send_to(&passed_on, from).unwrap();
        first.send_to(&answer, from).unwrap();
        assert_eq!(received(&guest), answer_to(&asked, 3, false));
        assert!(second.recv(&mut [0; 512]).is_err(), "it is not asked");
        // Our own names are not passed on.
        assert_eq!(said(&ask_by_datagram(WEB, &question("db", A))).1, ["10.1.0.5"]);
        // A truncated answer to a datagram is the guest's to ask again.
        guest.send(&asked).unwrap();
        let (passed_on, from) = heard(&first);
        first.send_to(&answer_to(&passed_on, 0, true), from).unwrap();
        assert_eq!(received(&guest), answer_to(&asked, 0, true));
    });
}

#[test]
fn the_next_forwarder_is_asked_after_the_first_and_then_it_has_failed() {
    served(&[FIRST.into(), SECOND.into()], |_| {
        let (first, second) = (forwarder(FIRST), forwarder(SECOND));
        let asked = question("www.example.org", A);
        let guest = towards_resolver(WEB);
        guest.send(&asked).unwrap();
        heard(&first);
        let (passed_on, from) = heard(&second);
        second.send_to(&answer_to(&passed_on, 3, false), from).unwrap();
        assert_eq!(received(&guest), answer_to(&asked, 3, false));
        guest.send(&asked).unwrap();
        assert_eq!(said(&received(&guest)).0, "SERVFAIL");
    });
}

/// Over a connection a whole answer is wanted: a truncated one is asked for again over TCP.
#[test]
fn a_connection_gets_a_whole_answer() {
    served(&[FIRST.into()], |_| {
        let udp = forwarder(FIRST);
        let asked = question("www.example.org", A);
        for (whole, code) in [(true, 3), (false, 0)] {
            let tcp = whole.then(|| bound(|| TcpListener::bind((FIRST, 53))));
            let answer = thread::scope(|scope| {
                scope.spawn(|| {
                    let (passed_on, from) = heard(&udp);
                    udp.send_to(&answer_to(&passed_on, 0, true), from).unwrap();
                    if let Some(tcp) = &tcp {
                        let mut stream = tcp.accept().unwrap().0;
                        let mut question = vec![0; asked.len() + 2];
                        stream.read_exact(&mut question).unwrap();
                        let (len, question) = question.split_at(2);
                        stream.write_all(&[len, &answer_to(question, 3, false)].concat()).unwrap();
                    }
                });
                ask_by_connection(WEB, &asked)
            });
            assert_eq!(answer, answer_to(&asked, code, !whole), "without TCP, what there is");
        }
    });
}

/// One machine's questions that wait are few: another machine's are passed on beside them.
#[test]
fn fab_12_a_machine_whose_questions_wait_fails_alone() {
    served(&[FIRST.into()], |_| {
        let forwarder = forwarder(FIRST);
        let (greedy, other) = (towards_resolver(WEB), towards_resolver(DB));
        let asked = question("www.example.org", A);
        for _ in 0..65 {
            greedy.send(&asked).unwrap();
        }
        assert_eq!(said(&received(&greedy)).0, "SERVFAIL", "the last of them at once");
        other.send(&asked).unwrap();
        let mut passed_on = Vec::new();
        for _ in 0..65 {
            passed_on.push(heard(&forwarder));
        }
        let (last, from) = passed_on.pop().unwrap();
        forwarder.send_to(&answer_to(&last, 3, false), from).unwrap();
        assert_eq!(received(&other), answer_to(&asked, 3, false));
    });
}
