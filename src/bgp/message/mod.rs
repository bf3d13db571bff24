//! BGP's messages as values: bytes in, bytes out, and for what cannot be read the NOTIFICATION that answers it.
//!
//! One idea: [`decode`] never fails without the notification for the peer. Lengths are checked before anything is
//! kept, so a message costs at most its own 4,096 bytes.

mod as_path;
mod attribute;
mod community;
mod family;
pub mod notification;
pub(crate) mod open;
mod prefix;
mod reader;
mod update;

pub use as_path::{AsPath, Asn, SegmentKind};
pub use attribute::{Aggregator, Attributes, Fault, Opaque, Origin, Reach, Remedy};
pub use community::Community;
pub use family::{Families, Family};
pub use notification::Notification;
pub use open::{Capabilities, Open};
pub use update::{TooLong, Update, write_announcements, write_withdrawals};

use bytes::{BufMut, BytesMut};

use family::UNICAST;

/// Marker, length, type (RFC 4271 section 4.1).
pub const HEADER_LEN: usize = 19;
/// The longest message.
pub const MESSAGE_MAX: usize = 4096;

const MARKER: [u8; 16] = [0xff; 16];

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    Open(Open),
    Update(Update),
    Notification(Notification),
    Keepalive,
    /// All routes of a family once more (RFC 2918); None for a family that we do not carry.
    RouteRefresh(Option<Family>),
}

/// What both sides have agreed on and messages depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Context {
    /// AS numbers have four bytes (RFC 6793).
    pub four_byte_asn: bool,
    /// Both sides belong to one autonomous system (iBGP).
    pub internal: bool,
}

#[derive(Clone, Copy)]
enum Type {
    Open = 1,
    Update = 2,
    Notification = 3,
    Keepalive = 4,
    RouteRefresh = 5,
}

impl Type {
    /// The lengths that a whole message can have.
    const fn lengths(self) -> std::ops::RangeInclusive<usize> {
        match self {
            Self::Open => HEADER_LEN + 10..=MESSAGE_MAX,
            Self::Update => HEADER_LEN + 4..=MESSAGE_MAX,
            Self::Notification => HEADER_LEN + 2..=MESSAGE_MAX,
            Self::Keepalive => HEADER_LEN..=HEADER_LEN,
            Self::RouteRefresh => HEADER_LEN + 4..=HEADER_LEN + 4,
        }
    }
}

/// How long the message is that begins here; None while its header is not complete.
pub fn length(bytes: &[u8]) -> Result<Option<usize>, Notification> {
    let Some(header) = bytes.first_chunk::<HEADER_LEN>() else { return Ok(None) };
    read_header(header).map(|(_, len)| Some(len))
}

/// One whole message, as long as [`length`] says.
pub fn decode(message: &[u8], context: Context) -> Result<Message, Notification> {
    let Some((header, body)) = message.split_first_chunk::<HEADER_LEN>() else { return Err(bad_length(message.len())) };
    let (kind, len) = read_header(header)?;
    if len != message.len() {
        return Err(bad_length(len));
    }
    Ok(match kind {
        Type::Open => Message::Open(Open::decode(body)?),
        Type::Update => Message::Update(Update::decode(body, context)?),
        Type::Notification => Message::Notification(Notification::decode(body).ok_or_else(|| bad_length(len))?),
        Type::Keepalive => Message::Keepalive,
        Type::RouteRefresh => {
            let &[high, low, _reserved, safi] = body else { return Err(bad_length(len)) };
            Message::RouteRefresh(Family::known(u16::from_be_bytes([high, low]), safi))
        }
    })
}

/// Type and length, both sound (RFC 4271 section 6.1).
fn read_header(header: &[u8; HEADER_LEN]) -> Result<(Type, usize), Notification> {
    let [marker @ .., high, low, kind] = header;
    let error = |subcode| Notification::new(notification::code::HEADER, subcode);
    if *marker != MARKER {
        return Err(error(notification::header::NOT_SYNCHRONIZED));
    }
    let len = usize::from(u16::from_be_bytes([*high, *low]));
    if !(HEADER_LEN..=MESSAGE_MAX).contains(&len) {
        return Err(bad_length(len));
    }
    let kind = match kind {
        1 => Type::Open,
        2 => Type::Update,
        3 => Type::Notification,
        4 => Type::Keepalive,
        5 => Type::RouteRefresh,
        other => return Err(error(notification::header::BAD_TYPE).with_data([*other])),
    };
    if kind.lengths().contains(&len) { Ok((kind, len)) } else { Err(bad_length(len)) }
}

fn bad_length(len: usize) -> Notification {
    Notification::new(notification::code::HEADER, notification::header::BAD_LENGTH)
        .with_data((len as u16).to_be_bytes())
}

/// Begins a message; [`finish`] ends it.
fn start(kind: Type, out: &mut BytesMut) -> usize {
    let at = out.len();
    out.put_slice(&MARKER);
    out.put_slice(&[0, 0, kind as u8]);
    at
}

fn finish(at: usize, out: &mut [u8]) {
    let len = out.len() - at;
    debug_assert!(len <= MESSAGE_MAX, "a message of {len} bytes");
    out[at + MARKER.len()..][..2].copy_from_slice(&(len as u16).to_be_bytes());
}

impl Open {
    pub fn write(&self, out: &mut BytesMut) {
        let at = start(Type::Open, out);
        self.encode(out);
        finish(at, out);
    }
}

impl Notification {
    pub fn write(&self, out: &mut BytesMut) {
        let at = start(Type::Notification, out);
        self.encode(out);
        finish(at, out);
    }
}

pub fn write_keepalive(out: &mut BytesMut) {
    let at = start(Type::Keepalive, out);
    finish(at, out);
}

pub fn write_route_refresh(family: Family, out: &mut BytesMut) {
    let at = start(Type::RouteRefresh, out);
    out.put_u16(family.afi());
    out.put_slice(&[0, UNICAST]);
    finish(at, out);
}
