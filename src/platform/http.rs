//! The part of HTTP/1.1 that one request and one answer need (RFC 9112); `httparse` parses the request.

use serde_json::Value;

/// The longest request, its headers included.
pub const LONGEST: usize = 8 << 10;
const MOST_HEADERS: usize = 64;

/// A request without a body.
#[derive(Debug)]
pub(super) struct Request<'a> {
    pub(super) method: &'a str,
    pub(super) target: &'a str,
    pub(super) headers: Vec<(&'a str, &'a [u8])>,
}

/// The answer to a request.
#[derive(Debug)]
pub(super) struct Response {
    pub(super) status: u16,
    kind: &'static str,
    pub(super) body: Vec<u8>,
}

/// Bytes that are no request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

impl<'a> Request<'a> {
    /// None until all of it has come.
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Option<Self>, Malformed> {
        let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
        let mut request = httparse::Request::new(&mut headers);
        match request.parse(bytes) {
            Ok(httparse::Status::Complete(_)) => {}
            Ok(httparse::Status::Partial) if bytes.len() < LONGEST => return Ok(None),
            Ok(httparse::Status::Partial) | Err(_) => return Err(Malformed),
        }
        let (Some(method), Some(target)) = (request.method, request.path) else { return Err(Malformed) };
        let headers = request.headers.iter().map(|header| (header.name, header.value)).collect();
        Ok(Some(Self { method, target, headers }))
    }

    /// Names are compared without regard to case.
    pub(super) fn header(&self, name: &str) -> Option<&'a [u8]> {
        self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| *value)
    }
}

impl Response {
    pub(super) fn json(status: u16, value: &Value) -> Self {
        Self { status, kind: "application/json; charset=utf-8", body: value.to_string().into_bytes() }
    }

    /// A page with this title, which is a file's own words.
    pub(super) fn html(title: &str) -> Self {
        let escaped = title.replace('&', "&amp;").replace('<', "&lt;");
        let body = format!(
            "<!DOCTYPE html>\n<title>{escaped}</title>\n<h1>{escaped}</h1>\n<p>It answers by itself. There is nothing to sign in to.</p>\n"
        );
        Self { status: 200, kind: "text/html; charset=utf-8", body: body.into_bytes() }
    }

    pub(super) fn text(status: u16, text: String) -> Self {
        Self { status, kind: "text/plain; charset=utf-8", body: text.into_bytes() }
    }

    /// As it is sent over the connection, which is closed after it.
    pub(super) fn encode(&self) -> Vec<u8> {
        let Self { status, kind, body } = self;
        let reason = match status {
            200 => "OK",
            400 => "Bad Request",
            404 => "Not Found",
            405 => "Method Not Allowed",
            _ => "",
        };
        let head = format!(
            "HTTP/1.1 {status} {reason}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            body.len()
        );
        [head.as_bytes(), body].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_comes_whole_or_not_at_all() {
        let text = b"GET /metadata/instance?api-version=2021-02-01 HTTP/1.1\r\nHost: 169.254.169.254\r\nMetadata: true\r\n\r\n";
        for end in 0..text.len() {
            assert!(Request::parse(&text[..end]).expect("so far it is right").is_none());
        }
        let request = Request::parse(text).expect("it is right").expect("it is whole");
        assert_eq!((request.method, request.header("METADATA")), ("GET", Some(&b"true"[..])));
        assert!(Request::parse(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03").is_err(), "TLS");
        assert!(Request::parse(&[b'a'; LONGEST]).is_err(), "without an end");
    }
}
