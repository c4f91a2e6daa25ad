//! A cluster's own RBAC, evaluated as its API server does: `k8s.io/kubernetes/plugin/pkg/auth/authorizer/rbac`
//! (which bindings count, whom a subject is) and `pkg/apis/rbac/v1/evaluation_helpers.go` (what a rule covers).
//!
//! ```text
//! action ─▶ ClusterRoleBindings, then RoleBindings of its namespace ─▶ role ─▶ one rule that covers it ─▶ subjects
//! ```
//!
//! Aggregated cluster roles need nothing here: the API server writes their rules out. A binding whose role is gone gives
//! nothing.
//!
//! Not promised: what authorizers other than RBAC say (Node, ABAC, webhooks), but for the group `system:masters`, which
//! every API server lets do anything.
//!
//! Must not know: where the objects come from, who asks.

use std::collections::HashMap;

use flotilla_identity::policy::Action;
use flotilla_types::rights::{BoundRule, SubjectCan};
use serde::{Deserialize, Deserializer};

/// The API group of RBAC.
pub const GROUP: &str = "rbac.authorization.k8s.io";

/// The group that may do anything, whatever is bound (`k8s.io/apiserver/pkg/authentication/user.SystemPrivilegedGroup`).
const MASTERS: &str = "system:masters";

/// The group that everybody has who is known by name; an impersonated one gets it from the API server.
const AUTHENTICATED: &str = "system:authenticated";

/// Stands where a binding would, for what holds without one.
const BUILT_IN: &str = "built into the API server";

/// What a role allows (`rbac/v1.PolicyRule`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PolicyRule {
    /// Verbs; `*` for all.
    #[serde(deserialize_with = "or_null")]
    pub verbs: Vec<String>,
    /// API groups; the empty string is the core group.
    #[serde(deserialize_with = "or_null")]
    pub api_groups: Vec<String>,
    /// Resources, with subresources behind a slash.
    #[serde(deserialize_with = "or_null")]
    pub resources: Vec<String>,
    /// Names of objects; empty for all.
    #[serde(deserialize_with = "or_null")]
    pub resource_names: Vec<String>,
    /// Paths outside the resource API; `*` at the end stands for anything.
    #[serde(rename = "nonResourceURLs", deserialize_with = "or_null")]
    pub non_resource_urls: Vec<String>,
}

/// A `Role` or, without a namespace, a `ClusterRole`.
#[derive(Clone, Debug, Deserialize)]
pub struct Role {
    metadata: Metadata,
    #[serde(default, deserialize_with = "or_null")]
    rules: Vec<PolicyRule>,
}

/// A `RoleBinding` or, without a namespace, a `ClusterRoleBinding`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Binding {
    metadata: Metadata,
    #[serde(default, deserialize_with = "or_null")]
    subjects: Vec<Subject>,
    role_ref: RoleRef,
}

#[derive(Clone, Debug, Deserialize)]
struct Metadata {
    name: String,
    #[serde(default)]
    namespace: String,
}

#[derive(Clone, Debug, Deserialize)]
struct Subject {
    kind: String,
    name: String,
    #[serde(default)]
    namespace: String,
}

#[derive(Clone, Debug, Deserialize)]
struct RoleRef {
    kind: String,
    name: String,
}

/// Go writes a list without elements as `null`.
fn or_null<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// Who somebody is to the API server.
#[derive(Clone, Copy, Debug)]
pub struct Holder<'a> {
    /// User name.
    pub user: &'a str,
    /// Groups, without those that the API server adds.
    pub groups: &'a [String],
}

/// Roles and bindings of a cluster, or those of them that a question needs.
#[derive(Clone, Debug, Default)]
pub struct Rbac {
    /// By namespace, which is empty for cluster roles, and name.
    roles: HashMap<(String, String), Vec<PolicyRule>>,
    bindings: Vec<Binding>,
}

