//! What a key may be used for. Scopes never give a right: they say which of its owner's rights the key carries.
//!
//! | scope | carries |
//! |---|---|
//! | `*` | all of them |
//! | `secrets:read` | reading at the hub's own API under that noun (`/api/secrets`) |
//! | `templates:write` | reading and changing under that noun |
//! | `k8s:dev-*` | every call on the clusters whose names match |
//! | `k8s:prod-*:get,list,logs` | these verbs and actions on them |
//!
//! Patterns and verbs of `k8s:` mean what they mean in a role ([`crate::policy`]): they are compiled as one.
//!
//! Must not know: which paths the hub has; callers say noun and whether something changes.

use std::collections::BTreeSet;
use std::sync::Arc;

use flotilla_types::policy::{ClusterRule, Role};
use thiserror::Error;

use crate::policy::{Action, Decision, PolicySet, Source, compile};

/// Most scopes of one key.
pub const MAX_SCOPES: usize = 32;

/// Longest scope, in bytes.
const MAX_LENGTH: usize = 200;

/// Name of the role that the `k8s:` scopes are compiled as.
const ROLE: &str = "api-key";

/// Nouns of the hub's API that a key can be made for.
pub const NOUNS: &[&str] = &[
    "agents",
    "alerts",
    "audit",
    "builds",
    "cards",
    "clients",
    "clusters",
    "dashboards",
    "deployments",
    "fleet",
    "groups",
    "import",
    "orgs",
    "plugins",
    "recordings",
    "registries",
    "requests",
    "resources",
    "roles",
    "sandboxes",
    "search",
    "secrets",
    "tasks",
    "teams",
    "templates",
    "users",
    "workflows",
];

/// A scope that makes no sense.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ScopeError {
    /// None, or too many.
    #[error("give between 1 and {MAX_SCOPES} scopes; `*` is everything that you may do yourself")]
    Count,
    /// Not one of the forms.
    #[error(
        "scope {scope:?} is not one; use *, <noun>:read, <noun>:write or k8s:<cluster pattern>[:<verbs>], \
         for example secrets:read or k8s:dev-*:get,list,watch"
    )]
    Form {
        /// As given, cut.
        scope: String,
    },
    /// A noun that the hub does not have.
    #[error("scope {scope:?} names {noun:?}, which the hub does not have; did you mean {nearest:?}?")]
    Noun {
        /// As given.
        scope: String,
        /// The unknown part.
        noun: String,
        /// The nearest known one.
        nearest: &'static str,
    },
    /// A pattern or verb that the policy does not know.
    #[error("a k8s scope cannot be used: {0}")]
    Rule(String),
}

/// The scopes of one key, checked and compiled. Cloning is cheap.
#[derive(Clone)]
pub struct Scopes(Arc<Inner>);

struct Inner {
    written: Vec<String>,
    everything: bool,
    /// Noun and whether it may be changed.
    nouns: Vec<(&'static str, bool)>,
    clusters: Option<PolicySet>,
    held: [String; 1],
}

impl std::fmt::Debug for Scopes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(&self.0.written).finish()
    }
}

impl PartialEq for Scopes {
    fn eq(&self, other: &Self) -> bool {
        self.0.written == other.0.written
    }
}

impl Eq for Scopes {}

impl Scopes {
    /// Reads scopes as people write them.
    ///
    /// # Errors
    /// The first that makes no sense, and what would.
    pub fn parse(scopes: &[String]) -> Result<Self, ScopeError> {
        let written: BTreeSet<String> = scopes.iter().map(|scope| scope.trim().to_owned()).collect();
        if written.is_empty() || written.len() > MAX_SCOPES {
            return Err(ScopeError::Count);
        }
        let (mut everything, mut nouns, mut rules) = (false, Vec::new(), Vec::new());
        for scope in &written {
            if scope == "*" {
                everything = true;
            } else if let Some(rest) = scope.strip_prefix("k8s:") {
                rules.push(cluster_rule(scope, rest)?);
            } else {
                nouns.push(noun(scope)?);
            }
        }
        let clusters = if rules.is_empty() { None } else { Some(compiled(rules)?) };
        let written = written.into_iter().collect();
        Ok(Self(Arc::new(Inner { written, everything, nouns, clusters, held: [ROLE.to_owned()] })))
    }

    /// As they were written, sorted.
    #[must_use]
    pub fn written(&self) -> &[String] {
        &self.0.written
    }

    /// Whether the hub's own API may be used under this noun.
    #[must_use]
    pub fn carry(&self, noun: &str, changes: bool) -> bool {
        self.0.everything || self.0.nouns.iter().any(|(name, write)| *name == noun && (*write || !changes))
    }

    /// Whether any cluster may be reached at all.
    #[must_use]
    pub fn reach_clusters(&self) -> bool {
        self.0.everything || self.0.clusters.is_some()
    }

    /// Whether the cluster is within reach.
    #[must_use]
    pub fn sees_cluster(&self, cluster: &str) -> bool {
        let within = |set: &PolicySet| set.sees_cluster(&self.0.held, cluster);
        self.0.everything || self.0.clusters.as_ref().is_some_and(within)
    }

