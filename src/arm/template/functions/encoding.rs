//! Base 64, percent encoding, and the joining of addresses.

use std::fmt::Write;

use super::super::machine::{Outcome, fault};

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

pub(super) fn base64(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let word = (0..3).fold(0_usize, |word, at| (word << 8) | usize::from(chunk.get(at).copied().unwrap_or(0)));
        for at in 0..4 {
            let used = at <= chunk.len();
            text.push(if used { char::from(ALPHABET[(word >> (18 - 6 * at)) & 63]) } else { '=' });
        }
    }
    text
}

pub(super) fn from_base64(text: &str) -> Outcome<String> {
    let wrong = || fault("The text is not in base 64");
    let (mut bytes, mut word, mut bits) = (Vec::new(), 0_u32, 0);
    for byte in text.bytes().filter(|byte| !byte.is_ascii_whitespace() && *byte != b'=') {
        let digit = ALPHABET.iter().position(|known| *known == byte).ok_or_else(wrong)?;
        word = (word << 6) | digit as u32;
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push((word >> bits) as u8);
            word &= (1 << bits) - 1;
        }
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

pub(super) fn percent(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~!*'()".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

pub(super) fn from_percent(text: &str) -> String {
    let (mut bytes, mut rest) = (Vec::new(), text.as_bytes());
    while let [first, after @ ..] = rest {
        let code = match after {
            [high, low, ..] if *first == b'%' => {
                std::str::from_utf8(&[*high, *low]).ok().and_then(|digits| u8::from_str_radix(digits, 16).ok())
            }
            _ => None,
        };
        bytes.push(code.unwrap_or(*first));
        rest = if code.is_some() { &after[2..] } else { after };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// An address relative to another, as browsers join them: what follows the last `/` of the base is replaced.
pub(super) fn join(base: &str, relative: &str) -> String {
    if relative.contains("://") {
        return relative.to_owned();
    }
    let base = base.split(['?', '#']).next().unwrap_or(base);
    let authority = base.find("://").map_or(0, |at| at + 3);
    let path = base[authority..].find('/').map(|at| authority + at);
    let start = match (path, relative.starts_with('/')) {
        (None, _) => format!("{base}/"),
        (Some(path), true) => base[..=path].to_owned(),
        (Some(_), false) => base[..=base.rfind('/').unwrap_or(0)].to_owned(),
    };
    let mut joined = start;
    for part in relative.trim_start_matches('/').split_inclusive('/') {
        match part {
            "./" => {}
            "../" => {
                let shorter = joined.trim_end_matches('/').rfind('/').filter(|at| *at > authority);
                joined.truncate(shorter.map_or(joined.len(), |at| at + 1));
            }
            part => joined.push_str(part),
        }
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_goes_both_ways() {
        for (text, encoded) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")] {
            assert_eq!(base64(text.as_bytes()), encoded);
            assert_eq!(from_base64(encoded).expect("valid"), text);
        }
        assert!(from_base64("*").is_err());
    }

    #[test]
    fn percents_go_both_ways() {
        assert_eq!(percent("a b/é"), "a%20b%2F%C3%A9");
        assert_eq!(from_percent("a%20b%2F%C3%A9%zz%"), "a b/é%zz%");
    }

    #[test]
    fn addresses_are_joined_as_browsers_do() {
        assert_eq!(join("https://a.example/x/y.json", "z/w.json"), "https://a.example/x/z/w.json");
        assert_eq!(join("https://a.example/x/", "z.json"), "https://a.example/x/z.json");
        assert_eq!(join("https://a.example", "z.json"), "https://a.example/z.json");
        assert_eq!(join("https://a.example/x/y", "/z"), "https://a.example/z");
        assert_eq!(join("https://a.example/x/y/", "../z"), "https://a.example/x/z");
    }
}
