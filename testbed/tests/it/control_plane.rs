//! Control planes: start, restart, side by side, errors that say why.

use std::time::{Duration, Instant};

use flotilla_testbed::{ControlPlane, Options, wait_until};

use crate::{BINARIES, processes_with};

#[test]
fn a_control_plane_serves_restarts_its_api_server_and_leaves_nothing() {
    let mut plane = ControlPlane::start(&BINARIES, Options::new("alone")).unwrap();
    let version = plane.kubectl_ok(&["version"]).unwrap();
    assert_eq!(version.matches("v1.34.4").count(), 2, "client and server: {version}");
    let helm = std::process::Command::new(BINARIES.helm()).arg("version").output().unwrap();
    assert!(String::from_utf8_lossy(&helm.stdout).contains("v4.0.5"), "{helm:?}");

    // The controllers work: a deployment gets its pod, which no node takes.
    plane.kubectl_ok(&["create", "deployment", "web", "--image=flotilla.test/none:1"]).unwrap();
    let pending = || {
        let pods = plane.kubectl_ok(&[
            "get",
            "pods",
            "-l",
            "app=web",
            "-o",
            "jsonpath={.items[*].status.conditions[*].reason}",
        ])?;
        Ok(pods == "Unschedulable")
    };
    wait_until("the pod is seen by the scheduler", Duration::from_secs(30), pending).unwrap();

    let before = plane.apiserver().pid();
    plane.kill_apiserver().unwrap();
    assert!(!plane.kubectl(&["get", "ns"]).unwrap().status.success());
    plane.start_apiserver().unwrap();
    assert_ne!(plane.apiserver().pid(), before);
    plane.kubectl_ok(&["get", "deployment", "web"]).unwrap();

    let dir = plane.dir().to_path_buf();
    assert!(processes_with(dir.to_str().unwrap()).len() >= 4);
    plane.stop().unwrap();
    assert_eq!(processes_with(dir.to_str().unwrap()), Vec::<String>::new());
    assert!(!dir.exists());
}

#[test]
fn two_control_planes_start_at_once_and_trust_only_their_own() {
    let started = Instant::now();
    let start = |name: &'static str| std::thread::spawn(move || ControlPlane::start(&BINARIES, Options::new(name)));
    let (one, two) = (start("one"), start("two"));
    let (one, two) = (one.join().unwrap().unwrap(), two.join().unwrap().unwrap());
    println!("two control planes at once: {:.2} s", started.elapsed().as_secs_f64());
    assert_ne!(one.server_url(), two.server_url());

    one.kubectl_ok(&["create", "namespace", "only-in-one"]).unwrap();
    assert!(!two.kubectl(&["get", "namespace", "only-in-one"]).unwrap().status.success());
    let crossed = one.kubectl(&["--server", &two.server_url(), "get", "ns"]).unwrap();
    assert!(
        String::from_utf8_lossy(&crossed.stderr).contains("certificate signed by unknown authority"),
        "{crossed:?}"
    );

    let someone = one.kubeconfig_for("jane", Some("dev")).unwrap();
    let path = one.dir().join("jane.kubeconfig");
    std::fs::write(&path, someone).unwrap();
    let who = one
        .kubectl_ok(&["--kubeconfig", path.to_str().unwrap(), "auth", "whoami", "-o", "jsonpath={.status.userInfo}"])
        .unwrap();
    assert!(who.contains("\"username\":\"jane\"") && who.contains("\"dev\""), "{who}");
    // The front proxy's headers are believed of the front proxy only, not of everyone with a certificate.
    let raw = one.kubectl(&["--kubeconfig", path.to_str().unwrap(), "get", "ns"]).unwrap();
    assert!(String::from_utf8_lossy(&raw.stderr).contains("jane"), "{raw:?}");
}

#[test]
fn a_bad_flag_is_reported_with_the_log() {
    let mut options = Options::new("bad");
    options.apiserver_args.push("--no-such-flag".to_owned());
    let error = format!("{:#}", ControlPlane::start(&BINARIES, options).unwrap_err());
    assert!(error.contains("start control plane bad") && error.contains("unknown flag: --no-such-flag"), "{error}");
}
