//! Access on request: what may be asked, who may approve it, and what happens when a grant ends.
//!
//! Must not know: HTTP, how a grant is judged (it is a role like any other, with an end).

use std::net::{IpAddr, Ipv4Addr};

use flotilla_identity::policy::{PolicySet, cluster_matches, units};
use flotilla_identity::principal::Principal;
use flotilla_identity::standing::{Act, Verdict};
use flotilla_store::{AccessRequest, OwnedCluster};
use flotilla_types::audit::{Actor, Outcome, Target, Verb};
use flotilla_types::id::{AccessRequestId, ClusterId, RequestId, UserId};
use flotilla_types::org::TeamPolicy;
use flotilla_types::policy::Role;
use flotilla_types::rights::AccessAsk;

use crate::directory::{Directory, grant_rule};
use crate::error::ApiError;
use crate::hub::Hub;
use crate::request::RequestContext;
use crate::trail::Entry;

/// The shortest access.
const SHORTEST_SECONDS: u64 = 1;

/// Resources through which a right would outlive its end, or become another's: what they allow is not lent.
const NEVER_LENT: [&str; 12] = [
    "certificatesigningrequests",
    "clusterrolebindings",
    "clusterroles",
    "groups",
    "mutatingwebhookconfigurations",
    "rolebindings",
    "roles",
    "serviceaccounts",
    "tokenreviews",
    "uids",
    "users",
    "validatingwebhookconfigurations",
];

/// Refuses what cannot be asked for.
///
/// # Errors
/// Says what to leave out.
pub fn check(hub: &Hub, ask: &AccessAsk) -> Result<(), ApiError> {
    if ask.reason.trim().is_empty() || ask.reason.len() > 500 {
        return Err(ApiError::invalid("say why, in at most 500 characters: who approves reads it"));
    }
    if ask.seconds < SHORTEST_SECONDS {
        return Err(ApiError::invalid(format!("{} s is too short; ask for {SHORTEST_SECONDS} s or more", ask.seconds)));
    }
    let lists = [&ask.namespaces, &ask.verbs, &ask.resources, &ask.api_groups];
    if lists.iter().any(|list| list.len() > 32) {
        return Err(ApiError::invalid("name at most 32 namespaces, verbs, resources and API groups each"));
    }
    if ask.verbs.iter().any(|verb| verb == "*") {
        return Err(ApiError::invalid(
            "name the verbs; \"*\" would include what must never be lent (escalate, bind, impersonate)",
        ));
    }
    let never = |resource: &&String| {
        let base = resource.split('/').next().unwrap_or_default();
        NEVER_LENT.iter().any(|word| cluster_matches(base, word))
    };
    let reads = ask.verbs.iter().all(|verb| matches!(verb.as_str(), "get" | "list" | "watch" | "describe" | "logs"));
    if let Some(resource) = ask.resources.iter().find(never).filter(|_| !reads) {
        return Err(ApiError::invalid(format!(
            "{resource:?} covers resources through which a right would outlive its end; ask to read them, or name others"
        )));
    }
    let rule = grant_rule(ask);
    let role = Role {
        name: "request".into(),
        description: String::new(),
        clusters: vec![rule],
        groups: Vec::new(),
        administrator: Some(false),
        auditor: false,
    };
    hub.roles.check_role(&role)
}

/// The clusters that are asked for: those that match, of the organisations of whoever asks and those that he sees.
#[must_use]
pub fn clusters(directory: &Directory, policy: &PolicySet, principal: &Principal, ask: &AccessAsk) -> Vec<ClusterId> {
    let near = |one: &&OwnedCluster| {
        let member = directory.org_role(one.org, principal.user_id()).is_some();
        cluster_matches(&ask.cluster, &one.name) && (member || principal.sees(policy, &one.name))
    };
    directory.clusters.iter().filter(near).map(|one| one.id).collect()
}

