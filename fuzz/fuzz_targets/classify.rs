//! Any request line: reading it never panics, and what is read has no second meaning.
#![no_main]

use flotilla_cluster::request_info::{classify, classify_line};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|line: &str| {
    let _ = classify_line(line);
    let Some((method, target)) = line.split_once(' ') else { return };
    let Ok(info) = classify(method, target) else { return };
    for word in [&info.api_group, &info.api_version, &info.namespace, &info.resource, &info.subresource] {
        assert!(!matches!(word.as_str(), "." | "..") && !word.contains(['/', '\\', '\0']));
    }
    assert!(!info.path.split('/').any(|segment| matches!(segment, "." | "..")));
});
