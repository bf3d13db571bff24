//! The pages of a private cloud's managers (AVS-04), over loopback.

use std::io::ErrorKind;
use std::net::{SocketAddrV4, TcpListener};

use vnet::platform::health_probe::tls::{self, Wire};
use vnet::platform::{Managers, Page};

use super::services::is_open;
use super::*;

/// How long a slow client has, as src/platform/managers.rs has it.
const PATIENCE: Duration = Duration::from_secs(5);

/// Addresses that are free as they are taken.
fn free() -> SocketAddrV4 {
    let SocketAddr::V4(at) = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap() else {
        unreachable!("it was IPv4")
    };
    at
}

fn managers() -> (Managers, [SocketAddr; 2]) {
    let page = |secure, title: &str| Page { at: free(), secure, title: title.to_owned() };
    let pages = vec![page(true, "vCenter of <private> cloud sddc & co"), page(false, "vMotion of host 1")];
    let at = [pages[0].at.into(), pages[1].at.into()];
    let managers = Managers::start(&Netns::current().unwrap(), "sddc".to_owned(), pages.clone()).unwrap();
    assert_eq!(managers.pages(), pages);
    (managers, at)
}

fn connect(to: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(to).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream
}

#[test]
fn avs_04_a_page_names_the_manager_that_it_is() {
    let (_managers, [vcenter, vmotion]) = managers();
    let mut wire = Wire::secure(connect(vcenter), vcenter.ip(), &tls::config().unwrap()).unwrap();
    wire.write_all(b"GET /ui HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    wire.flush().unwrap();
    let mut answer = Vec::new();
    let ended = wire.read_to_end(&mut answer);
    assert!(ended.is_ok() || ended.is_err_and(|error| error.kind() == ErrorKind::UnexpectedEof));
    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(answer.contains("<h1>vCenter of &lt;private> cloud sddc &amp; co</h1>"), "{answer}");
    for (request, status, words) in [
        (&b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..], " 200 ", "<title>vMotion of host 1</title>"),
        (b"POST / HTTP/1.1\r\nHost: x\r\n\r\n", " 405 ", "only GET is answered\n"),
        (b"nonsense\r\n\r\n", " 400 ", "this is no request\n"),
    ] {
        let answer = exchange(connect(vmotion), request);
        assert!(answer.lines().next().unwrap().contains(status) && answer.contains(words), "{answer}");
    }
    let begun = Instant::now();
    assert_eq!(exchange(connect(vmotion), b"GET / HTTP/1.1\r\n"), "", "half a request");
    assert!(begun.elapsed() < PATIENCE, "who has said all is not waited for");
    assert_eq!(exchange(connect(vcenter), b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").find("vCenter"), None, "it wants TLS");
    let mut slow = connect(vmotion);
    slow.write_all(b"GET / HT").unwrap();
    assert!(exchange(connect(vmotion), b"GET / HTTP/1.1\r\n\r\n").contains(" 200 "), "others need not wait for it");
    assert!(exchange(slow, b"TP/1.1\r\n\r\n").contains(" 200 "));
}

/// A client has eight connections; one more costs it the oldest. What has ended does not count.
#[test]
fn a_client_with_many_connections_loses_its_oldest() {
    let (managers, [_, vmotion]) = managers();
    for _ in 0..20 {
        assert!(exchange(connect(vmotion), b"GET / HTTP/1.1\r\n\r\n").contains(" 200 "));
    }
    let mut all: Vec<_> = (0..9).map(|_| connect(vmotion)).collect();
    assert_eq!(all.remove(0).read(&mut [0]).unwrap(), 0);
    for mut open in all {
        open.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
        let mut answer = String::new();
        open.read_to_string(&mut answer).unwrap();
        assert!(answer.contains(" 200 "), "{answer}");
    }
    drop(managers);
    assert_eq!(TcpStream::connect(vmotion).unwrap_err().kind(), ErrorKind::ConnectionRefused, "it has ended");
}

#[test]
fn an_end_is_seen_before_the_next_connection() {
    let (_managers, [_, vmotion]) = managers();
    let all: Vec<_> = (0..7).map(|_| connect(vmotion)).collect();
    for _ in 0..20 {
        drop(connect(vmotion));
    }
    assert!(exchange(connect(vmotion), b"GET / HTTP/1.1\r\n\r\n").contains(" 200 "), "all are seen");
    assert!(all.iter().all(is_open));
}

#[test]
fn an_address_that_is_taken_is_named() {
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let SocketAddr::V4(at) = taken.local_addr().unwrap() else { unreachable!("it was IPv4") };
    let page = Page { at, secure: false, title: "vMotion of host 1".to_owned() };
    let error = Managers::start(&Netns::current().unwrap(), "sddc".to_owned(), vec![page]).unwrap_err();
    assert!(error.to_string().starts_with(&format!("vMotion of host 1 at {at}: ")), "{error}");
}
