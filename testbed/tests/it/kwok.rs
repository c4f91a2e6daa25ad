//! Played nodes in numbers.

use std::time::{Duration, Instant};

use flotilla_testbed::{ControlPlane, Kwok, Options, wait_until};

use crate::BINARIES;

#[test]
fn fifty_played_nodes_run_five_hundred_pods() {
    let plane = ControlPlane::start(&BINARIES, Options::new("scale")).unwrap();
    let started = Instant::now();
    let _kwok = Kwok::start(&plane, 50).unwrap();
    println!("50 nodes: {:.2} s", started.elapsed().as_secs_f64());

    plane.kubectl_ok(&["create", "deployment", "many", "--image=flotilla.test/none:1", "--replicas=500"]).unwrap();
    let running = || {
        let ready = plane.kubectl_ok(&["get", "deployment", "many", "-o", "jsonpath={.status.readyReplicas}"])?;
        Ok(ready == "500")
    };
    wait_until("500 pods run", Duration::from_secs(120), running).unwrap();
    println!("and 500 pods: {:.2} s", started.elapsed().as_secs_f64());
    let nodes = plane.kubectl_ok(&["get", "pods", "-o", "jsonpath={.items[*].spec.nodeName}"]).unwrap();
    let distinct: std::collections::HashSet<&str> = nodes.split(' ').collect();
    assert_eq!(distinct.len(), 50, "the scheduler spreads them");
}
