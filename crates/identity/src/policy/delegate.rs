//! Whether somebody holds all that a rule would give, so that he may give it to somebody else.
//!
//! A rule is taken apart into calls whose fields are the rule's own patterns, and each is put to the one evaluator. That
//! is sound because of how patterns match: a pattern that matches the *text* of another pattern matches everything that
//! the other does. A `*` in that text is no literal of any pattern, so a `*` must have taken it up, and that one takes up
//! whatever it stands for just as well.
//!
//! It errs on the side of no: two rules that only together cover a third are not put together.
//!
//! Must not know: who approves what.

use flotilla_types::policy::ClusterRule;

use super::Action;

/// Calls that stand for everything that `rule` allows in `cluster`. Somebody for whom the policy allows all of them may
/// do all that the rule would give.
pub fn units<'a>(rule: &'a ClusterRule, cluster: &'a str) -> Vec<Action<'a>> {
    let names: Vec<&str> =
        if rule.names.is_empty() { vec![""] } else { rule.names.iter().map(String::as_str).collect() };
    let mut units = Vec::new();
    for (verb, resource, subresource) in calls(rule) {
        for api_group in &rule.api_groups {
            for namespace in &rule.namespaces {
                // All namespaces include lists over them and cluster-scoped objects.
                let namespace = if namespace == "*" { "" } else { namespace };
                for name in &names {
                    let action = Action { cluster, verb, api_group, resource, subresource, namespace, name, path: "" };
                    units.push(action);
                }
            }
        }
    }
    units
}

fn calls(rule: &ClusterRule) -> Vec<(&str, &str, &str)> {
    let mut calls = Vec::new();
    for resource in &rule.resources {
        let (base, sub) = resource.split_once('/').unwrap_or((resource, ""));
        for verb in &rule.verbs {
            match verb.as_str() {
                "logs" => calls.push(("get", base, "log")),
                "exec" => calls.push(("create", base, "exec")),
                "attach" => calls.push(("create", base, "attach")),
                "port-forward" | "portforward" => calls.push(("create", base, "portforward")),
                // By any verb: asked with one that only those have who have all.
                "proxy" => calls.push(("proxy", base, "proxy")),
                "scale" => calls.extend(["get", "update", "patch"].map(|verb| (verb, base, "scale"))),
                "describe" => plain(&["get", "list"], base, sub, &mut calls),
                "apply" => plain(&["get", "create", "patch"], base, sub, &mut calls),
                "edit" => plain(&["get", "patch", "update"], base, sub, &mut calls),
                verb => plain(&[verb], base, sub, &mut calls),
            }
        }
    }
    calls
}

fn plain<'a>(verbs: &[&'a str], base: &'a str, sub: &'a str, calls: &mut Vec<(&'a str, &'a str, &'a str)>) {
    for verb in verbs {
        calls.push((verb, base, sub));
        // A lone `*` is everything, what stands below resources included.
        if base == "*" && sub.is_empty() {
            calls.push((verb, base, "*"));
        }
    }
}
