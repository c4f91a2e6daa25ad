//! Accounts, their roles, and roles in the database.

use flotilla_store::{NewUser, StoreError, User};
use flotilla_types::id::UserId;
use flotilla_types::policy::{ClusterRule, Role};
use secrecy::{ExposeSecret, SecretString};

use crate::bed::Bed;

pub(crate) fn new_user(email: &str, roles: &[&str]) -> NewUser {
    NewUser {
        email: email.to_owned(),
        password_hash: SecretString::from("$argon2id$v=19$hash"),
        must_change: true,
        roles: roles.iter().map(|role| (*role).to_owned()).collect(),
    }
}

fn role(name: &str) -> Role {
    let rule = ClusterRule {
        name: "dev-*".into(),
        namespaces: vec!["*".into()],
        verbs: vec!["get".into()],
        resources: vec!["*".into()],
        api_groups: vec!["*".into()],
        names: vec![],
        non_resource_urls: vec!["/metrics".into()],
        record: Default::default(),
        record_input: false,
    };
    Role {
        name: name.into(),
        description: "d".into(),
        clusters: vec![rule],
        groups: vec![],
        administrator: Some(false),
        auditor: false,
    }
}

fn assert_same(a: &User, b: &User) {
    let hash = |user: &User| user.password_hash.expose_secret().to_owned();
    assert_eq!((a.id, &a.email, hash(a), a.must_change, &a.roles), (b.id, &b.email, hash(b), b.must_change, &b.roles));
    assert_eq!((a.created_at_ms, a.updated_at_ms), (b.created_at_ms, b.updated_at_ms));
}

async fn an_account_lives_and_dies(bed: Bed) {
    let store = bed.store().await;
    assert_eq!(store.count_users().await.unwrap(), 0);
    let made = store.create_user(new_user("b@x", &["viewer", "admin", "viewer"])).await.unwrap();
    assert_eq!(made.roles, ["admin", "viewer"]);
    assert_same(&store.user_by_email("b@x").await.unwrap().unwrap(), &made);
    assert_same(&store.user_by_id(made.id).await.unwrap().unwrap(), &made);
    assert!(matches!(store.create_user(new_user("b@x", &[])).await, Err(StoreError::Conflict { what: "user" })));
    store.create_user(new_user("a@x", &[])).await.unwrap();
    let emails: Vec<_> =
        store.list_users().await.unwrap().into_iter().map(|user| (user.email, user.roles.len())).collect();
    assert_eq!(emails, [("a@x".into(), 0), ("b@x".into(), 2)]);
    store.set_password(made.id, &SecretString::from("other"), false).await.unwrap();
    let changed = store.user_by_id(made.id).await.unwrap().unwrap();
    assert_eq!((changed.password_hash.expose_secret(), changed.must_change), ("other", false));
    store.delete_user(made.id).await.unwrap();
    assert!(store.user_by_id(made.id).await.unwrap().is_none());
    assert_eq!(store.count_users().await.unwrap(), 1);
    assert!(bed.rows::<(String,)>("SELECT role FROM user_roles").await.is_empty());
}

async fn what_is_not_there_is_said(bed: Bed) {
    let store = bed.store().await;
    let (nobody, hash) = (UserId::new(), SecretString::from("x"));
    assert!(store.user_by_email("nobody@x").await.unwrap().is_none());
    assert!(store.user_by_email("no\0body@x").await.unwrap().is_none());
    assert!(matches!(store.set_password(nobody, &hash, true).await, Err(StoreError::NotFound { what: "user" })));
    assert!(matches!(store.set_user_roles(nobody, &["a".into()]).await, Err(StoreError::NotFound { .. })));
    assert!(matches!(store.delete_user(nobody).await, Err(StoreError::NotFound { .. })));
    assert!(matches!(store.replace_role(&role("r")).await, Err(StoreError::NotFound { what: "role" })));
    assert!(matches!(store.delete_role("r").await, Err(StoreError::NotFound { .. })));
}

async fn roles_are_kept_as_written(bed: Bed) {
    let store = bed.store().await;
    store.create_role(&role("ops")).await.unwrap();
    assert!(matches!(store.create_role(&role("ops")).await, Err(StoreError::Conflict { what: "role" })));
    assert_eq!(store.list_roles().await.unwrap(), [role("ops")]);
    let changed = Role { groups: vec!["sre".into()], ..role("ops") };
    store.replace_role(&changed).await.unwrap();
    assert_eq!(store.list_roles().await.unwrap(), [changed]);
}

async fn roles_of_the_file_can_be_given_too(bed: Bed) {
    let store = bed.store().await;
    let user = store.create_user(new_user("a@x", &[])).await.unwrap();
    store.create_role(&role("ops")).await.unwrap();
    // "from-file" is in no table; a repeated name counts once.
    let roles = ["ops", "from-file", "ops"].map(str::to_owned);
    store.set_user_roles(user.id, &roles).await.unwrap();
    assert_eq!(store.user_by_id(user.id).await.unwrap().unwrap().roles, ["from-file", "ops"]);
    // A role that goes takes its assignments along, so that its name can be used again safely.
    store.delete_role("ops").await.unwrap();
    assert_eq!(store.user_by_id(user.id).await.unwrap().unwrap().roles, ["from-file"]);
    store.set_user_roles(user.id, &[]).await.unwrap();
    assert!(store.user_by_id(user.id).await.unwrap().unwrap().roles.is_empty());
}

on_both_engines!(
    an_account_lives_and_dies,
    what_is_not_there_is_said,
    roles_are_kept_as_written,
    roles_of_the_file_can_be_given_too,
);