    /// The decision for a call that the owner's roles allow.
    pub(crate) fn narrow(&self, allowed: Decision, action: &Action<'_>) -> Decision {
        if self.0.everything {
            return allowed;
        }
        let Some(clusters) = &self.0.clusters else { return Decision::Invisible };
        match clusters.decide(&self.0.held, action) {
            Decision::Allowed { .. } => allowed,
            Decision::Invisible => Decision::Invisible,
            Decision::Denied { .. } => Decision::Denied {
                reason: format!(
                    "you may do this, but the scopes of this API key do not include it ({}); make a key with a scope \
                     such as k8s:{}:{}",
                    self.0.written.join(" "),
                    action.cluster,
                    action.verb
                ),
            },
        }
    }
}

fn form(scope: &str) -> ScopeError {
    ScopeError::Form { scope: scope.chars().take(60).collect() }
}

fn noun(scope: &str) -> Result<(&'static str, bool), ScopeError> {
    let (name, right) = scope.split_once(':').filter(|_| scope.len() <= MAX_LENGTH).ok_or_else(|| form(scope))?;
    let write = match right {
        "read" => false,
        "write" => true,
        _ => return Err(form(scope)),
    };
    match NOUNS.iter().find(|noun| **noun == name) {
        Some(noun) => Ok((noun, write)),
        None => Err(ScopeError::Noun { scope: scope.to_owned(), noun: name.to_owned(), nearest: nearest(name) }),
    }
}

fn nearest(name: &str) -> &'static str {
    NOUNS.iter().max_by(|a, b| strsim::jaro(a, name).total_cmp(&strsim::jaro(b, name))).copied().unwrap_or_default()
}

fn cluster_rule(scope: &str, rest: &str) -> Result<ClusterRule, ScopeError> {
    let (name, verbs) = rest.split_once(':').unwrap_or((rest, "*"));
    let everything = || vec!["*".to_owned()];
    let verbs: Vec<String> = verbs.split(',').map(|verb| verb.trim().to_owned()).collect();
    if scope.len() > MAX_LENGTH || name.is_empty() || verbs.iter().any(String::is_empty) {
        return Err(form(scope));
    }
    Ok(ClusterRule {
        name: name.to_owned(),
        namespaces: everything(),
        verbs,
        resources: everything(),
        api_groups: everything(),
        names: Vec::new(),
        non_resource_urls: Vec::new(),
    })
}

fn compiled(clusters: Vec<ClusterRule>) -> Result<PolicySet, ScopeError> {
    let role = Role {
        name: ROLE.to_owned(),
        description: String::new(),
        clusters,
        groups: Vec::new(),
        administrator: Some(false),
    };
    compile(vec![(role, Source::BuiltIn)])
        .map_err(|errors| ScopeError::Rule(errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scopes(written: &[&str]) -> Scopes {
        Scopes::parse(&written.iter().map(|scope| (*scope).to_owned()).collect::<Vec<_>>()).unwrap()
    }

    fn allowed() -> Decision {
        Decision::Allowed { rule: "admin#1".into() }
    }

    fn get_pods(cluster: &str) -> Action<'_> {
        Action { cluster, verb: "get", resource: "pods", namespace: "shop", name: "web", ..Action::default() }
    }

    #[test]
    fn nouns_carry_what_they_say() {
        let scopes = scopes(&["secrets:read", "templates:write"]);
        assert!(scopes.carry("secrets", false) && !scopes.carry("secrets", true));
        assert!(scopes.carry("templates", false) && scopes.carry("templates", true));
        assert!(!scopes.carry("users", false) && !scopes.reach_clusters() && !scopes.sees_cluster("dev-1"));
        assert_eq!(scopes.narrow(allowed(), &get_pods("dev-1")), Decision::Invisible);
    }

    #[test]
    fn a_star_narrows_nothing() {
        let scopes = scopes(&["*"]);
        assert!(scopes.carry("users", true) && scopes.sees_cluster("prod"));
        assert_eq!(scopes.narrow(allowed(), &get_pods("prod")), allowed());
    }

    #[test]
    fn cluster_scopes_narrow_by_pattern_and_verb() {
        let scopes = scopes(&["k8s:dev-*:get,list"]);
        assert_eq!(scopes.narrow(allowed(), &get_pods("dev-1")), allowed());
        assert_eq!(scopes.narrow(allowed(), &get_pods("prod")), Decision::Invisible);
        let delete = Action { verb: "delete", ..get_pods("dev-1") };
        let Decision::Denied { reason } = scopes.narrow(allowed(), &delete) else { panic!("delete passes") };
        assert!(reason.contains("k8s:dev-*:get,list"), "{reason}");
        let exec = Action { verb: "get", subresource: "exec", ..get_pods("dev-1") };
        assert!(!scopes.narrow(allowed(), &exec).is_allowed(), "reading is not acting");
    }

    #[test]
    fn mistakes_say_what_would_be_right() {
        let parse = |scope: &str| Scopes::parse(&[scope.to_owned()]).unwrap_err();
        assert!(matches!(parse("secret:read"), ScopeError::Noun { nearest: "secrets", .. }));
        for bad in ["", "secrets", "secrets:", "secrets:admin", "k8s:", "k8s:dev:", "k8s:dev:get,,list", ":read"] {
            assert!(matches!(parse(bad), ScopeError::Form { .. } | ScopeError::Noun { .. }), "{bad}");
        }
        assert!(matches!(parse("k8s:dev-*:fly"), ScopeError::Rule(_)));
        assert_eq!(Scopes::parse(&[]), Err(ScopeError::Count));
        let many: Vec<String> = (0..=MAX_SCOPES).map(|n| format!("k8s:c{n}")).collect();
        assert_eq!(Scopes::parse(&many), Err(ScopeError::Count));
    }
}
