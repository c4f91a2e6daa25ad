//! Browser sessions, API keys and tickets.

use flotilla_store::{ApiKey, BrowserSession, Device, NewApiKey, StoreError, Ticket};
use flotilla_types::id::{ApiKeyId, SessionId, UserId};

use crate::bed::Bed;
use crate::users::new_user;

const NOW: i64 = 1_800_000_000_000;
const LATER: i64 = NOW + 1_000_000;

fn browser(user: UserId) -> BrowserSession {
    BrowserSession {
        id: SessionId::new(),
        user,
        user_agent: "Mozilla/5.0".to_owned(),
        address: "192.0.2.1".to_owned(),
        created_at_ms: NOW,
        last_seen_ms: NOW,
        max_until_ms: LATER,
    }
}

async fn a_browser_session_is_found_listed_and_ended(bed: Bed) {
    let store = bed.store().await;
    let user = UserId::new();
    let (one, two) = (browser(user), browser(user));
    store.create_browser_session("h1", &one).await.unwrap();
    store.create_browser_session("h2", &two).await.unwrap();
    assert!(matches!(store.create_browser_session("h1", &browser(user)).await, Err(StoreError::Conflict { .. })));
    assert_eq!(store.browser_session_by_hash("h1", NOW).await.unwrap(), Some(one.clone()));
    assert_eq!(store.browser_session(two.id, NOW).await.unwrap(), Some(two.clone()));
    assert_eq!(store.browser_sessions_of(user, NOW).await.unwrap(), [two.clone(), one.clone()]);
    assert_eq!(store.browser_session_by_hash("h1", LATER).await.unwrap(), None, "its time is over");
    assert_eq!(store.browser_session_by_hash("\0", NOW).await.unwrap(), None);
    store.touch_browser_sessions(&[(one.id, NOW + 5), (SessionId::new(), NOW)]).await.unwrap();
    store.touch_browser_sessions(&[(one.id, NOW + 3)]).await.unwrap();
    assert_eq!(store.browser_session(one.id, NOW).await.unwrap().unwrap().last_seen_ms, NOW + 5, "never back");
    assert!(store.end_browser_session(one.id).await.unwrap());
    assert!(!store.end_browser_session(one.id).await.unwrap());
    assert_eq!(store.browser_session_by_hash("h1", NOW).await.unwrap(), None);
    assert_eq!(store.end_browser_sessions_of(user).await.unwrap(), [two.id]);
    assert!(store.browser_sessions_of(user, NOW).await.unwrap().is_empty());
}

async fn browser_sessions_are_forgotten_when_over_or_idle(bed: Bed) {
    let store = bed.store().await;
    let (idle, busy) = (browser(UserId::new()), browser(UserId::new()));
    store.create_browser_session("idle", &idle).await.unwrap();
    store.create_browser_session("busy", &busy).await.unwrap();
    store.touch_browser_sessions(&[(busy.id, NOW + 100)]).await.unwrap();
    assert_eq!(store.forget_browser_sessions(NOW, NOW - 1).await.unwrap(), 0);
    assert_eq!(store.forget_browser_sessions(NOW, NOW + 50).await.unwrap(), 1);
    assert!(store.browser_session(busy.id, NOW).await.unwrap().is_some());
    assert_eq!(store.forget_browser_sessions(LATER, NOW).await.unwrap(), 1);
}

fn key_of(user: UserId, name: &str, expires_at_ms: Option<i64>) -> NewApiKey {
    NewApiKey {
        user,
        name: name.to_owned(),
        prefix: "sk_live_abcdef".to_owned(),
        hash: format!("hash of {name}"),
        scopes: vec!["secrets:read".to_owned(), "k8s:dev-*".to_owned()],
        expires_at_ms,
    }
}

