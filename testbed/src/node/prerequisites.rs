//! What a node needs from the machine, and how to get it on Debian.

use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

/// Fixed rather than `PATH`: the same for a user whose `PATH` lacks the `sbin` folders.
const FOLDERS: [&str; 6] = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];
const CNI_FOLDERS: [&str; 2] = ["/usr/lib/cni", "/opt/cni/bin"];
/// Bits of `CapEff`: `CAP_NET_ADMIN` and `CAP_SYS_ADMIN` (`capabilities(7)`).
const CAPABILITIES: u64 = 1 << 12 | 1 << 21;

/// Programs, and the Debian packages they come from.
const PROGRAMS: [(&str, &str); 10] = [
    ("containerd", "containerd"),
    ("ctr", "containerd"),
    ("runc", "runc"),
    ("ip", "iproute2"),
    ("iptables", "iptables"),
    ("nginx", "nginx-light"),
    ("chromium", "chromium"),
    ("chromedriver", "chromium-driver"),
    ("java", "default-jre-headless"),
    ("mvn", "maven"),
];
/// Wanted by other suites, not by the node.
const OPTIONAL: [&str; 5] = ["nginx", "chromium", "chromedriver", "java", "mvn"];

/// The program's path.
pub(super) fn find(program: &str) -> Result<PathBuf> {
    FOLDERS
        .iter()
        .map(|folder| Path::new(folder).join(program))
        .find(|path| path.is_file())
        .with_context(|| format!("{program} is not installed"))
}

/// The folder with the CNI plugins.
pub(super) fn cni_plugins() -> Result<PathBuf> {
    let complete = |folder: &Path| {
        ["bridge", "host-local", "loopback", "portmap"].iter().all(|plugin| folder.join(plugin).is_file())
    };
    CNI_FOLDERS
        .iter()
        .map(PathBuf::from)
        .find(|folder| complete(folder))
        .context("the CNI plugins (containernetworking-plugins) are not installed")
}

/// A busybox that runs in an empty file system.
pub(super) fn static_busybox() -> Result<PathBuf> {
    let path = find("busybox")?;
    ensure!(is_static(&fs::read(&path)?)?, "{} is not static: install busybox-static", path.display());
    Ok(path)
}

/// Whether an ELF program (64 bit, little endian) names no interpreter: no `PT_INTERP` (3) among its program headers.
fn is_static(elf: &[u8]) -> Result<bool> {
    let number = |at: usize, width: usize| -> Result<usize> {
        let bytes = elf.get(at..at + width).context("a truncated ELF file")?;
        Ok(bytes.iter().rev().fold(0, |number, byte| number << 8 | usize::from(*byte)))
    };
    ensure!(elf.starts_with(b"\x7fELF\x02\x01"), "not a 64-bit little endian ELF file");
    let (offset, size, count) = (number(0x20, 8)?, number(0x36, 2)?, number(0x38, 2)?);
    for index in 0..count {
        if number(offset + index * size, 4)? == 3 {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether a node can run here, or all that speaks against it.
pub(super) fn check() -> std::result::Result<(), String> {
    let mut reasons = Vec::new();
    match has_capabilities() {
        Ok(true) => {}
        Ok(false) => reasons.push("it needs root with CAP_SYS_ADMIN and CAP_NET_ADMIN".to_owned()),
        Err(error) => reasons.push(format!("{error:#}")),
    }
    for (program, _) in PROGRAMS.iter().filter(|(program, _)| !OPTIONAL.contains(program)) {
        reasons.extend(find(program).err().map(|error| error.to_string()));
    }
    reasons.extend(cni_plugins().err().map(|error| error.to_string()));
    reasons.extend(static_busybox().err().map(|error| error.to_string()));
    if !Path::new("/sys/fs/cgroup").is_dir() {
        reasons.push("no control groups at /sys/fs/cgroup".to_owned());
    }
    if reasons.is_empty() { Ok(()) } else { Err(format!("no real node here: {}", reasons.join("; "))) }
}

fn has_capabilities() -> Result<bool> {
    if fs::metadata("/proc/self")?.uid() != 0 {
        return Ok(false);
    }
    let status = fs::read_to_string("/proc/self/status")?;
    let effective =
        status.lines().find_map(|line| line.strip_prefix("CapEff:")).context("no CapEff in /proc/self/status")?;
    Ok(u64::from_str_radix(effective.trim(), 16)? & CAPABILITIES == CAPABILITIES)
}

/// Installs what is missing for [`crate::Node`] and the suites, on Debian and its descendants. Says on standard error what it
/// does.
///
/// # Errors
/// Not root, not Debian, or `apt-get` failed.
pub fn install_prerequisites() -> Result<()> {
    let missing = missing_packages();
    if missing.is_empty() {
        return Ok(());
    }
    if !Path::new("/etc/debian_version").exists() {
        bail!("install {} with the package manager of this system", missing.join(", "));
    }
    ensure!(fs::metadata("/proc/self")?.uid() == 0, "as root: apt-get install {}", missing.join(" "));
    // Nothing can be done about a standard error that is closed.
    let _ = writeln!(std::io::stderr(), "apt-get install {}", missing.join(" "));
    apt_get(&["update", "--quiet"])?;
    let mut install = vec!["install", "--yes", "--quiet", "--no-install-recommends"];
    install.extend(&missing);
    apt_get(&install)
}

fn missing_packages() -> Vec<&'static str> {
    let mut packages: Vec<&str> =
        PROGRAMS.iter().filter(|(program, _)| find(program).is_err()).map(|(_, package)| *package).collect();
    if cni_plugins().is_err() {
        packages.push("containernetworking-plugins");
    }
    if static_busybox().is_err() {
        packages.push("busybox-static");
    }
    packages.dedup();
    packages
}

fn apt_get(args: &[&str]) -> Result<()> {
    let output = Command::new("apt-get")
        .args(args)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .env("RUNLEVEL", "1") // packages do not start their services
        .stdin(Stdio::null())
        .output()
        .context("run apt-get")?;
    ensure!(output.status.success(), "apt-get {args:?}: {}", String::from_utf8_lossy(&output.stderr).trim_end());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_test_is_dynamic_and_garbage_is_refused() {
        let own = fs::read("/proc/self/exe").unwrap();
        assert!(!is_static(&own).unwrap());
        assert!(is_static(b"#!/bin/sh").is_err());
        assert!(is_static(&own[..40]).is_err());
    }
}
