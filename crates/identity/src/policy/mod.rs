//! What a caller may do in which cluster: the contract of roles, and the one evaluator of it.
//!
//! The hub asks here for the *real* Kubernetes API call, as classified from method and path, never
//! for the words of a command line. What is allowed here is then decided once more by the cluster's
//! own RBAC, under the caller's own name.
//!
//! # The contract
//!
//! A person holds roles, a role has rules ([`flotilla_types::policy::ClusterRule`]). A call is
//! allowed when **one** rule of one role held matches it in **every** field. There is no order and
//! there are no denying rules: a rule more never takes anything away.
//!
//! **Patterns.** `*` stands for any run of characters (also none) except `/`. Everything else is
//! literal; there are no other metacharacters. A list matches when any of its patterns does.
//!
//! **Clusters.** The rules whose `name` matches the cluster *reach* it. Someone whom no rule reaches
//! does not see the cluster at all: the answer is [`Decision::Invisible`], as if it did not exist.
//!
//! **Namespaces** match the namespace of the call. (The namespace of a call on a Namespace object is
//! its name.) A call outside any namespace (a cluster-scoped object, a list over all namespaces)
//! needs the pattern `*`, exactly.
//!
//! **Resources** are plurals. The lone pattern `*` is everything, subresources included. `pods` is
//! pods and nothing below; subresources are named after a slash: `pods/status`, `*/scale`, `pods/*`.
//!
//! **Verbs** are those of the API server: `get list watch create update patch delete
//! deletecollection`; `*` is all of these and all actions. Words that stand for several:
//! `describe` = get, list; `apply` = get, create, patch; `edit` = get, patch, update.
//!
//! **Actions** are words beside the verbs, and `resources: [pods]` is enough for them:
//!
//! | word | covers |
//! |---|---|
//! | `logs` | get on `<resource>/log` |
//! | `exec`, `attach`, `port-forward` (also `portforward`) | `<resource>/exec`, `/attach`, `/portforward`, by any method |
//! | `proxy` | `<resource>/proxy`, any verb |
//! | `scale` | get, update, patch on `<resource>/scale` |
//!
//! Reading is not acting: `get` on `*` allows **no** exec, attach, port-forward or proxy (an exec
//! over WebSocket *is* a GET) and reads **no** logs. These need their word, or the verb `*`, or a
//! resource pattern that names the subresource literally after the slash, together with
//! - `create` for exec, attach and port-forward, whatever the method of the call;
//! - the verb of the call for `log` and `proxy` (`get` on `pods/log`, `update` on `services/proxy`).
//!
//! **API groups**: patterns; the empty string is the core group.
//!
//! **Names**: empty means any, and none (lists, creations). Otherwise the call must carry a name
//! that matches.
//!
//! **Recording**: exec, attach and port-forward are recorded as the strictest of all rules says that allow the call
//! (`record`: `off`, `on`, `required`), with what is typed if one of them says so (`record_input`).
//!
//! **Open to whoever reaches a cluster**, because kubectl cannot start without: reviews of oneself
//! (`create` of `selfsubjectaccessreviews`, `selfsubjectrulesreviews`, `selfsubjectreviews`), and
//! `get` or `head` of discovery, OpenAPI, version, health and the OIDC discovery documents.
//!
//! **Other paths** outside the resource API need `non_resource_urls` (patterns; a lone `*` is every
//! path) with the method as verb (`get` includes `head`), or a rule that allows everything. As in
//! Kubernetes, a rule with `non_resource_urls` covers these paths and nothing else. A path with a dot
//! segment or an empty segment inside is never allowed.
//!
//! # Example
//!
//! ```yaml
//! name: team-a
//! clusters:
//!   - name: "dev-*"
//!     namespaces: ["team-a", "team-a-*"]
//!     verbs: [get, list, watch, create, update, patch, delete, logs, exec]
//!     resources: [pods, deployments, "*/scale"]
//!   - name: "prod-*"
//!     verbs: [get, list, watch]
//!     resources: [pods, nodes]
//! ```
//!
//! | call | decision |
//! |---|---|
//! | `kubectl get pods -n team-a` in dev-1 | allowed by `team-a#1` |
//! | `kubectl exec -n team-a-x ...` in dev-1 | allowed by `team-a#1`, thanks to the word `exec` |
//! | `kubectl get pods -A` in dev-1 | denied: the namespaces of `team-a#1` do not contain `*` |
//! | `kubectl get pods -A` in prod-1 | allowed by `team-a#2`, whose namespaces are `*` by default |
//! | `kubectl logs ...` in prod-1 | denied: reading is not acting |
//! | `kubectl scale deploy ...` in dev-1 | allowed by `team-a#1`, `*/scale` |
//! | anything in staging | invisible |
//!
//! # Teams, groups, grants
//!
//! Being in a team, in a group of the identity provider, or having been granted access gives further roles
//! ([`Derived`]), which are judged like all others. They reach the clusters that they name and no others, never
//! administer the hub, and a grant gives nothing from its end on, whoever still remembers it.
//!
//! # Not promised
//! An aggregated API can call a console anything it likes (`virtualmachineinstances/console`); only
//! the subresources named above are known to act through a GET. Grant `*` with care.
//!
//! Must not know: HTTP, who the caller is, where roles are kept.

