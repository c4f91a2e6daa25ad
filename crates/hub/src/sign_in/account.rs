//! Whose account somebody's is who proved at a provider who he is.
//!
//! The pair of issuer and subject is the person. The first time there is only an address to go by, and it must be
//! one that the provider vouches for: otherwise anyone could claim anyone's account.
//!
//! Must not know: how it was proven.

use flotilla_identity::oidc::Proven;
use flotilla_store::{NewUser, User};
use flotilla_types::audit::{Actor, Verb};
use flotilla_types::name::normalize_email;
use http::StatusCode;
use secrecy::SecretString;

use super::{Way, refused};
use crate::error::ApiError;
use crate::hub::Hub;
use crate::request::RequestContext;
use crate::trail::Entry;

/// The account; made on the first sign-in, without any role: what somebody may do comes from groups and administrators.
pub(super) async fn of(hub: &Hub, way: &Way, proven: &Proven, context: &RequestContext) -> Result<User, ApiError> {
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
    match create(hub, context, &email, Vec::new()).await {
        // Somebody else's first sign-in, at the same moment: one account.
        Err(error) if error.status == StatusCode::CONFLICT => {
            let user = hub.store.user_by_email(&email).await?;
            user.ok_or_else(|| ApiError::internal("an account was made and is gone"))
        }
        made => made,
    }
}

/// Makes an account without a password for somebody who signs in for the first time.
///
/// # Errors
/// There is one already, or the store does not answer.
pub(crate) async fn create(
    hub: &Hub,
    context: &RequestContext,
    email: &str,
    roles: Vec<String>,
) -> Result<User, ApiError> {
    let actor = Actor { email: email.to_owned(), address: context.address.to_string(), ..Actor::default() };
    let command = format!("create user {email} at the first sign-in");
    let entry = Entry { verb: Verb::UserCreate, command, route: "sign-in", status: 201, ..Entry::default() };
    let password_hash = SecretString::from(String::new());
    let new = NewUser { email: email.to_owned(), password_hash, must_change: false, roles };
    hub.trail.act_as(context, actor, entry, hub.store.create_user(new)).await
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
