//! What a write changed: read before it as the caller, compared with its answer, in its outcome row.

use flotilla_cluster::gate::GateOptions;
use flotilla_cluster::transport::TransportOptions;
use flotilla_types::audit::{AuditRow, Diff};
use http_body_util::BodyExt;
use serde_json::json;

use crate::world::World;

const SHOP: &str = "/api/v1/namespaces/shop";

async fn world(diffs: bool) -> World {
    let mut world = World::with(GateOptions { diffs, ..GateOptions::default() }, TransportOptions::default()).await;
    world.connect().await;
    world
}

async fn outcome(world: &World, method: &str, target: &str) -> AuditRow {
    let response = world.send(method, &format!("{SHOP}/{target}"), &[("user-agent", "kubectl")]).await.unwrap();
    response.into_body().collect().await.unwrap();
    world.outcome().await
}

fn methods(world: &World) -> Vec<String> {
    world.seen().into_iter().map(|seen| format!("{} {}", seen.method, seen.target)).collect()
}

#[tokio::test]
async fn the_object_is_read_as_the_caller_and_compared_with_the_answer() {
    let world = world(true).await;
    let row = outcome(&world, "PATCH", "pods/object?fieldManager=x").await;
    let diff = row.diff.unwrap();
    assert_eq!(
        serde_json::to_value(&diff).unwrap(),
        json!({"changes": [{"path": "spec.method", "before": "GET", "after": "PATCH"}]})
    );
    let [read, write] = world.seen().try_into().unwrap();
    assert_eq!((read.method.as_str(), read.target.as_str()), ("GET", "/api/v1/namespaces/shop/pods/object"));
    assert_eq!(write.target, "/api/v1/namespaces/shop/pods/object?fieldManager=x");
    for same in ["flotilla-identity", "audit-id"] {
        assert_eq!(read.headers[same], write.headers[same], "{same}");
    }
    assert!(!read.headers.contains_key("user-agent"), "nothing of the caller's request is in the read");
    assert!(!write.headers.contains_key("accept"), "nor is the write another one than he sent");
    assert!(world.rows().await[0].diff.is_none(), "the attempted row was written before");
}

#[tokio::test]
async fn what_is_made_and_removed_has_one_side() {
    let made = outcome(&world(true).await, "POST", "pods/object").await.diff;
    assert!(made.is_none(), "a POST to an object is none of Kubernetes' own");
    let world = world(true).await;
    let removed = outcome(&world, "DELETE", "pods/object").await.diff.unwrap();
    assert!(removed.changes.iter().all(|change| change.before.is_some() && change.after.is_none()));
    assert_eq!(removed.changes.len(), 2);
    assert_eq!(
        methods(&world),
        ["GET /api/v1/namespaces/shop/pods/object", "DELETE /api/v1/namespaces/shop/pods/object"]
    );
}

#[tokio::test]
async fn who_may_not_read_has_nothing_read_for_him() {
    let world = world(true).await;
    let diff = outcome(&world, "PATCH", "configmaps/object").await.diff.unwrap();
    assert_eq!(diff, Diff { unknown: "before: the caller may not read the object".to_owned(), ..Diff::default() });
    assert_eq!(methods(&world), ["PATCH /api/v1/namespaces/shop/configmaps/object"]);
}

#[tokio::test]
async fn a_write_goes_on_when_the_read_fails() {
    let world = world(true).await;
    let row = outcome(&world, "PATCH", "pods/unreadable").await;
    assert_eq!((row.status, row.diff.unwrap().unknown.as_str()), (200, "before: reading it was answered with 500"));
}

#[tokio::test]
async fn nothing_is_read_for_other_requests_or_when_it_is_off() {
    for (diffs, method, target) in [
        (false, "PATCH", "pods/object"),
        (true, "PATCH", "pods/object?dryRun=All"),
        (true, "DELETE", "pods"),
        (true, "GET", "pods/object/log"),
        (true, "POST", "pods/object/eviction"),
    ] {
        let world = world(diffs).await;
        assert!(outcome(&world, method, target).await.diff.is_none(), "{method} {target}");
        assert_eq!(world.seen().len(), 1, "{method} {target}");
    }
}

#[tokio::test]
async fn a_write_that_fails_changed_nothing() {
    let world = world(true).await;
    let row = outcome(&world, "PATCH", "pods/missing").await;
    assert_eq!((row.status, row.diff), (404, None));
}
