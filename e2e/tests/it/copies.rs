//! `kubectl cp`, both ways, of a file that does not fit into any window or buffer on the way.

use std::process::Command;

use crate::bed::bed_with_node;
use crate::commands::run;

const SIZE: usize = 50_000_000;

#[test]
fn fifty_megabytes_arrive_as_they_were_sent() {
    let Some(bed) = bed_with_node("50 MB are copied") else { return };
    let kubectl = bed.web("copy");
    let dir = bed.stand.scratch("copies");
    let (sent, received) = (dir.join("sent"), dir.join("received"));
    // Random, so that nothing on the way can compress it or mistake one part for another.
    let mut content = vec![0; SIZE];
    fastrand::Rng::new().fill(&mut content);
    std::fs::write(&sent, &content).unwrap();
    let sum = |path: &std::path::Path| {
        let mut command = Command::new("sha256sum");
        command.arg(path);
        run(command, b"").ok().split(' ').next().unwrap_or_default().to_owned()
    };

    kubectl.ok(["cp", sent.to_str().unwrap(), "web:/tmp/file"]);
    let there = kubectl.ok("exec web -- sha256sum /tmp/file");
    assert_eq!(there.split(' ').next(), Some(sum(&sent).as_str()));
    kubectl.ok(["cp", "web:/tmp/file", received.to_str().unwrap()]);
    assert_eq!(sum(&received), sum(&sent));
    assert_eq!(std::fs::metadata(&received).unwrap().len(), SIZE as u64);
}