/// How many must approve, and the longest that may be asked for, in seconds: the strictest of the teams that own the
/// clusters.
#[must_use]
pub fn rule(directory: &Directory, clusters: &[ClusterId]) -> (u32, u64) {
    let default = TeamPolicy::default();
    let of = |cluster: &OwnedCluster| cluster.team.and_then(|team| directory.team(team)).map(|team| &team.policy);
    let asked = directory.clusters.iter().filter(|one| clusters.contains(&one.id));
    let rules = asked.map(|one| of(one).unwrap_or(&default));
    rules.fold((1, u64::MAX), |(approvals, longest), policy| {
        (approvals.max(policy.approvals), longest.min(policy.max_grant_seconds))
    })
}

/// Whether deciding the request is somebody's business: he administers the hub, or for every cluster the team that owns
/// it or its organisation.
///
/// # Errors
/// Says why not.
pub fn may_see(hub: &Hub, principal: &Principal, request: &AccessRequest) -> Result<(), String> {
    let directory = hub.roles.directory();
    let platform_admin = hub.policy.load().is_administrator(principal.roles());
    let mut asked = directory.clusters.iter().filter(|one| request.clusters.contains(&one.id)).peekable();
    if asked.peek().is_none() && !platform_admin {
        return Err("its clusters are there no longer".to_owned());
    }
    for cluster in asked {
        match directory.cluster_standing(cluster, principal.user_id(), platform_admin).may(Act::Approve) {
            Verdict::Allowed(_) => {}
            Verdict::Denied(reason) => return Err(format!("cluster {}: {reason}", cluster.name)),
            Verdict::Invisible => return Err("it is about clusters that are not yours".to_owned()),
        }
    }
    Ok(())
}

/// Whether somebody may approve or deny a request: [`may_see`], and he administers the hub or himself holds all that
/// would be given, other than by a grant. Never his own.
///
/// # Errors
/// Says why not.
pub fn may_decide(hub: &Hub, principal: &Principal, request: &AccessRequest) -> Result<(), String> {
    if principal.user_id() == request.user {
        return Err("nobody decides his own request; ask another".to_owned());
    }
    may_see(hub, principal, request)?;
    let policy = hub.policy.load();
    if policy.is_administrator(principal.roles()) {
        return Ok(());
    }
    let own: Vec<String> = principal.roles().iter().filter(|name| !name.starts_with("grant:")).cloned().collect();
    let rule = grant_rule(&request.ask);
    let names = hub.roles.directory().names(&request.clusters);
    let beyond =
        names.iter().find(|name| units(&rule, name).iter().any(|unit| !policy.decide(&own, unit).is_allowed()));
    match beyond {
        None => Ok(()),
        Some(name) => Err(format!(
            "it asks for more in cluster {name} than you hold yourself; an administrator of the hub can decide it"
        )),
    }
}

/// What happens when a grant's time is over: the log says so. Whoever had something open with it is cut off by the
/// caller's reload of the directory, after which the policy allows it no longer.
///
/// # Errors
/// The row cannot be written, or the request cannot be read.
pub async fn ended_by_itself(hub: &Hub, id: AccessRequestId) -> anyhow::Result<()> {
    let Some(request) = hub.store.access_request(id).await? else { return Ok(()) };
    let context = RequestContext::new(RequestId::new(), IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    let actor =
        Actor { sub: Some(UserId(uuid::Uuid::nil())), email: "flotilla:system:access".into(), ..Actor::default() };
    let entry = entry(Verb::AccessEnd, "worker", &request);
    hub.trail.record(&context, actor, entry, Outcome::Succeeded, 200, "its time is over").await?;
    tracing::info!(grant = %id, email = request.email, "access on request has ended");
    Ok(())
}

/// How the audit log names an act on a request.
#[must_use]
pub fn entry(verb: Verb, route: &'static str, request: &AccessRequest) -> Entry {
    let AccessAsk { cluster, namespaces, verbs, resources, seconds, .. } = &request.ask;
    let command = format!(
        "{} {} for {}: {} on {} in {} of {cluster} for {seconds} s",
        verb.as_str(),
        request.id,
        request.email,
        verbs.join(","),
        resources.join(","),
        namespaces.join(",")
    );
    let target = Target { cluster: cluster.clone(), name: request.id.to_string(), ..Target::default() };
    Entry { verb, command, route, target, status: 0 }
}