mod arrival;
mod builtin;
mod compile;
mod delegate;
mod derived;
mod explain;
mod open;
mod pattern;
mod rule;
mod words;

use std::collections::HashMap;
use std::sync::Arc;

use flotilla_types::api::{Permission, RoleView};
use flotilla_types::org::Mode;
use flotilla_types::policy::{ClusterRule, Record, Role};
use flotilla_types::time::now_ms;

pub use arrival::{Arrival, SHARED, grant_group, is_of_a_grant};
pub use builtin::{TIERS, built_in_roles, tier_role};
pub use compile::{PolicyError, compile};
pub use delegate::units;
pub use derived::Derived;
use pattern::Pattern;
use rule::{Query, Rights};

/// Where a role is written. Of several roles with one name the one in the file counts, then the
/// built-in one, then the one in the database; the others are hidden.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// In the roles file. Changed there, read again by itself.
    File,
    /// In the program.
    BuiltIn,
    /// In the database. The only ones that the API can change.
    Database,
    /// Follows from being in a team ([`Derived`]).
    Team,
    /// Follows from a group of the identity provider ([`Derived`]).
    Group,
    /// Follows from a request for access that was granted ([`Derived`]).
    Grant,
}

impl Source {
    /// The word used in [`RoleView::source`].
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::BuiltIn => "built-in",
            Self::Database => "database",
            Self::Team => "team",
            Self::Group => "group",
            Self::Grant => "grant",
        }
    }
}

/// One call on one cluster, as the API server itself would classify it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Action<'a> {
    /// Name of the cluster.
    pub cluster: &'a str,
    /// The API server's verb; the lower-case method for a path outside the resource API.
    pub verb: &'a str,
    /// API group; empty for the core group.
    pub api_group: &'a str,
    /// Plural of the resource; empty for a path outside the resource API.
    pub resource: &'a str,
    /// Subresource, or empty.
    pub subresource: &'a str,
    /// Namespace; empty for cluster-scoped objects and lists over all namespaces.
    pub namespace: &'a str,
    /// Name of the object; empty for lists and creations.
    pub name: &'a str,
    /// The path, outside the resource API; empty for resources.
    pub path: &'a str,
}

/// What the policy says to an [`Action`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The hub lets it through; the cluster's RBAC decides again.
    Allowed {
        /// The rule that allows it: role and number of the rule, counted from one (`developer#2`);
        /// `open` for what is open to whoever reaches the cluster.
        rule: Arc<str>,
    },
    /// Refused.
    Denied {
        /// The missing right and the rule that comes closest, for a person to read.
        reason: String,
    },
    /// No rule reaches the cluster: answer as if it did not exist.
    Invisible,
}

