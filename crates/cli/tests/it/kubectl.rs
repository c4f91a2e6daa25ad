//! `flotilla kubectl`: what kubectl is given, what it gives back, and what happens without one.

use std::path::Path;

use serde_json::Value;

use crate::server::World;

/// Stands where kubectl would: shows what it got, and ends as a failed command would.
const PROBE: &str =
    "#!/bin/sh\necho \"KUBECONFIG=$KUBECONFIG\"\nfor a in \"$@\"; do printf '<%s>' \"$a\"; done\necho\nexit 42\n";

fn in_dev(world: &World) {
    world.login();
    world.flotilla().args(["clusters", "use", "dev"]).assert().success();
}

fn kubeconfig_of(stdout: &str) -> Value {
    let path = stdout.lines().next().unwrap().strip_prefix("KUBECONFIG=").unwrap();
    serde_saphyr::from_str(&std::fs::read_to_string(Path::new(path)).unwrap()).unwrap()
}

#[test]
fn becomes_kubectl_with_its_arguments_and_exit_code() {
    let world = World::plain();
    in_dev(&world);
    let path = world.program("kubectl", PROBE);
    let ran = world
        .flotilla()
        .env("PATH", &path)
        .args(["k", "--", "exec", "-it", "p", "--", "sh", "-c", "a b", ""])
        .assert()
        .code(42);
    let stdout = String::from_utf8_lossy(&ran.get_output().stdout).into_owned();
    assert!(stdout.ends_with("<--><exec><-it><p><--><sh><-c><a b><>\n"), "{stdout}");
    let kubeconfig = kubeconfig_of(&stdout);
    let server = world.url.replace("http://", "https://");
    assert_eq!(kubeconfig["clusters"][0]["cluster"]["server"], format!("{server}/k8s/clusters/dev"));
    assert_eq!(kubeconfig["current-context"], "dev");
    let plugin = &kubeconfig["users"][0]["user"]["exec"];
    assert!(Path::new(plugin["command"].as_str().unwrap()).is_absolute());
    assert_eq!(plugin["args"], serde_json::json!(["credential", "--hub", world.url]));
}

#[test]
fn an_option_in_front_selects_another_cluster() {
    let world = World::plain();
    in_dev(&world);
    let path = world.program("kubectl", PROBE);
    let ran =
        world.flotilla().env("PATH", &path).args(["--cluster", "prod", "k", "--cluster", "x", "get"]).assert().code(42);
    let stdout = String::from_utf8_lossy(&ran.get_output().stdout).into_owned();
    assert_eq!(kubeconfig_of(&stdout)["current-context"], "prod");
    assert!(stdout.ends_with("<--cluster><x><get>\n"), "{stdout}");
}

#[test]
fn a_signal_to_us_is_a_signal_to_kubectl() {
    use std::os::unix::process::ExitStatusExt;
    let world = World::plain();
    in_dev(&world);
    let path = world.program("kubectl", "#!/bin/sh\nkill -TERM $$\n");
    let output = world.flotilla().env("PATH", path).args(["k", "get"]).output().unwrap();
    assert_eq!(output.status.signal(), Some(15));
}

#[test]
fn without_kubectl_the_hub_runs_what_it_can() {
    let world = World::plain();
    in_dev(&world);
    let ran = world.flotilla().args(["k", "apply", "-f", "-"]).write_stdin("kind: Pod\n").assert().code(7);
    assert_eq!(ran.get_output().stdout, b"ran\n");
    let seen = world.hub.executed.lock().unwrap().clone();
    assert_eq!(
        seen,
        [serde_json::json!({"cluster": "dev", "body": {"command": ["apply", "-f", "-"], "stdin": "kind: Pod\n"}})]
    );
    let failed = world.flotilla().args(["k", "exec", "-it", "web-0", "--", "sh"]).assert().code(1);
    let stderr = String::from_utf8_lossy(&failed.get_output().stderr).into_owned();
    assert!(stderr.contains("install kubectl"), "{stderr}");
}

#[test]
fn what_is_missing_is_said_before_kubectl_starts() {
    let world = World::plain();
    let path = world.program("kubectl", PROBE);
    world.flotilla().env("PATH", &path).args(["k", "get", "pods"]).assert().code(3);
    world.login();
    let failed = world.flotilla().env("PATH", &path).args(["k", "get", "pods"]).assert().code(2);
    let stderr = String::from_utf8_lossy(&failed.get_output().stderr).into_owned();
    assert!(stderr.contains("flotilla clusters use"), "{stderr}");
    // kubectl's own help needs neither.
    world.flotilla().env("PATH", &path).args(["k", "help"]).assert().code(42);
}

#[test]
fn our_own_help_needs_nothing() {
    let world = World::plain();
    let shown = world.flotilla().args(["k", "--help"]).assert().success();
    let text = String::from_utf8_lossy(&shown.get_output().stdout).into_owned();
    assert!(text.contains("Examples:") && text.contains("flotilla k exec"), "{text}");
}

#[test]
fn a_merged_kubeconfig_keeps_what_was_there() {
    let world = World::plain();
    in_dev(&world);
    let file = world.home().join(".kube/config");
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(&file, "current-context: kind\nusers:\n- name: kind\n  user: {token: abc}\n").unwrap();
    world.flotilla().args(["kubeconfig", "--merge"]).assert().success();
    let tree: Value = serde_saphyr::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
    assert_eq!(tree["current-context"], "kind");
    assert_eq!(tree["users"][0]["user"]["token"], "abc");
    let names: Vec<_> = tree["contexts"].as_array().unwrap().iter().map(|context| context["name"].clone()).collect();
    assert_eq!(names, ["flotilla-dev", "flotilla-prod"]);
}

#[test]
fn only_the_clusters_asked_for_are_in_a_kubeconfig() {
    let world = World::plain();
    in_dev(&world);
    let file = world.home().join("out.yaml");
    world.flotilla().args(["kubeconfig", "--cluster", "pr*", "--prefix", "", "--out"]).arg(&file).assert().success();
    let tree: Value = serde_saphyr::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
    assert_eq!(tree["current-context"], "prod");
    assert_eq!(tree["clusters"].as_array().unwrap().len(), 1);
    world.flotilla().args(["kubeconfig", "--cluster", "nothing*"]).assert().code(1);
}
