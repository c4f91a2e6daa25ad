//! Another key-encryption key.

use flotilla_store::{Backend, Kek, SealError, Sealer, SigningKey, Store, StoreError};
use secrecy::{ExposeSecret, SecretString};

use crate::bed::Bed;

fn signing_key(kid: &str) -> SigningKey {
    SigningKey {
        kid: kid.into(),
        algorithm: "EdDSA".into(),
        private_key: SecretString::from(format!("key {kid}")),
        created_at_ms: 1,
        retired_at_ms: None,
    }
}

async fn every_value_goes_under_the_new_key(bed: Bed) {
    let before = bed.store().await;
    let one = before.create_direct_cluster("one", Backend::Kubeconfig, &"hunter2".into()).await.unwrap();
    before.ensure_agent_cluster("without-credential").await.unwrap();
    // More than one page.
    for i in 0..205 {
        before.insert_signing_key(&signing_key(&format!("k{i:03}"))).await.unwrap();
    }
    let (old, new) = (Kek::new("test", [42; 32]).unwrap(), Kek::generate("new").unwrap());
    let both = Store::open(&bed.config, Sealer::new(vec![old, new.clone()]).unwrap()).await.unwrap();
    assert_eq!(both.keys_in_use().await.unwrap(), [("test".to_owned(), 206)].into());
    assert_eq!(both.reseal().await.unwrap(), 206);
    assert_eq!(both.reseal().await.unwrap(), 0, "nothing is left for a second run");
    assert_eq!(both.keys_in_use().await.unwrap(), [("new".to_owned(), 206)].into());
    let after = Store::open(&bed.config, Sealer::new(vec![new]).unwrap()).await.unwrap();
    assert_eq!(after.credential(one).await.unwrap().expose_secret(), "hunter2");
    assert_eq!(after.list_signing_keys().await.unwrap()[7].private_key.expose_secret(), "key k007");
    let without = before.credential(one).await.unwrap_err();
    assert!(matches!(without, StoreError::Sealed(SealError::UnknownKey { .. })), "{without:?}");
}

async fn a_run_that_was_cut_off_is_taken_up_again(bed: Bed) {
    let before = bed.store().await;
    let good = before.create_direct_cluster("a", Backend::Kubeconfig, &"hunter2".into()).await.unwrap();
    before.create_direct_cluster("z", Backend::Kubeconfig, &"hunter3".into()).await.unwrap();
    bed.execute("UPDATE clusters SET credential = 's1.lost.AA.AA' WHERE name = 'z'").await;
    let new = Kek::generate("new").unwrap();
    let keys = vec![Kek::new("test", [42; 32]).unwrap(), new.clone()];
    let both = Store::open(&bed.config, Sealer::new(keys).unwrap()).await.unwrap();
    let error = both.reseal().await.unwrap_err();
    assert!(matches!(error, StoreError::Sealed(SealError::UnknownKey { .. })), "{error:?}");
    assert_eq!(both.keys_in_use().await.unwrap(), [("lost".to_owned(), 1), ("new".to_owned(), 1)].into());
    bed.execute("DELETE FROM clusters WHERE name = 'z'").await;
    assert_eq!(both.reseal().await.unwrap(), 0);
    assert_eq!(both.credential(good).await.unwrap().expose_secret(), "hunter2");
}

/// A column that is sealed but missing from the list of those that are sealed again would lose its values with the
/// old key.
async fn no_sealed_value_is_left_out(bed: Bed) {
    let store = bed.store().await;
    store.create_direct_cluster("one", Backend::Kubeconfig, &"hunter2".into()).await.unwrap();
    store.insert_signing_key(&signing_key("a")).await.unwrap();
    let file = tempfile::tempdir().unwrap();
    let path = file.path().join("all.tar");
    store.backup(&path).await.unwrap();
    let everything = std::fs::read(&path).unwrap();
    let sealed = everything.windows(8).filter(|bytes| *bytes == b"s1.test.").count();
    let listed: u64 = store.keys_in_use().await.unwrap().values().sum();
    assert_eq!((sealed, listed), (2, 2));
}

on_both_engines!(
    every_value_goes_under_the_new_key,
    a_run_that_was_cut_off_is_taken_up_again,
    no_sealed_value_is_left_out,
);
