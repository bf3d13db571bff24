//! NOTIFICATION: why a session ends (RFC 4271 section 4.5), with the subcodes of RFC 4486, RFC 6608 and RFC 9384 and
//! the words that RFC 9003 lets an operator add.

use std::fmt;

use bytes::{BufMut, BytesMut};

use super::family::{Family, UNICAST};

/// Bytes of an operator's words (RFC 9003 section 2).
const TEXT_MAX: usize = 255;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notification {
    pub code: u8,
    pub subcode: u8,
    pub data: Vec<u8>,
}

/// Error codes.
pub mod code {
    pub const HEADER: u8 = 1;
    pub const OPEN: u8 = 2;
    pub const UPDATE: u8 = 3;
    pub const HOLD_TIMER: u8 = 4;
    pub const FSM: u8 = 5;
    pub const CEASE: u8 = 6;
    /// RFC 9687.
    pub const SEND_HOLD_TIMER: u8 = 8;
}

pub mod header {
    pub const NOT_SYNCHRONIZED: u8 = 1;
    pub const BAD_LENGTH: u8 = 2;
    pub const BAD_TYPE: u8 = 3;
}

pub mod open {
    pub const UNSPECIFIC: u8 = 0;
    pub const VERSION: u8 = 1;
    pub const BAD_PEER_AS: u8 = 2;
    pub const BAD_IDENTIFIER: u8 = 3;
    pub const OPTIONAL_PARAMETER: u8 = 4;
    pub const HOLD_TIME: u8 = 6;
    pub const CAPABILITY: u8 = 7;
}

pub mod update {
    pub const ATTRIBUTE_LIST: u8 = 1;
    pub const UNRECOGNIZED_WELL_KNOWN: u8 = 2;
    pub const OPTIONAL_ATTRIBUTE: u8 = 9;
    pub const NETWORK_FIELD: u8 = 10;
}

/// An unexpected message, by the state that it came in (RFC 6608).
pub mod fsm {
    pub const OPEN_SENT: u8 = 1;
    pub const OPEN_CONFIRM: u8 = 2;
    pub const ESTABLISHED: u8 = 3;
}

/// RFC 4486.
pub mod cease {
    pub const MAXIMUM_PREFIXES: u8 = 1;
    pub const SHUTDOWN: u8 = 2;
    pub const DECONFIGURED: u8 = 3;
    pub const RESET: u8 = 4;
    pub const CONNECTION_REJECTED: u8 = 5;
    pub const CONFIGURATION_CHANGE: u8 = 6;
    pub const COLLISION: u8 = 7;
    pub const OUT_OF_RESOURCES: u8 = 8;
}

impl Notification {
    pub const fn new(code: u8, subcode: u8) -> Self {
        Self { code, subcode, data: vec![] }
    }

    #[must_use]
    pub fn with_data(self, data: impl Into<Vec<u8>>) -> Self {
        Self { data: data.into(), ..self }
    }

    /// An operator ends the session, for a reason in words; cut at a character past 255 bytes.
    pub fn shutdown(text: &str) -> Self {
        Self::spoken(cease::SHUTDOWN, text)
    }

    /// An operator restarts the session.
    pub fn reset(text: &str) -> Self {
        Self::spoken(cease::RESET, text)
    }

    fn spoken(subcode: u8, text: &str) -> Self {
        let cut = (0..=text.len().min(TEXT_MAX)).rfind(|at| text.is_char_boundary(*at)).unwrap_or(0);
        let text = &text[..cut];
        // Without words the field stays away: that is RFC 4486, which every peer understands.
        let data = if text.is_empty() { vec![] } else { [&[text.len() as u8], text.as_bytes()].concat() };
        Self::new(code::CEASE, subcode).with_data(data)
    }

    /// More than `limit` prefixes came.
    pub fn maximum_prefixes(family: Family, limit: u32) -> Self {
        let data = [&family.afi().to_be_bytes()[..], &[UNICAST], &limit.to_be_bytes()].concat();
        Self::new(code::CEASE, cease::MAXIMUM_PREFIXES).with_data(data)
    }

    /// An operator's words; what is not UTF-8 or not as long as it says is not repeated.
    pub fn text(&self) -> Option<&str> {
        if self.code != code::CEASE || ![cease::SHUTDOWN, cease::RESET].contains(&self.subcode) {
            return None;
        }
        let (len, text) = self.data.split_first()?;
        std::str::from_utf8(text.get(..usize::from(*len))?).ok().filter(|text| !text.is_empty())
    }

    pub(super) fn decode(body: &[u8]) -> Option<Self> {
        let [code, subcode, data @ ..] = body else { return None };
        Some(Self { code: *code, subcode: *subcode, data: data.to_vec() })
    }

    pub(super) fn encode(&self, out: &mut BytesMut) {
        out.put_slice(&[self.code, self.subcode]);
        out.put_slice(&self.data[..self.data.len().min(super::MESSAGE_MAX - super::HEADER_LEN - 2)]);
    }

