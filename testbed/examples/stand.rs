//! A cluster by hand: `cargo run -p flotilla-testbed --example stand -- [node] [metrics] [kwok=50]`, until Ctrl-C or
//! the end of its input. Prints how long each part took and where the kubeconfig is.
#![allow(clippy::print_stdout, reason = "it is for people")]

use std::time::Instant;

use anyhow::{Context, Result};
use flotilla_testbed::{Binaries, ControlPlane, Kwok, MetricsServer, Node, Options};

fn main() -> Result<()> {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let has = |part: &str| wanted.iter().any(|one| one == part);
    let mut since = Instant::now();
    let mut lap = |what: &str| {
        println!("{what}: {:.2} s", since.elapsed().as_secs_f64());
        since = Instant::now();
    };
    let binaries = Binaries::ensure(&mut |line| println!("{line}"))?;
    lap("programs");
    let plane = ControlPlane::start(&binaries, Options::new("stand"))?;
    lap("control plane");
    let node = if has("node") || has("metrics") { Some(Node::start(&plane)?) } else { None };
    lap("node");
    let metrics = match &node {
        Some(node) if has("metrics") => Some(MetricsServer::start(&plane, node)?),
        _ => None,
    };
    lap("metrics-server");
    let nodes = wanted.iter().find_map(|one| one.strip_prefix("kwok="));
    let kwok = nodes.map(|nodes| Kwok::start(&plane, nodes.parse::<usize>().context("kwok=NUMBER")?)).transpose()?;
    lap("kwok");
    println!("export PATH={}:$PATH KUBECONFIG={}", binaries.bin_dir().display(), plane.kubeconfig_path().display());
    std::io::copy(&mut std::io::stdin(), &mut std::io::sink())?;
    drop((kwok, metrics, node));
    plane.stop()?;
    lap("stopped");
    Ok(())
}
