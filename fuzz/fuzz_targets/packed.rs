#![no_main]

#[expect(dead_code, reason = "each program calls one of the targets")]
#[path = "../../tests/it/corpus/targets.rs"]
mod targets;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| targets::packed(bytes));
