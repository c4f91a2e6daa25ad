//! Invitations to organisations and teams. A token is shown once, kept as a hash, and accepted once; every refusal of
//! one looks the same: unknown, spent, too old, for somebody else.
//!
//! Must not know: how passwords are hashed.

use std::sync::Arc;

use axum::extract::State;
use axum::response::IntoResponse;
use flotilla_identity::standing::Act;
use flotilla_identity::{password, token};
use flotilla_store::{Acceptance, Invitation, NewInvitation, Org, StoreError};
use flotilla_types::audit::{Actor, Verb};
use flotilla_types::id::{InvitationId, OrgId, TeamId};
use flotilla_types::name::normalize_email;
use flotilla_types::org::{
    InvitationAccept, InvitationAccepted, InvitationCreated, InvitationList, InvitationView, OrgInvite, OrgRole,
    TeamInvite,
};
use flotilla_types::problem::Problem;
use flotilla_types::time::{from_ms, now_ms};
use http::StatusCode;
use secrecy::{ExposeSecret, SecretString};

use super::orgs::{allowed as org_allowed, entry};
use super::teams::allowed as team_allowed;
use crate::error::ApiError;
use crate::hub::Hub;
use crate::request::RequestContext;
use crate::request::caller::{AnonymousJson, Caller, Json, Path};
use crate::trail::Entry;

type Answer<T> = Result<T, ApiError>;

/// The path as a log may show it: a token is a secret.
#[must_use]
pub fn without_token(path: &str) -> String {
    match path.split_once("/invitations/") {
        Some((before, rest)) if rest.contains('/') => format!("{before}/invitations/[redacted]/accept"),
        Some((before, _)) if !before.contains("/orgs/") => format!("{before}/invitations/[redacted]"),
        _ => path.to_owned(),
    }
}

fn view(invitation: Invitation) -> InvitationView {
    InvitationView {
        id: invitation.id,
        org: invitation.org,
        team: invitation.team,
        role: invitation.role,
        email: invitation.email,
        expires_at: from_ms(invitation.expires_at_ms),
    }
}

/// Invites to an organisation.
#[utoipa::path(post, path = "/api/orgs/{id}/invite", tag = "orgs", params(("id" = OrgId, Path)), request_body = OrgInvite,
    responses((status = 201, body = InvitationCreated), (status = 403, body = Problem), (status = 404, body = Problem)))]
pub async fn invite_to_org(
    State(hub): State<Arc<Hub>>,
    caller: Caller,
    Path(id): Path<OrgId>,
    Json(body): Json<OrgInvite>,
) -> Answer<impl IntoResponse> {
    let act = if body.role == OrgRole::Owner { Act::ManageOwners } else { Act::ManageOrg };
    let (_, org) = org_allowed(&hub, &caller, id, act)?;
    let place = Place { org: &org, team: None, path: &org.name, route: "/api/orgs/{id}/invite" };
    invite(&hub, &caller, place, body.role.as_str(), body.email).await
}

/// Invites to a team, and so to its organisation.
#[utoipa::path(post, path = "/api/teams/{id}/invite", tag = "orgs", params(("id" = TeamId, Path)), request_body = TeamInvite,
    responses((status = 201, body = InvitationCreated), (status = 403, body = Problem), (status = 404, body = Problem)))]
pub async fn invite_to_team(
    State(hub): State<Arc<Hub>>,
    caller: Caller,
    Path(id): Path<TeamId>,
    Json(body): Json<TeamInvite>,
) -> Answer<impl IntoResponse> {
    let (directory, team) = team_allowed(&hub, &caller, id, Act::ManageTeam)?;
    let org = directory.org(team.org).cloned().ok_or_else(|| ApiError::internal("a team without organisation"))?;
    let path = directory.path(&team);
    let place = Place { org: &org, team: Some(id), path: &path, route: "/api/teams/{id}/invite" };
    invite(&hub, &caller, place, body.role.as_str(), body.email).await
}

