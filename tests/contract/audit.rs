//! Section B, the audit log: scope, timeline, proof and delivery, through a running hub.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use flotilla_harness::HubOptions;
use flotilla_tests::Fixture;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(30);

/// One delivery: whether it was signed, and its rows.
type Delivery = (bool, Vec<Value>);

/// A receiver of webhooks that refuses the first delivery.
fn receiver() -> Result<(u16, Receiver<Delivery>)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    let (sender, deliveries) = channel();
    std::thread::spawn(move || {
        for (number, stream) in listener.incoming().flatten().enumerate() {
            let mut reader = BufReader::new(stream);
            let (mut length, mut signed) = (0, false);
            loop {
                let mut line = String::new();
                if reader.read_line(&mut line).unwrap_or(0) <= 2 {
                    break;
                }
                let (name, value) = line.trim().split_once(": ").unwrap_or_default();
                match name {
                    "content-length" => length = value.parse().unwrap_or(0),
                    "webhook-signature" => signed = value.starts_with("v1,"),
                    _ => {}
                }
            }
            let mut body = vec![0; length];
            let _ = reader.read_exact(&mut body);
            let status = if number == 0 { "503 Service Unavailable" } else { "204 No Content" };
            let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            let _ = reader.get_mut().write_all(answer.as_bytes());
            if number > 0 {
                let rows = body.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok());
                let _ = sender.send((signed, rows.collect()));
            }
        }
    });
    Ok((port, deliveries))
}

async fn get(fixture: &Fixture, path: &str, token: &str) -> Result<(Option<String>, Value)> {
    let response = fixture.call(Method::GET, path, Some(token), None).await?;
    ensure!(response.status() == StatusCode::OK, "{path}: {}", response.status());
    let scope = response.headers().get("x-audit-scope").and_then(|value| value.to_str().ok()).map(str::to_owned);
    Ok((scope, response.json().await?))
}

#[tokio::test(flavor = "multi_thread")]
async fn everyone_sees_his_own_rows_and_administrators_all() -> Result<()> {
    let fixture = Fixture::start(&HubOptions::default())?;
    let password = fixture.hub.add_user("sam@example.com", &[])?;
    let answer: Value = fixture.sign_in("sam@example.com", &password).await?.json().await?;
    let sam = answer["token"].as_str().context("no token")?;
    let admin = fixture.admin_token().await?;
    let (scope, page) = get(&fixture, "/api/audit", sam).await?;
    assert_eq!(scope.as_deref(), Some("self"));
    let rows = page["rows"].as_array().context("no rows")?;
    assert!(!rows.is_empty() && rows.iter().all(|row| row["actor"]["email"] == "sam@example.com"), "{page}");
    let (scope, page) = get(&fixture, "/api/audit?verb=user_create", &admin).await?;
    assert_eq!(scope.as_deref(), Some("all"));
    assert_eq!(page["rows"].as_array().map(Vec::len), Some(2), "attempted and succeeded: {page}");
    let sum = |timeline: &Value| -> u64 {
        timeline["buckets"].as_array().into_iter().flatten().filter_map(|bucket| bucket["succeeded"].as_u64()).sum()
    };
    let (scope, mine) = get(&fixture, "/api/audit/timeline?buckets=10", sam).await?;
    assert_eq!((scope.as_deref(), mine["buckets"].as_array().map(Vec::len)), (Some("self"), Some(10)));
    let (_, everyones) = get(&fixture, "/api/audit/timeline?buckets=10", &admin).await?;
    assert!(0 < sum(&mine) && sum(&mine) < sum(&everyones), "{mine} {everyones}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_proves_itself_and_a_changed_one_does_not() -> Result<()> {
    let fixture = Fixture::start(&HubOptions::default())?;
    fixture.hub.add_user("sam@example.com", &["viewer"])?;
    let whole = fixture.hub.flotilla_ok("admin", &["audit", "verify"])?;
    assert!(whole.contains(": whole;"), "{whole}");
    let (export, keys) = (fixture.hub.dir().join("audit.jsonl"), fixture.hub.dir().join("keys.json"));
    let text = fixture.hub.flotilla_ok("admin", &["audit", "export"])?;
    std::fs::write(&export, &text)?;
    std::fs::write(&keys, fixture.hub.flotilla_ok("admin", &["audit", "keys"])?)?;
    let (file, keys) = (export.display().to_string(), keys.display().to_string());
    let verify = ["audit", "verify", "--file", &file, "--keys", &keys];
    let found = fixture.hub.flotilla_ok("admin", &verify)?;
    assert!(found.contains(": whole;") && !found.contains("nothing signed"), "{found}");
    // Of every row something is changed that a person would not see.
    std::fs::write(&export, text.replacen("\"role:", "\"role :", 1).replacen("\"login\"", "\"logon\"", 1))?;
    let refused = fixture.hub.flotilla("admin").args(verify).output()?;
    let said = String::from_utf8_lossy(&refused.stdout).into_owned();
    assert!(refused.status.code() == Some(1) && said.contains("the row is not the one that was written"), "{said}");
    // The last row and its checkpoint are left out.
    let lines: Vec<&str> = text.lines().collect();
    std::fs::write(&export, lines[..lines.len() - 2].join("\n"))?;
    let refused = fixture.hub.flotilla("admin").args(verify).output()?;
    assert_eq!(refused.status.code(), Some(1), "{}", String::from_utf8_lossy(&refused.stdout));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_gets_every_row_although_it_refuses_and_the_hub_is_killed() -> Result<()> {
    let (port, deliveries) = receiver()?;
    let extra = format!(
        "audit: {{checkpoint_interval: 1s, sinks: [{{name: siem, url: \"http://127.0.0.1:{port}/\", secret: hush}}]}}\n"
    );
    let mut fixture = Fixture::start(&HubOptions { extra, ..HubOptions::default() })?;
    let admin = fixture.admin_token().await?;
    for name in ["a", "b"] {
        let role = json!({"name": name, "clusters": [
            {"name": "none-*", "namespaces": ["*"], "verbs": ["get"], "resources": ["pods"]}
        ]});
        let answer = fixture.call(Method::POST, "/api/roles", Some(&admin), Some(role)).await?;
        assert_eq!(answer.status(), StatusCode::CREATED);
        fixture.hub.kill()?;
        fixture.hub.restart()?;
    }
    let (_, page) = get(&fixture, "/api/audit?limit=1", &admin).await?;
    let last = page["rows"][0]["seq"].as_i64().context("no row")?;
    let mut seen = std::collections::BTreeSet::new();
    let deadline = Instant::now() + LIMIT;
    while !seen.contains(&last) {
        let (signed, rows) = deliveries.recv_timeout(deadline.saturating_duration_since(Instant::now()))?;
        assert!(signed);
        seen.extend(rows.iter().filter_map(|row| row["seq"].as_i64()));
    }
    let first = *seen.first().context("nothing came")?;
    assert_eq!(seen.len() as i64, last - first + 1, "no row is left out: {seen:?}");
    let (_, found) = get(&fixture, "/api/audit/verify", &admin).await?;
    assert_eq!(found["flaws"], json!([]), "{found}");
    Ok(())
}
