//! Clusters, agents, signing keys, and what of them is sealed.

use flotilla_store::{Agent, Backend, Kek, NewAgent, SealError, Sealer, SigningKey, Store, StoreError};
use flotilla_types::id::{AgentId, ClusterId};
use secrecy::{ExposeSecret, SecretString};

use crate::bed::Bed;

const SECRET: &str = "apiVersion: v1 # hunter2";

async fn clusters_are_registered(bed: Bed) {
    let store = bed.store().await;
    let dev = store.ensure_agent_cluster("dev").await.unwrap();
    assert_eq!(store.ensure_agent_cluster("dev").await.unwrap(), dev);
    let prod = store.create_direct_cluster("prod", Backend::Kubeconfig, &SECRET.into()).await.unwrap();
    assert!(matches!(store.ensure_agent_cluster("prod").await, Err(StoreError::Conflict { what: "cluster" })));
    let again = store.create_direct_cluster("dev", Backend::Kubeconfig, &SECRET.into()).await;
    assert!(matches!(again, Err(StoreError::Conflict { what: "cluster" })));
    let all: Vec<_> = store.list_clusters().await.unwrap().into_iter().map(|c| (c.id, c.name, c.backend)).collect();
    assert_eq!(all, [(dev, "dev".into(), Backend::Agent), (prod, "prod".into(), Backend::Kubeconfig)]);
    assert_eq!(store.cluster_by_name("prod").await.unwrap().unwrap().id, prod);
    assert!(store.cluster_by_name("pr\0d").await.unwrap().is_none());
    assert_eq!(store.cluster_by_id(dev).await.unwrap().unwrap().name, "dev");
    store.delete_cluster(dev).await.unwrap();
    assert!(store.cluster_by_id(dev).await.unwrap().is_none());
    assert!(matches!(store.delete_cluster(dev).await, Err(StoreError::NotFound { .. })));
}

async fn what_is_known_of_a_cluster(bed: Bed) {
    let store = bed.store().await;
    let dev = store.ensure_agent_cluster("dev").await.unwrap();
    let metadata = serde_json::json!({"version": "v1.35", "nul": "\0", "nodes": 3}).as_object().unwrap().clone();
    store.set_metadata(dev, &metadata).await.unwrap();
    store.touch_clusters(&[(dev, 20), (ClusterId::new(), 5), (dev, 10)]).await.unwrap();
    let cluster = store.cluster_by_id(dev).await.unwrap().unwrap();
    assert_eq!((cluster.last_seen_ms, cluster.metadata), (Some(20), metadata.clone()));
    assert!(matches!(store.set_metadata(ClusterId::new(), &metadata).await, Err(StoreError::NotFound { .. })));
}

async fn credentials_are_sealed(bed: Bed) {
    let store = bed.store().await;
    let one = store.create_direct_cluster("one", Backend::Kubeconfig, &SECRET.into()).await.unwrap();
    let two = store.create_direct_cluster("two", Backend::InCluster, &"other".into()).await.unwrap();
    assert_eq!(store.credential(one).await.unwrap().expose_secret(), SECRET);
    let agent = store.ensure_agent_cluster("dev").await.unwrap();
    assert!(matches!(store.credential(agent).await, Err(StoreError::NotFound { .. })));
    for (text,) in bed.rows::<(String,)>("SELECT credential FROM clusters WHERE credential IS NOT NULL").await {
        assert!(text.starts_with("s1.test.") && !text.contains("hunter2"), "{text}");
    }
    // Somebody who may write to the database puts one cluster's credential in another's place.
    bed.execute(
        "UPDATE clusters SET credential = (SELECT credential FROM clusters WHERE name = 'one') WHERE name = 'two'",
    )
    .await;
    assert!(matches!(store.credential(two).await, Err(StoreError::Sealed(SealError::Refused))));
    let stranger = Sealer::new(vec![Kek::generate("other").unwrap()]).unwrap();
    let stranger = Store::open(&bed.config, stranger).await.unwrap();
    assert!(matches!(stranger.credential(one).await, Err(StoreError::Sealed(SealError::UnknownKey { .. }))));
}

