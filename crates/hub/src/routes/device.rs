//! Signing the command line in with a browser: on another device (RFC 8628), or through a port of the same machine
//! (RFC 8252). The hub is the authorization server of its own command line, so that both work with any way to sign
//! in.
//!
//! Must not know: how the person signed in.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use flotilla_identity::oidc::{new_secret, new_user_code, secret_hash};
use flotilla_store::{NewDevice, OauthCode, Poll, StoreError};
use flotilla_types::audit::Verb;
use flotilla_types::problem::Problem;
use flotilla_types::sign_in::{DeviceAuthorization, DeviceError, DeviceTokenRequest};
use flotilla_types::time::now_ms;
use http::{StatusCode, Uri};
use secrecy::ExposeSecret;
use serde::Deserialize;

use super::sign_in::{CODE_LIFE_MS, Form, see_other, tokens_for, with_code};
use crate::error::ApiError;
use crate::hub::Hub;
use crate::pages::{self, PageError, Question};
use crate::request::RequestContext;
use crate::request::arrival::Arrival;
use crate::request::caller::{AnonymousJson, Caller, Query};
use crate::trail::Entry;

/// Seconds that a code for a device lives, and between two questions of the device.
const DEVICE_LIFE: u64 = 600;
const INTERVAL: u64 = 5;

type Page = Result<Response, PageError>;

/// Begins a sign-in on a device without a browser (RFC 8628 section 3.1).
#[utoipa::path(post, path = "/auth/device", tag = "auth", responses((status = 200, body = DeviceAuthorization), (status = 429, body = Problem)))]
pub async fn begin(
    State(hub): State<Arc<Hub>>,
    context: RequestContext,
    arrival: Arrival,
) -> Result<axum::Json<DeviceAuthorization>, ApiError> {
    throttle(&hub, "device", &context)?;
    let device = new_secret();
    let client = format!("{} at {}", arrival.user_agent, context.address);
    let expires_at_ms = now_ms().saturating_add_unsigned(DEVICE_LIFE * 1000);
    // Of 25,600,000,000 codes one in use is met about never, and then the next one will do.
    let user_code = loop {
        let user_code = new_user_code();
        let interval_ms = INTERVAL.cast_signed() * 1000;
        let new = NewDevice { hash: &device.hash, user_code: &user_code, client: &client, interval_ms, expires_at_ms };
        match hub.store.create_device(&new).await {
            Err(StoreError::Conflict { .. }) => {}
            made => break made.map(|()| user_code)?,
        }
    };
    let verification_uri = format!("{}/auth/device", hub.config.public_url().trim_end_matches('/'));
    Ok(axum::Json(DeviceAuthorization {
        device_code: device.value.expose_secret().to_owned(),
        verification_uri_complete: format!("{verification_uri}?user_code={user_code}"),
        user_code,
        verification_uri,
        expires_in: DEVICE_LIFE,
        interval: INTERVAL,
    }))
}

/// Asks how a device's sign-in stands (RFC 8628 section 3.4).
#[utoipa::path(post, path = "/auth/device/token", tag = "auth", request_body = DeviceTokenRequest, responses(
    (status = 200, body = flotilla_types::api::TokenResponse), (status = 400, body = DeviceError)))]
pub async fn token(
    State(hub): State<Arc<Hub>>,
    arrival: Arrival,
    AnonymousJson(body): AnonymousJson<DeviceTokenRequest>,
) -> Result<Response, ApiError> {
    let word = match hub.store.poll_device(&secret_hash(&body.device_code), now_ms()).await? {
        Poll::Approved { user, provider_session } => {
            if let Some(user) = hub.store.user_by_id(user).await? {
                let tokens = tokens_for(&hub, &user, provider_session, &arrival).await?;
                return Ok(axum::Json(tokens).into_response());
            }
            "access_denied"
        }
        Poll::Pending => "authorization_pending",
        Poll::SlowDown => "slow_down",
        Poll::Denied => "access_denied",
        Poll::Unknown => "expired_token",
    };
    Ok((StatusCode::BAD_REQUEST, axum::Json(DeviceError { error: word.to_owned() })).into_response())
}

/// What the person typed, or what the link that he followed holds.
#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Typed {
    /// The code.
    #[serde(default)]
    user_code: Option<String>,
}

