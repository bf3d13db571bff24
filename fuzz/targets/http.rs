//! Any request for instance metadata, and any answer of a backend to a health probe.
//!
//! A request is answered once it is complete, and the answer is well formed: a probe understands it. What is refused stays
//! refused whatever follows.

#![no_main]

use std::net::IpAddr;
use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use vnet::config;
use vnet::platform::health_probe::answer::judge;
use vnet::platform::{Directory, metadata};

const LAB: &str = include_str!("../../config/nsg-tiers.yaml");
const HEAD_END: &[u8] = b"\r\n\r\n";

/// A directory, and the address of one of its machines.
static DIRECTORY: LazyLock<(Directory, IpAddr)> = LazyLock::new(|| {
    let network = Arc::new(config::load(LAB, "lab").expect("an example loads").network);
    let nic = &network.network_interfaces[0];
    let directory = Directory::of_all(&network).remove(&nic.subnet.vnet).expect("its network has a directory");
    (directory, nic.addresses[0])
});

fn check(answer: &[u8]) {
    let is_fine = answer.starts_with(b"HTTP/1.1 200 ");
    assert_eq!(judge(answer).map(|verdict| verdict.is_ok()), Some(is_fine), "a probe reads it otherwise");
    let head = answer.windows(HEAD_END.len()).position(|four| four == HEAD_END).expect("a head ends");
    let text = std::str::from_utf8(&answer[..head]).expect("a head is text");
    let length = text.split("Content-Length: ").nth(1).and_then(|rest| rest.lines().next());
    assert_eq!(length.and_then(|length| length.parse().ok()), Some(answer.len() - head - HEAD_END.len()));
}

fuzz_target!(|data: &[u8]| {
    let [setting, data @ ..] = data else { return };
    let (directory, machine) = &*DIRECTORY;
    // In two parts, as a connection may bring it.
    let part = &data[..data.len().min(usize::from(*setting))];
    if setting & 1 != 0 {
        let (early, late) = (judge(part), judge(data));
        assert!(early.is_none() || early == late, "{early:?}, and then {late:?}");
        return;
    }
    let early = metadata::reply(part, directory, *machine);
    let late = metadata::reply(data, directory, *machine);
    assert!(early.is_ok() || late.is_err(), "it was refused before it was complete");
    if let Ok(Some(answer)) = &late {
        check(answer);
    }
    if let Ok(Some(answer)) = early {
        assert_eq!(late, Ok(Some(answer)), "more bytes changed the answer");
    }
});
