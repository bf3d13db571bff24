//! Messages of NETLINK_NETFILTER, written and read by hand: a few kinds do not need a library.
//!
//! Numbers in them are big-endian, but for netlink's own header. Layouts are those of the kernel's
//! `linux/netfilter/nfnetlink.h`.

use std::io;
use std::iter;
use std::ops::ControlFlow;

use netlink_packet_core::NLM_F_REQUEST;
use netlink_sys::Socket;
use netlink_sys::protocols::NETLINK_NETFILTER;

use super::kernel_socket;

const HEADER_LEN: usize = 16;
/// `nfgenmsg`: an address family, a version and a resource's number.
const GENERIC_LEN: usize = 4;
const ERROR: u16 = 2;
const DONE: u16 = 3;
const NESTED: u16 = 1 << 15;
/// Of an attribute's type, without its flags.
const TYPE: u16 = 0x3fff;

/// A socket of the calling thread's namespace.
pub(super) struct Netfilter {
    socket: Socket,
    sequence: u32,
}

/// One message that answers a request.
pub(super) struct Answer<'a> {
    pub(super) family: u8,
    attributes: &'a [u8],
}

impl Netfilter {
    pub(super) fn open() -> io::Result<Self> {
        Ok(Self { socket: kernel_socket::open(NETLINK_NETFILTER)?, sequence: 0 })
    }

    /// Sends one request, for a dump or with an acknowledgement, and shows its answers until the last one or until `each`
    /// has seen enough. A socket that was not read to the end is of no more use.
    pub(super) fn ask(
        &mut self,
        (kind, flags, family): (u16, u16, u8),
        attributes: &[u8],
        mut each: impl FnMut(&Answer<'_>) -> ControlFlow<()>,
    ) -> io::Result<()> {
        self.sequence += 1;
        let body = [&[family, 0, 0, 0], attributes].concat();
        self.socket.send(&message(kind, flags, self.sequence, &body), 0)?;
        loop {
            let datagram = kernel_socket::answer(&self.socket)?;
            for (kind, sequence, body) in messages(&datagram) {
                match kind {
                    _ if sequence != self.sequence => {}
                    DONE => return Ok(()),
                    ERROR => return outcome(body),
                    _ => {
                        let (Some(family), Some(attributes)) = (body.first(), body.get(GENERIC_LEN..)) else {
                            continue;
                        };
                        if each(&Answer { family: *family, attributes }).is_break() {
                            return Ok(());
                        }
                    }
                }
            }
        }
    }

    /// Sends messages that were put together elsewhere, and waits until the one of this sequence number is acknowledged.
    pub(super) fn send(&mut self, messages_of_a_batch: &[u8], last: u32) -> io::Result<()> {
        self.socket.send(messages_of_a_batch, 0)?;
        loop {
            let datagram = kernel_socket::answer(&self.socket)?;
            for (_, sequence, body) in messages(&datagram).filter(|(kind, ..)| *kind == ERROR) {
                outcome(body)?;
                if sequence == last {
                    return Ok(());
                }
            }
        }
    }
}

impl<'a> Answer<'a> {
    pub(super) fn get(&self, kind: u16) -> Option<&'a [u8]> {
        get(self.attributes, kind)
    }
}

/// An acknowledgement is an error without a number.
fn outcome(body: &[u8]) -> io::Result<()> {
    match body.first_chunk().map_or(0, |code| i32::from_ne_bytes(*code)) {
        0 => Ok(()),
        error => Err(io::Error::from_raw_os_error(-error)),
    }
}

/// Kind, sequence number and body of each.
fn messages(mut datagram: &[u8]) -> impl Iterator<Item = (u16, u32, &[u8])> {
    iter::from_fn(move || {
        let word = |at: usize| datagram.get(at..)?.first_chunk().map(|word| u32::from_ne_bytes(*word));
        let (length, kind, sequence) = (word(0)? as usize, word(4)? as u16, word(8)?);
        let body = datagram.get(HEADER_LEN..length)?;
        datagram = datagram.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, sequence, body))
    })
}

/// Type and value of each attribute.
pub(super) fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    iter::from_fn(move || {
        let short = |at: usize| bytes.get(at..)?.first_chunk().map(|short| u16::from_ne_bytes(*short));
        let (length, kind) = (usize::from(short(0)?), short(2)? & TYPE);
        let value = bytes.get(4..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

/// The first attribute of this type.
pub(super) fn get(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    attributes(bytes).find_map(|(found, value)| (found == kind).then_some(value))
}

/// A value that is a number.
pub(super) fn as_number(value: &[u8]) -> Option<u32> {
    value.first_chunk().map(|word| u32::from_be_bytes(*word))
}

/// A value that is a text, without the zero that ends it.
pub(super) fn as_text(value: &[u8]) -> String {
    String::from_utf8_lossy(value).trim_end_matches('\0').to_owned()
}

pub(super) fn message(kind: u16, flags: u16, sequence: u32, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER_LEN + body.len());
    bytes.extend(((HEADER_LEN + body.len()) as u32).to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend((flags | NLM_F_REQUEST).to_ne_bytes());
    bytes.extend(sequence.to_ne_bytes());
    bytes.extend(0_u32.to_ne_bytes());
    bytes.extend(body);
    bytes
}

pub(super) fn nested(kind: u16, attributes: &[u8]) -> Vec<u8> {
    attribute(kind | NESTED, attributes)
}

pub(super) fn number(kind: u16, value: u32) -> Vec<u8> {
    attribute(kind, &value.to_be_bytes())
}

/// Length, type, value, and padding to four bytes that the length leaves out.
pub(super) fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(value.len() + 8);
    bytes.extend((value.len() as u16 + 4).to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

pub(super) fn text(value: &str) -> Vec<u8> {
    [value.as_bytes(), &[0]].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_what_is_cut_is_not() {
        let inner = [number(1, 7), attribute(2, b"abc")].concat();
        let bytes = message(0xa01, 0, 9, &nested(4, &inner));
        let read: Vec<_> = messages(&bytes).collect();
        let [(0xa01, 9, body)] = read[..] else { panic!("one message: {read:?}") };
        let value = get(body, 4).expect("it is there");
        assert_eq!((get(value, 1).and_then(as_number), get(value, 2)), (Some(7), Some(&b"abc"[..])));
        assert_eq!(get(value, 3), None);
        for length in 0..bytes.len() {
            assert_eq!(messages(&bytes[..length]).count(), 0);
        }
        assert_eq!((text("filter"), attribute(2, b"abc")[7]), (b"filter\0".to_vec(), 0));
        // Lengths that lead nowhere.
        assert_eq!((attributes(&[0, 0, 1, 0]).count(), messages(&[0; 64]).count()), (0, 0));
    }
}