async fn an_enrolment_token_is_spent_once(bed: Bed) {
    let (here, there) = (bed.store().await, bed.open().await);
    here.create_enrolment_token(&[1; 32], "dev", 100, None).await.unwrap();
    assert!(matches!(
        here.create_enrolment_token(&[1; 32], "dev", 100, None).await,
        Err(StoreError::Conflict { what: "enrolment token" })
    ));
    assert!(!here.redeem_enrolment_token(&[2; 32], "dev", 50).await.unwrap(), "unknown");
    assert!(!here.redeem_enrolment_token(&[1; 32], "prod", 50).await.unwrap(), "another cluster's");
    assert!(!here.redeem_enrolment_token(&[1; 32], "d\0v", 50).await.unwrap(), "nonsense");
    assert!(!here.redeem_enrolment_token(&[1; 32], "dev", 100).await.unwrap(), "too old");
    let tries = (0..16).map(|i| if i % 2 == 0 { &here } else { &there });
    let tries = tries.map(|store| store.redeem_enrolment_token(&[1; 32], "dev", 99));
    let spent = futures_util::future::try_join_all(tries).await.unwrap();
    assert_eq!(spent.into_iter().filter(|spent| *spent).count(), 1);
    assert_eq!(here.forget_enrolment_tokens(99).await.unwrap(), 0);
    assert_eq!(here.forget_enrolment_tokens(100).await.unwrap(), 1);

    let soon = flotilla_types::time::now_ms() + 60_000;
    here.create_enrolment_token(&[3; 32], "dev", soon, None).await.unwrap();
    assert_eq!(there.void_enrolment_tokens("prod").await.unwrap(), 0);
    assert_eq!(there.void_enrolment_tokens("dev").await.unwrap(), 1);
    assert!(!here.redeem_enrolment_token(&[3; 32], "dev", soon - 1).await.unwrap(), "revoked before it was spent");
}

async fn agents_come_and_go(bed: Bed) {
    let store = bed.store().await;
    let cluster_id = store.ensure_agent_cluster("dev").await.unwrap();
    let id = AgentId::new();
    let new = NewAgent { id, cluster_id, certificate_serial: "01".into(), certificate_not_after_ms: 100 };
    store.create_agent(&new).await.unwrap();
    assert!(matches!(store.create_agent(&new).await, Err(StoreError::Conflict { what: "agent" })));
    let lost = NewAgent { id: AgentId::new(), cluster_id: ClusterId::new(), ..new.clone() };
    assert!(matches!(store.create_agent(&lost).await, Err(StoreError::NotFound { what: "cluster" })));
    store.record_certificate(id, "02", 200).await.unwrap();
    store.touch_agents(&[(id, 7), (id, 3)]).await.unwrap();
    let Agent { cluster, certificate_serial, certificate_not_after_ms, last_seen_ms, revoked_at_ms, .. } =
        store.agent(id).await.unwrap().unwrap();
    assert_eq!((cluster.as_str(), certificate_serial.as_str()), ("dev", "02"));
    assert_eq!((certificate_not_after_ms, last_seen_ms, revoked_at_ms), (200, Some(7), None));
    assert_eq!(store.revoke_agents_of("prod").await.unwrap(), []);
    assert_eq!(store.revoke_agents_of("dev").await.unwrap(), [id]);
    assert_eq!(store.revoke_agents_of("dev").await.unwrap(), []);
    assert!(store.agent(id).await.unwrap().unwrap().revoked_at_ms.is_some());
    assert!(matches!(store.record_certificate(id, "03", 300).await, Err(StoreError::NotFound { .. })));
    assert_eq!(store.list_agents().await.unwrap().len(), 1);
    store.delete_cluster(cluster_id).await.unwrap();
    assert!(store.agent(id).await.unwrap().is_none());
}

async fn signing_keys_are_sealed_and_retired(bed: Bed) {
    let store = bed.store().await;
    let key = |kid: &str, created_at_ms| SigningKey {
        kid: kid.into(),
        algorithm: "EdDSA".into(),
        private_key: SecretString::from(format!("-----BEGIN hunter2 {kid}")),
        created_at_ms,
        retired_at_ms: None,
    };
    store.insert_signing_key(&key("b", 2)).await.unwrap();
    store.insert_signing_key(&key("a", 1)).await.unwrap();
    assert!(matches!(store.insert_signing_key(&key("a", 3)).await, Err(StoreError::Conflict { .. })));
    store.retire_signing_key("a").await.unwrap();
    assert!(matches!(store.retire_signing_key("a").await, Err(StoreError::NotFound { .. })));
    let keys = store.list_signing_keys().await.unwrap();
    let seen: Vec<_> = keys.iter().map(|k| (k.kid.as_str(), k.retired_at_ms.is_some())).collect();
    assert_eq!(seen, [("a", true), ("b", false)]);
    assert_eq!(keys[0].private_key.expose_secret(), "-----BEGIN hunter2 a");
    let stored: Vec<(String,)> = bed.rows("SELECT private_key FROM signing_keys").await;
    assert!(stored.iter().all(|(text,)| text.starts_with("s1.") && !text.contains("hunter2")));
    assert_eq!(store.forget_signing_keys(i64::MAX).await.unwrap(), 1);
}

on_both_engines!(
    clusters_are_registered,
    what_is_known_of_a_cluster,
    credentials_are_sealed,
    an_enrolment_token_is_spent_once,
    agents_come_and_go,
    signing_keys_are_sealed_and_retired,
);