/// The bindings that allow one action.
#[derive(Debug)]
pub struct Allowing<'a>(Vec<&'a Binding>);

impl Rbac {
    /// Adds roles or cluster roles.
    pub fn add_roles(&mut self, roles: Vec<Role>) {
        let keyed = roles.into_iter().map(|role| ((role.metadata.namespace, role.metadata.name), role.rules));
        self.roles.extend(keyed);
    }

    /// Adds bindings or cluster role bindings.
    pub fn add_bindings(&mut self, bindings: Vec<Binding>) {
        self.bindings.extend(bindings);
    }

    /// The bindings that allow `action`, those of the whole cluster first.
    #[must_use]
    pub fn allowing(&self, action: &Action<'_>) -> Allowing<'_> {
        let here = |binding: &&Binding| {
            let namespace = &binding.metadata.namespace;
            namespace.is_empty() || action.path.is_empty() && namespace == action.namespace
        };
        let allows = |binding: &&Binding| self.rules(binding).iter().any(|rule| rule.allows(action));
        let mut found: Vec<&Binding> = self.bindings.iter().filter(here).filter(allows).collect();
        found.sort_by_key(|binding| !binding.metadata.namespace.is_empty());
        Allowing(found)
    }

    /// All that somebody may do: the rules of the roles bound to him, and by which binding.
    #[must_use]
    pub fn rules_of(&self, holder: Holder<'_>) -> Vec<BoundRule> {
        let bound = |binding: &&Binding| binding.subjects.iter().any(|subject| binding.is_for(subject, holder));
        let rules = |binding: &Binding| {
            let (shown, namespace) = (binding.shown(), binding.metadata.namespace.clone());
            let view = move |rule: &PolicyRule| BoundRule {
                binding: shown.clone(),
                namespace: namespace.clone(),
                verbs: rule.verbs.clone(),
                groups: rule.api_groups.clone(),
                resources: rule.resources.clone(),
                names: rule.resource_names.clone(),
                paths: rule.non_resource_urls.clone(),
            };
            self.rules(binding).iter().map(view).collect::<Vec<_>>()
        };
        let mut found: Vec<BoundRule> = self.bindings.iter().filter(bound).flat_map(rules).collect();
        if holder.is_master() {
            let all = || vec!["*".to_owned()];
            let binding = BUILT_IN.to_owned();
            let (verbs, groups, resources, paths) = (all(), all(), all(), all());
            found.push(BoundRule { binding, verbs, groups, resources, paths, ..BoundRule::default() });
        }
        found.sort_by(|a, b| (&a.namespace, &a.binding).cmp(&(&b.namespace, &b.binding)));
        found
    }

    /// The rules of the role that is bound. Only a binding in a namespace can bind a role of it.
    fn rules(&self, binding: &Binding) -> &[PolicyRule] {
        let namespace = match binding.role_ref.kind.as_str() {
            "ClusterRole" => "",
            "Role" if !binding.metadata.namespace.is_empty() => &binding.metadata.namespace,
            _ => return &[],
        };
        let key = (namespace.to_owned(), binding.role_ref.name.clone());
        self.roles.get(&key).map_or(&[], Vec::as_slice)
    }
}

impl Allowing<'_> {
    /// The binding by which somebody may do it, if he may: `ClusterRoleBinding/cluster-admin`.
    #[must_use]
    pub fn to(&self, holder: Holder<'_>) -> Option<String> {
        let is_for = |binding: &&&Binding| binding.subjects.iter().any(|subject| binding.is_for(subject, holder));
        let bound = self.0.iter().find(is_for).map(|binding| binding.shown());
        bound.or_else(|| holder.is_master().then(|| BUILT_IN.to_owned()))
    }

