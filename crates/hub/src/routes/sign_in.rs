//! Signing in and out with a browser: the sign-in page, the way to providers and back, hand-over codes, logouts that
//! providers tell of.
//!
//! Must not know: how a provider's word is checked (`crate::sign_in`).

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{FromRequest, Request, State};
use axum::response::{IntoResponse, Response};
use flotilla_identity::oidc::{new_secret, secret_hash};
use flotilla_store::{OauthCode, ProviderSessionId, StoreError, User};
use flotilla_types::api::TokenResponse;
use flotilla_types::audit::{Actor, Outcome, Verb};
use flotilla_types::name::normalize_email;
use flotilla_types::problem::{Code, Problem};
use flotilla_types::sign_in::{ExchangeRequest, SignInConfig, SignInWay};
use flotilla_types::time::now_ms;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, COOKIE, LOCATION, SET_COOKIE};
use http::{HeaderMap, HeaderValue, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use super::auth::{proven, token_session};
use crate::error::ApiError;
use crate::hub::Hub;
use crate::pages::{self, Button, PageError, SignIn};
use crate::request::RequestContext;
use crate::request::arrival::Arrival;
use crate::request::caller::{AnonymousJson, Caller, MAX_ANONYMOUS_BODY, Path, Query};
use crate::request::csrf::local_target;
use crate::sign_in::logout::{self, LogoutError};
use crate::sign_in::{self, Answer, Finished, Purpose, STATE_LIFE, Way};
use crate::trail::Entry;

/// Life of a hand-over code.
pub(super) const CODE_LIFE_MS: i64 = 30_000;

/// Where somebody goes who said nothing else: the console's first page.
const HOME: &str = "/";

type Page = Result<Response, PageError>;

/// Where to go after signing in.
#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Target {
    /// A path of the hub's own; anything else is ignored.
    #[serde(default)]
    return_to: Option<String>,
    /// Which way to sign in, where there are several.
    #[serde(default)]
    provider: Option<String>,
}

impl Target {
    fn path(&self) -> &str {
        self.return_to.as_deref().and_then(local_target).unwrap_or(HOME)
    }
}

/// Fields of a form that a page of ours sends.
pub struct Form(BTreeMap<String, String>);

impl Form {
    /// A field; empty when it was left out.
    #[must_use]
    pub fn get(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }
}

impl FromRequest<Arc<Hub>> for Form {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &Arc<Hub>) -> Result<Self, ApiError> {
        let read = axum::body::to_bytes(request.into_body(), MAX_ANONYMOUS_BODY);
        let read = tokio::time::timeout(std::time::Duration::from_secs(30), read).await;
        let bytes = read
            .map_err(|_| {
                ApiError::new(StatusCode::REQUEST_TIMEOUT, Code::Timeout, "the form did not arrive within 30 s")
            })?
            .map_err(|_| ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, Code::TooLarge, "the form is too large"))?;
        Ok(Self(form_urlencoded::parse(&bytes).into_owned().collect()))
    }
}

/// Which ways to sign in there are.
#[utoipa::path(get, path = "/auth/config", tag = "auth", responses((status = 200, body = SignInConfig)))]
pub async fn config(State(hub): State<Arc<Hub>>) -> axum::Json<SignInConfig> {
    let way = |way: &Way| SignInWay {
        name: way.name.to_owned(),
        title: way.title.clone(),
        url: format!("/auth/login?provider={}", way.name),
    };
    let developer = hub.config.auth.developer.enabled;
    axum::Json(SignInConfig { providers: hub.ways.iter().map(way).collect(), password: true, developer })
}

/// The sign-in page: the console's for browsers, where this hub has it, else a form without scripts.
#[utoipa::path(get, path = "/login", tag = "auth", params(Target), responses((status = 200, body = String, content_type = "text/html")))]
pub async fn page(
    State(hub): State<Arc<Hub>>,
    Query(target): Query<Target>,
    caller: Result<Caller, ApiError>,
    headers: HeaderMap,
) -> Response {
    if let Some(console) = super::console::page(&headers) {
        return console;
    }
    match (caller, &target.return_to) {
        (Ok(caller), None) => pages::signed_in(caller.principal.email()),
        _ => offer(&hub, StatusCode::OK, target.path(), None),
    }
}

