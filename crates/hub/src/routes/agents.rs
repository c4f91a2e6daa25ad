//! `/api/agents/*`: enrolment tokens, enrolled agents, revocation; and the agents' own calls, which live on the
//! agents' listener (`listen::agents`) and share the functions here.
//!
//! Every refusal of a token looks the same from outside: unknown, spent, too old, for another cluster.
//!
//! Must not know: TLS.

use std::sync::Arc;
use std::time::UNIX_EPOCH;

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use flotilla_store::{Agent, NewAgent};
use flotilla_tunnel::pki::{IssuedClient, PkiError};
use flotilla_tunnel::token::EnrolmentToken;
use flotilla_tunnel::upgrade;
use flotilla_types::agent::{AgentView, Enrolment, RegisterRequest, TokenRequest, TokenResponse};
use flotilla_types::api::AgentList;
use flotilla_types::audit::{Actor, Outcome, Target, Verb};
use flotilla_types::id::{AgentId, ClusterId};
use flotilla_types::name::check_cluster_name;
use flotilla_types::problem::{Code, Problem};
use flotilla_types::time::{from_ms, now_ms};
use http::StatusCode;
use secrecy::ExposeSecret;

use crate::error::ApiError;
use crate::hub::Hub;
use crate::listen;
use crate::manifest;
use crate::request::RequestContext;
use crate::request::caller::{Administrator, AnonymousJson, Json, Path};
use crate::trail::Entry;

type Answer<T> = Result<T, ApiError>;

/// Makes a one-use enrolment token for a cluster's agent.
#[utoipa::path(post, path = "/api/agents/tokens", tag = "agents", request_body = TokenRequest, responses(
    (status = 201, body = TokenResponse), (status = 403, body = Problem), (status = 422, body = Problem)))]
pub async fn create_token(
    State(hub): State<Arc<Hub>>,
    Administrator(caller): Administrator,
    Json(body): Json<TokenRequest>,
) -> Answer<impl IntoResponse> {
    check_cluster_name(&body.cluster)?;
    let direct = hub.backends.kind(&body.cluster).is_some_and(|kind| kind != flotilla_cluster::backends::Kind::Agent);
    if direct {
        return Err(ApiError::conflict(format!(
            "the hub reaches cluster {} directly; remove it first or choose another name",
            body.cluster
        )));
    }
    let token = EnrolmentToken::generate(hub.ca.pin()).map_err(|error| ApiError::internal(&error))?;
    let expires_at_ms = now_ms() + hub.config.agents.token_expiry.as_ms();
    let command = format!("make enrolment token for {}", body.cluster);
    let entry = Entry {
        verb: Verb::AgentTokenCreate,
        status: 201,
        command,
        route: "/api/agents/tokens",
        target: target(&body.cluster),
    };
    let created_by = caller.principal.user_id();
    let secret_hash = token.secret_hash();
    let act = hub.store.create_enrolment_token(&secret_hash, &body.cluster, expires_at_ms, Some(created_by));
    hub.trail.act(&caller, entry, act).await?;
    let text = token.format();
    let manifest = manifest::agent(&hub.config, &body.cluster, text.expose_secret());
    let response = TokenResponse {
        token: text.expose_secret().to_owned(),
        cluster: body.cluster,
        expires_at: from_ms(expires_at_ms),
        hub_url: hub.config.agent_url(),
        manifest,
    };
    Ok((StatusCode::CREATED, axum::Json(response)))
}

/// All enrolments.
#[utoipa::path(get, path = "/api/agents", tag = "agents", responses((status = 200, body = AgentList), (status = 403, body = Problem)))]
pub async fn list(State(hub): State<Arc<Hub>>, _: Administrator) -> Answer<axum::Json<AgentList>> {
    let connections = hub.tunnels.connections();
    let view = |agent: Agent| {
        let open = connections.iter().filter(|connection| connection.owner == agent.id.0).count();
        let status = match (agent.revoked_at_ms, open) {
            (Some(_), _) => "revoked",
            (None, 0) => "disconnected",
            (None, _) => "connected",
        };
        AgentView {
            id: agent.id,
            cluster: agent.cluster,
            status: status.to_owned(),
            connections: open,
            enrolled_at: from_ms(agent.enrolled_at_ms),
            certificate_expires_at: from_ms(agent.certificate_not_after_ms),
            last_seen: agent.last_seen_ms.map(from_ms),
        }
    };
    Ok(axum::Json(AgentList { agents: hub.store.list_agents().await?.into_iter().map(view).collect() }))
}

