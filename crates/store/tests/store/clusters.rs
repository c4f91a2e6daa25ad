//! What is known of clusters beside their registration: credentials that change, health, shares, defaults.

use std::collections::BTreeMap;

use flotilla_store::{Backend, ClusterChange, ClusterHealth, NewCluster, StoreError};
use flotilla_types::id::{ClusterId, UserId};
use secrecy::{ExposeSecret, SecretString};

use crate::bed::Bed;
use crate::users::new_user;

fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

async fn a_cluster_is_registered_changed_and_given_another_credential(bed: Bed) {
    let store = bed.store().await;
    let (first, second) = (SecretString::from("hunter2"), SecretString::from("hunter3"));
    let all = labels(&[("env", "prod"), ("team", "")]);
    let new = NewCluster {
        name: "prod",
        backend: Backend::Kubeconfig,
        auth_type: Some("bearer_token"),
        server: "https://prod:6443",
        labels: &all,
        credential: &first,
    };
    let id = store.create_cluster(&new).await.unwrap();
    assert!(matches!(store.create_cluster(&new).await, Err(StoreError::Conflict { what: "cluster" })));
    let cluster = store.cluster_by_id(id).await.unwrap().unwrap();
    assert_eq!((cluster.auth_type.as_deref(), cluster.server.as_str()), (Some("bearer_token"), "https://prod:6443"));
    assert_eq!(cluster.labels, all);

    store.set_credential(id, Backend::Eks, "eks", "https://eks", &second).await.unwrap();
    let cluster = store.cluster_by_name("prod").await.unwrap().unwrap();
    assert_eq!((cluster.backend, cluster.auth_type.as_deref()), (Backend::Eks, Some("eks")));
    assert_eq!(store.credential(id).await.unwrap().expose_secret(), "hunter3");
    store.renew_credential(id, &first).await.unwrap();
    assert_eq!(store.credential(id).await.unwrap().expose_secret(), "hunter2");

    let agent = store.ensure_agent_cluster("dev").await.unwrap();
    let refused = store.set_credential(agent, Backend::Kubeconfig, "kubeconfig", "", &first).await;
    assert!(matches!(refused, Err(StoreError::NotFound { .. })), "an agent serves it: {refused:?}");
    assert!(matches!(store.renew_credential(agent, &first).await, Err(StoreError::NotFound { .. })));

    let none = labels(&[]);
    let change = ClusterChange { name: Some("dev"), labels: Some(&none) };
    assert!(matches!(store.update_cluster(id, &change).await, Err(StoreError::Conflict { what: "cluster" })));
    assert_eq!(store.cluster_by_id(id).await.unwrap().unwrap().labels, all, "nothing of a refused change remains");
    store.update_cluster(id, &ClusterChange { name: Some("prod-eu"), labels: Some(&none) }).await.unwrap();
    let cluster = store.cluster_by_name("prod-eu").await.unwrap().unwrap();
    assert_eq!((cluster.id, cluster.labels.len()), (id, 0));
    let gone = store.update_cluster(ClusterId::new(), &ClusterChange { name: Some("x"), labels: None }).await;
    assert!(matches!(gone, Err(StoreError::NotFound { .. })));
}

fn look(cluster: ClusterId, status: &str, at: i64) -> ClusterHealth {
    ClusterHealth {
        cluster,
        status: status.into(),
        error_class: (status != "healthy").then(|| "timeout".to_owned()),
        detail: String::new(),
        server_version: if status == "healthy" { "v1.35.0".into() } else { String::new() },
        latency_ms: at,
        checked_at_ms: at,
        changed_at_ms: 0,
    }
}

async fn health_is_the_newest_look_and_says_since_when(bed: Bed) {
    let store = bed.store().await;
    let dev = store.ensure_agent_cluster("dev").await.unwrap();
    assert_eq!(store.cluster_health(dev).await.unwrap(), None);
    store.record_cluster_health(&[look(dev, "healthy", 10), look(ClusterId::new(), "healthy", 10)]).await.unwrap();
    store.record_cluster_health(&[look(dev, "healthy", 20)]).await.unwrap();
    let seen = store.cluster_health(dev).await.unwrap().unwrap();
    assert_eq!((seen.checked_at_ms, seen.changed_at_ms), (20, 10));
    store.record_cluster_health(&[look(dev, "unreachable", 30), look(dev, "healthy", 25)]).await.unwrap();
    let seen = store.cluster_health(dev).await.unwrap().unwrap();
    assert_eq!(
        (seen.status.as_str(), seen.checked_at_ms, seen.changed_at_ms),
        ("unreachable", 30, 30),
        "no older look"
    );
    assert_eq!((seen.error_class.as_deref(), seen.server_version.as_str()), (Some("timeout"), "v1.35.0"));
    assert_eq!(store.list_cluster_health().await.unwrap().len(), 1);
    store.delete_cluster(dev).await.unwrap();
    assert_eq!(store.list_cluster_health().await.unwrap(), []);
}

async fn a_cluster_is_shared_and_not(bed: Bed) {
    let store = bed.store().await;
    let user = store.create_user(new_user("a@x", &[])).await.unwrap().id.to_string();
    let dev = store.ensure_agent_cluster("dev").await.unwrap();
    store.share_cluster(dev, "user", &user, "viewer", "admin@x").await.unwrap();
    store.share_cluster(dev, "user", &user, "developer", "admin@x").await.unwrap();
    store.share_cluster(dev, "team", &user, "viewer", "admin@x").await.unwrap();
    let of_user = store.cluster_shares_of("user", &user).await.unwrap();
    let seen: Vec<_> = of_user.iter().map(|share| (share.cluster_name.as_str(), share.level.as_str())).collect();
    assert_eq!(seen, [("dev", "developer")]);
    assert_eq!(store.list_cluster_shares().await.unwrap().len(), 2);
    assert!(store.cluster_shares_of("user", "a\0b").await.unwrap().is_empty());
    let nowhere = store.share_cluster(ClusterId::new(), "user", &user, "viewer", "admin@x").await;
    assert!(matches!(nowhere, Err(StoreError::NotFound { what: "cluster" })));
    store.unshare_cluster(dev, "user", &user).await.unwrap();
    assert!(matches!(store.unshare_cluster(dev, "user", &user).await, Err(StoreError::NotFound { what: "share" })));
    store.delete_cluster(dev).await.unwrap();
    assert_eq!(store.list_cluster_shares().await.unwrap(), []);
}

async fn everyone_has_one_default_cluster(bed: Bed) {
    let store = bed.store().await;
    let user = store.create_user(new_user("a@x", &[])).await.unwrap().id;
    let (dev, prod) =
        (store.ensure_agent_cluster("dev").await.unwrap(), store.ensure_agent_cluster("prod").await.unwrap());
    assert_eq!(store.default_cluster(user).await.unwrap(), None);
    store.set_default_cluster(user, dev).await.unwrap();
    store.set_default_cluster(user, prod).await.unwrap();
    assert_eq!(store.default_cluster(user).await.unwrap(), Some(prod));
    assert!(!store.clear_default_cluster(user, dev).await.unwrap(), "another one is his");
    assert!(matches!(store.set_default_cluster(UserId::new(), dev).await, Err(StoreError::NotFound { .. })));
    store.delete_cluster(prod).await.unwrap();
    assert_eq!(store.default_cluster(user).await.unwrap(), None);
}

on_both_engines!(
    a_cluster_is_registered_changed_and_given_another_credential,
    health_is_the_newest_look_and_says_since_when,
    a_cluster_is_shared_and_not,
    everyone_has_one_default_cluster,
);
