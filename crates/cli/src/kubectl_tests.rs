//! Tests of `kubectl`: finding it, and what may go to the hub instead.

use super::*;

fn words(line: &str) -> Vec<OsString> {
    line.split_whitespace().map(OsString::from).collect()
}

#[cfg(unix)]
#[test]
fn finds_a_program_that_is_not_this_one() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    for name in ["linked", "data", "folder/kubectl", "real", "later"] {
        std::fs::create_dir_all(at(name)).unwrap();
    }
    let ourselves = at("flotilla");
    std::fs::write(&ourselves, "").unwrap();
    std::fs::set_permissions(&ourselves, PermissionsExt::from_mode(0o755)).unwrap();
    symlink(&ourselves, at("linked/kubectl")).unwrap();
    std::fs::write(at("data/kubectl"), "").unwrap();
    for place in ["real/kubectl", "later/kubectl"] {
        std::fs::write(at(place), "").unwrap();
        std::fs::set_permissions(at(place), PermissionsExt::from_mode(0o755)).unwrap();
    }
    let path = |places: &[&str]| std::env::join_paths(places.iter().map(|place| at(place))).unwrap();
    assert_eq!(
        find(&path(&["none", "linked", "data", "folder", "real", "later"]), &ourselves),
        Some(at("real/kubectl"))
    );
    assert_eq!(find(&path(&["linked", "data"]), &ourselves), None);
    assert_eq!(find(OsStr::new(""), &ourselves), None);
    assert_eq!(find(OsStr::new("."), &ourselves), None, "never out of the working directory");
}

#[test]
fn the_verb_is_found_behind_flags() {
    assert_eq!(verb(&words("-n shop get pods")), Some("get"));
    assert_eq!(verb(&words("--context=x -v 6 --as a logs p")), Some("logs"));
    assert_eq!(verb(&words("--help")), None);
}

#[test]
fn some_commands_need_no_cluster() {
    for line in ["", "--help", "help get", "version --client", "completion bash", "get --help", "kustomize ."] {
        assert!(needs_no_cluster(&words(line)), "{line}");
    }
    for line in ["get pods", "version", "exec p -- ls --help", "get help"] {
        assert!(!needs_no_cluster(&words(line)), "{line}");
    }
}

#[test]
fn the_hub_can_run_what_needs_nothing_of_this_machine() {
    for line in [
        "get pods -n default -o wide",
        "-n shop get deploy web -ojson",
        "logs web-0 --tail=5 -c app",
        "exec web-0 -- tail -f /var/log/x",
        "exec web-0 -- sh -it",
        "delete pod web-0",
        "get pods --watch=false",
        "create configmap a --from-literal=k=v",
        "describe node n1",
        "get pods -l app=kit",
        "patch deploy web -p{}",
        "rollout restart deploy web",
    ] {
        let remote = remote(&words(line)).unwrap_or_else(|why| panic!("{line}: {why}"));
        assert_eq!(remote.command.join(" "), line);
        assert!(!remote.reads_stdin, "{line}");
    }
    for line in ["apply -f -", "apply -f- --server-side", "create --filename=-", "delete --filename -"] {
        assert!(remote(&words(line)).unwrap().reads_stdin, "{line}");
    }
}

#[test]
fn the_hub_cannot_run_what_needs_this_machine() {
    for line in [
        "exec -it web-0 -- sh",
        "exec web-0 -ti -- sh",
        "exec --stdin web-0 -- cat",
        "run -i --rm x --image=y",
        "attach web-0",
        "port-forward web-0 8080:80",
        "proxy",
        "edit deploy web",
        "cp a web-0:/a",
        "debug web-0",
        "logs -f web-0",
        "logs web-0 --follow",
        "get pods -w",
        "get pods -A --watch",
        "apply -f app.yaml",
        "apply -fapp.yaml",
        "apply --filename=app.yaml",
        "apply -f https://example.com/app.yaml",
        "apply -k .",
        "apply -Rf dir",
        "create secret generic s --from-file=a",
        "create secret tls s --cert=a --key=b",
        "create deployment x --image=y --edit",
        "get pods -o jsonpath-file=x",
        "get pods -ocustom-columns-file=x",
        "get pods -o go-template-file=x",
        "--kubeconfig x get pods",
        "patch deploy web --patch-file p.yaml",
        "config view",
        "kustomize .",
        "completion bash",
        "",
    ] {
        assert!(remote(&words(line)).is_err(), "{line}");
    }
}

#[cfg(unix)]
#[test]
fn arguments_that_are_no_text_stay_here() {
    use std::os::unix::ffi::OsStringExt;
    assert!(remote(&[OsString::from("get"), OsString::from_vec(vec![0xff])]).is_err());
}