/// To where somebody is invited.
struct Place<'a> {
    org: &'a Org,
    team: Option<TeamId>,
    /// For people.
    path: &'a str,
    route: &'static str,
}

async fn invite(
    hub: &Hub,
    caller: &Caller,
    place: Place<'_>,
    role: &str,
    email: Option<String>,
) -> Answer<(StatusCode, axum::Json<InvitationCreated>)> {
    let Place { org, team, path: to, route } = place;
    let email = email.map(|email| normalize_email(&email)).transpose()?;
    let (secret, token_hash) = token::new_refresh_token();
    let new = NewInvitation {
        token_hash,
        org: org.id,
        team,
        role: role.to_owned(),
        email: email.clone(),
        created_by: caller.principal.email().to_owned(),
        expires_at_ms: now_ms() + hub.config.authorization.patience.invitation.as_ms(),
    };
    let command = format!("invite {} to {to} as {role}", email.as_deref().unwrap_or("whoever has the link"));
    let id = hub.trail.act(caller, entry(Verb::Invite, route, 201, command), hub.store.create_invitation(&new)).await?;
    let invitation = Invitation {
        id,
        org: new.org,
        team: new.team,
        role: new.role,
        email: new.email,
        expires_at_ms: new.expires_at_ms,
    };
    let token = secret.expose_secret().to_owned();
    let link = format!("{}/invitations/{token}", hub.config.public_url());
    let mailed = match (&email, &hub.mailer) {
        (Some(address), Some(mailer)) => {
            mailer.invite(address, caller.principal.email(), to, role, &link, &token).await?;
            true
        }
        _ => false,
    };
    let created = InvitationCreated { invitation: view(invitation), link, token, mailed };
    Ok((StatusCode::CREATED, axum::Json(created)))
}

/// Open invitations to an organisation and its teams.
#[utoipa::path(get, path = "/api/orgs/{id}/invitations", tag = "orgs", params(("id" = OrgId, Path)),
    responses((status = 200, body = InvitationList), (status = 403, body = Problem), (status = 404, body = Problem)))]
pub async fn list(
    State(hub): State<Arc<Hub>>,
    caller: Caller,
    Path(id): Path<OrgId>,
) -> Answer<axum::Json<InvitationList>> {
    org_allowed(&hub, &caller, id, Act::SeeInside)?;
    let invitations = hub.store.invitations_of(id).await?.into_iter().map(view).collect();
    Ok(axum::Json(InvitationList { invitations }))
}

/// Takes an invitation back.
#[utoipa::path(delete, path = "/api/orgs/{id}/invitations/{invitation}", tag = "orgs",
    params(("id" = OrgId, Path), ("invitation" = InvitationId, Path)),
    responses((status = 204), (status = 403, body = Problem), (status = 404, body = Problem)))]
pub async fn remove(
    State(hub): State<Arc<Hub>>,
    caller: Caller,
    Path((id, invitation)): Path<(OrgId, InvitationId)>,
) -> Answer<impl IntoResponse> {
    let (_, org) = org_allowed(&hub, &caller, id, Act::ManageOrg)?;
    let command = format!("take invitation {invitation} to {} back", org.name);
    let entry = entry(Verb::InviteRemove, "/api/orgs/{id}/invitations/{invitation}", 204, command);
    hub.trail.act(&caller, entry, hub.store.delete_invitation(id, invitation)).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) fn refused() -> ApiError {
    ApiError::not_found(
        "this invitation does not hold: it is unknown, spent, too old or for somebody else; ask for a new one",
    )
}

/// Accepts an invitation. Signed in: for oneself. Not signed in: with a password, when the invitation names an address
/// that has no account yet; the account is made.
#[utoipa::path(post, path = "/api/invitations/{token}/accept", tag = "orgs", params(("token" = String, Path)),
    request_body = InvitationAccept, responses((status = 200, body = InvitationAccepted), (status = 401, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem), (status = 422, body = Problem)))]
