//! Configuration files with mistakes: the program names the key, what is wrong, and what would be right.

use std::process::Command;

use crate::bed::{Bed, bed};
use crate::commands::run;

#[track_caller]
fn refused(program: &std::path::Path, before: &[&str], text: &str) -> String {
    let dir = bed().stand.scratch("settings");
    let path = dir.join(format!("{}.yaml", fastrand::u64(..)));
    std::fs::write(&path, text).unwrap();
    let mut command = Command::new(program);
    command.args(before).arg("--config").arg(&path).current_dir(&dir);
    run(command, b"").refused()
}

#[test]
fn mistakes_in_the_hubs_file_are_named() {
    let program = Bed::programs().flotilla;
    for (text, wanted) in [
        ("server: {http_prot: 1}", &["server.http_prot", "server.http_port"][..]),
        ("sever: {http_port: 1}", &["sever", "server"]),
        ("server: {http_port: many}", &["server.http_port"]),
        ("server: {http_port: 70000}", &["server.http_port"]),
        ("server: [1, 2]", &["server"]),
        ("auth: {token_expiry: soon}", &["auth.token_expiry", "15m"]),
        ("auth: {refresh_expiry: 30d}", &["auth.refresh_expiry", "7d"]),
        ("database: {driver: oracle}", &["database.driver", "sqlite or postgres"]),
        ("database: {driver: postgres}", &["database.url"]),
        ("tls: {cert_file: /x}", &["tls.key_file"]),
        ("clusters: [{name: a, backend: magic}]", &["magic", "kubeconfig or in-cluster"]),
        ("server: {http_port: 1, http_port: 2}", &["http_port"]),
        ("server: {http_port: \"${NOT_SET_ANYWHERE}\"}", &["NOT_SET_ANYWHERE"]),
        ("server: {http_port: 1", &["yaml"]),
    ] {
        let said = refused(&program, &["hub"], text);
        assert!(wanted.iter().all(|word| said.contains(word)), "{text}: {said}");
        assert!(!said.contains("panicked"), "{said}");
    }
}

#[test]
fn mistakes_in_the_agents_file_are_named() {
    let program = Bed::programs().agent;
    for (text, wanted) in [
        ("central: {ulr: \"https://x:1\"}", &["central.ulr", "central.url"][..]),
        ("central: {url: \"http://x:1\"}\ncluster: {name: a}", &["central.url", "https"]),
        ("central: {url: \"https://x:1\"}\ncluster: {name: A/b}", &["cluster.name"]),
        (
            "heartbeat: {interval_seconds: often}\ncentral: {url: \"https://x:1\"}\ncluster: {name: a}",
            &["heartbeat.interval_seconds"],
        ),
        ("central: {url: \"https://x:1\", token: hunter2}\ncluster: {name: a}", &["central.token"]),
    ] {
        let said = refused(&program, &[], text);
        assert!(wanted.iter().all(|word| said.contains(word)), "{text}: {said}");
        assert!(!said.contains("hunter2"), "a secret is not repeated: {said}");
    }
}
