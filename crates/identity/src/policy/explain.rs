//! Words a denial so that the reader knows what to ask for: the missing right, and the rule that
//! comes closest.
//!
//! Must not know: roles that the caller does not hold.

use flotilla_types::policy::ClusterRule;

use super::rule::{Kind, Query, ResourceRights, Rights};
use super::words::Words;

/// Entries of a list that are printed before it is cut.
const SHOWN: usize = 8;

/// Why a call is refused. `candidates` are the rules that reach the cluster: label, as written, as
/// prepared.
pub(super) fn denial<'a>(
    query: &Query<'_>,
    candidates: impl Iterator<Item = (&'a str, &'a ClusterRule, &'a Rights)>,
) -> String {
    let missing = missing_right(query);
    if query.kind == Kind::Path {
        return format!("{missing}: no rule names this path in non_resource_urls");
    }
    let resource_rules = candidates.filter_map(|(label, written, rights)| match rights {
        Rights::Resources(rights) => Some((label, written, Gap::of(rights, query))),
        Rights::Paths { .. } => None,
    });
    match resource_rules.min_by_key(|(_, _, gap)| gap.width()) {
        None => format!("{missing}: the roles held allow no resources in this cluster"),
        Some((label, written, gap)) => {
            format!("{missing}: {label} allows {}, {}", describe(written), gap.describe(query))
        }
    }
}

fn missing_right(query: &Query<'_>) -> String {
    let action = &query.action;
    if query.kind == Kind::Path {
        return format!("{} on {} is not allowed in cluster {}", action.verb, action.path, action.cluster);
    }
    let name = if action.name.is_empty() { String::new() } else { format!(" {:?}", action.name) };
    let place = match action.namespace {
        "" => String::from("outside any namespace or over all of them"),
        namespace => format!("in namespace {namespace}"),
    };
    format!("{} on {}{name} {place} is not allowed in cluster {}", word(query), kind_name(query), action.cluster)
}

/// The word that a rule would need.
fn word<'a>(query: &Query<'a>) -> &'a str {
    match query.kind {
        Kind::Logs if query.action.verb == "get" => "logs",
        Kind::Session(Words::EXEC) => "exec",
        Kind::Session(Words::ATTACH) => "attach",
        Kind::Session(_) => "port-forward",
        Kind::Proxy => "proxy",
        _ if query.action.verb.is_empty() => "this method",
        _ => query.action.verb,
    }
}

/// The resource as a rule would write it, with its group where it has one.
fn kind_name(query: &Query<'_>) -> String {
    let action = &query.action;
    let acts = matches!(query.kind, Kind::Logs | Kind::Session(_) | Kind::Proxy);
    let mut name = action.resource.to_owned();
    if !acts && !action.subresource.is_empty() {
        name = format!("{name}/{}", action.subresource);
    }
    if !action.api_group.is_empty() {
        name = format!("{name} ({})", action.api_group);
    }
    name
}

/// `get, list on pods in namespaces team-*`
fn describe(rule: &ClusterRule) -> String {
    let mut text = format!(
        "{} on {} in {}",
        join(&rule.verbs),
        everything(&rule.resources, "everything"),
        places(&rule.namespaces)
    );
    if !rule.api_groups.iter().any(|group| group == "*") {
        let groups: Vec<String> = rule
            .api_groups
            .iter()
            .map(|group| if group.is_empty() { "core".to_owned() } else { group.clone() })
            .collect();
        text = format!("{text} of API groups {}", join(&groups));
    }
    if !rule.names.is_empty() {
        text = format!("{text} named {}", join(&rule.names));
    }
    text
}

fn places(namespaces: &[String]) -> String {
    if namespaces.iter().any(|namespace| namespace == "*") {
        "all namespaces".to_owned()
    } else {
        format!("namespaces {}", join(namespaces))
    }
}

fn everything(list: &[String], word: &str) -> String {
    if list.iter().any(|entry| entry == "*") { word.to_owned() } else { join(list) }
}

fn join(list: &[String]) -> String {
    let shown = list[..list.len().min(SHOWN)].join(", ");
    match list.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// In which fields a rule does not match.
#[derive(Clone, Copy)]
struct Gap {
    resource: bool,
    verb: bool,
    namespace: bool,
    group: bool,
    name: bool,
}

impl Gap {
    fn of(rights: &ResourceRights, query: &Query<'_>) -> Self {
        let granted = rights.grant(query);
        let resource = !granted && !rights.mention(query);
        Self {
            resource,
            verb: !granted && (!resource || !rights.hold_word(query)),
            namespace: !rights.in_namespace(query),
            group: !rights.in_group(query),
            name: !rights.in_names(query),
        }
    }

    /// The fewer fields the closer; a rule about another resource is farther than one that lacks a
    /// verb.
    fn width(self) -> (usize, bool, bool, bool) {
        let fields = [self.resource, self.verb, self.namespace, self.group, self.name];
        let width = fields.into_iter().filter(|missing| *missing).count();
        (width, self.resource, self.group, self.namespace)
    }

    fn describe(self, query: &Query<'_>) -> String {
        let action = &query.action;
        let mut gaps = Vec::new();
        if self.verb {
            gaps.push(format!("not {}", word(query)));
        }
        if self.resource {
            gaps.push(format!("not {}", kind_name(query)));
        }
        if self.group {
            let group = if action.api_group.is_empty() { "core" } else { action.api_group };
            gaps.push(format!("not API group {group}"));
        }
        if self.namespace {
            gaps.push(match action.namespace {
                "" => "and only the namespace pattern * covers this".to_owned(),
                namespace => format!("not in {namespace}"),
            });
        }
        if self.name {
            gaps.push(if action.name.is_empty() {
                "not without a name".to_owned()
            } else {
                format!("not {:?}", action.name)
            });
        }
        gaps.join(", ")
    }
}
