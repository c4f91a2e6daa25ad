//! API keys, cookies and what scopes leave of a role.

#![allow(clippy::unwrap_used, reason = "helpers of tests may fail as loudly as tests")]

use std::sync::Arc;

use flotilla_identity::api_key::{NewApiKey, new_opaque, opaque_hash};
use flotilla_identity::authn::{
    Accounts, AccountsError, Authenticator, AuthnError, BoxFuture, By, LiveApiKey, LiveBrowserSession, LiveSession,
};
use flotilla_identity::policy::{Action, Decision, Source, built_in_roles, compile};
use flotilla_identity::principal::Via;
use flotilla_identity::token::{Algorithm, KeyMaterial, KeyRing};
use flotilla_types::id::{ApiKeyId, SessionId, UserId};
use flotilla_types::time::now_ms;
use parking_lot::Mutex;
use secrecy::ExposeSecret;

#[derive(Default)]
struct Book {
    key: Mutex<Option<(String, LiveApiKey)>>,
    browser: Mutex<Option<(String, LiveBrowserSession)>>,
    reads: Mutex<usize>,
}

impl Accounts for Book {
    fn live_session(&self, _: SessionId) -> BoxFuture<'_, Result<Option<LiveSession>, AccountsError>> {
        Box::pin(async { Ok(None) })
    }

    fn browser_session<'a>(
        &'a self,
        by: By<'a, SessionId>,
    ) -> BoxFuture<'a, Result<Option<LiveBrowserSession>, AccountsError>> {
        *self.reads.lock() += 1;
        let found = self.browser.lock().clone().filter(|(hash, live)| match by {
            By::Hash(asked) => asked == hash,
            By::Id(id) => id == live.id,
        });
        Box::pin(async { Ok(found.map(|(_, live)| live)) })
    }

    fn api_key<'a>(&'a self, by: By<'a, ApiKeyId>) -> BoxFuture<'a, Result<Option<LiveApiKey>, AccountsError>> {
        *self.reads.lock() += 1;
        let found = self.key.lock().clone().filter(|(hash, live)| match by {
            By::Hash(asked) => asked == hash,
            By::Id(id) => id == live.id,
        });
        Box::pin(async { Ok(found.map(|(_, live)| live)) })
    }
}

fn owner() -> LiveSession {
    LiveSession {
        user: UserId::new(),
        email: "owner@example.com".to_owned(),
        roles: vec!["admin".to_owned()],
        groups: vec![],
    }
}

fn authenticator(book: &Arc<Book>) -> Authenticator {
    let keys = [Algorithm::Rs256, Algorithm::EdDsa].map(|algorithm| KeyMaterial::generate(algorithm).unwrap());
    Authenticator::new(KeyRing::new(keys.into()).unwrap(), book.clone())
}

#[tokio::test]
async fn a_key_is_its_owner_within_its_scopes() {
    let (book, made) = (Arc::new(Book::default()), NewApiKey::generate());
    let live =
        LiveApiKey { id: ApiKeyId::new(), owner: owner(), scopes: vec!["k8s:dev-*:get".into()], ends_at_ms: None };
    *book.key.lock() = Some((made.hash.clone(), live.clone()));
    let authn = authenticator(&book);
    let principal = authn.authenticate(made.key.expose_secret()).await.unwrap();
    assert_eq!(
        (principal.email(), principal.via(), principal.session()),
        ("owner@example.com", Via::Key(live.id), None)
    );

    let policy = compile(built_in_roles().into_iter().map(|role| (role, Source::BuiltIn)).collect()).unwrap();
    let action =
        |cluster, verb| Action { cluster, verb, resource: "pods", namespace: "shop", name: "web", ..Action::default() };
    assert!(principal.may(&policy, &action("dev-1", "get")).is_allowed());
    assert!(matches!(principal.may(&policy, &action("dev-1", "delete")), Decision::Denied { .. }));
    assert_eq!(principal.may(&policy, &action("prod", "get")), Decision::Invisible);
    assert!(principal.sees(&policy, "dev-1") && !principal.sees(&policy, "prod"));

    book.key.lock().as_mut().unwrap().1.owner.roles = vec![];
    authn.forget_user(live.owner.user);
    let without = authn.authenticate(made.key.expose_secret()).await.unwrap();
    assert_eq!(without.may(&policy, &action("dev-1", "get")), Decision::Invisible, "scopes give nothing");
}