    /// Everybody who is bound, once for each binding, in the order of kinds and names.
    #[must_use]
    pub fn subjects(&self) -> Vec<SubjectCan> {
        let of = |binding: &&Binding| {
            let (shown, role) = (binding.shown(), binding.role());
            let view = move |subject: &Subject, name: String| SubjectCan {
                kind: subject.kind.clone(),
                name,
                binding: shown.clone(),
                role: role.clone(),
            };
            let named = binding.subjects.iter().filter_map(|one| Some((one, binding.name_of(one)?)));
            named.map(|(subject, name)| view(subject, name)).collect::<Vec<_>>()
        };
        let mut subjects: Vec<SubjectCan> = self.0.iter().flat_map(of).collect();
        if !subjects.iter().any(|subject| subject.kind == "Group" && subject.name == MASTERS) {
            let (kind, name, role) = ("Group".to_owned(), MASTERS.to_owned(), String::new());
            subjects.push(SubjectCan { kind, name, binding: BUILT_IN.to_owned(), role });
        }
        subjects.sort_by(|a, b| (&a.kind, &a.name, &a.binding).cmp(&(&b.kind, &b.name, &b.binding)));
        subjects.dedup();
        subjects
    }
}

impl Binding {
    /// `ClusterRoleBinding/cluster-admin`, `RoleBinding/pay/devs`.
    fn shown(&self) -> String {
        let Metadata { name, namespace } = &self.metadata;
        if namespace.is_empty() {
            format!("ClusterRoleBinding/{name}")
        } else {
            format!("RoleBinding/{namespace}/{name}")
        }
    }

    /// `ClusterRole/view`, `Role/pay/devs`.
    fn role(&self) -> String {
        let RoleRef { kind, name } = &self.role_ref;
        if kind == "Role" { format!("Role/{}/{name}", self.metadata.namespace) } else { format!("{kind}/{name}") }
    }

    /// The namespace of a service account that is bound: its own, or the binding's.
    fn namespace_of<'a>(&'a self, subject: &'a Subject) -> Option<&'a str> {
        let found = if subject.namespace.is_empty() { &self.metadata.namespace } else { &subject.namespace };
        Some(found.as_str()).filter(|namespace| !namespace.is_empty())
    }

    /// The name of a subject as people read it; `None` if it can be nobody.
    fn name_of(&self, subject: &Subject) -> Option<String> {
        match subject.kind.as_str() {
            "ServiceAccount" => self.namespace_of(subject).map(|namespace| format!("{namespace}/{}", subject.name)),
            "User" | "Group" => Some(subject.name.clone()),
            _ => None,
        }
    }

    /// `appliesToUser` of the authorizer.
    fn is_for(&self, subject: &Subject, holder: Holder<'_>) -> bool {
        match subject.kind.as_str() {
            "User" => subject.name == holder.user,
            "Group" => holder.is_in(&subject.name),
            "ServiceAccount" => self.namespace_of(subject).is_some_and(|namespace| {
                let account = holder.user.strip_prefix("system:serviceaccount:");
                account.and_then(|account| account.split_once(':')) == Some((namespace, subject.name.as_str()))
            }),
            _ => false,
        }
    }
}

impl Holder<'_> {
    fn is_in(&self, group: &str) -> bool {
        group == AUTHENTICATED || self.groups.iter().any(|own| own == group)
    }

    fn is_master(&self) -> bool {
        self.is_in(MASTERS)
    }
}

impl PolicyRule {
    /// `RuleAllows`.
    #[must_use]
    pub fn allows(&self, action: &Action<'_>) -> bool {
        if !has(&self.verbs, action.verb) {
            return false;
        }
        if !action.path.is_empty() {
            return self.non_resource_urls.iter().any(|pattern| covers_path(pattern, action.path));
        }
        let named = self.resource_names.is_empty() || self.resource_names.iter().any(|name| name == action.name);
        named
            && has(&self.api_groups, action.api_group)
            && self.resources.iter().any(|pattern| covers(pattern, action.resource, action.subresource))
    }
}

fn has(list: &[String], word: &str) -> bool {
    list.iter().any(|entry| entry == "*" || entry == word)
}

