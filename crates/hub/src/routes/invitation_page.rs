//! `/invitations/{token}`: where the link of an invitation leads, until the console draws it. Whoever is signed in
//! accepts for himself; who is invited by address and has no account yet makes it here.
//!
//! Must not know: what an invitation gives.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use flotilla_store::Invitation;
use flotilla_types::org::InvitationAccepted;
use http::StatusCode;

use super::device::to_sign_in;
use super::invitations::{accept_as, open, refused};
use super::sign_in::Form;
use crate::hub::Hub;
use crate::pages::{self, PageError, Question};
use crate::request::RequestContext;
use crate::request::arrival::Arrival;
use crate::request::caller::{Caller, Path};

type Page = Result<Response, PageError>;

/// What somebody becomes, and of what.
fn offer(hub: &Hub, invitation: &Invitation) -> String {
    let directory = hub.roles.directory();
    let team = invitation.team.and_then(|team| directory.team(team)).map(|team| directory.path(team));
    let org = || directory.org(invitation.org).map(|org| org.name.clone()).unwrap_or_default();
    format!("{} of {}", invitation.role, team.unwrap_or_else(org))
}

/// The page to which the link leads.
#[utoipa::path(get, path = "/invitations/{token}", tag = "orgs", params(("token" = String, Path)), responses(
    (status = 200, body = String, content_type = "text/html"), (status = 303), (status = 404, body = String, content_type = "text/html")))]
pub async fn show(
    State(hub): State<Arc<Hub>>,
    context: RequestContext,
    caller: Option<Caller>,
    Path(token): Path<String>,
) -> Page {
    let invitation = open(&hub, &context, &token).await?;
    let (offer, action) = (offer(&hub, &invitation), format!("/invitations/{token}"));
    if let Some(caller) = caller {
        let email = caller.principal.email();
        if invitation.email.as_deref().is_some_and(|bound| bound != email) {
            return Err(refused().into());
        }
        let text = format!("You are invited to be {offer}.");
        let (title, client, fields) = ("Invitation", "an invitation of this hub", &[][..]);
        return Ok(pages::ask(&Question { title, email, text: &text, client, code: None, action: &action, fields }));
    }
    match &invitation.email {
        Some(email) if hub.store.user_by_email(email).await?.is_none() => {
            Ok(pages::new_account(email, &format!("You are invited to be {offer}."), &action))
        }
        _ => Ok(to_sign_in(&action)),
    }
}

/// Takes the answer.
#[utoipa::path(post, path = "/invitations/{token}", tag = "orgs", params(("token" = String, Path)), responses(
    (status = 200, body = String, content_type = "text/html"), (status = 404, body = String, content_type = "text/html")))]
pub async fn answer(
    State(hub): State<Arc<Hub>>,
    arrival: Arrival,
    context: RequestContext,
    caller: Option<Caller>,
    Path(token): Path<String>,
    form: Form,
) -> Page {
    arrival.refuse_foreign()?;
    if caller.is_some() && form.get("decision") == "deny" {
        return Ok(pages::message(
            StatusCode::OK,
            "Not accepted",
            "The invitation is as it was. You can close this page.",
        ));
    }
    let password = Some(form.get("password").to_owned()).filter(|password| !password.is_empty());
    let accepted = accept_as(&hub, &context, caller.as_ref(), &token, password).await?;
    let InvitationAccepted { org, team, role, account_made, .. } = accepted;
    let place = team.unwrap_or(org);
    let next = if account_made { "Your account is made; sign in with it." } else { "You can close this page." };
    Ok(pages::message(StatusCode::OK, "Welcome", &format!("You are {role} of {place}. {next}")))
}