/// Revokes the agents of a cluster. Their live connections are cut at once, and neither their certificates nor unspent
/// enrolment tokens hold any longer.
#[utoipa::path(delete, path = "/api/agents/{cluster}", tag = "agents", params(("cluster" = String, Path)), responses(
    (status = 204), (status = 404, body = Problem)))]
pub async fn revoke(
    State(hub): State<Arc<Hub>>,
    Administrator(caller): Administrator,
    Path(cluster): Path<String>,
) -> Answer<impl IntoResponse> {
    let command = format!("revoke agents of {cluster}");
    let entry = Entry {
        verb: Verb::AgentRevoke,
        status: 204,
        command,
        route: "/api/agents/{cluster}",
        target: target(&cluster),
    };
    let revoked = hub
        .trail
        .act(&caller, entry, async {
            // Unspent tokens first: whoever holds one must not enrol again.
            let voided = hub.store.void_enrolment_tokens(&cluster).await?;
            let revoked = hub.store.revoke_agents_of(&cluster).await?;
            if revoked.is_empty() && voided == 0 {
                let detail =
                    format!("cluster {cluster:?} has no agent to revoke; list them with: flotilla agents list");
                return Err(ApiError::not_found(detail));
            }
            Ok(revoked)
        })
        .await?;
    for agent in revoked {
        hub.tunnels.disconnect(agent.0);
    }
    Ok(StatusCode::NO_CONTENT)
}

/// Trades an enrolment token and a certificate request for a certificate. Also on the agents' listener.
#[utoipa::path(post, path = "/api/agents/register", tag = "agents", request_body = RegisterRequest, responses(
    (status = 200, body = Enrolment), (status = 401, body = Problem), (status = 422, body = Problem)))]
pub async fn register(
    State(hub): State<Arc<Hub>>,
    context: RequestContext,
    AnonymousJson(body): AnonymousJson<RegisterRequest>,
) -> Answer<axum::Json<Enrolment>> {
    enrol(&hub, &context, body).await.map(axum::Json)
}

/// Where agents connect through a proxy that terminates TLS: `Upgrade: websocket`, subprotocol `flotilla-tunnel.1`. All
/// else of theirs is done inside, or on the agents' listener.
#[utoipa::path(get, path = "/api/agents/connect", tag = "agents", responses(
    (status = 101, description = "An agent's TLS connection begins inside the WebSocket"),
    (status = 400, body = Problem), (status = 403, body = Problem), (status = 421, body = Problem)))]
pub async fn connect(State(hub): State<Arc<Hub>>, context: RequestContext, mut request: Request) -> Answer<Response> {
    if upgrade::token(request.headers()).is_some_and(|token| token.as_bytes().eq_ignore_ascii_case(b"websocket")) {
        return listen::agents::socket(&hub, &mut request, context.address);
    }
    let detail = format!("agents connect with their certificate at {}/api/agents/connect", hub.config.agent_url());
    Err(ApiError::new(StatusCode::MISDIRECTED_REQUEST, Code::Misdirected, detail))
}

