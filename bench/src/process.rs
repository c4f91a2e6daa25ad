//! What processes cost, as the kernel accounts for it.
//!
//! Must not know: what the processes do.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::time::{clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;

/// Processor time that these processes have used so far, all threads that ever ran included, to the nanosecond
/// (`clock_getcpuclockid(3)`; `/proc/PID/stat` counts in steps of 10 ms).
pub(crate) fn cpu(pids: &[u32]) -> Result<Duration> {
    pids.iter().map(|pid| cpu_of(*pid)).sum()
}

fn cpu_of(pid: u32) -> Result<Duration> {
    let gone = || format!("process {pid} has ended");
    let clock = clock_getcpuclockid(Pid::from_raw(pid.cast_signed())).with_context(gone)?;
    Ok(clock_gettime(clock).with_context(gone)?.into())
}

/// Resident memory of a process in bytes (`VmRSS` of `proc_pid_status(5)`).
pub(crate) fn resident(pid: u32) -> Result<u64> {
    let status =
        fs::read_to_string(format!("/proc/{pid}/status")).with_context(|| format!("process {pid} has ended"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS in /proc/PID/status")?;
    let kibibytes: u64 = line.trim().trim_end_matches(" kB").parse().context("VmRSS is not a number of kB")?;
    Ok(kibibytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_figures_are_plausible() {
        let us = std::process::id();
        let before = cpu(&[us]).unwrap();
        let mut sum = 0_u64;
        while cpu(&[us]).unwrap() - before < Duration::from_millis(5) {
            sum = std::hint::black_box(sum + 1);
        }
        assert!(cpu(&[us, us]).unwrap() > before * 2);
        assert!(resident(us).unwrap() > 100_000);
    }

    #[test]
    fn a_process_that_has_ended_is_an_error() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        child.wait().unwrap();
        assert!(cpu(&[child.id()]).is_err());
        assert!(resident(child.id()).is_err());
    }
}
