//! Checks roles and prepares them for deciding. All problems are reported at once, so that a file
//! is mended in one go.
//!
//! Must not know: how a decision is reached.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use flotilla_types::name::check_role_name;
use flotilla_types::policy::{ClusterRule, Role};
use thiserror::Error;

use super::pattern::{Pattern, PatternList};
use super::rule::{ResourceRights, Resources, Rights};
use super::words::Words;
use super::{CompiledRole, CompiledRule, PolicySet, Recording, Source};

/// The longest pattern or group, in bytes: names in Kubernetes have at most 253.
const MAX_LENGTH: usize = 253;

/// One thing that is wrong with a role.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("role {role:?}{}: {field}: {problem}", .rule.map(|rule| format!(", rule {rule}")).unwrap_or_default())]
pub struct PolicyError {
    /// Name of the role, as given.
    pub role: String,
    /// Number of the rule, counted from one, where it is in a rule.
    pub rule: Option<usize>,
    /// The field.
    pub field: &'static str,
    /// What is wrong and what to do.
    pub problem: String,
}

/// Prepares a set of roles. Of roles with one name the one of the first [`Source`] counts; the others
/// are checked too, and then hidden.
///
/// # Errors
/// Everything that is wrong, in the order in which it was given.
pub fn compile(roles: Vec<(Role, Source)>) -> Result<PolicySet, Vec<PolicyError>> {
    let mut problems = Vec::new();
    let mut seen = HashSet::new();
    let mut compiled: HashMap<Box<str>, CompiledRole> = HashMap::new();
    for (role, source) in roles {
        let mut report = Report::new(&role.name, &mut problems);
        if !seen.insert((role.name.clone(), source)) {
            report.add("name", "there are two roles of this name: rename one of them or put their rules together");
        }
        check_role(&role, &mut report);
        let rules = compile_rules(&role, &mut report);
        let hidden = compiled.get(role.name.as_str()).is_some_and(|other| other.source < source);
        if !hidden {
            let administrator =
                role.administrator.unwrap_or_else(|| role.clusters.iter().any(allows_everything_everywhere));
            let role = CompiledRole { rules, source, administrator, scope: None, until_ms: None, role };
            compiled.insert(role.role.name.as_str().into(), role);
        }
    }
    let set = PolicySet { roles: compiled, open: "open".into(), modes: HashMap::new() };
    if problems.is_empty() { Ok(set) } else { Err(problems) }
}

/// Collects problems of one role.
pub(super) struct Report<'a> {
    role: &'a str,
    rule: Option<usize>,
    problems: &'a mut Vec<PolicyError>,
}

impl<'a> Report<'a> {
    pub(super) fn new(role: &'a str, problems: &'a mut Vec<PolicyError>) -> Self {
        Self { role, rule: None, problems }
    }

    fn add(&mut self, field: &'static str, problem: impl Into<String>) {
        self.problems.push(PolicyError { role: self.role.to_owned(), rule: self.rule, field, problem: problem.into() });
    }
}

fn check_role(role: &Role, report: &mut Report<'_>) {
    if let Err(error) = check_role_name(&role.name) {
        report.add("name", error.to_string());
    }
    if role.clusters.is_empty() {
        report.add("clusters", "is empty, so the role would allow nothing: add a rule");
    }
    for group in &role.groups {
        // Whoever could give himself `system:masters` would be above every cluster's RBAC.
        if group.trim().to_lowercase().starts_with("system:") {
            report.add(
                "groups",
                format!("{group:?} is reserved for Kubernetes itself: bind a group of your own to what it may do"),
            );
        } else if group.is_empty() || group.len() > MAX_LENGTH || !group.bytes().all(|b| b.is_ascii_graphic()) {
            report.add(
                "groups",
                format!("{group:?} is not a group: use 1 to {MAX_LENGTH} visible ASCII characters without spaces"),
            );
        }
    }
}

pub(super) fn compile_rules(role: &Role, report: &mut Report<'_>) -> Vec<CompiledRule> {
    let mut rules = Vec::with_capacity(role.clusters.len());
    for (index, rule) in role.clusters.iter().enumerate() {
        report.rule = Some(index + 1);
        check_patterns(rule, report);
        let rights =
            if rule.non_resource_urls.is_empty() { resource_rights(rule, report) } else { path_rights(rule, report) };
        let label: Arc<str> = format!("{}#{}", role.name, index + 1).into();
        let recording = Recording { record: rule.record, input: rule.record_input };
        rules.push(CompiledRule { label, cluster: Pattern::new(&rule.name), rights, recording });
    }
    report.rule = None;
    rules
}