impl Decision {
    /// Whether it is [`Decision::Allowed`].
    #[must_use]
    pub fn is_allowed(&self) -> bool {
        matches!(self, Self::Allowed { .. })
    }
}

/// A set of roles, checked and prepared so that a decision takes about a microsecond. Immutable:
/// a change of roles compiles a new one.
pub struct PolicySet {
    roles: HashMap<Box<str>, CompiledRole>,
    open: Arc<str>,
    /// As whom people arrive, for clusters where it is not by [`Mode::Tier`].
    modes: HashMap<Box<str>, Mode>,
}

/// Whether a pattern of cluster names, as rules have them, matches a name.
#[must_use]
pub fn cluster_matches(pattern: &str, cluster: &str) -> bool {
    Pattern::new(pattern).matches(cluster)
}

struct CompiledRole {
    rules: Vec<CompiledRule>,
    source: Source,
    administrator: bool,
    /// The clusters that it reaches at most, sorted; `None` for all that its rules match.
    scope: Option<Box<[Box<str>]>>,
    /// The moment from which it gives nothing, milliseconds since the epoch.
    until_ms: Option<i64>,
    /// As it was written, for people to read.
    role: Role,
}

struct CompiledRule {
    /// `developer#2`.
    label: Arc<str>,
    cluster: Pattern,
    rights: Rights,
    recording: Recording,
}

/// Whether and how a shell is to be recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recording {
    /// Whether.
    pub record: Record,
    /// What is typed, too.
    pub input: bool,
}

impl PolicySet {
    /// Decides one call for someone who holds `roles`. Names of roles that do not exist, or whose time is over, give
    /// nothing.
    #[must_use]
    pub fn decide(&self, roles: &[String], action: &Action<'_>) -> Decision {
        self.decide_at(now_ms(), roles, action)
    }

    /// [`PolicySet::decide`] at another moment, in milliseconds since the epoch.
    #[must_use]
    pub fn decide_at(&self, now_ms: i64, roles: &[String], action: &Action<'_>) -> Decision {
        let query = Query::new(action);
        let mut reached = false;
        for rule in self.reaching(now_ms, roles, action.cluster) {
            reached = true;
            if rule.rights.allow(&query) {
                return Decision::Allowed { rule: rule.label.clone() };
            }
        }
        if !reached {
            return Decision::Invisible;
        }
        if open::is_open(action) {
            return Decision::Allowed { rule: self.open.clone() };
        }
        Decision::Denied { reason: self.explain(now_ms, roles, &query) }
    }

    /// How a shell is to be recorded that a holder of `roles` may open: as the strictest of all rules that allow it
    /// says.
    #[must_use]
    pub fn recording(&self, roles: &[String], action: &Action<'_>) -> Recording {
        let query = Query::new(action);
        let allowing = self.reaching(now_ms(), roles, action.cluster).filter(|rule| rule.rights.allow(&query));
        allowing.fold(Recording::default(), |strictest, rule| Recording {
            record: strictest.record.max(rule.recording.record),
            input: strictest.input || rule.recording.input,
        })
    }

    /// Whether a holder of `roles` may see what others had recorded.
    #[must_use]
    pub fn is_auditor(&self, roles: &[String]) -> bool {
        self.held(now_ms(), roles).any(|role| role.administrator || role.role.auditor)
    }

    /// Whether a holder of `roles` may know that the cluster exists.
    #[must_use]
    pub fn sees_cluster(&self, roles: &[String], cluster: &str) -> bool {
        self.reaching(now_ms(), roles, cluster).next().is_some()
    }

    /// Whether a holder of `roles` administers the hub itself.
    #[must_use]
    pub fn is_administrator(&self, roles: &[String]) -> bool {
        self.held(now_ms(), roles).any(|role| role.administrator)
    }

