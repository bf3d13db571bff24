//! Any message to the resolver, from a guest or from a forwarder.
//!
//! An answer has its question's id and says that it is an answer; an answer gets none. A forwarder's message is about
//! the question or is ignored.

#![no_main]

use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use vnet::config;
use vnet::platform::Directory;
use vnet::platform::dns::{Reply, answer, failure, is_about, is_truncated};

const LAB: &str = include_str!("../../config/nsg-tiers.yaml");
/// The byte with QR, OPCODE, AA, TC and RD of a header (RFC 1035 section 4.1.1).
const FLAGS_AT: usize = 2;
const QR: u8 = 0x80;
/// The longest message over a connection.
const LONGEST: usize = u16::MAX as usize;

static DIRECTORY: LazyLock<Directory> = LazyLock::new(|| {
    let network = config::load(LAB, "lab").expect("an example loads").network;
    Directory::of_all(&Arc::new(network)).into_values().next().expect("it has a machine")
});

fn check(question: &[u8], answer: &[u8]) {
    assert_eq!(answer[..2], question[..2], "another id");
    assert_ne!(answer[FLAGS_AT] & QR, 0, "it says that it is a question");
    assert!(answer.len() <= LONGEST);
}

fuzz_target!(|data: &[u8]| {
    // The length of the first message, and two of them.
    let [length, data @ ..] = data else { return };
    let (question, message) = data.split_at(data.len().min(usize::from(*length)));
    match answer(question, &DIRECTORY) {
        Some(Reply::Answer(answer) | Reply::Foreign(answer)) => {
            assert_eq!(question[FLAGS_AT] & QR, 0, "an answer got an answer");
            check(question, &answer);
        }
        None => {}
    }
    if let Some(failure) = failure(question) {
        check(question, &failure);
    }
    is_truncated(message);
    if is_about(message, question) {
        assert_ne!(message[FLAGS_AT] & QR, 0, "a question is taken for an answer");
    }
});
