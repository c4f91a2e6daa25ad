//! Properties of the RBAC evaluator, over small alphabets that meet often.
//!
//! `reference` is the authorizer's own loop (`VisitRulesFor`, then `RuleAllows` for each rule until one says yes),
//! written down over the objects' JSON, with no thought of speed.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use flotilla_cluster::rbac::{Holder, Rbac};
use flotilla_identity::policy::Action;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use serde_json::{Value, json};

mod reference {
    use super::*;

    pub(super) fn allows(roles: &[Value], bindings: &[Value], holder: Holder<'_>, call: &Action<'_>) -> bool {
        let mut groups: Vec<&str> = holder.groups.iter().map(String::as_str).collect();
        groups.push("system:authenticated");
        if groups.contains(&"system:masters") {
            return true;
        }
        let namespace = if call.path.is_empty() { call.namespace } else { "" };
        let mut rules: Vec<&Value> = Vec::new();
        for binding in bindings {
            let home = text(&binding["metadata"]["namespace"]);
            if !home.is_empty() && home != namespace {
                continue;
            }
            if array(&binding["subjects"]).iter().any(|subject| applies(subject, holder.user, &groups, home)) {
                rules.extend(role_of(roles, binding, home).map(|role| array(&role["rules"])).unwrap_or_default());
            }
        }
        rules.iter().any(|rule| rule_allows(rule, call))
    }

    fn text(value: &Value) -> &str {
        value.as_str().unwrap_or_default()
    }

    fn array(value: &Value) -> &[Value] {
        value.as_array().map_or(&[], Vec::as_slice)
    }

    fn role_of<'a>(roles: &'a [Value], binding: &Value, home: &str) -> Option<&'a Value> {
        let (kind, name) = (text(&binding["roleRef"]["kind"]), text(&binding["roleRef"]["name"]));
        let place = match (kind, home) {
            ("ClusterRole", _) => "",
            ("Role", "") => return None,
            ("Role", home) => home,
            _ => return None,
        };
        let is =
            |role: &&Value| text(&role["metadata"]["name"]) == name && text(&role["metadata"]["namespace"]) == place;
        roles.iter().find(is)
    }

    fn applies(subject: &Value, user: &str, groups: &[&str], home: &str) -> bool {
        let name = text(&subject["name"]);
        match text(&subject["kind"]) {
            "User" => user == name,
            "Group" => groups.contains(&name),
            "ServiceAccount" => {
                let own = text(&subject["namespace"]);
                let place = if own.is_empty() { home } else { own };
                !place.is_empty() && user == format!("system:serviceaccount:{place}:{name}")
            }
            _ => false,
        }
    }

    fn rule_allows(rule: &Value, call: &Action<'_>) -> bool {
        let any = |field: &str, test: &dyn Fn(&str) -> bool| array(&rule[field]).iter().any(|entry| test(text(entry)));
        if !any("verbs", &|verb| verb == "*" || verb == call.verb) {
            return false;
        }
        if !call.path.is_empty() {
            return any("nonResourceURLs", &|url| {
                url == "*"
                    || url == call.path
                    || url.strip_suffix('*').is_some_and(|start| call.path.starts_with(start))
            });
        }
        let combined = match call.subresource {
            "" => call.resource.to_owned(),
            subresource => format!("{}/{subresource}", call.resource),
        };
        let resource = any("resources", &|entry| {
            entry == "*"
                || entry == combined
                || !call.subresource.is_empty() && entry == format!("*/{}", call.subresource)
        });
        let named = array(&rule["resourceNames"]).is_empty() || any("resourceNames", &|name| name == call.name);
        any("apiGroups", &|group| group == "*" || group == call.api_group) && resource && named
    }
}

const NAMESPACES: &[&str] = &["", "a", "b"];
const NAMES: &[&str] = &["r", "s"];
const PATHS: &[&str] = &["/metrics", "/healthz", "/healthz/etcd"];

fn some(words: &'static [&'static str]) -> impl Strategy<Value = Vec<&'static str>> {
    subsequence(words, 0..=2)
}

fn rule() -> impl Strategy<Value = Value> {
    let lists = (
        some(&["*", "get", "list", "create"]),
        some(&["*", "", "apps"]),
        some(&["*", "pods", "pods/log", "*/log", "pods/*"]),
        some(&["x", "y"]),
        some(&["*", "/metrics", "/healthz/*", "/health*"]),
    );
    lists.prop_map(|(verbs, groups, resources, names, paths)| {
        json!({"verbs": verbs, "apiGroups": groups, "resources": resources, "resourceNames": names, "nonResourceURLs": paths})
    })
}

fn role() -> impl Strategy<Value = Value> {
    (select(NAMESPACES), select(NAMES), vec(rule(), 0..3)).prop_map(
        |(namespace, name, rules)| json!({"metadata": {"namespace": namespace, "name": name}, "rules": rules}),
    )
}