/// `ResourceMatches`: `*` is everything, subresources too; `*/scale` is that subresource of anything; the rest is literal.
fn covers(pattern: &str, resource: &str, subresource: &str) -> bool {
    if pattern == "*" {
        return true;
    }
    if subresource.is_empty() {
        return pattern == resource;
    }
    pattern.split_once('/').is_some_and(|(base, sub)| (base == "*" || base == resource) && sub == subresource)
}

/// `NonResourceURLMatches`.
fn covers_path(pattern: &str, path: &str) -> bool {
    pattern == path || pattern.ends_with('*') && path.starts_with(pattern.trim_end_matches('*'))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn rule(verbs: &[&str], groups: &[&str], resources: &[&str]) -> PolicyRule {
        let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        PolicyRule {
            verbs: owned(verbs),
            api_groups: owned(groups),
            resources: owned(resources),
            ..PolicyRule::default()
        }
    }

    fn on<'a>(verb: &'a str, resource: &'a str) -> Action<'a> {
        let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
        Action { verb, resource, subresource, ..Action::default() }
    }

    #[test]
    fn rules_cover_what_the_api_server_says() {
        for (resources, asked, covered) in [
            ("pods", "pods", true),
            ("pods", "pods/log", false),
            ("pods/log", "pods/log", true),
            ("pods/log", "pods", false),
            ("*", "pods/log", true),
            ("*/log", "pods/log", true),
            ("*/log", "pods", false),
            ("*/log", "pods/logs", false),
            ("*/*", "pods/log", false),
            ("pods/*", "pods/log", false),
            ("p*", "pods", false),
        ] {
            assert_eq!(rule(&["get"], &[""], &[resources]).allows(&on("get", asked)), covered, "{resources} {asked}");
        }
        assert!(rule(&["*"], &["*"], &["*"]).allows(&Action { api_group: "apps", ..on("deletecollection", "x") }));
        assert!(!rule(&["get"], &["apps"], &["*"]).allows(&on("get", "pods")), "the core group is named by nothing");
        assert!(!rule(&["*"], &["*"], &["*"]).allows(&Action { path: "/metrics", ..on("get", "") }));
        let named = PolicyRule { resource_names: vec!["a".into()], ..rule(&["get", "list"], &[""], &["secrets"]) };
        assert!(named.allows(&Action { name: "a", ..on("get", "secrets") }));
        assert!(!named.allows(&Action { name: "b", ..on("get", "secrets") }));
        assert!(!named.allows(&on("list", "secrets")), "a list has no name");
    }

    #[test]
    fn paths() {
        for (pattern, path, covered) in [
            ("*", "/metrics", true),
            ("/metrics", "/metrics", true),
            ("/metrics", "/metrics/x", false),
            ("/healthz/*", "/healthz/etcd", true),
            ("/healthz/*", "/healthz", false),
            ("/health*", "/healthz", true),
            ("/a*b", "/axb", false),
        ] {
            let rule = PolicyRule { non_resource_urls: vec![pattern.into()], ..rule(&["get"], &[], &[]) };
            assert_eq!(rule.allows(&Action { verb: "get", path, ..Action::default() }), covered, "{pattern} {path}");
            assert!(!rule.allows(&on("get", "pods")));
        }
    }

    fn rbac(roles: Value, bindings: Value) -> Rbac {
        let mut rbac = Rbac::default();
        rbac.add_roles(serde_json::from_value(roles).unwrap());
        rbac.add_bindings(serde_json::from_value(bindings).unwrap());
        rbac
    }

    fn sample() -> Rbac {
        let rules = json!([{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}]);
        rbac(
            json!([
                {"metadata": {"name": "reader"}, "rules": rules},
                {"metadata": {"name": "reader", "namespace": "pay"}, "rules": rules},
                {"metadata": {"name": "empty"}, "rules": null},
            ]),
            json!([
                {"metadata": {"name": "local", "namespace": "pay"}, "roleRef": {"kind": "Role", "name": "reader"},
                 "subjects": [{"kind": "Group", "name": "devs"}, {"kind": "ServiceAccount", "name": "robot"}]},
                {"metadata": {"name": "lent", "namespace": "shop"}, "roleRef": {"kind": "ClusterRole", "name": "reader"},
                 "subjects": [{"kind": "User", "name": "ann"}, {"kind": "Potato", "name": "x"}]},
                {"metadata": {"name": "wide"}, "roleRef": {"kind": "ClusterRole", "name": "reader"},
                 "subjects": [{"kind": "ServiceAccount", "name": "s", "namespace": "ops"}, {"kind": "ServiceAccount", "name": "nowhere"}]},
                {"metadata": {"name": "odd"}, "roleRef": {"kind": "Role", "name": "reader"}, "subjects": [{"kind": "User", "name": "eve"}]},
                {"metadata": {"name": "gone"}, "roleRef": {"kind": "ClusterRole", "name": "gone"}, "subjects": [{"kind": "User", "name": "eve"}]},
                {"metadata": {"name": "nobody"}, "roleRef": {"kind": "ClusterRole", "name": "reader"}},
            ]),
        )
    }

    #[test]
    fn bindings_hold_in_their_namespace_and_for_their_subjects() {
        let rbac = sample();
        let devs = ["devs".to_owned()];
        let may = |user, groups, namespace| {
            rbac.allowing(&Action { namespace, ..on("get", "pods") }).to(Holder { user, groups })
        };
        assert_eq!(may("bob", &devs, "pay").as_deref(), Some("RoleBinding/pay/local"));
        assert_eq!((may("bob", &devs, "shop"), may("bob", &devs, ""), may("devs", &[], "pay")), (None, None, None));
        assert_eq!(may("ann", &[], "shop").as_deref(), Some("RoleBinding/shop/lent"));
        assert_eq!(may("system:serviceaccount:pay:robot", &[], "pay").as_deref(), Some("RoleBinding/pay/local"));
        assert_eq!(may("system:serviceaccount:shop:robot", &[], "pay"), None);
        assert_eq!(may("system:serviceaccount:ops:s", &[], "").as_deref(), Some("ClusterRoleBinding/wide"));
        assert_eq!(
            (may("eve", &[], "pay"), may("eve", &[], "")),
            (None, None),
            "a role that is not there gives nothing"
        );
        assert_eq!(may("x", &["system:masters".to_owned()], "").as_deref(), Some(BUILT_IN));
    }

    #[test]
    fn subjects_are_named_once_for_each_binding() {
        let rbac = sample();
        let names = |namespace| {
            let subjects = rbac.allowing(&Action { namespace, ..on("get", "pods") }).subjects();
            subjects.iter().map(|one| format!("{} {} {}", one.kind, one.name, one.role)).collect::<Vec<_>>()
        };
        assert_eq!(
            names("pay"),
            [
                "Group devs Role/pay/reader",
                "Group system:masters ",
                "ServiceAccount ops/s ClusterRole/reader",
                "ServiceAccount pay/robot Role/pay/reader",
            ]
        );
        assert_eq!(names(""), ["Group system:masters ", "ServiceAccount ops/s ClusterRole/reader"]);
    }

    #[test]
    fn the_rules_of_somebody() {
        let rbac = sample();
        let rules = rbac.rules_of(Holder { user: "ann", groups: &["devs".to_owned()] });
        let shown: Vec<_> = rules.iter().map(|rule| (rule.binding.as_str(), rule.namespace.as_str())).collect();
        assert_eq!(shown, [("RoleBinding/pay/local", "pay"), ("RoleBinding/shop/lent", "shop")]);
        assert!(rbac.rules_of(Holder { user: "nobody", groups: &[] }).is_empty());
        assert_eq!(rbac.rules_of(Holder { user: "x", groups: &["system:masters".to_owned()] })[0].verbs, ["*"]);
    }
}
