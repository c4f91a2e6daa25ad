//! Sign-ins and refresh tokens.

use flotilla_store::{LiveSession, Rotation, StoreError};
use flotilla_types::id::{SessionId, UserId};

use crate::bed::Bed;
use crate::users::new_user;

const NOW: i64 = 1_800_000_000_000;
const LATER: i64 = NOW + 1_000_000;

async fn a_session_is_refreshed_and_ended(bed: Bed) {
    let store = bed.store().await;
    let user = store.create_user(new_user("a@x", &["viewer", "admin"])).await.unwrap().id;
    let session = store.create_session(user, "h1", LATER).await.unwrap();
    let live = LiveSession { user, email: "a@x".into(), roles: vec!["admin".into(), "viewer".into()] };
    assert_eq!(store.live_session(session, NOW).await.unwrap(), Some(live));
    assert_eq!(store.rotate_refresh("h1", "h2", NOW).await.unwrap(), Rotation::Rotated { session, user });
    assert_eq!(store.rotate_refresh("h2", "h3", NOW).await.unwrap(), Rotation::Rotated { session, user });
    assert!(store.end_session(session).await.unwrap());
    assert!(!store.end_session(session).await.unwrap());
    assert_eq!(store.live_session(session, NOW).await.unwrap(), None);
    assert_eq!(store.rotate_refresh("h3", "h4", NOW).await.unwrap(), Rotation::Refused);
}

async fn any_spent_token_ends_the_session(bed: Bed) {
    let store = bed.store().await;
    let user = store.create_user(new_user("a@x", &[])).await.unwrap().id;
    let session = store.create_session(user, "h1", LATER).await.unwrap();
    let other = store.create_session(user, "o1", LATER).await.unwrap();
    store.rotate_refresh("h1", "h2", NOW).await.unwrap();
    store.rotate_refresh("h2", "h3", NOW).await.unwrap();
    // Not the last one spent, but the first.
    assert_eq!(store.rotate_refresh("h1", "x", NOW).await.unwrap(), Rotation::Reused { session, user });
    assert_eq!(store.live_session(session, NOW).await.unwrap(), None);
    assert_eq!(store.rotate_refresh("h3", "h4", NOW).await.unwrap(), Rotation::Refused);
    assert_eq!(store.rotate_refresh("x", "y", NOW).await.unwrap(), Rotation::Refused);
    assert!(store.live_session(other, NOW).await.unwrap().is_some());
}

async fn of_two_who_show_one_token_one_ends_the_session(bed: Bed) {
    let (here, there) = (bed.store().await, bed.open().await);
    let user = here.create_user(new_user("a@x", &[])).await.unwrap().id;
    for round in 0..20 {
        let hash = |name: &str| format!("{name}{round}");
        let session = here.create_session(user, &hash("h"), LATER).await.unwrap();
        let (old, one, two) = (hash("h"), hash("one"), hash("two"));
        let (a, b) = tokio::join!(here.rotate_refresh(&old, &one, NOW), there.rotate_refresh(&old, &two, NOW));
        let (a, b) = (a.unwrap(), b.unwrap());
        let rotated = Rotation::Rotated { session, user };
        let reused = Rotation::Reused { session, user };
        assert!((a, b) == (rotated, reused) || (a, b) == (reused, rotated), "{a:?} {b:?}");
        assert_eq!(here.live_session(session, NOW).await.unwrap(), None);
    }
}

async fn nothing_holds_past_its_time(bed: Bed) {
    let store = bed.store().await;
    let user = store.create_user(new_user("a@x", &[])).await.unwrap().id;
    let session = store.create_session(user, "h1", LATER).await.unwrap();
    assert!(store.live_session(session, LATER - 1).await.unwrap().is_some());
    assert_eq!(store.live_session(session, LATER).await.unwrap(), None);
    assert_eq!(store.rotate_refresh("h1", "h2", LATER).await.unwrap(), Rotation::Refused);
    assert_eq!(store.rotate_refresh("no such", "h2", NOW).await.unwrap(), Rotation::Refused);
    assert_eq!(store.rotate_refresh("\0", "h2", NOW).await.unwrap(), Rotation::Refused);
    assert_eq!(store.live_session(SessionId::new(), NOW).await.unwrap(), None);
    assert!(matches!(
        store.create_session(UserId::new(), "h9", LATER).await,
        Err(StoreError::NotFound { what: "user" })
    ));
    assert!(matches!(store.create_session(user, "h1", LATER).await, Err(StoreError::Conflict { .. })));
    assert_eq!(store.forget_sessions(LATER - 1).await.unwrap(), 0);
    assert_eq!(store.forget_sessions(LATER).await.unwrap(), 1);
    assert!(bed.rows::<(String,)>("SELECT hash FROM refresh_tokens").await.is_empty());
}

async fn a_user_is_signed_out_everywhere(bed: Bed) {
    let store = bed.store().await;
    let user = store.create_user(new_user("a@x", &[])).await.unwrap().id;
    let other = store.create_user(new_user("b@x", &[])).await.unwrap().id;
    let mut mine = vec![];
    for hash in ["1", "2", "3"] {
        mine.push(store.create_session(user, hash, LATER).await.unwrap());
    }
    let kept = store.create_session(other, "4", LATER).await.unwrap();
    store.end_session(mine.remove(0)).await.unwrap();
    let mut ended = store.end_sessions_of(user).await.unwrap();
    ended.sort();
    assert_eq!(ended, mine);
    assert!(store.live_session(kept, NOW).await.unwrap().is_some());
    store.delete_user(other).await.unwrap();
    assert_eq!(store.live_session(kept, NOW).await.unwrap(), None);
}

on_both_engines!(
    a_session_is_refreshed_and_ended,
    any_spent_token_ends_the_session,
    of_two_who_show_one_token_one_ends_the_session,
    nothing_holds_past_its_time,
    a_user_is_signed_out_everywhere,
);