#[tokio::test]
async fn a_revoked_key_is_refused_at_once() {
    let (book, made) = (Arc::new(Book::default()), NewApiKey::generate());
    let live = LiveApiKey { id: ApiKeyId::new(), owner: owner(), scopes: vec!["*".into()], ends_at_ms: None };
    *book.key.lock() = Some((made.hash.clone(), live.clone()));
    let authn = authenticator(&book);
    for _ in 0..50 {
        authn.authenticate(made.key.expose_secret()).await.unwrap();
    }
    assert_eq!(*book.reads.lock(), 1);
    *book.key.lock() = None;
    authn.forget_key(ApiKeyId::new());
    assert!(authn.authenticate(made.key.expose_secret()).await.is_ok(), "another key was forgotten");
    authn.forget_key(live.id);
    assert!(matches!(authn.authenticate(made.key.expose_secret()).await, Err(AuthnError::KeyRefused)));
    assert!(matches!(authn.resolve(Via::Key(live.id)).await, Err(AuthnError::SessionEnded)));
}

#[tokio::test]
async fn a_key_ends_within_the_time_of_its_entry() {
    let (book, made) = (Arc::new(Book::default()), NewApiKey::generate());
    let ends_at_ms = Some(now_ms() + 150);
    let live = LiveApiKey { id: ApiKeyId::new(), owner: owner(), scopes: vec!["*".into()], ends_at_ms };
    *book.key.lock() = Some((made.hash.clone(), live));
    let authn = authenticator(&book);
    assert!(authn.authenticate(made.key.expose_secret()).await.is_ok());
    // As the accounts do when it has ended.
    *book.key.lock() = None;
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    assert!(matches!(authn.authenticate(made.key.expose_secret()).await, Err(AuthnError::KeyRefused)));
}

#[tokio::test]
async fn a_cookie_is_no_token_and_a_token_is_no_cookie() {
    let (book, (secret, hash)) = (Arc::new(Book::default()), new_opaque());
    let live = LiveBrowserSession { id: SessionId::new(), owner: owner(), ends_at_ms: i64::MAX };
    *book.browser.lock() = Some((hash, live.clone()));
    let authn = authenticator(&book);
    let cookie = secret.expose_secret();
    let principal = authn.authenticate_cookie(cookie).await.unwrap();
    assert_eq!((principal.via(), principal.session()), (Via::Browser(live.id), Some(live.id)));
    assert!(
        matches!(authn.authenticate(cookie).await, Err(AuthnError::Token(_))),
        "though it is remembered as a cookie"
    );
    assert!(authn.resolve(Via::Browser(live.id)).await.is_ok());
    *book.browser.lock() = None;
    authn.forget_session(live.id);
    assert!(matches!(authn.authenticate_cookie(cookie).await, Err(AuthnError::SessionEnded)));
}

#[tokio::test]
async fn what_has_the_wrong_shape_costs_no_read() {
    let book = Arc::new(Book::default());
    let authn = authenticator(&book);
    for bad in ["", "x", &"a".repeat(44), "../../../../etc/passwd", &opaque_hash("x")] {
        assert!(authn.authenticate_cookie(bad).await.is_err());
        assert!(matches!(authn.authenticate(&format!("sk_live_{bad}")).await, Err(AuthnError::KeyRefused)));
    }
    assert_eq!(*book.reads.lock(), 0);
}
