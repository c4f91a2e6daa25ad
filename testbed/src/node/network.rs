//! The pods' network: one bridge with a subnet of its own, for each node.

use std::fs::{self, File};
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use serde_json::json;

use super::prerequisites;
use crate::reserve;

const ATTEMPTS: usize = 200;

/// At most 15 bytes (IFNAMSIZ).
pub(super) fn bridge_name(id: &str) -> String {
    format!("fl-{id}")
}

/// A bridge that is up, and the reservation of its subnet. The device is removed with the node's processes.
#[derive(Debug)]
pub(super) struct Network {
    address: Ipv4Addr,
    _subnet: File,
}

impl Network {
    /// Creates the bridge and tells CNI of it, in `<dir>/cni`.
    pub(super) fn create(id: &str, dir: &Path) -> Result<Self> {
        let (second, third, subnet) = free_subnet()?;
        let address = Ipv4Addr::new(10, second, third, 1);
        let bridge = bridge_name(id);
        ip(&["link", "add", "name", &bridge, "type", "bridge"])?;
        ip(&["address", "add", &format!("{address}/24"), "dev", &bridge])?;
        ip(&["link", "set", "dev", &bridge, "up"])?;
        let conf = dir.join("cni");
        fs::create_dir(&conf)?;
        fs::write(conf.join("10-bridge.conflist"), cni_config(&bridge, address, dir))?;
        Ok(Self { address, _subnet: subnet })
    }

    /// The machine's address on the bridge, the pods' gateway.
    pub(super) fn address(&self) -> Ipv4Addr {
        self.address
    }
}

fn cni_config(bridge: &str, address: Ipv4Addr, dir: &Path) -> String {
    let [first, second, third, _] = address.octets();
    let document = json!({
        "cniVersion": "0.4.0",
        "name": bridge,
        "plugins": [
            {
                "type": "bridge",
                "bridge": bridge,
                "isGateway": true,
                "ipMasq": false,
                "ipam": {
                    "type": "host-local",
                    "ranges": [[{"subnet": format!("{first}.{second}.{third}.0/24")}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                    "dataDir": dir.join("addresses"),
                },
            },
            {"type": "portmap", "capabilities": {"portMappings": true}},
        ],
    });
    format!("{document:#}\n")
}

/// A /24 between 10.128 and 10.250 that this machine has no route into and no other test bed holds.
fn free_subnet() -> Result<(u8, u8, File)> {
    for _ in 0..ATTEMPTS {
        let (second, third) = (fastrand::u8(128..=250), fastrand::u8(..));
        let prefix = format!("10.{second}.{third}.0/24");
        let Some(held) = reserve::try_hold("subnets", &format!("10.{second}.{third}"))? else {
            continue;
        };
        let inside = ip(&["-4", "route", "show", "root", &prefix])?;
        let around = ip(&["-4", "route", "show", "match", &prefix])?;
        if inside.is_empty() && around.lines().all(|route| route.starts_with("default")) {
            return Ok((second, third, held));
        }
    }
    bail!("no free subnet between 10.128.0.0 and 10.250.255.0")
}

fn ip(args: &[&str]) -> Result<String> {
    let output = Command::new(prerequisites::find("ip")?).args(args).stdin(Stdio::null()).output().context("run ip")?;
    ensure!(output.status.success(), "ip {args:?}: {}", String::from_utf8_lossy(&output.stderr).trim_end());
    String::from_utf8(output.stdout).context("ip printed something that is not UTF-8")
}
