//! `/api/explorer/*`: who can do something, and what somebody can do, by the hub's policy and by the cluster's own RBAC.
//!
//! Both sides show no more than the caller may know: of people those of his [`Circle`], of the cluster's RBAC what it
//! lets him read himself.
//!
//! Must not know: what a rule means, how a cluster is reached.

use std::sync::Arc;

use axum::extract::State;
use flotilla_cluster::rbac::{Allowing, Holder, Rbac};
use flotilla_cluster::request::ClusterRef;
use flotilla_identity::policy::{Action, Decision, PolicySet, cluster_matches};
use flotilla_types::api::Permission;
use flotilla_types::name::normalize_email;
use flotilla_types::problem::Problem;
use flotilla_types::rights::{PersonCan, ReachingRule, WhatCan, WhatCanQuery, WhoCan, WhoCanQuery};

use crate::accounts::{Account, Circle, known_to};
use crate::error::ApiError;
use crate::hub::Hub;
use crate::rbac_reader::{Extent, read};
use crate::request::caller::{Caller, Query};

type Answer<T> = Result<T, ApiError>;

const WHO_CAN: &str = "/api/explorer/who-can";
const WHAT_CAN: &str = "/api/explorer/what-can";

/// What stands for all calls of somebody: with reviews of himself he arrives in all his groups.
const ANY: Action<'static> = Action {
    cluster: "",
    verb: "create",
    api_group: "authorization.k8s.io",
    resource: "selfsubjectaccessreviews",
    subresource: "",
    namespace: "",
    name: "",
    path: "",
};

fn visible(hub: &Hub, caller: &Caller, cluster: &str) -> Answer<ClusterRef> {
    let sees = |name: &str| caller.principal.sees(&hub.policy.load(), name);
    let found = hub.clusters.find(cluster).filter(|cluster| sees(&cluster.name));
    found.ok_or_else(|| super::clusters::unknown(cluster))
}

/// Who can do something in a cluster: people by the hub's policy, and whoever the cluster's own RBAC names.
#[utoipa::path(get, path = "/api/explorer/who-can", tag = "access", params(WhoCanQuery),
    responses((status = 200, body = WhoCan), (status = 404, body = Problem), (status = 422, body = Problem)))]
pub async fn who_can(
    State(hub): State<Arc<Hub>>,
    caller: Caller,
    Query(query): Query<WhoCanQuery>,
) -> Answer<axum::Json<WhoCan>> {
    let cluster = visible(&hub, &caller, &query.cluster)?;
    let action = action(&query, &cluster)?;
    let extent = if action.namespace.is_empty() { Extent::ClusterWide } else { Extent::Namespace(action.namespace) };
    let rbac = read(&hub, &caller, &cluster, extent, WHO_CAN).await;
    let allowing = rbac.as_ref().map(|rbac| rbac.allowing(&action));
    let circle = Circle::of(&hub, &caller);
    let (accounts, policy) = (known_to(&hub, &caller, &circle).await?, hub.policy.load_full());
    let people = accounts.iter().filter_map(|one| person(&policy, one, &action, allowing.as_ref().ok())).collect();
    Ok(axum::Json(WhoCan {
        people,
        people_incomplete: circle.left_out(&hub),
        subjects: allowing.map(|allowing| allowing.subjects()).unwrap_or_default(),
        cluster_unanswered: rbac.err().unwrap_or_default(),
    }))
}

/// The action that is asked about.
fn action<'a>(query: &'a WhoCanQuery, cluster: &'a ClusterRef) -> Answer<Action<'a>> {
    if query.verb.is_empty() || query.resource.is_empty() {
        return Err(ApiError::invalid(
            "give a verb and a resource in the plural, for example verb=create&resource=pods/exec",
        ));
    }
    if query.resource.starts_with('/') {
        if !(query.namespace.is_empty() && query.group.is_empty() && query.name.is_empty()) {
            return Err(ApiError::invalid("a path has no API group, namespace or name; leave them out"));
        }
        return Ok(Action { cluster: &cluster.name, verb: &query.verb, path: &query.resource, ..Action::default() });
    }
    let (resource, subresource) = query.resource.split_once('/').unwrap_or((query.resource.as_str(), ""));
    Ok(Action {
        cluster: &cluster.name,
        verb: &query.verb,
        api_group: &query.group,
        resource,
        subresource,
        namespace: &query.namespace,
        name: &query.name,
        path: "",
    })
}

/// Somebody, if the policy allows him the action; with what the cluster says to it.
fn person(
    policy: &PolicySet,
    account: &Account,
    action: &Action<'_>,
    allowing: Option<&Allowing<'_>>,
) -> Option<PersonCan> {
    let Decision::Allowed { rule } = policy.decide(&account.roles, action) else { return None };
    let arrival = policy.arrival(&account.email, &account.roles, &account.groups, action);
    let holder = Holder { user: &arrival.user, groups: &arrival.groups };
    let binding = allowing.map(|allowing| allowing.to(holder));
    Some(PersonCan {
        email: account.email.clone(),
        rule: rule.to_string(),
        cluster_allows: binding.as_ref().map(Option::is_some),
        binding: binding.flatten().unwrap_or_default(),
    })
}

/// What somebody can do in a cluster: the rules of the hub's policy that reach it, and those of the cluster's own RBAC
/// that are bound to the user and groups as which he arrives.
#[utoipa::path(get, path = "/api/explorer/what-can", tag = "access", params(WhatCanQuery),
    responses((status = 200, body = WhatCan), (status = 404, body = Problem), (status = 422, body = Problem)))]
pub async fn what_can(
    State(hub): State<Arc<Hub>>,
    caller: Caller,
    Query(query): Query<WhatCanQuery>,
) -> Answer<axum::Json<WhatCan>> {
    let cluster = visible(&hub, &caller, &query.cluster)?;
    let account = subject(&hub, &caller, &query.subject).await?;
    let policy = hub.policy.load_full();
    let any = Action { cluster: &cluster.name, ..ANY };
    let arrival = policy.arrival(&account.email, &account.roles, &account.groups, &any);
    let holder = Holder { user: &arrival.user, groups: &arrival.groups };
    let rbac = read(&hub, &caller, &cluster, Extent::Everywhere, WHAT_CAN).await;
    let bound = |rbac: &Rbac| rbac.rules_of(holder);
    let reaches = |permission: &Permission| cluster_matches(&permission.rule.name, &cluster.name);
    let reaching = policy.permissions(&account.roles).into_iter().filter(reaches);
    Ok(axum::Json(WhatCan {
        hub: reaching.map(|Permission { role, rule }| ReachingRule { role, rule }).collect(),
        cluster: rbac.as_ref().map(bound).unwrap_or_default(),
        cluster_unanswered: rbac.err().unwrap_or_default(),
        subject: account.email,
        user: arrival.user,
        groups: arrival.groups,
    }))
}

/// The account that is asked about. One that the caller may not know of is answered as one that is not there.
async fn subject(hub: &Hub, caller: &Caller, address: &str) -> Answer<Account> {
    let wanted = match address {
        "" => caller.principal.email().to_owned(),
        address => normalize_email(address)?,
    };
    let own = wanted == caller.principal.email();
    let circle = if own { Circle::Himself } else { Circle::of(hub, caller) };
    let found = known_to(hub, caller, &circle).await?.into_iter().find(|account| account.email == wanted);
    found.ok_or_else(|| {
        ApiError::not_found(format!("there is no account {wanted:?}, or its rights are not yours to know"))
    })
}