    /// The highest tier that a role held gives anywhere: one of [`TIERS`].
    #[must_use]
    pub fn tier(&self, roles: &[String]) -> Option<&'static str> {
        let groups: Vec<&str> =
            self.held(now_ms(), roles).flat_map(|role| &role.role.groups).map(String::as_str).collect();
        let given = |tier: &&&str| groups.iter().any(|group| group.strip_prefix("flotilla:tier:") == Some(**tier));
        TIERS.iter().rev().find(given).copied()
    }

    /// Every rule of every role held. Of a role that reaches certain clusters only, once for each of them.
    #[must_use]
    pub fn permissions(&self, roles: &[String]) -> Vec<Permission> {
        self.held(now_ms(), roles).flat_map(CompiledRole::permissions).collect()
    }

    /// All roles that count, by name. Those that follow from teams, groups and grants are not among them.
    #[must_use]
    pub fn roles(&self) -> Vec<RoleView> {
        let view = |role: &CompiledRole| RoleView { role: role.role.clone(), source: role.source.as_str().to_owned() };
        let mut views: Vec<RoleView> =
            self.roles.values().filter(|role| role.source <= Source::Database).map(view).collect();
        views.sort_unstable_by(|a, b| a.role.name.cmp(&b.role.name));
        views
    }

    /// Whether there is a role of this name.
    #[must_use]
    pub fn has_role(&self, name: &str) -> bool {
        self.roles.contains_key(name)
    }

    fn held<'a>(&'a self, now_ms: i64, roles: &'a [String]) -> impl Iterator<Item = &'a CompiledRole> {
        let named = roles.iter().filter_map(|name| self.roles.get(name.as_str()));
        named.filter(move |role| role.until_ms.is_none_or(|until| now_ms < until))
    }

    fn reaching<'a>(
        &'a self,
        now_ms: i64,
        roles: &'a [String],
        cluster: &'a str,
    ) -> impl Iterator<Item = &'a CompiledRule> {
        self.held(now_ms, roles).flat_map(move |role| role.reaching(cluster))
    }

    fn explain(&self, now_ms: i64, roles: &[String], query: &Query<'_>) -> String {
        let written = |rule: &CompiledRule| {
            let (role, number) = rule.label.rsplit_once('#')?;
            let index = number.parse::<usize>().ok()?.checked_sub(1)?;
            self.roles.get(role)?.role.clusters.get(index)
        };
        let candidates = self
            .reaching(now_ms, roles, query.action.cluster)
            .filter_map(|rule| Some((&*rule.label, written(rule)?, &rule.rights)));
        explain::denial(query, candidates)
    }
}

impl CompiledRole {
    fn reaching<'a>(&'a self, cluster: &'a str) -> impl Iterator<Item = &'a CompiledRule> {
        let in_scope =
            self.scope.as_ref().is_none_or(|scope| scope.binary_search_by(|one| (**one).cmp(cluster)).is_ok());
        self.rules.iter().filter(move |rule| in_scope && rule.cluster.matches(cluster))
    }

    fn reaches(&self, cluster: &str) -> bool {
        self.reaching(cluster).next().is_some()
    }

    fn permissions(&self) -> Vec<Permission> {
        let of = |rule: ClusterRule| Permission { role: self.role.name.clone(), rule };
        let Some(scope) = &self.scope else {
            return self.role.clusters.iter().cloned().map(of).collect();
        };
        let narrowed = |rule: &ClusterRule| {
            let (rule, pattern) = (rule.clone(), Pattern::new(&rule.name));
            let matching = scope.iter().filter(move |cluster| pattern.matches(cluster));
            matching.map(|cluster| of(ClusterRule { name: cluster.to_string(), ..rule.clone() })).collect::<Vec<_>>()
        };
        self.role.clusters.iter().flat_map(narrowed).collect()
    }
}

#[cfg(test)]
mod tests;