fn offer(hub: &Hub, status: StatusCode, return_to: &str, message: Option<&str>) -> Response {
    let query = |way: &Way| {
        form_urlencoded::Serializer::new(String::new())
            .append_pair("provider", way.name)
            .append_pair("return_to", return_to)
            .finish()
    };
    let ways = hub.ways.iter().map(|way| Button {
        href: format!("/auth/login?{}", query(way)),
        label: format!("Continue with {}", way.title),
    });
    let developer = hub.config.auth.developer.enabled;
    pages::sign_in(status, &SignIn { ways: ways.collect(), return_to, message, developer })
}

/// Signs in with a password from the sign-in page.
#[utoipa::path(post, path = "/login", tag = "auth", responses((status = 303), (status = 401, body = String, content_type = "text/html")))]
pub async fn password(State(hub): State<Arc<Hub>>, context: RequestContext, arrival: Arrival, form: Form) -> Page {
    arrival.refuse_foreign()?;
    let return_to = local_target(form.get("return_to")).unwrap_or(HOME);
    match proven(&hub, &context, form.get("email"), form.get("password").to_owned()).await {
        Ok(user) => Ok(with_session(&hub, &user, None, &arrival, return_to).await?),
        Err(error) => Ok(offer(&hub, error.status, return_to, Some(&error.detail))),
    }
}

/// Signs in without a proof: on this machine only, and only where it is switched on.
#[utoipa::path(post, path = "/dev/login", tag = "auth", responses((status = 303), (status = 404, body = Problem)))]
pub async fn developer(State(hub): State<Arc<Hub>>, context: RequestContext, arrival: Arrival, form: Form) -> Page {
    let settings = &hub.config.auth.developer;
    if !settings.enabled || !context.address.is_loopback() {
        return Err(ApiError::not_found("developer sign-in is off (auth.developer.enabled)").into());
    }
    arrival.refuse_foreign()?;
    let email = normalize_email(&settings.email).map_err(|error| ApiError::invalid(error.to_string()))?;
    let user = match hub.store.user_by_email(&email).await? {
        Some(user) => user,
        None => sign_in::account::create(&hub, &context, &email, settings.roles.clone()).await?,
    };
    record(&hub, &context, &user, "/dev/login", "developer sign-in, no proof").await?;
    let return_to = local_target(form.get("return_to")).unwrap_or(HOME);
    Ok(with_session(&hub, &user, None, &arrival, return_to).await?)
}

/// Sends the browser to a provider; with several, to the page that asks which.
#[utoipa::path(get, path = "/auth/login", tag = "auth", params(Target), responses((status = 303)))]
pub async fn begin(
    State(hub): State<Arc<Hub>>,
    headers: HeaderMap,
    arrival: Arrival,
    Query(target): Query<Target>,
) -> Page {
    let mut ways = hub.ways.iter();
    let only = ways.next().filter(|_| ways.next().is_none());
    let way = match &target.provider {
        Some(name) => hub.ways.find(name)?,
        None => match only {
            Some(way) => way,
            None => {
                let query =
                    form_urlencoded::Serializer::new(String::new()).append_pair("return_to", target.path()).finish();
                return Ok(see_other(&format!("/login?{query}")));
            }
        },
    };
    let purpose = Purpose { return_to: target.path(), hand_over: false, callback: way.callback };
    to_provider(&hub, way, purpose, &headers, &arrival).await
}

/// Sends the browser to GitHub.
#[utoipa::path(get, path = "/auth/github", tag = "auth", params(Target), responses((status = 303), (status = 404, body = Problem)))]
pub async fn github(
    State(hub): State<Arc<Hub>>,
    headers: HeaderMap,
    arrival: Arrival,
    Query(target): Query<Target>,
) -> Page {
    let way = hub.ways.find("github")?;
    let purpose = Purpose { return_to: target.path(), hand_over: false, callback: way.callback };
    to_provider(&hub, way, purpose, &headers, &arrival).await
}

/// Sends the browser to a provider; it comes back to `return_to` with a code of 30 s for `/auth/oauth/exchange`.
#[utoipa::path(get, path = "/auth/oauth/{provider}/authorize", tag = "auth", params(Target, ("provider" = String, Path)),
    responses((status = 303), (status = 404, body = Problem)))]