/// The page where somebody who is signed in types a device's code and decides.
#[utoipa::path(get, path = "/auth/device", tag = "auth", params(Typed), responses((status = 200, body = String, content_type = "text/html"), (status = 303)))]
pub async fn page(State(hub): State<Arc<Hub>>, Query(typed): Query<Typed>, caller: Result<Caller, ApiError>) -> Page {
    let code = typed.user_code.as_deref().map(tidied);
    let Ok(caller) = caller else {
        let back =
            code.map(|code| format!("/auth/device?user_code={code}")).unwrap_or_else(|| "/auth/device".to_owned());
        return Ok(to_sign_in(&back));
    };
    let Some(code) = code else { return Ok(pages::device_code(StatusCode::OK, None)) };
    // A guesser is slowed down: the code is short.
    throttle(&hub, &format!("device {}", caller.principal.email()), &caller.context)?;
    let Some(client) = hub.store.pending_device(&code, now_ms()).await? else {
        let message = "No device waits with this code. It lives for ten minutes; start again on the device.";
        return Ok(pages::device_code(StatusCode::NOT_FOUND, Some(message)));
    };
    Ok(pages::ask(&Question {
        title: "Sign in on another device",
        email: caller.principal.email(),
        text: "The device gets in as you. Approve only if it shows this code:",
        client: &client,
        code: Some(&code),
        action: "/auth/device/approve",
        fields: &[("user_code", &code)],
    }))
}

/// Takes the decision.
#[utoipa::path(post, path = "/auth/device/approve", tag = "auth", responses((status = 200, body = String, content_type = "text/html"), (status = 401, body = Problem)))]
pub async fn approve(State(hub): State<Arc<Hub>>, caller: Caller, form: Form) -> Result<Response, ApiError> {
    throttle(&hub, &format!("device {}", caller.principal.email()), &caller.context)?;
    let (code, approved) = (tidied(form.get("user_code")), form.get("decision") == "approve");
    let origin = origin_of(&hub, &caller).await?;
    let word = if approved { "approve" } else { "deny" };
    let entry = Entry {
        verb: Verb::DeviceDecide,
        command: format!("{word} sign-in on another device"),
        route: "/auth/device/approve",
        ..Entry::default()
    };
    let user = caller.principal.user_id();
    let decide = async {
        let done = hub.store.decide_device(&code, user, origin, approved, now_ms()).await?;
        let missing = || ApiError::not_found("no device waits with this code; start again on the device");
        if done { Ok(()) } else { Err(missing()) }
    };
    hub.trail.act(&caller, entry, decide).await?;
    let (title, text) = if approved {
        ("Approved", "The device is signed in. You can close this page.")
    } else {
        ("Denied", "The device stays out. You can close this page.")
    };
    Ok(pages::message(StatusCode::OK, title, text))
}

/// What a command line asks for that waits on a port of its own machine.
#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct CommandLine {
    /// `http://127.0.0.1:<port>/...` or `http://[::1]:<port>/...`.
    redirect_uri: String,
    /// Comes back with the code.
    state: String,
    /// PKCE, S256.
    code_challenge: String,
}

/// The page where somebody who is signed in lets the command line of his own machine in.
#[utoipa::path(get, path = "/auth/cli", tag = "auth", params(CommandLine), responses((status = 200, body = String, content_type = "text/html"), (status = 303)))]
pub async fn command_line(Query(ask): Query<CommandLine>, caller: Result<Caller, ApiError>) -> Page {
    check_loopback(&ask.redirect_uri)?;
    let fields =
        [("redirect_uri", &*ask.redirect_uri), ("state", &*ask.state), ("code_challenge", &*ask.code_challenge)];
    let Ok(caller) = caller else {
        return Ok(to_sign_in(&with_code("/auth/cli", &fields)));
    };
    Ok(pages::ask(&Question {
        title: "Sign in on the command line",
        email: caller.principal.email(),
        text: "flotilla on this machine gets in as you.",
        client: &ask.redirect_uri,
        code: None,
        action: "/auth/cli",
        fields: &fields,
    }))
}

