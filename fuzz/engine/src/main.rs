//! Runs the target that `NAULON_FUZZ_TARGET` names under libFuzzer.
#![no_main]

use std::sync::LazyLock;

static TARGET: LazyLock<fn(&[u8])> = LazyLock::new(|| {
    let name = std::env::var("NAULON_FUZZ_TARGET").expect("NAULON_FUZZ_TARGET names a target");
    naulon_fuzz::target(&name).expect("a target of this name")
});

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| TARGET(bytes));
