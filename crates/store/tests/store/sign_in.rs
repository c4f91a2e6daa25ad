//! Sign-ins at other providers, hand-over codes, device codes.

use flotilla_store::{
    LoggedOut, NewDevice, NewIdentity, NewProviderSession, OauthCode, OauthState, Poll, ProviderSessionId, Store,
};
use flotilla_types::id::{SessionId, UserId};
use secrecy::ExposeSecret;

use crate::bed::Bed;
use crate::users::new_user;

const NOW: i64 = 1_800_000_000_000;
const SOON: i64 = NOW + 30_000;

pub(crate) fn state() -> OauthState {
    OauthState {
        browser: "b".into(),
        provider: "oidc".into(),
        redirect_uri: "https://hub/auth/callback".into(),
        nonce: "n".into(),
        verifier: "geheim".into(),
        return_to: "/x".into(),
        hand_over: true,
        expires_at_ms: SOON,
    }
}

fn identity(groups: &[&str]) -> NewIdentity {
    NewIdentity {
        provider: "oidc".into(),
        issuer: "https://idp".into(),
        subject: "s-1".into(),
        email: "a@x".into(),
        groups: groups.iter().map(|group| (*group).to_owned()).collect(),
    }
}

fn tokens(sid: &str) -> NewProviderSession {
    NewProviderSession {
        sid: Some(sid.into()),
        id_token: Some("id-geheim".into()),
        refresh_token: Some("refresh-geheim".into()),
        refresh_at_ms: Some(NOW),
    }
}

async fn user(store: &Store) -> UserId {
    store.create_user(new_user("a@x", &[])).await.unwrap().id
}

pub(crate) async fn signed_in(store: &Store, sid: &str, groups: &[&str]) -> (UserId, ProviderSessionId, SessionId) {
    let user = match store.user_of_identity("https://idp", "s-1").await.unwrap() {
        Some(user) => user,
        None => user(store).await,
    };
    let there = store.record_sign_in(user, &identity(groups), &tokens(sid)).await.unwrap();
    let here = SessionId::new();
    store.attach_session(here, there).await.unwrap();
    (user, there, here)
}

async fn a_state_is_good_once_and_not_for_long(bed: Bed) {
    let store = bed.store().await;
    store.create_oauth_state("h", &state()).await.unwrap();
    let taken = store.take_oauth_state("h", NOW).await.unwrap().unwrap();
    assert_eq!((taken.verifier.expose_secret(), taken.return_to.as_str(), taken.hand_over), ("geheim", "/x", true));
    assert!(store.take_oauth_state("h", NOW).await.unwrap().is_none());
    store.create_oauth_state("h", &state()).await.unwrap();
    assert!(store.take_oauth_state("h", SOON).await.unwrap().is_none());
    assert!(store.take_oauth_state("\0", NOW).await.unwrap().is_none());
    store.create_oauth_state("h", &state()).await.unwrap();
    assert_eq!(store.forget_sign_ins(SOON).await.unwrap(), 1);
}

async fn of_two_who_show_one_state_one_gets_it(bed: Bed) {
    let (here, there) = (bed.store().await, bed.open().await);
    for round in 0..10 {
        let hash = format!("h{round}");
        here.create_oauth_state(&hash, &state()).await.unwrap();
        let (a, b) = tokio::join!(here.take_oauth_state(&hash, NOW), there.take_oauth_state(&hash, NOW));
        assert!(a.unwrap().is_some() ^ b.unwrap().is_some());
    }
}

async fn a_verifier_is_sealed(bed: Bed) {
    let store = bed.store().await;
    store.create_oauth_state("h", &state()).await.unwrap();
    let (_, there, here) = signed_in(&store, "sid", &[]).await;
    let kept: Vec<(String, String, String)> =
        bed.rows("SELECT verifier, id_token, refresh_token FROM oauth_states, provider_sessions").await;
    assert!(!format!("{kept:?}").contains("geheim"), "{kept:?}");
    let session = store.provider_session_of(here).await.unwrap().unwrap();
    assert_eq!(session.id, there);
    assert_eq!(session.id_token.unwrap().expose_secret(), "id-geheim");
}

async fn a_code_is_good_once_and_not_for_long(bed: Bed) {
    let store = bed.store().await;
    let user = user(&store).await;
    let code = OauthCode {
        user,
        provider_session: None,
        challenge: Some("c".into()),
        redirect_uri: "http://127.0.0.1:1/".into(),
        expires_at_ms: SOON,
    };
    store.create_oauth_code("h", &code).await.unwrap();
    assert_eq!(store.take_oauth_code("h", NOW).await.unwrap(), Some(code.clone()));
    assert_eq!(store.take_oauth_code("h", NOW).await.unwrap(), None);
    store.create_oauth_code("h", &code).await.unwrap();
    assert_eq!(store.take_oauth_code("h", SOON).await.unwrap(), None);
}

async fn an_identity_keeps_its_account(bed: Bed) {
    let store = bed.store().await;
    let (first, _, here) = signed_in(&store, "sid-1", &["dev"]).await;
    let (again, ..) = signed_in(&store, "sid-2", &["dev", "ops"]).await;
    assert_eq!(first, again);
    let other = store.create_user(new_user("b@x", &[])).await.unwrap().id;
    store.record_sign_in(other, &identity(&["ops"]), &tokens("sid-3")).await.unwrap();
    assert_eq!(store.user_of_identity("https://idp", "s-1").await.unwrap(), Some(first));
    assert_eq!(store.user_of_identity("https://other", "s-1").await.unwrap(), None);
    // What the provider said last holds in every session that stands on the identity.
    assert_eq!(store.groups_of_session(here).await.unwrap(), Some(("oidc".into(), vec!["ops".into()])));
    assert_eq!(store.groups_of_session(SessionId::new()).await.unwrap(), None);
}