async fn a_key_holds_until_it_ends_or_is_revoked(bed: Bed) {
    let store = bed.store().await;
    let user = store.create_user(new_user("a@x", &["viewer"])).await.unwrap().id;
    let ci = store.create_api_key(key_of(user, "ci", Some(LATER)), 2).await.unwrap().unwrap();
    let twice = store.create_api_key(NewApiKey { hash: "other".into(), ..key_of(user, "ci", None) }, 2).await;
    assert!(matches!(twice, Err(StoreError::Conflict { what: "API key" })));
    let backup = store.create_api_key(key_of(user, "backup", None), 2).await.unwrap().unwrap();
    assert_eq!(store.create_api_key(key_of(user, "third", None), 2).await.unwrap(), None, "too many");
    let orphan = store.create_api_key(key_of(UserId::new(), "x", None), 2).await;
    assert!(matches!(orphan, Err(StoreError::NotFound { what: "user" })));

    let live = store.live_api_key_by_hash("hash of ci", NOW).await.unwrap().unwrap();
    assert_eq!((live.email.as_str(), live.roles, &live.key), ("a@x", vec!["viewer".to_owned()], &ci));
    assert_eq!(store.live_api_key_by_hash("hash of ci", LATER).await.unwrap(), None);
    assert_eq!(store.live_api_key(ci.id, LATER).await.unwrap(), None);
    assert_eq!(store.api_key(ci.id).await.unwrap(), Some(ci.clone()), "its owner still sees it");
    store.touch_api_keys(&[(backup.id, NOW + 5), (backup.id, NOW + 3), (ApiKeyId::new(), NOW)]).await.unwrap();
    store.update_api_key(backup.id, "saves", &["*".to_owned()]).await.unwrap();
    let changed = ApiKey { name: "saves".into(), scopes: vec!["*".into()], last_used_ms: Some(NOW + 5), ..backup };
    assert_eq!(store.api_keys_of(user).await.unwrap(), [changed.clone(), ci.clone()]);
    assert!(matches!(store.update_api_key(ci.id, "saves", &[]).await, Err(StoreError::Conflict { .. })));
    assert_eq!(store.forget_api_keys(LATER - 1).await.unwrap(), 0);
    assert_eq!(store.forget_api_keys(LATER).await.unwrap(), 1);
    store.revoke_api_key(changed.id).await.unwrap();
    assert!(matches!(store.revoke_api_key(changed.id).await, Err(StoreError::NotFound { .. })));
    assert_eq!(store.live_api_key_by_hash("hash of backup", NOW).await.unwrap(), None);
}

async fn keys_go_with_their_owner(bed: Bed) {
    let store = bed.store().await;
    let user = store.create_user(new_user("a@x", &[])).await.unwrap().id;
    store.create_api_key(key_of(user, "ci", None), 9).await.unwrap();
    store.delete_user(user).await.unwrap();
    assert_eq!(store.live_api_key_by_hash("hash of ci", NOW).await.unwrap(), None);
    assert_eq!(store.roles_of(user).await.unwrap(), None);
}

async fn of_two_hubs_one_redeems_a_ticket(bed: Bed) {
    let (here, there) = (bed.store().await, bed.open().await);
    let ticket = |until| Ticket { via: "browser".into(), via_id: "1".into(), path: "/ws".into(), expires_at_ms: until };
    for round in 0..20 {
        let hash = format!("h{round}");
        here.create_ticket(&hash, &ticket(LATER)).await.unwrap();
        let (a, b) = tokio::join!(here.redeem_ticket(&hash, NOW), there.redeem_ticket(&hash, NOW));
        let got = [a.unwrap(), b.unwrap()];
        assert_eq!(got.iter().flatten().collect::<Vec<_>>(), [&ticket(LATER)], "once");
    }
    here.create_ticket("late", &ticket(NOW)).await.unwrap();
    assert_eq!(here.redeem_ticket("late", NOW).await.unwrap(), None);
    here.create_ticket("old", &ticket(NOW)).await.unwrap();
    assert_eq!(here.forget_tickets(NOW).await.unwrap(), 1);
}

async fn open_sessions_of_command_lines_are_listed(bed: Bed) {
    let store = bed.store().await;
    let user = store.create_user(new_user("a@x", &[])).await.unwrap().id;
    let device = Device { user_agent: "flotilla/0.1".to_owned(), address: "192.0.2.7".to_owned() };
    let one = store.create_session_from(user, "h1", LATER, &device).await.unwrap();
    let two = store.create_session(user, "h2", LATER).await.unwrap();
    store.touch_sessions(&[(one, NOW + 5)]).await.unwrap();
    store.touch_sessions(&[(one, NOW + 3)]).await.unwrap();
    let listed = store.open_sessions_of(user, NOW).await.unwrap();
    assert_eq!(listed.iter().map(|session| session.id).collect::<Vec<_>>(), [two, one]);
    assert_eq!((&listed[1].device, listed[1].last_seen_ms), (&device, Some(NOW + 5)));
    assert_eq!(store.open_session(one, NOW).await.unwrap().map(|session| session.user), Some(user));
    store.end_session(one).await.unwrap();
    assert_eq!(store.open_session(one, NOW).await.unwrap(), None);
    assert!(store.open_sessions_of(user, LATER).await.unwrap().is_empty());
}

on_both_engines!(
    a_browser_session_is_found_listed_and_ended,
    browser_sessions_are_forgotten_when_over_or_idle,
    a_key_holds_until_it_ends_or_is_revoked,
    keys_go_with_their_owner,
    of_two_hubs_one_redeems_a_ticket,
    open_sessions_of_command_lines_are_listed,
);
