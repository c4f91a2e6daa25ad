//! Any kubeconfig: reading it never panics, opens no file, and what is accepted leads to an API server.
#![no_main]

use flotilla_upstream::{Externals, Upstream};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Ok(upstream) = Upstream::from_kubeconfig(text, None, &Externals::Refused) else { return };
    assert!(upstream.server().starts_with("https://") || upstream.server().starts_with("http://"));
});
