//! The credential plugin: renewal before the end, once among many processes, and never a question.

use std::sync::atomic::Ordering;

use serde_json::Value;

use crate::server::World;

fn credential(world: &World) -> assert_cmd::assert::Assert {
    world.flotilla().args(["credential", "--hub", &world.url]).assert()
}

fn parsed(output: &assert_cmd::assert::Assert) -> Value {
    serde_json::from_slice(&output.get_output().stdout).unwrap()
}

#[test]
fn a_token_that_holds_is_printed_as_it_is() {
    let world = World::plain();
    world.login();
    let printed = parsed(&credential(&world).success());
    assert_eq!(printed["kind"], "ExecCredential");
    assert_eq!(printed["status"]["token"], "token-0");
    let ends: jiff::Timestamp = printed["status"]["expirationTimestamp"].as_str().unwrap().parse().unwrap();
    let left = ends.duration_since(jiff::Timestamp::now()).as_secs();
    assert!((3500..=3600).contains(&left), "{left}");
    assert_eq!(world.hub.refreshes.load(Ordering::SeqCst), 0);
}

#[test]
fn of_many_processes_one_renews() {
    let world = World::plain();
    *world.hub.life.lock().unwrap() = 0;
    world.login();
    *world.hub.life.lock().unwrap() = 3600;
    let tokens: Vec<Value> = std::thread::scope(|scope| {
        let started: Vec<_> = (0..8).map(|_| scope.spawn(|| parsed(&credential(&world).success()))).collect();
        started.into_iter().map(|thread| thread.join().unwrap()["status"]["token"].clone()).collect()
    });
    assert_eq!(tokens, vec![Value::from("token-1"); 8]);
    assert_eq!(world.hub.refreshes.load(Ordering::SeqCst), 1);
}

#[test]
fn a_session_that_is_over_says_so_and_is_forgotten() {
    let world = World::plain();
    *world.hub.life.lock().unwrap() = 0;
    world.login();
    *world.hub.refresh.lock().unwrap() = "another".to_owned();
    for _ in 0..2 {
        let failed = credential(&world).code(3);
        let text = String::from_utf8_lossy(&failed.get_output().stderr).into_owned();
        assert!(text.ends_with("hint: run: flotilla login\n"), "{text}");
        assert!(failed.get_output().stdout.is_empty());
    }
    assert!(!std::fs::read_to_string(world.credentials()).unwrap_or_default().contains("refresh-0"));
}

#[test]
fn a_hub_that_is_away_ends_no_session() {
    let world = World::plain();
    *world.hub.life.lock().unwrap() = 0;
    world.login();
    let elsewhere = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let before = std::fs::read_to_string(world.credentials()).unwrap();
    let moved = before.replace(world.url.trim_start_matches("http://"), &elsewhere.to_string());
    std::fs::write(world.credentials(), &moved).unwrap();
    world.flotilla().args(["credential", "--hub", &format!("http://{elsewhere}")]).assert().code(1);
    assert_eq!(std::fs::read_to_string(world.credentials()).unwrap(), moved);
}

#[test]
fn a_token_refused_before_its_end_is_renewed_once() {
    let world = World::plain();
    world.login();
    *world.hub.revoked.lock().unwrap() = Some("token-0".to_owned());
    world.flotilla().args(["clusters", "list"]).assert().success();
    assert_eq!(world.hub.refreshes.load(Ordering::SeqCst), 1);
    assert_eq!(parsed(&credential(&world).success())["status"]["token"], "token-1");
}