    const fn words(&self) -> Option<&'static str> {
        Some(match (self.code, self.subcode) {
            (code::HEADER, header::NOT_SYNCHRONIZED) => "Connection Not Synchronized",
            (code::HEADER, header::BAD_LENGTH) => "Bad Message Length",
            (code::HEADER, header::BAD_TYPE) => "Bad Message Type",
            (code::OPEN, open::UNSPECIFIC) => "OPEN Message Error",
            (code::OPEN, open::VERSION) => "Unsupported Version Number",
            (code::OPEN, open::BAD_PEER_AS) => "Bad Peer AS",
            (code::OPEN, open::BAD_IDENTIFIER) => "Bad BGP Identifier",
            (code::OPEN, open::OPTIONAL_PARAMETER) => "Unsupported Optional Parameter",
            (code::OPEN, open::HOLD_TIME) => "Unacceptable Hold Time",
            (code::OPEN, open::CAPABILITY) => "Unsupported Capability",
            (code::UPDATE, update::ATTRIBUTE_LIST) => "Malformed Attribute List",
            (code::UPDATE, update::UNRECOGNIZED_WELL_KNOWN) => "Unrecognized Well-known Attribute",
            (code::UPDATE, update::OPTIONAL_ATTRIBUTE) => "Optional Attribute Error",
            (code::UPDATE, update::NETWORK_FIELD) => "Invalid Network Field",
            (code::UPDATE, _) => "UPDATE Message Error",
            (code::HOLD_TIMER, _) => "Hold Timer Expired",
            (code::FSM, fsm::OPEN_SENT) => "Unexpected Message in OpenSent State",
            (code::FSM, fsm::OPEN_CONFIRM) => "Unexpected Message in OpenConfirm State",
            (code::FSM, fsm::ESTABLISHED) => "Unexpected Message in Established State",
            (code::CEASE, cease::MAXIMUM_PREFIXES) => "Maximum Number of Prefixes Reached",
            (code::CEASE, cease::SHUTDOWN) => "Administrative Shutdown",
            (code::CEASE, cease::DECONFIGURED) => "Peer De-configured",
            (code::CEASE, cease::RESET) => "Administrative Reset",
            (code::CEASE, cease::CONNECTION_REJECTED) => "Connection Rejected",
            (code::CEASE, cease::CONFIGURATION_CHANGE) => "Other Configuration Change",
            (code::CEASE, cease::COLLISION) => "Connection Collision Resolution",
            (code::CEASE, cease::OUT_OF_RESOURCES) => "Out of Resources",
            (code::SEND_HOLD_TIMER, _) => "Send Hold Timer Expired",
            _ => return None,
        })
    }
}

impl fmt::Display for Notification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.words() {
            Some(words) => write!(f, "{words} ({}/{})", self.code, self.subcode)?,
            None => write!(f, "error {}/{}", self.code, self.subcode)?,
        }
        self.text().map_or(Ok(()), |text| write!(f, ": {text}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operators_words() {
        let spoken = Notification::shutdown("Wartung bis 6 Uhr");
        assert_eq!(spoken.text(), Some("Wartung bis 6 Uhr"));
        assert_eq!(spoken.to_string(), "Administrative Shutdown (6/2): Wartung bis 6 Uhr");
        assert_eq!(Notification::shutdown("").data, [0; 0]);
        let long = Notification::reset(&"ü".repeat(200));
        assert_eq!(long.text(), Some("ü".repeat(127).as_str()), "cut between characters");
    }

    /// The names of RFC 4271 section 4.5, RFC 4486, RFC 5492, RFC 6608 and RFC 9687, by their numbers.
    #[test]
    fn errors_have_the_names_of_their_rfcs() {
        for (code, subcode, name) in [
            (1, 1, "Connection Not Synchronized (1/1)"),
            (1, 2, "Bad Message Length (1/2)"),
            (1, 3, "Bad Message Type (1/3)"),
            (2, 0, "OPEN Message Error (2/0)"),
            (2, 1, "Unsupported Version Number (2/1)"),
            (2, 2, "Bad Peer AS (2/2)"),
            (2, 3, "Bad BGP Identifier (2/3)"),
            (2, 4, "Unsupported Optional Parameter (2/4)"),
            (2, 6, "Unacceptable Hold Time (2/6)"),
            (2, 7, "Unsupported Capability (2/7)"),
            (3, 1, "Malformed Attribute List (3/1)"),
            (3, 2, "Unrecognized Well-known Attribute (3/2)"),
            (3, 9, "Optional Attribute Error (3/9)"),
            (3, 10, "Invalid Network Field (3/10)"),
            (3, 4, "UPDATE Message Error (3/4)"),
            (4, 0, "Hold Timer Expired (4/0)"),
            (5, 1, "Unexpected Message in OpenSent State (5/1)"),
            (5, 2, "Unexpected Message in OpenConfirm State (5/2)"),
            (5, 3, "Unexpected Message in Established State (5/3)"),
            (6, 1, "Maximum Number of Prefixes Reached (6/1)"),
            (6, 2, "Administrative Shutdown (6/2)"),
            (6, 3, "Peer De-configured (6/3)"),
            (6, 4, "Administrative Reset (6/4)"),
            (6, 5, "Connection Rejected (6/5)"),
            (6, 6, "Other Configuration Change (6/6)"),
            (6, 7, "Connection Collision Resolution (6/7)"),
            (6, 8, "Out of Resources (6/8)"),
            (8, 0, "Send Hold Timer Expired (8/0)"),
            (9, 1, "error 9/1"),
            (1, 4, "error 1/4"),
        ] {
            assert_eq!(Notification::new(code, subcode).to_string(), name);
        }
        let excess = Notification::maximum_prefixes(Family::Ipv6, 4000);
        assert_eq!(excess.data, [0, 2, 1, 0, 0, 0x0f, 0xa0], "RFC 4486 section 4: family and limit");
    }

    #[test]
    fn words_that_lie_are_not_repeated() {
        for data in [&[][..], &[0], &[5, b'a'], &[2, 0xc3, 0x28]] {
            assert_eq!(Notification::new(code::CEASE, cease::SHUTDOWN).with_data(data).text(), None);
        }
        assert_eq!(Notification::new(code::UPDATE, 2).with_data([1, b'a']).text(), None);
    }
}