fn binding() -> impl Strategy<Value = Value> {
    let kinds = &["User", "Group", "ServiceAccount", "Else"];
    let names = &["ann", "devs", "robot", "system:authenticated", "system:masters", "system:serviceaccount:a:robot"];
    let subject = (select(kinds.as_slice()), select(names.as_slice()), select(NAMESPACES))
        .prop_map(|(kind, name, namespace)| json!({"kind": kind, "name": name, "namespace": namespace}));
    let role = (select(&["ClusterRole", "Role", "Else"][..]), select(NAMES))
        .prop_map(|(kind, name)| json!({"kind": kind, "name": name}));
    (select(NAMESPACES), vec(subject, 0..3), role).prop_map(|(namespace, subjects, role)| {
        json!({"metadata": {"namespace": namespace, "name": "b"}, "subjects": subjects, "roleRef": role})
    })
}

/// Of several roles of one name the API server has one.
fn unique(mut roles: Vec<Value>) -> Vec<Value> {
    roles.sort_by_key(|role| role["metadata"].to_string());
    roles.dedup_by_key(|role| role["metadata"].to_string());
    roles
}

prop_compose! {
    fn call()(
        verb in select(&["get", "list", "create", "delete"][..]),
        api_group in select(&["", "apps", "batch"][..]),
        resource in select(&["pods", "deployments"][..]),
        subresource in select(&["", "log", "exec"][..]),
        namespace in select(NAMESPACES),
        name in select(&["", "x", "z"][..]),
        path in prop::option::weighted(0.25, select(PATHS)),
    ) -> Action<'static> {
        match path {
            Some(path) => Action { verb, path, ..Action::default() },
            None => Action { verb, api_group, resource, subresource, namespace, name, ..Action::default() },
        }
    }
}

fn evaluator(roles: &[Value], bindings: &[Value]) -> Rbac {
    let mut rbac = Rbac::default();
    rbac.add_roles(serde_json::from_value(Value::from(roles)).unwrap());
    rbac.add_bindings(serde_json::from_value(Value::from(bindings)).unwrap());
    rbac
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn as_the_authorizer(
        roles in vec(role(), 0..6).prop_map(unique),
        bindings in vec(binding(), 0..6),
        user in select(&["ann", "bob", "system:serviceaccount:a:robot"][..]),
        groups in subsequence(vec!["devs".to_owned(), "ops".to_owned(), "system:masters".to_owned()], 0..=2),
        calls in vec(call(), 1..8),
    ) {
        let rbac = evaluator(&roles, &bindings);
        let holder = Holder { user, groups: &groups };
        for call in &calls {
            let expected = reference::allows(&roles, &bindings, holder, call);
            prop_assert_eq!(rbac.allowing(call).to(holder).is_some(), expected, "{:?}", call);
        }
    }

    /// Who is named may, and who may is named: himself, by a group, or as an account.
    #[test]
    fn subjects_are_those_who_may(
        roles in vec(role(), 0..6).prop_map(unique),
        bindings in vec(binding(), 0..6),
        call in call(),
    ) {
        let rbac = evaluator(&roles, &bindings);
        let allowing = rbac.allowing(&call);
        for subject in allowing.subjects() {
            let (user, groups) = match subject.kind.as_str() {
                "User" => (subject.name.clone(), Vec::new()),
                "Group" => ("somebody".to_owned(), vec![subject.name.clone()]),
                _ => (format!("system:serviceaccount:{}", subject.name.replace('/', ":")), Vec::new()),
            };
            let holder = Holder { user: &user, groups: &groups };
            prop_assert!(reference::allows(&roles, &bindings, holder, &call), "{:?} is named and may not", subject);
        }
    }

    /// All rules of somebody together allow what he may do.
    #[test]
    fn the_rules_of_somebody_are_what_he_may(
        roles in vec(role(), 0..6).prop_map(unique),
        bindings in vec(binding(), 0..6),
        groups in subsequence(vec!["devs".to_owned(), "system:masters".to_owned()], 0..=2),
        call in call(),
    ) {
        let rbac = evaluator(&roles, &bindings);
        let holder = Holder { user: "ann", groups: &groups };
        let rules = rbac.rules_of(holder);
        let covers = rules.iter().filter(|rule| {
            rule.namespace.is_empty() || call.path.is_empty() && rule.namespace == call.namespace
        }).any(|rule| {
            let rule = json!({
                "verbs": rule.verbs, "apiGroups": rule.groups, "resources": rule.resources,
                "resourceNames": rule.names, "nonResourceURLs": rule.paths,
            });
            serde_json::from_value::<flotilla_cluster::rbac::PolicyRule>(rule).unwrap().allows(&call)
        });
        prop_assert_eq!(covers, reference::allows(&roles, &bindings, holder, &call));
    }
}