pub async fn accept(
    State(hub): State<Arc<Hub>>,
    context: RequestContext,
    caller: Option<Caller>,
    Path(token): Path<String>,
    AnonymousJson(body): AnonymousJson<InvitationAccept>,
) -> Answer<axum::Json<InvitationAccepted>> {
    accept_as(&hub, &context, caller.as_ref(), &token, body.password).await.map(axum::Json)
}

/// An invitation that still holds.
pub(super) async fn open(hub: &Hub, context: &RequestContext, token: &str) -> Answer<Invitation> {
    if let Err(wait) = hub.throttle.check("invitation", context.address) {
        return Err(ApiError::too_many_requests("too many attempts; wait and try again", wait.0));
    }
    hub.store.open_invitation(&token::refresh_hash(token), now_ms()).await?.ok_or_else(refused)
}

/// Accepts for the caller, or for whoever is invited and has no account yet.
pub(super) async fn accept_as(
    hub: &Hub,
    context: &RequestContext,
    caller: Option<&Caller>,
    token: &str,
    password: Option<String>,
) -> Answer<InvitationAccepted> {
    let invitation = open(hub, context, token).await?;
    let (email, who) = match caller {
        Some(caller) => (caller.principal.email().to_owned(), Acceptance::Account(caller.principal.user_id())),
        None => newcomer(hub, &invitation, password).await?,
    };
    if invitation.email.as_ref().is_some_and(|bound| *bound != email) {
        return Err(refused());
    }
    let directory = hub.roles.directory();
    let org = directory.org(invitation.org).map(|org| org.name.clone()).ok_or_else(refused)?;
    let team = invitation.team.and_then(|team| directory.team(team)).map(|team| directory.path(team));
    let sub = caller.map(|caller| caller.principal.user_id());
    let actor = Actor { sub, email: email.clone(), address: context.address.to_string(), ..Actor::default() };
    let entry = Entry {
        verb: Verb::InviteAccept,
        command: format!("{email} becomes {} of {}", invitation.role, team.as_deref().unwrap_or(&org)),
        route: "/api/invitations/{token}/accept",
        ..Entry::default()
    };
    let act = async {
        hub.store.accept_invitation(&invitation, &who, now_ms()).await.map_err(|error| match error {
            StoreError::NotFound { .. } => refused(),
            other => other.into(),
        })
    };
    hub.trail.act_as(context, actor, entry, act).await?;
    hub.reload_directory().await?;
    let account_made = matches!(who, Acceptance::New(..));
    Ok(InvitationAccepted { email, account_made, org, team, role: invitation.role })
}

/// Somebody who is not signed in: the token, which went to his address, proves that it is his.
async fn newcomer(hub: &Hub, invitation: &Invitation, given: Option<String>) -> Answer<(String, Acceptance)> {
    let sign_in = || {
        ApiError::unauthenticated("sign in first and accept then; a new account is made for the invited address only")
    };
    let email = invitation.email.clone().ok_or_else(sign_in)?;
    if hub.store.user_by_email(&email).await?.is_some() {
        return Err(sign_in());
    }
    let given = given.ok_or_else(|| ApiError::invalid("give a password for the new account, 12 to 256 characters"))?;
    password::check_rules(&given).map_err(|error| ApiError::invalid(error.to_string()))?;
    let hash = password::hash(SecretString::from(given)).await.map_err(super::auth::busy)?;
    Ok((email.clone(), Acceptance::New(email, hash.into())))
}

#[cfg(test)]
mod tests {
    use super::without_token;

    #[test]
    fn tokens_stay_out_of_the_log() {
        assert_eq!(without_token("/v1/api/invitations/secret/accept"), "/v1/api/invitations/[redacted]/accept");
        assert_eq!(without_token("/invitations/secret"), "/invitations/[redacted]");
        assert_eq!(without_token("/api/invitations/secret"), "/api/invitations/[redacted]");
        assert_eq!(without_token("/api/orgs/1/invitations"), "/api/orgs/1/invitations");
        assert_eq!(without_token("/api/orgs/1/invitations/2"), "/api/orgs/1/invitations/2");
    }
}
