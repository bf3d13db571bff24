//! Any topology file: it ends as a network, or as errors that can be printed.

#![no_main]

use libfuzzer_sys::fuzz_target;
use vnet::compile::compile;
use vnet::config;
use vnet::model::Learned;

fuzz_target!(|text: &str| {
    match config::load(text, "fuzz.yaml") {
        Ok(loaded) => drop(compile(&loaded.network, &Learned::default(), 1)),
        Err(errors) => assert!(!errors.to_string().is_empty()),
    }
});
