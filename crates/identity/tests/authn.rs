//! From token to principal, with the cache and with what happens at the same time.

#![allow(clippy::unwrap_used, reason = "helpers of tests may fail as loudly as tests")]

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use flotilla_identity::authn::{Accounts, AccountsError, Authenticator, AuthnError, BoxFuture, LiveSession};
use flotilla_identity::token::{Algorithm, KeyMaterial, KeyRing, TokenError};
use flotilla_types::id::{SessionId, UserId};
use parking_lot::Mutex;
use tokio::sync::Semaphore;

static KEYS: LazyLock<KeyRing> = LazyLock::new(|| {
    let keys = [Algorithm::Rs256, Algorithm::EdDsa].map(|algorithm| KeyMaterial::generate(algorithm).unwrap());
    KeyRing::new(keys.into()).unwrap()
});

/// Accounts in memory whose answers can be held back between reading and answering.
#[derive(Default)]
struct Book {
    sessions: Mutex<HashMap<SessionId, LiveSession>>,
    reads: AtomicUsize,
    down: Mutex<bool>,
    /// While set, an answer that was read waits for a permit.
    gate: Mutex<Option<Arc<Semaphore>>>,
}

impl Accounts for Book {
    fn live_session(&self, id: SessionId) -> BoxFuture<'_, Result<Option<LiveSession>, AccountsError>> {
        Box::pin(async move {
            self.reads.fetch_add(1, Ordering::SeqCst);
            if *self.down.lock() {
                return Err(AccountsError("disk on fire".into()));
            }
            let found = self.sessions.lock().get(&id).cloned();
            let gate = self.gate.lock().clone();
            if let Some(gate) = gate {
                gate.acquire().await.unwrap().forget();
            }
            Ok(found)
        })
    }
}

struct World {
    book: Arc<Book>,
    authn: Arc<Authenticator>,
    user: UserId,
    session: SessionId,
    token: String,
}

impl World {
    fn new() -> Self {
        Self::with_ttl(Duration::from_secs(600))
    }

    fn with_ttl(ttl: Duration) -> Self {
        let (user, session) = (UserId::new(), SessionId::new());
        let book = Arc::new(Book::default());
        let live = LiveSession {
            user,
            email: "now@example.com".to_owned(),
            roles: vec!["dev".to_owned()],
            groups: Vec::new(),
        };
        book.sessions.lock().insert(session, live);
        let token = KEYS.issue_access(user, "then@example.com", session, ttl).unwrap().0;
        Self { authn: Arc::new(Authenticator::new(KEYS.clone(), book.clone())), book, user, session, token }
    }

    fn reads(&self) -> usize {
        self.book.reads.load(Ordering::SeqCst)
    }

    async fn ask(&self) -> Result<Vec<String>, AuthnError> {
        self.authn.authenticate(&self.token).await.map(|principal| principal.roles().to_vec())
    }

    fn end_session(&self) {
        self.book.sessions.lock().remove(&self.session);
    }

    fn set_roles(&self, role: &str) {
        self.book.sessions.lock().get_mut(&self.session).unwrap().roles = vec![role.to_owned()];
    }
}

#[tokio::test]
async fn a_principal_is_what_the_accounts_say_now() {
    let world = World::new();
    let principal = world.authn.authenticate(&world.token).await.unwrap();
    assert_eq!(principal.email(), "now@example.com", "not what the token says");
    assert_eq!((principal.user_id(), principal.session()), (world.user, Some(world.session)));
    assert_eq!(principal.roles(), ["dev"]);
}

#[tokio::test]
async fn a_busy_client_costs_one_read() {
    let world = World::new();
    for _ in 0..100 {
        world.ask().await.unwrap();
    }
    assert_eq!(world.reads(), 1);
}

#[tokio::test]
async fn bad_tokens_cost_no_read() {
    let world = World::new();
    for bad in ["", "a.b.c", &world.token[1..]] {
        assert!(matches!(world.authn.authenticate(bad).await, Err(AuthnError::Token(_))), "{bad}");
    }
    assert_eq!(world.reads(), 0);
}

#[tokio::test]
async fn sessions_that_ended_or_are_somebody_elses() {
    let world = World::new();
    let other = KEYS.issue_access(UserId::new(), "x@example.com", world.session, Duration::from_secs(60)).unwrap().0;
    assert!(matches!(world.authn.authenticate(&other).await, Err(AuthnError::SessionEnded)));
    world.end_session();
    assert!(matches!(world.ask().await, Err(AuthnError::SessionEnded)));
}