fn path_rights(rule: &ClusterRule, report: &mut Report<'_>) -> Rights {
    const ALONE: &str =
        "covers paths only, as in Kubernetes: leave this out here, and write another rule for resources";
    let unset = |list: &[String]| list.is_empty() || list == ["*"];
    for (field, list) in [("resources", &rule.resources), ("api_groups", &rule.api_groups)] {
        if !unset(list) {
            report.add(field, format!("a rule with non_resource_urls {ALONE}"));
        }
    }
    if !rule.names.is_empty() {
        report.add("names", format!("a rule with non_resource_urls {ALONE}"));
    }
    if !has_star(&rule.namespaces) {
        report
            .add("namespaces", "paths are in no namespace: a rule with non_resource_urls needs \"*\" here, or nothing");
    }
    Rights::Paths {
        verbs: words(rule, report),
        all: has_star(&rule.non_resource_urls),
        paths: list(&rule.non_resource_urls),
    }
}

fn resource_rights(rule: &ClusterRule, report: &mut Report<'_>) -> Rights {
    for (field, list) in
        [("namespaces", &rule.namespaces), ("resources", &rule.resources), ("api_groups", &rule.api_groups)]
    {
        if list.is_empty() {
            report.add(field, "is empty, so the rule would allow nothing: leave it out for everything");
        }
    }
    let (below, plain): (Vec<&str>, Vec<&str>) =
        rule.resources.iter().map(String::as_str).partition(|text| text.contains('/'));
    let pair = |text: &str| text.split_once('/').map(|(base, sub)| (Pattern::new(base), Pattern::new(sub)));
    Rights::Resources(ResourceRights {
        verbs: words(rule, report),
        all_namespaces: has_star(&rule.namespaces),
        namespaces: list(&rule.namespaces),
        resources: Resources {
            all: has_star(&rule.resources),
            plain: PatternList::new(plain),
            below: below.into_iter().filter_map(pair).collect(),
        },
        api_groups: list(&rule.api_groups),
        names: list(&rule.names),
        everything: allows_everything(rule),
    })
}

fn words(rule: &ClusterRule, report: &mut Report<'_>) -> Words {
    if rule.verbs.is_empty() {
        report.add("verbs", "is empty, so the rule would allow nothing: name verbs, or \"*\" for all");
    }
    let mut set = Words::NONE;
    for word in &rule.verbs {
        match Words::of_rule(word) {
            Ok(words) => set = set.with(words),
            Err(problem) => report.add("verbs", problem),
        }
    }
    set
}

fn list(texts: &[String]) -> PatternList {
    PatternList::new(texts.iter().map(String::as_str))
}

fn has_star(texts: &[String]) -> bool {
    texts.iter().any(|text| text == "*")
}

fn allows_everything(rule: &ClusterRule) -> bool {
    let lists = [&rule.namespaces, &rule.verbs, &rule.resources, &rule.api_groups];
    lists.into_iter().all(|list| has_star(list)) && rule.names.is_empty() && rule.non_resource_urls.is_empty()
}

fn allows_everything_everywhere(rule: &ClusterRule) -> bool {
    rule.name == "*" && allows_everything(rule)
}

/// A pattern with a character that no such name can have would silently match nothing, which mostly
/// means that somebody took it for a regular expression or a shell pattern.
fn check_patterns(rule: &ClusterRule, report: &mut Report<'_>) {
    let lower = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'*');
    let dotted = |b: u8| lower(b) || b == b'.';
    let visible = |b: u8| b.is_ascii_graphic();
    check_pattern("name", &rule.name, "a-z, 0-9, '-', '.'", dotted, report);
    for text in &rule.namespaces {
        check_pattern("namespaces", text, "a-z, 0-9, '-'", lower, report);
    }
    for text in rule.api_groups.iter().filter(|text| !text.is_empty()) {
        check_pattern("api_groups", text, "a-z, 0-9, '-', '.'", dotted, report);
    }
    for text in &rule.names {
        check_pattern("names", text, "visible ASCII characters but '/'", |b| visible(b) && b != b'/', report);
    }
    for text in &rule.resources {
        check_resource(text, lower, report);
    }
    for text in &rule.non_resource_urls {
        check_pattern("non_resource_urls", text, "visible ASCII characters", visible, report);
        if text != "*" && !text.starts_with('/') {
            report.add(
                "non_resource_urls",
                format!("{text:?} is not a path: begin it with '/', or write \"*\" for every path"),
            );
        }
    }
}

fn check_resource(text: &str, allowed: impl Fn(u8) -> bool + Copy, report: &mut Report<'_>) {
    const RULE: &str = "a-z, 0-9, '-' and one '/' before a subresource";
    let parts: Vec<&str> = text.split('/').collect();
    if parts.len() > 2 || (parts.len() == 2 && parts.contains(&"")) {
        report.add("resources", format!("{text:?} is not a resource: write \"pods\" or \"pods/log\""));
    } else {
        check_pattern("resources", text, RULE, |b| allowed(b) || b == b'/', report);
    }
}

fn check_pattern(field: &'static str, text: &str, rule: &str, allowed: impl Fn(u8) -> bool, report: &mut Report<'_>) {
    if text.is_empty() || text.len() > MAX_LENGTH || !text.bytes().all(allowed) {
        report.add(
            field,
            format!("{text:?} matches nothing: use 1 to {MAX_LENGTH} of {rule}; only '*' stands for other characters"),
        );
    }
}