pub async fn authorize(
    State(hub): State<Arc<Hub>>,
    Path(provider): Path<String>,
    headers: HeaderMap,
    arrival: Arrival,
    Query(target): Query<Target>,
) -> Page {
    let way = hub.ways.find(&provider)?;
    let callback = format!("/auth/oauth/{}/callback", way.name);
    let purpose = Purpose { return_to: target.path(), hand_over: true, callback: &callback };
    to_provider(&hub, way, purpose, &headers, &arrival).await
}

async fn to_provider(hub: &Hub, way: &Way, purpose: Purpose<'_>, headers: &HeaderMap, arrival: &Arrival) -> Page {
    // A browser that is signing in in two tabs keeps its cookie, so that both come back.
    let known = browser_cookie(headers, arrival.secure).map(SecretString::from);
    let value = known.unwrap_or_else(|| new_secret().value);
    let url = sign_in::begin(hub, way, purpose, secret_hash(value.expose_secret())).await?;
    let mut response = see_other(&url);
    response.headers_mut().append(SET_COOKIE, set_browser_cookie(&value, arrival.secure));
    Ok(response)
}

/// Where a provider sends the browser back to.
#[utoipa::path(get, path = "/auth/callback", tag = "auth", params(Answer), responses((status = 303), (status = 400, body = String, content_type = "text/html")))]
pub async fn callback(
    State(hub): State<Arc<Hub>>,
    context: RequestContext,
    headers: HeaderMap,
    arrival: Arrival,
    Query(answer): Query<Answer>,
) -> Page {
    back(&hub, &context, &headers, &arrival, &answer).await
}

/// Where Google sends the browser back to.
#[utoipa::path(get, path = "/oauth2/callback", tag = "auth", params(Answer), responses((status = 303), (status = 400, body = String, content_type = "text/html")))]
pub async fn google_callback(
    State(hub): State<Arc<Hub>>,
    context: RequestContext,
    headers: HeaderMap,
    arrival: Arrival,
    Query(answer): Query<Answer>,
) -> Page {
    back(&hub, &context, &headers, &arrival, &answer).await
}

/// Where GitHub sends the browser back to.
#[utoipa::path(get, path = "/auth/github/callback", tag = "auth", params(Answer), responses((status = 303), (status = 400, body = String, content_type = "text/html")))]
pub async fn github_callback(
    State(hub): State<Arc<Hub>>,
    context: RequestContext,
    headers: HeaderMap,
    arrival: Arrival,
    Query(answer): Query<Answer>,
) -> Page {
    back(&hub, &context, &headers, &arrival, &answer).await
}

/// Where a provider sends the browser back to when a program is to get a code.
#[utoipa::path(get, path = "/auth/oauth/{provider}/callback", tag = "auth", params(Answer, ("provider" = String, Path)),
    responses((status = 303), (status = 400, body = String, content_type = "text/html")))]
pub async fn hand_over_callback(
    State(hub): State<Arc<Hub>>,
    context: RequestContext,
    headers: HeaderMap,
    arrival: Arrival,
    Query(answer): Query<Answer>,
) -> Page {
    back(&hub, &context, &headers, &arrival, &answer).await
}

/// One way back for all: the state says which provider it was.
async fn back(hub: &Hub, context: &RequestContext, headers: &HeaderMap, arrival: &Arrival, answer: &Answer) -> Page {
    let cookie = browser_cookie(headers, arrival.secure);
    let finished = match sign_in::finish(hub, answer, cookie, context).await {
        Ok(finished) => finished,
        Err(error) => {
            let actor = Actor { address: context.address.to_string(), ..Actor::default() };
            let entry =
                Entry { verb: Verb::Login, command: "login".to_owned(), route: "/auth/callback", ..Entry::default() };
            hub.trail.record(context, actor, entry, Outcome::Denied, error.status.as_u16(), &error.detail).await?;
            return Err(error.into());
        }
    };
    record(hub, context, &finished.user, "/auth/callback", &format!("signed in with {}", finished.provider)).await?;
    if finished.hand_over {
        return hand_over(hub, &finished).await;
    }
    Ok(with_session(hub, &finished.user, Some(finished.origin), arrival, &finished.return_to).await?)
}

async fn hand_over(hub: &Hub, finished: &Finished) -> Page {
    let code = new_secret();
    let kept = OauthCode {
        user: finished.user.id,
        provider_session: Some(finished.origin),
        challenge: None,
        redirect_uri: finished.return_to.clone(),
        expires_at_ms: now_ms() + CODE_LIFE_MS,
    };
    hub.store.create_oauth_code(&code.hash, &kept).await?;
    Ok(see_other(&with_code(&finished.return_to, &[("code", code.value.expose_secret())])))
}