#[tokio::test]
async fn forgetting_takes_effect_at_once() {
    let forget: [fn(&World); 3] = [
        |world| world.authn.forget_session(world.session),
        |world| world.authn.forget_user(world.user),
        |world| world.authn.forget_all(),
    ];
    for forget in forget {
        let world = World::new();
        world.ask().await.unwrap();
        world.set_roles("viewer");
        assert_eq!(world.ask().await.unwrap(), ["dev"], "remembered");
        forget(&world);
        assert_eq!(world.ask().await.unwrap(), ["viewer"]);
        world.end_session();
        forget(&world);
        assert!(matches!(world.ask().await, Err(AuthnError::SessionEnded)));
    }
}

#[tokio::test]
async fn forgetting_others_costs_nothing() {
    let world = World::new();
    world.ask().await.unwrap();
    world.authn.forget_session(SessionId::new());
    world.authn.forget_user(UserId::new());
    world.ask().await.unwrap();
    assert_eq!(world.reads(), 1);
}

/// The answer was read before the session ended and arrives after it was forgotten.
#[tokio::test]
async fn a_read_under_way_does_not_bring_a_session_back() {
    let world = World::new();
    let gate = Arc::new(Semaphore::new(0));
    *world.book.gate.lock() = Some(gate.clone());
    let (authn, token) = (world.authn.clone(), world.token.clone());
    let asking = tokio::spawn(async move { authn.authenticate(&token).await });
    while world.reads() == 0 {
        tokio::task::yield_now().await;
    }
    world.end_session();
    world.authn.forget_session(world.session);
    *world.book.gate.lock() = None;
    gate.add_permits(1);
    assert!(matches!(asking.await.unwrap(), Err(AuthnError::SessionEnded)));
    assert!(matches!(world.ask().await, Err(AuthnError::SessionEnded)), "nothing was remembered");
}

/// As above, with roles taken away and so many others forgotten that the act itself no longer is remembered.
#[tokio::test]
async fn a_read_under_way_does_not_bring_roles_back() {
    for others in [0, 10, 1000] {
        let world = World::new();
        let gate = Arc::new(Semaphore::new(0));
        *world.book.gate.lock() = Some(gate.clone());
        let (authn, token) = (world.authn.clone(), world.token.clone());
        let asking = tokio::spawn(async move { authn.authenticate(&token).await });
        while world.reads() == 0 {
            tokio::task::yield_now().await;
        }
        world.set_roles("viewer");
        world.authn.forget_user(world.user);
        for _ in 0..others {
            world.authn.forget_user(UserId::new());
        }
        *world.book.gate.lock() = None;
        gate.add_permits(1);
        assert_eq!(asking.await.unwrap().unwrap().roles(), ["viewer"]);
        assert_eq!(world.ask().await.unwrap(), ["viewer"]);
    }
}

#[tokio::test]
async fn a_token_ends_within_the_time_of_its_entry() {
    let world = World::with_ttl(Duration::ZERO);
    world.ask().await.unwrap();
    // Five seconds of leeway, then at most one to the next full second.
    tokio::time::sleep(Duration::from_millis(6100)).await;
    assert!(matches!(world.ask().await, Err(AuthnError::Token(TokenError::Expired))));
    assert_eq!(world.reads(), 1);
}

#[tokio::test]
async fn nobody_gets_in_while_the_accounts_are_away() {
    let world = World::new();
    *world.book.down.lock() = true;
    let error = world.ask().await.unwrap_err();
    assert!(matches!(error, AuthnError::Unavailable(_)));
    assert!(!error.to_string().contains("fire"), "the caller learns no details");
    *world.book.down.lock() = false;
    assert!(world.ask().await.is_ok(), "a failure is not remembered");
}

#[tokio::test]
async fn accounts_that_do_not_answer_are_given_up() {
    let world = World::new();
    *world.book.gate.lock() = Some(Arc::new(Semaphore::new(0)));
    assert!(matches!(world.ask().await, Err(AuthnError::Unavailable(_))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn under_load_a_revocation_holds() {
    let world = World::new();
    let asking: Vec<_> = (0..8)
        .map(|_| {
            let (authn, token) = (world.authn.clone(), world.token.clone());
            tokio::spawn(async move {
                while authn.authenticate(&token).await.is_ok() {
                    // A remembered answer never waits; let the timer run.
                    tokio::task::yield_now().await;
                }
            })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(50)).await;
    world.end_session();
    world.authn.forget_session(world.session);
    assert!(world.ask().await.is_err());
    for task in asking {
        tokio::time::timeout(Duration::from_secs(5), task).await.expect("every one of them is refused").unwrap();
    }
}
