//! Instance metadata at 169.254.169.254: what a machine may ask about itself, in Azure's words.

use std::net::IpAddr;

use serde_json::{Value, json};

use super::directory::{Directory, Instance};
use super::http::{Malformed, Request, Response};

/// Known versions, the newest first; what they answer about a network is the same.
const VERSIONS: [&str; 4] = ["2021-12-13", "2021-11-15", "2021-02-01", "2020-10-01"];

/// Older ones name a day as well.
const VERSION_LEN: usize = "2021-02-01".len();

/// What is sent to the machine at an address that has sent these bytes; none until the request is complete.
pub fn reply(heard: &[u8], directory: &Directory, from: IpAddr) -> Result<Option<Vec<u8>>, Malformed> {
    let request = Request::parse(heard)?;
    Ok(request.map(|request| answer(&request, || directory.instance_at(from)).encode()))
}

/// The answer to a machine.
fn answer(request: &Request<'_>, asking: impl FnOnce() -> Option<Instance>) -> Response {
    if request.method != "GET" {
        return error(405, "Method not allowed");
    }
    // A proxy may not ask for its clients: it would leak a machine's secrets.
    if request.header("X-Forwarded-For").is_some() {
        return error(400, "Bad request. X-Forwarded-For header is not allowed");
    }
    if !request.header("Metadata").is_some_and(|value| value.eq_ignore_ascii_case(b"true")) {
        return error(400, "Bad request. Required metadata header not specified");
    }
    let (path, query) = request.target.split_once('?').unwrap_or((request.target, ""));
    let parameter = |name: &str| query.split('&').filter_map(|pair| pair.split_once('=')).find(|(key, _)| *key == name);
    let Some((_, version)) = parameter("api-version") else {
        return versions("Bad request. api-version was not specified in the request");
    };
    if !is_version(version) {
        return versions("Bad request. api-version is invalid or not supported");
    }
    let Some(instance) = asking() else { return error(404, "Not found") };
    let mut steps = path.split('/').filter(|step| !step.is_empty());
    let whole = match (steps.next(), steps.next()) {
        (Some("metadata"), Some("instance")) => &instance.instance,
        (Some("metadata"), Some("loadbalancer")) => &instance.load_balancer,
        _ => return error(404, "Not found"),
    };
    let Some(found) = steps.try_fold(whole, step) else { return error(404, "Not found") };
    match parameter("format") {
        None | Some((_, "json")) if found.is_object() || found.is_array() => Response::json(200, found),
        // A single value is not a JSON text to Azure.
        None | Some((_, "text")) => Response::text(200, text(found)),
        Some((_, "json")) => error(400, "Bad request. json format is not supported for a single value"),
        Some(_) => error(400, "Bad request. format is json or text"),
    }
}

/// `2017-04-02` or later.
fn is_version(version: &str) -> bool {
    let digits = |range: std::ops::Range<usize>| version.get(range).is_some_and(|part| part.parse::<u16>().is_ok());
    let dashes = [4, 7].iter().all(|at| version.as_bytes().get(*at) == Some(&b'-'));
    version.len() == VERSION_LEN && dashes && digits(0..4) && digits(5..7) && digits(8..10) && version >= "2017-04-02"
}

fn step<'a>(value: &'a Value, step: &str) -> Option<&'a Value> {
    match value {
        Value::Array(items) => items.get(step.parse::<usize>().ok()?),
        Value::Object(fields) => fields.get(step),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    }
}

/// A value, or the names of its members, one per line.
fn text(value: &Value) -> String {
    let name = |(name, value): (String, &Value)| {
        let more = if value.is_object() || value.is_array() { "/" } else { "" };
        name + more
    };
    let names: Vec<_> = match value {
        Value::Object(fields) => fields.iter().map(|(key, value)| name((key.clone(), value))).collect(),
        Value::Array(items) => items.iter().enumerate().map(|(n, value)| name((n.to_string(), value))).collect(),
        Value::String(text) => vec![text.clone()],
        Value::Null | Value::Bool(_) | Value::Number(_) => vec![value.to_string()],
    };
    names.join("\n")
}

fn error(status: u16, message: &str) -> Response {
    Response::json(status, &json!({"error": message}))
}

fn versions(message: &str) -> Response {
    Response::json(400, &json!({"error": message, "newest-versions": VERSIONS}))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(target: &str, headers: &[(&str, &str)]) -> Response {
        let nic = json!({"ipv4": {"ipAddress": [{"privateIpAddress": "10.0.1.4"}]}, "macAddress": "000D3A000001"});
        let instance = json!({"compute": {"name": "web"}, "network": {"interface": [nic]}});
        let load_balancer = json!({"loadbalancer": {"publicIpAddresses": []}});
        let headers = headers.iter().map(|(name, value)| (*name, value.as_bytes())).collect();
        answer(&Request { method: "GET", target, headers }, || Some(Instance { instance, load_balancer }))
    }

    fn get(target: &str) -> Response {
        ask(target, &[("metadata", "True")])
    }

    #[test]
    fn what_is_asked_for_is_told() {
        let body = |target: &str| String::from_utf8(get(target).body).expect("UTF-8");
        assert_eq!(body("/metadata/instance/compute?api-version=2021-02-01"), r#"{"name":"web"}"#);
        assert_eq!(
            body("/metadata/loadbalancer?api-version=2020-10-01"),
            r#"{"loadbalancer":{"publicIpAddresses":[]}}"#
        );
        let path = "/metadata/instance/network/interface/0/ipv4/ipAddress/0/privateIpAddress";
        assert_eq!(body(&format!("{path}?api-version=2017-08-01&format=text")), "10.0.1.4");
        let listing = "/metadata/instance/network/interface/0?api-version=2017-08-01&format=text";
        assert_eq!(body(listing), "ipv4/\nmacAddress");
    }

    #[test]
    fn what_is_wrong_is_said() {
        let right = "/metadata/instance?api-version=2021-02-01";
        assert_eq!(ask(right, &[]).status, 400);
        assert_eq!(ask(right, &[("Metadata", "true"), ("x-forwarded-for", "10.0.1.9")]).status, 400);
        for (target, status) in [
            ("/metadata/instance", 400),
            ("/metadata/instance?api-version=latest", 400),
            ("/metadata/instance/nothing?api-version=2021-02-01", 404),
            ("/metadata/instance/network/interface/1?api-version=2021-02-01", 404),
            ("/latest/meta-data?api-version=2021-02-01", 404),
            ("/metadata/instance?api-version=2021-02-01&format=xml", 400),
        ] {
            assert_eq!(get(target).status, status, "{target}");
        }
    }
}