/// A target with query parameters added, before its fragment.
pub(super) fn with_code(target: &str, pairs: &[(&str, &str)]) -> String {
    let (path, fragment) = target.split_once('#').map_or((target, None), |(path, fragment)| (path, Some(fragment)));
    let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
    let join = if path.contains('?') { '&' } else { '?' };
    let fragment = fragment.map(|fragment| format!("#{fragment}")).unwrap_or_default();
    format!("{path}{join}{query}{fragment}")
}

/// Trades a hand-over code for tokens, once.
#[utoipa::path(post, path = "/auth/oauth/exchange", tag = "auth", request_body = ExchangeRequest, responses(
    (status = 200, body = TokenResponse), (status = 401, body = Problem)))]
pub async fn exchange(
    State(hub): State<Arc<Hub>>,
    arrival: Arrival,
    AnonymousJson(body): AnonymousJson<ExchangeRequest>,
) -> Result<axum::Json<TokenResponse>, ApiError> {
    let refused = || {
        let detail = "the code is unknown, spent, older than 30 s or somebody else's; sign in again";
        ApiError::new(StatusCode::UNAUTHORIZED, Code::InvalidCredentials, detail)
    };
    let code = hub.store.take_oauth_code(&secret_hash(&body.code), now_ms()).await?.ok_or_else(refused)?;
    if let Some(challenge) = &code.challenge {
        let verifier = body.code_verifier.map(SecretString::from).ok_or_else(refused)?;
        let same = body.redirect_uri.as_deref() == Some(code.redirect_uri.as_str());
        if flotilla_identity::oidc::challenge(&verifier) != *challenge || !same {
            return Err(refused());
        }
    }
    let user = hub.store.user_by_id(code.user).await?.ok_or_else(refused)?;
    tokens_for(&hub, &user, code.provider_session, &arrival).await.map(axum::Json)
}

/// Opens a session of a command line that stands on the provider's, where there is one.
pub(super) async fn tokens_for(
    hub: &Hub,
    user: &User,
    origin: Option<ProviderSessionId>,
    arrival: &Arrival,
) -> Result<TokenResponse, ApiError> {
    let (session, tokens) = token_session(hub, user, arrival).await?;
    stand_on(hub, session, origin).await?;
    Ok(tokens)
}

async fn stand_on(
    hub: &Hub,
    session: flotilla_types::id::SessionId,
    origin: Option<ProviderSessionId>,
) -> Result<(), ApiError> {
    let Some(origin) = origin else { return Ok(()) };
    match hub.store.attach_session(session, origin).await {
        // It ended at the provider in this very moment; so does ours.
        Err(StoreError::NotFound { .. }) => {
            hub.end_session(session).await?;
            Err(ApiError::unauthenticated("the session at the provider has ended; sign in again"))
        }
        other => Ok(other?),
    }
}

async fn with_session(
    hub: &Hub,
    user: &User,
    origin: Option<ProviderSessionId>,
    arrival: &Arrival,
    return_to: &str,
) -> Result<Response, ApiError> {
    let signed_in = hub.sign_in(user.id, arrival).await?;
    stand_on(hub, signed_in.session, origin).await?;
    // The sign-in page leads on: the console's to its first page, ours says who is signed in.
    let mut response = see_other(if return_to == HOME { "/login" } else { return_to });
    response.headers_mut().append(SET_COOKIE, signed_in.set_cookie);
    Ok(response)
}

async fn record(
    hub: &Hub,
    context: &RequestContext,
    user: &User,
    route: &'static str,
    how: &str,
) -> Result<(), ApiError> {
    let actor = Actor {
        sub: Some(user.id),
        email: user.email.clone(),
        address: context.address.to_string(),
        ..Actor::default()
    };
    let entry = Entry { verb: Verb::Login, command: format!("login {}", user.email), route, ..Entry::default() };
    Ok(hub.trail.record(context, actor, entry, Outcome::Succeeded, 303, how).await?)
}

