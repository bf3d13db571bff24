//! Words of tests: the URL of a page, and titles of tests that have no name.

use std::fmt::Display;

use crate::config::schema::test_case::EndpointName;
use crate::config::yaml::diagnostic::Spanned;

/// The parts of a URL.
pub(super) struct Url<'a> {
    pub(super) secure: bool,
    pub(super) host: &'a str,
    pub(super) port: u16,
    pub(super) path: &'a str,
}

impl<'a> Url<'a> {
    pub(super) fn parse(url: &'a str) -> Option<Self> {
        let (secure, rest) = match url.split_once("://")? {
            (scheme, rest) if scheme.eq_ignore_ascii_case("http") => (false, rest),
            (scheme, rest) if scheme.eq_ignore_ascii_case("https") => (true, rest),
            _ => return None,
        };
        let (authority, path) = rest.find('/').map_or((rest, "/"), |slash| rest.split_at(slash));
        let end = authority.find(']').map_or(0, |bracket| bracket + 1);
        let (host, port) = match authority[end..].split_once(':') {
            None => (authority, if secure { 443 } else { 80 }),
            Some((name, port)) => (&authority[..end + name.len()], port.parse().ok().filter(|port| *port > 0)?),
        };
        let plain = |text: &str| text.chars().all(|c| c.is_ascii_graphic());
        (!host.is_empty() && !host.contains('@') && plain(url)).then_some(Self { secure, host, port, path })
    }
}

/// An end's name in a title.
pub(super) fn word(end: Option<&Spanned<EndpointName>>) -> String {
    match end.map(|end| &end.value) {
        Some(EndpointName::Node { name, nic: Some(nic) }) => format!("{name}/{nic}"),
        Some(EndpointName::Node { name, nic: None }) => name.clone(),
        Some(EndpointName::Address(address)) => address.to_string(),
        None => String::new(),
    }
}

/// A script's first line, or a program with its arguments.
pub(super) fn in_short(command: &[String]) -> String {
    match command {
        [shell, errexit, script] if [shell.as_str(), errexit] == ["sh", "-ec"] => {
            script.lines().next().unwrap_or_default().to_owned()
        }
        command => command.join(" "),
    }
}

pub(super) fn listed<T: Display>(contains: &[T], absent: &[T]) -> String {
    let there = contains.iter().map(ToString::to_string);
    let not = absent.iter().map(|pattern| format!("no {pattern}"));
    there.chain(not).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_has_a_host_a_port_and_a_path() {
        let parts = |url| Url::parse(url).map(|url| (url.secure, url.host, url.port, url.path));
        assert_eq!(parts("http://db"), Some((false, "db", 80, "/")));
        assert_eq!(parts("HTTPS://10.0.0.4:8443/a?b"), Some((true, "10.0.0.4", 8443, "/a?b")));
        assert_eq!(parts("http://[fd00::4]:81/"), Some((false, "[fd00::4]", 81, "/")));
        assert_eq!(parts("https://[fd00::4]"), Some((true, "[fd00::4]", 443, "/")));
        for url in ["db", "ftp://db/", "http://", "http://db:0/", "http://db:x", "http://a@b/", "http://db/a b"] {
            assert_eq!(parts(url), None, "{url}");
        }
    }
}