async fn of_all_hubs_one_refreshes(bed: Bed) {
    let (store, other) = (bed.store().await, bed.open().await);
    let (_, there, here) = signed_in(&store, "sid", &["dev"]).await;
    assert!(store.due_provider_sessions(NOW - 1, 10).await.unwrap().is_empty());
    assert_eq!(store.due_provider_sessions(NOW, 10).await.unwrap(), [there]);
    let (a, b) = tokio::join!(store.claim_refresh(there, NOW, SOON), other.claim_refresh(there, NOW, SOON));
    let (a, b) = (a.unwrap(), b.unwrap());
    assert!(a.is_some() ^ b.is_some());
    assert_eq!(a.or(b).unwrap().refresh_token.unwrap().expose_secret(), "refresh-geheim");
    // Who claimed it and died does not keep it from the others for good.
    assert!(store.claim_refresh(there, SOON, SOON + 1).await.unwrap().is_some());

    let next = NewProviderSession { refresh_token: Some("next".into()), id_token: None, ..tokens("sid") };
    store.renew_provider_session(there, &next, Some(&["ops".to_owned()])).await.unwrap();
    let session = store.provider_session_of(here).await.unwrap().unwrap();
    assert_eq!(session.groups, ["ops"]);
    assert_eq!(session.refresh_token.unwrap().expose_secret(), "next");
    assert_eq!(session.id_token.unwrap().expose_secret(), "id-geheim", "what did not come stays");
}

async fn a_logout_finds_its_sessions(bed: Bed) {
    let store = bed.store().await;
    let (_, one, here) = signed_in(&store, "sid-1", &[]).await;
    let (_, two, _) = signed_in(&store, "sid-2", &[]).await;
    let found = store.provider_sessions("https://idp", LoggedOut::Session("sid-1")).await.unwrap();
    assert_eq!(found, [one]);
    let all = store.provider_sessions("https://idp", LoggedOut::Subject("s-1")).await.unwrap();
    assert!(all.len() == 2 && all.contains(&one) && all.contains(&two), "{all:?}");
    assert!(store.provider_sessions("https://other", LoggedOut::Subject("s-1")).await.unwrap().is_empty());
    assert_eq!(store.sessions_on(one).await.unwrap(), [here]);
    store.delete_provider_session(one).await.unwrap();
    assert!(store.sessions_on(one).await.unwrap().is_empty());
    assert!(store.attach_session(here, one).await.is_err());
    assert!(store.note_logout_token("https://idp", "j", SOON).await.unwrap());
    assert!(!store.note_logout_token("https://idp", "j", SOON).await.unwrap());
    assert!(store.note_logout_token("https://other", "j", SOON).await.unwrap());
}

async fn a_device_waits_for_a_person(bed: Bed) {
    let store = bed.store().await;
    let user = user(&store).await;
    let new = |hash: &'static str, user_code: &'static str| NewDevice {
        hash,
        user_code,
        client: "flotilla on box",
        interval_ms: 5_000,
        expires_at_ms: NOW + 600_000,
    };
    store.create_device(&new("h1", "AAAA-BBBB")).await.unwrap();
    assert!(store.create_device(&new("h2", "AAAA-BBBB")).await.is_err(), "a user code is nobody else's");
    assert_eq!(store.poll_device("h1", NOW).await.unwrap(), Poll::Pending);
    assert_eq!(store.poll_device("h1", NOW + 1_000).await.unwrap(), Poll::SlowDown);
    assert_eq!(store.poll_device("h1", NOW + 7_000).await.unwrap(), Poll::SlowDown, "the interval grew to 10 s");
    assert_eq!(store.poll_device("h1", NOW + 30_000).await.unwrap(), Poll::Pending);
    assert_eq!(store.pending_device("AAAA-BBBB", NOW).await.unwrap().as_deref(), Some("flotilla on box"));
    assert!(store.decide_device("AAAA-BBBB", user, None, true, NOW).await.unwrap());
    assert!(!store.decide_device("AAAA-BBBB", user, None, false, NOW).await.unwrap(), "decided once");
    let approved = Poll::Approved { user, provider_session: None };
    assert_eq!(store.poll_device("h1", NOW + 31_000).await.unwrap(), approved);
    assert_eq!(store.poll_device("h1", NOW + 60_000).await.unwrap(), Poll::Unknown, "told once");

    store.create_device(&new("h3", "CCCC-DDDD")).await.unwrap();
    assert!(store.decide_device("CCCC-DDDD", user, None, false, NOW).await.unwrap());
    assert_eq!(store.poll_device("h3", NOW).await.unwrap(), Poll::Denied);
    store.create_device(&new("h4", "EEEE-FFFF")).await.unwrap();
    assert!(!store.decide_device("EEEE-FFFF", user, None, true, NOW + 600_000).await.unwrap(), "too late");
    assert_eq!(store.poll_device("h4", NOW + 600_000).await.unwrap(), Poll::Unknown);
    assert_eq!(store.poll_device("nothing", NOW).await.unwrap(), Poll::Unknown);
}

on_both_engines!(
    a_state_is_good_once_and_not_for_long,
    of_two_who_show_one_state_one_gets_it,
    a_verifier_is_sealed,
    a_code_is_good_once_and_not_for_long,
    an_identity_keeps_its_account,
    of_all_hubs_one_refreshes,
    a_logout_finds_its_sessions,
    a_device_waits_for_a_person,
);