/// Takes the decision and sends the browser to the command line with a code of 30 s.
#[utoipa::path(post, path = "/auth/cli", tag = "auth", responses((status = 200, body = String, content_type = "text/html"), (status = 401, body = Problem)))]
pub async fn approve_command_line(
    State(hub): State<Arc<Hub>>,
    caller: Caller,
    form: Form,
) -> Result<Response, ApiError> {
    let redirect_uri = form.get("redirect_uri");
    check_loopback(redirect_uri)?;
    let state = form.get("state");
    let entry = |word: &str| Entry {
        verb: Verb::DeviceDecide,
        command: format!("{word} sign-in on the command line"),
        route: "/auth/cli",
        ..Entry::default()
    };
    if form.get("decision") != "approve" {
        let nothing = async { Ok::<_, ApiError>(()) };
        hub.trail.act(&caller, entry("deny"), nothing).await?;
        let url = with_code(redirect_uri, &[("error", "access_denied"), ("state", state)]);
        return Ok(pages::onward("Denied", &url));
    }
    let challenge = form.get("code_challenge");
    if challenge.len() != 43 {
        return Err(ApiError::bad_request("code_challenge is not one of S256 (RFC 7636)"));
    }
    let code = new_secret();
    let kept = OauthCode {
        user: caller.principal.user_id(),
        provider_session: origin_of(&hub, &caller).await?,
        challenge: Some(challenge.to_owned()),
        redirect_uri: redirect_uri.to_owned(),
        expires_at_ms: now_ms() + CODE_LIFE_MS,
    };
    hub.trail.act(&caller, entry("approve"), hub.store.create_oauth_code(&code.hash, &kept)).await?;
    let url = with_code(redirect_uri, &[("code", code.value.expose_secret()), ("state", state)]);
    Ok(pages::onward("Signed in", &url))
}

/// The provider's session behind the caller's own. Only a session of his may let another one in, no API key.
async fn origin_of(hub: &Hub, caller: &Caller) -> Result<Option<flotilla_store::ProviderSessionId>, ApiError> {
    let session = caller.principal.session();
    let session = session.ok_or_else(|| ApiError::forbidden("an API key cannot sign anybody in; use a browser"))?;
    Ok(hub.store.provider_session_of(session).await?.map(|origin| origin.id))
}

fn throttle(hub: &Hub, account: &str, context: &RequestContext) -> Result<(), ApiError> {
    let slower = |wait: flotilla_identity::throttle::RetryAfter| {
        ApiError::too_many_requests("too many attempts; wait and try again", wait.0)
    };
    // Not every device of an address shares one account's bucket.
    let account = if account == "device" { format!("device {}", context.request_id) } else { account.to_owned() };
    hub.throttle.check(&account, context.address).map_err(slower)
}

pub(super) fn to_sign_in(back: &str) -> Response {
    see_other(&with_code("/login", &[("return_to", back)]))
}

/// As people type it: any case, with or without the dash.
fn tidied(code: &str) -> String {
    let letters: String = code.chars().filter(char::is_ascii_alphanumeric).take(8).collect();
    let letters = letters.to_ascii_uppercase();
    letters.split_at_checked(4).map_or_else(|| letters.clone(), |(first, last)| format!("{first}-{last}"))
}

/// The address of a program on the person's own machine (RFC 8252 section 7.3), and no other: a code sent anywhere
/// else would be somebody else's.
fn check_loopback(target: &str) -> Result<(), ApiError> {
    let uri: Option<Uri> = target.parse().ok();
    let fits = uri.is_some_and(|uri| {
        let authority = uri.authority().map(http::uri::Authority::as_str).unwrap_or_default();
        uri.scheme_str() == Some("http")
            && matches!(uri.host(), Some("127.0.0.1" | "[::1]"))
            && uri.port_u16().is_some_and(|port| port > 0)
            && !authority.contains('@')
            && uri.query().is_none()
    });
    if fits && !target.contains(['#', '\\']) {
        return Ok(());
    }
    Err(ApiError::bad_request("redirect_uri must be http://127.0.0.1:<port>/ or http://[::1]:<port>/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_as_people_type_them() {
        for typed in ["BCDF-GHJK", "bcdfghjk", " bcdf ghjk ", "BCDF-GHJK-more"] {
            assert_eq!(tidied(typed), "BCDF-GHJK", "{typed}");
        }
        assert_eq!(tidied("x"), "X");
        assert_eq!(tidied("<>"), "");
    }

    #[test]
    fn codes_go_to_this_machine_only() {
        for good in ["http://127.0.0.1:1234/", "http://127.0.0.1:1/callback", "http://[::1]:5/x"] {
            assert!(check_loopback(good).is_ok(), "{good}");
        }
        for bad in [
            "http://127.0.0.1/",
            "https://127.0.0.1:1/",
            "http://localhost:1/",
            "http://127.0.0.1:1@evil.example/",
            "http://evil.example:1/",
            "http://127.0.0.1.evil.example:1/",
            "http://127.0.0.1:1/?x=1",
            "http://127.0.0.1:1/#x",
            "/local",
            "",
            "http://127.0.0.1:0/",
            "http://u@127.0.0.1:1/",
        ] {
            assert!(check_loopback(bad).is_err(), "{bad}");
        }
    }
}