/// Signs out here and, where the provider can do that, there too (OpenID Connect RP-Initiated Logout 1.0).
#[utoipa::path(post, path = "/logout", tag = "auth", responses((status = 200, body = String, content_type = "text/html"), (status = 303)))]
pub async fn sign_out(State(hub): State<Arc<Hub>>, arrival: Arrival, caller: Result<Caller, ApiError>) -> Page {
    let caller = match caller {
        Ok(caller) => caller,
        Err(error) if error.status == StatusCode::UNAUTHORIZED => return Ok(see_other("/login")),
        Err(error) => return Err(error.into()),
    };
    let mut response = see_other("/login");
    if let Some(session) = caller.principal.session() {
        let origin = hub.store.provider_session_of(session).await?;
        let entry = Entry {
            verb: Verb::Logout,
            status: 303,
            command: "logout".to_owned(),
            route: "/logout",
            ..Entry::default()
        };
        hub.trail.act(&caller, entry, hub.end_session(session)).await?;
        hub.store.detach_session(session).await?;
        if let Some((provider, id_token)) = origin.and_then(|origin| Some((origin.provider, origin.id_token?))) {
            let back_to = format!("{}/login", hub.config.public_url().trim_end_matches('/'));
            let url = hub.ways.find(&provider)?.provider.end_session_url(&id_token, &back_to).await;
            response = url.map_or(response, |url| pages::onward("Signing out", &url));
        }
    }
    response.headers_mut().append(SET_COOKIE, arrival.clear_cookie());
    Ok(response)
}

/// Takes logouts that a provider tells of (OpenID Connect Back-Channel Logout 1.0): `logout_token` in a form.
#[utoipa::path(post, path = "/auth/backchannel-logout", tag = "auth", responses((status = 200), (status = 400, body = Object)))]
pub async fn backchannel_logout(State(hub): State<Arc<Hub>>, form: Form) -> Response {
    let answer = logout::obey(&hub, form.get("logout_token")).await;
    let no_store = [(CACHE_CONTROL, HeaderValue::from_static("no-store"))];
    match answer {
        Ok(()) => (StatusCode::OK, no_store).into_response(),
        Err(LogoutError::Failed(error)) => {
            tracing::error!(error = format!("{error:#}"), "a logout at a provider could not be carried out");
            (StatusCode::INTERNAL_SERVER_ERROR, no_store).into_response()
        }
        Err(error) => {
            tracing::warn!(%error, "a logout token was refused");
            let body = serde_json::json!({"error": "invalid_request", "error_description": error.to_string()});
            (StatusCode::BAD_REQUEST, no_store, axum::Json(body)).into_response()
        }
    }
}

/// The style sheet of the hub's own pages.
#[utoipa::path(get, path = "/auth/style.css", tag = "auth", responses((status = 200, body = String, content_type = "text/css")))]
pub async fn style() -> impl IntoResponse {
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static("text/css; charset=utf-8")),
        (CACHE_CONTROL, HeaderValue::from_static("max-age=3600")),
    ];
    (headers, pages::STYLE)
}

/// `303 See Other`: whatever the method was, the next one is GET.
pub(super) fn see_other(to: &str) -> Response {
    let location = HeaderValue::from_str(to).unwrap_or(HeaderValue::from_static(HOME));
    (StatusCode::SEE_OTHER, [(LOCATION, location)]).into_response()
}

const SECURE_BROWSER: &str = "__Host-flotilla-signin";
const PLAIN_BROWSER: &str = "flotilla-signin";

/// The cookie that binds a sign-in to the browser that began it.
fn browser_cookie(headers: &HeaderMap, secure: bool) -> Option<&str> {
    let wanted = if secure { SECURE_BROWSER } else { PLAIN_BROWSER };
    let lines = headers.get_all(COOKIE).iter().filter_map(|line| line.to_str().ok());
    let pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    let mut values = pairs.filter(|(name, _)| *name == wanted).map(|(_, value)| value);
    // Which of two counts must not be up to whoever planted the other.
    values.next().filter(|value| value.len() == 43 && values.next().is_none())
}

/// Lax, because the provider sends the browser back from its own site.
fn set_browser_cookie(value: &SecretString, secure: bool) -> HeaderValue {
    let (name, flag) = if secure { (SECURE_BROWSER, "; Secure") } else { (PLAIN_BROWSER, "") };
    let (value, life) = (value.expose_secret(), STATE_LIFE.as_secs());
    let text = format!("{name}={value}; Path=/; Max-Age={life}; HttpOnly; SameSite=Lax{flag}");
    let mut header = HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static(""));
    header.set_sensitive(true);
    header
}
