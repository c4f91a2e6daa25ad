//! Another key-encryption key.

use flotilla_store::{Backend, Kek, Progress, SealError, Sealer, SigningKey, Store, StoreError};
use flotilla_types::audit::VerifyQuery;
use flotilla_types::id::{SessionId, UserId};
use flotilla_types::recording::RecordingQuery;
use secrecy::{ExposeSecret, SecretString};

use crate::bed::Bed;
use crate::{audit_proof, recordings, sign_in};

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

/// Something in each sealed column: how many values that makes, and a session that stands on a provider's.
async fn something_everywhere(bed: &Bed) -> (Store, u64, SessionId) {
    let (store, _) = audit_proof::signed_log(bed, 2).await;
    store.create_direct_cluster("one", Backend::Kubeconfig, &"hunter2".into()).await.unwrap();
    store.insert_signing_key(&signing_key("a")).await.unwrap();
    store.create_oauth_state("state", &sign_in::state()).await.unwrap();
    let (_, _, session) = sign_in::signed_in(&store, "sid", &[]).await;
    for pod in ["a", "b"] {
        let id = store.create_recording(&recordings::new(UserId::new(), pod)).await.unwrap();
        let chunks: Vec<String> = (0..205).map(|number| format!("{pod} {number}")).collect();
        let hash = recordings::write(&store, id, &chunks.iter().map(String::as_str).collect::<Vec<_>>()).await;
        store.finish_recording(id, &recordings::end(205, hash)).await.unwrap();
    }
    (store, 1 + 1 + 1 + 1 + 2 + 2 * 206, session)
}

/// What the database holds of one key's values, wherever they stand.
async fn in_the_backup(store: &Store, key: &str) -> u64 {
    let file = tempfile::tempdir().unwrap();
    let path = file.path().join("all.tar");
    store.backup(&path).await.unwrap();
    let (everything, wanted) = (std::fs::read(&path).unwrap(), format!("s1.{key}."));
    everything.windows(wanted.len()).filter(|bytes| *bytes == wanted.as_bytes()).count() as u64
}

/// A column that is sealed but missing from the list of those that are sealed again would lose its values with the
/// old key.
async fn no_sealed_value_is_left_out(bed: Bed) {
    let (before, count, session) = something_everywhere(&bed).await;
    assert_eq!(in_the_backup(&before, "test").await, count);
    let (old, new) = (Kek::new("test", [42; 32]).unwrap(), Kek::generate("new").unwrap());
    let both = Store::open(&bed.config, Sealer::new(vec![old, new.clone()]).unwrap()).await.unwrap();
    assert_eq!(both.keys_in_use().await.unwrap(), [("test".to_owned(), count)].into());
    assert_eq!(both.reseal().await.unwrap(), count);
    assert_eq!((in_the_backup(&both, "test").await, in_the_backup(&both, "new").await), (0, count));

    // With the new key alone all of it is there, and proves itself.
    let after = Store::open(&bed.config, Sealer::new(vec![new]).unwrap()).await.unwrap();
    let verified = after.verify_audit(&VerifyQuery::default()).await.unwrap();
    assert_eq!((verified.flaws, verified.signed_to), (vec![], 4));
    let state = after.take_oauth_state("state", 0).await.unwrap().unwrap();
    assert_eq!(state.verifier.expose_secret(), "geheim");
    let there = after.provider_session_of(session).await.unwrap().unwrap();
    let opened = [there.id_token.unwrap(), there.refresh_token.unwrap()].map(|token| token.expose_secret().to_owned());
    assert_eq!(opened, ["id-geheim", "refresh-geheim"]);
    let (listed, _) = after.list_recordings(&RecordingQuery::default(), None).await.unwrap();
    for recording in listed {
        let texts = recordings::read(&after, recording.id).await.unwrap();
        assert_eq!((texts.len(), &texts[204]), (205, &format!("{} 204", recording.about.pod)));
    }
}

/// A recording that goes on while keys change stays one chain.
async fn a_recording_goes_on_through_a_change_of_keys(bed: Bed) {
    let before = bed.store().await;
    let id = before.create_recording(&recordings::new(UserId::new(), "web")).await.unwrap();
    let hash = recordings::write(&before, id, &["first"]).await;
    let keys = vec![Kek::new("test", [42; 32]).unwrap(), Kek::generate("new").unwrap()];
    let both = Store::open(&bed.config, Sealer::new(keys).unwrap()).await.unwrap();
    assert_eq!(both.reseal().await.unwrap(), 1);
    let second = Progress { number: 1, data: b"second", bytes: 6, duration_ms: 2, width: 0, height: 0 };
    let hash = both.append_recording(id, &hash, &second).await.unwrap();
    both.finish_recording(id, &recordings::end(2, hash)).await.unwrap();
    assert_eq!(recordings::read(&both, id).await.unwrap(), ["first", "second"]);
    // Nor does the change help who would put one chunk in another's place.
    bed.execute("UPDATE recording_chunks SET data = (SELECT data FROM recording_chunks WHERE number = 1)").await;
    assert!(recordings::read(&both, id).await.is_err());
}

on_both_engines!(
    every_value_goes_under_the_new_key,
    a_run_that_was_cut_off_is_taken_up_again,
    no_sealed_value_is_left_out,
    a_recording_goes_on_through_a_change_of_keys,
);