/// Enrols an agent.
///
/// # Errors
/// The token does not hold (one answer for every reason), or the certificate request is not for the token's cluster.
pub async fn enrol(hub: &Hub, context: &RequestContext, body: RegisterRequest) -> Answer<Enrolment> {
    // Per token, not one allowance for all: whoever guesses must not keep other agents from enrolling.
    if let Err(wait) = hub.throttle.check(&body.token, context.address) {
        return Err(ApiError::too_many_requests("too many enrolments from this address; wait and try again", wait.0));
    }
    let actor =
        Actor { email: format!("agent:{}", body.cluster), address: context.address.to_string(), ..Actor::default() };
    let command = format!("enrol agent of {}", body.cluster);
    let entry = Entry {
        verb: Verb::AgentEnrol,
        command,
        route: "/api/agents/register",
        target: target(&body.cluster),
        ..Entry::default()
    };
    check_metadata(&body.metadata)?;
    // The request is checked before the token is spent: a mistaken CSR must not cost the operator his token.
    let agent = AgentId::new();
    let certificate = match check_cluster_name(&body.cluster) {
        Ok(()) => issue(hub, &body.csr, &body.cluster, agent)?,
        Err(_) => return Err(enrolment_refused()),
    };
    let redeemed = match EnrolmentToken::parse(&body.token) {
        Ok(token) => hub.store.redeem_enrolment_token(&token.secret_hash(), &body.cluster, now_ms()).await?,
        Err(_) => false,
    };
    if !redeemed {
        hub.trail
            .record(context, actor, entry, Outcome::Denied, 401, "unknown, spent, expired or other cluster's token")
            .await?;
        return Err(enrolment_refused());
    }
    let made = hub.trail.act_as(context, actor, entry, async {
        let cluster_id = hub.store.ensure_agent_cluster(&body.cluster).await?;
        let enrolment = enrolment(hub, agent, cluster_id, &certificate);
        let new = NewAgent {
            id: agent,
            cluster_id,
            certificate_serial: certificate.serial,
            certificate_not_after_ms: enrolment.expires_at.as_millisecond(),
        };
        hub.store.create_agent(&new).await?;
        Ok::<_, ApiError>(enrolment)
    });
    let enrolment = made.await?;
    if !body.metadata.is_empty() {
        hub.store.set_metadata(enrolment.cluster_id, &body.metadata).await?;
    }
    hub.clusters.reload(&hub.store).await?;
    Ok(enrolment)
}

/// Checks what an agent says of its cluster: everyone who sees the cluster gets it with each list.
///
/// # Errors
/// It is larger than 16 KiB.
pub fn check_metadata(metadata: &serde_json::Map<String, serde_json::Value>) -> Answer<()> {
    let small = serde_json::to_string(metadata).is_ok_and(|text| text.len() <= 16 * 1024);
    if small { Ok(()) } else { Err(ApiError::invalid("metadata is larger than 16 KiB")) }
}

/// Gives a known agent its next certificate.
///
/// # Errors
/// The certificate request is not for the agent's cluster.
pub async fn renew(hub: &Hub, agent: &Agent, csr: &str) -> Answer<Enrolment> {
    let certificate = issue(hub, csr, &agent.cluster, agent.id)?;
    let enrolment = enrolment(hub, agent.id, agent.cluster_id, &certificate);
    hub.store.record_certificate(agent.id, &certificate.serial, enrolment.expires_at.as_millisecond()).await?;
    Ok(enrolment)
}

fn issue(hub: &Hub, csr: &str, cluster: &str, agent: AgentId) -> Answer<IssuedClient> {
    let ttl = hub.config.agents.certificate_expiry.0;
    hub.ca
        .issue_client(csr, cluster, &agent_uri(agent), ttl)
        .map_err(|error: PkiError| ApiError::invalid(format!("the certificate request is refused: {error}")))
}

/// The URI name that binds a certificate to an enrolment.
#[must_use]
pub fn agent_uri(agent: AgentId) -> String {
    format!("flotilla:agent:{agent}")
}

fn enrolment(hub: &Hub, agent_id: AgentId, cluster_id: ClusterId, certificate: &IssuedClient) -> Enrolment {
    let not_after = certificate.not_after.duration_since(UNIX_EPOCH).unwrap_or_default();
    Enrolment {
        agent_id,
        cluster_id,
        certificate: certificate.certificate_pem.clone(),
        ca: hub.ca.certificate_pem().to_owned(),
        expires_at: from_ms(i64::try_from(not_after.as_millis()).unwrap_or(i64::MAX)),
    }
}

fn enrolment_refused() -> ApiError {
    let detail = "the enrolment token does not hold for this cluster: it is unknown, spent or older than 15 minutes; \
        make a new one with: flotilla agents token CLUSTER";
    ApiError::new(StatusCode::UNAUTHORIZED, Code::EnrolmentRefused, detail)
}

fn target(name: &str) -> Target {
    Target { cluster: name.to_owned(), ..Target::default() }
}
