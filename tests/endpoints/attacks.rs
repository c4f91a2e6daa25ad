//! What a hostile cluster, a guesser, a silent client and a hostile page can do to a running hub.

mod browsers;
mod foreign;
mod ordinary;
mod requests;
mod timing;
mod tokens;
mod world;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use flotilla_harness::HubOptions;
use flotilla_tests::Fixture;
use flotilla_tunnel::pki;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

/// An API server that answers every request with a redirect to where its header `x-lead-to` says.
fn redirecting() -> std::io::Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut head = Vec::new();
            let mut byte = [0u8; 1];
            while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap_or(0) == 1 {
                head.push(byte[0]);
            }
            let head = String::from_utf8_lossy(&head);
            let to = head.lines().find_map(|line| line.strip_prefix("x-lead-to: ")).unwrap_or("/api");
            let answer = format!(
                "HTTP/1.1 307 Temporary Redirect\r\nlocation: {to}\r\nalt-svc: h2=\":1\"\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
            );
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    Ok(port)
}

#[tokio::test]
async fn a_cluster_cannot_send_its_callers_elsewhere() {
    let fixture = Fixture::start(&HubOptions::default()).unwrap();
    let token = fixture.admin_token().await.unwrap();
    let kubeconfig = json!({
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "c"}}],
        "clusters": [{"name": "c", "cluster": {"server": format!("http://127.0.0.1:{}", redirecting().unwrap())}}],
    });
    let body = json!({"name": "hostile", "kubeconfig": kubeconfig.to_string()});
    let made = fixture.call(Method::POST, "/api/clusters", Some(&token), Some(body)).await.unwrap();
    assert_eq!(made.status(), StatusCode::CREATED);

    let url = format!("{}/k8s/clusters/hostile/api/v1/namespaces/shop/pods", fixture.hub.url());
    let asked = async |to: &str| {
        fixture.client.post(&url).bearer_auth(&token).header("x-lead-to", to).body("{}").send().await.unwrap()
    };
    let inside = asked("/k8s/clusters/prod/api/v1/namespaces/shop/pods").await;
    assert_eq!(inside.status(), StatusCode::TEMPORARY_REDIRECT);
    assert_eq!(inside.headers()["location"], "/k8s/clusters/hostile/k8s/clusters/prod/api/v1/namespaces/shop/pods");
    assert!(!inside.headers().contains_key("alt-svc"));
    for elsewhere in ["https://elsewhere.example/", "//elsewhere.example/", "../../../../../../prod/api/v1/pods"] {
        let answer = asked(elsewhere).await;
        assert_eq!(answer.status(), StatusCode::BAD_GATEWAY, "{elsewhere}");
        assert!(!answer.headers().contains_key("location"), "{elsewhere}");
    }
}

#[tokio::test]
async fn guessers_keep_no_agent_out_and_a_revocation_takes_tokens_along() {
    let fixture = Fixture::start(&HubOptions::default()).unwrap();
    let admin = fixture.admin_token().await.unwrap();
    let (csr, _) = pki::new_csr("edge").unwrap();
    let enrol = async |token: &str| {
        let body = json!({"token": token, "cluster": "edge", "csr": csr});
        fixture.call(Method::POST, "/api/agents/register", None, Some(body)).await.unwrap().status()
    };
    let new_token = async || {
        let body = Some(json!({"cluster": "edge"}));
        let answer = fixture.call(Method::POST, "/api/agents/tokens", Some(&admin), body).await.unwrap();
        answer.json::<Value>().await.unwrap()["token"].as_str().unwrap().to_owned()
    };
    for guess in 0..15 {
        assert_eq!(enrol(&format!("fla1.guess{guess}")).await, StatusCode::UNAUTHORIZED);
    }
    assert_eq!(enrol(&new_token().await).await, StatusCode::OK);
    let spare = new_token().await;
    let revoked = fixture.call(Method::DELETE, "/api/agents/edge", Some(&admin), None).await.unwrap();
    assert_eq!(revoked.status(), StatusCode::NO_CONTENT);
    assert_eq!(enrol(&spare).await, StatusCode::UNAUTHORIZED);
}

#[test]
fn a_client_that_never_asks_is_sent_away() {
    let fixture = Fixture::start(&HubOptions::default()).unwrap();
    // The first letter of `POST`, and of HTTP/2's preface: nobody can know yet which.
    let mut silent = TcpStream::connect(("127.0.0.1", fixture.hub.people_port)).unwrap();
    silent.write_all(b"P").unwrap();
    silent.set_read_timeout(Some(Duration::from_secs(25))).unwrap();
    assert_eq!(silent.read(&mut [0; 16]).unwrap(), 0, "closed, not answered");
}

/// The attack list: each with its expected answer, none through.
#[test]
fn the_attack_list() {
    type Group = (&'static str, fn(&mut world::World));
    let mut world = world::World::start();
    let groups: [Group; 10] = [
        ("forged tokens", tokens::forged),
        ("replays", tokens::replayed),
        ("tickets and keys", tokens::tickets_and_keys),
        ("cross-site requests", browsers::cross_site),
        ("session fixation", browsers::fixation),
        ("smuggling", requests::smuggled),
        ("disguised paths", requests::disguised_paths),
        ("escalation", requests::escalation),
        ("escalation from an ordinary role", ordinary::escalation),
        ("another organisation's objects", foreign::other_organisations),
    ];
    for (name, group) in groups {
        let before = world.attacks();
        group(&mut world);
        println!("{name}: {} refused", world.attacks() - before);
    }
    requests::heavy(&mut world);
    let wrong = world.wrong();
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
    println!("{} attacks, none through", world.attacks());
    assert!(world.attacks() >= 80, "{}", world.attacks());
}
