//! Whose account somebody's is who proved at a provider who he is.
//!
//! The pair of issuer and subject is the person. The first time there is only an address to go by, and it must be
//! one that the provider vouches for: otherwise anyone could claim anyone's account.
//!
//! Must not know: how it was proven.

use flotilla_identity::oidc::Proven;
use flotilla_store::{NewUser, StoreError, User};
use flotilla_types::name::normalize_email;
use secrecy::SecretString;

use super::{Way, refused};
use crate::error::ApiError;
use crate::hub::Hub;

/// The account; made on the first sign-in, without any role: what somebody may do comes from groups and administrators.
pub(super) async fn of(hub: &Hub, way: &Way, proven: &Proven) -> Result<User, ApiError> {
    if let Some(id) = hub.store.user_of_identity(&proven.issuer, &proven.subject).await? {
        let user = hub.store.user_by_id(id).await?;
        return user.ok_or_else(|| refused(way, "the account is being deleted"));
    }
    let email = proven.email.as_deref().and_then(|email| normalize_email(email).ok());
    let email =
        email.ok_or_else(|| refused(way, "it gives no usable e-mail address; the hub needs one as your name"))?;
    if !proven.email_verified && !way.trust_email {
        let why = format!("it does not vouch for the address {email}; have it verified there");
        return Err(refused(way, &why));
    }
    check_domain(hub, way, &email)?;
    if let Some(user) = hub.store.user_by_email(&email).await? {
        return Ok(user);
    }
    let none = SecretString::from(String::new());
    let new = NewUser { email: email.clone(), password_hash: none, must_change: false, roles: Vec::new() };
    match hub.store.create_user(new).await {
        // Somebody else's first sign-in, at the same moment: one account.
        Err(StoreError::Conflict { .. }) => {
            let user = hub.store.user_by_email(&email).await?;
            user.ok_or_else(|| ApiError::internal("an account was made and is gone"))
        }
        made => Ok(made?),
    }
}

fn check_domain(hub: &Hub, way: &Way, email: &str) -> Result<(), ApiError> {
    let allowed = &hub.config.auth.allowed_domains;
    let domain = email.rsplit('@').next().unwrap_or_default();
    if allowed.is_empty() || allowed.iter().any(|one| one.eq_ignore_ascii_case(domain)) {
        return Ok(());
    }
    Err(refused(
        way,
        &format!("addresses at {domain} get no account here; ask an administrator (auth.allowed_domains)"),
    ))
}
