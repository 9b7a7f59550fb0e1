#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| batchshare_fuzz::targets::query(bytes));
