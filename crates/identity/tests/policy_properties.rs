//! Properties of the policy, over roles and calls from small alphabets that meet often.
//!
//! `reference` is the contract at the top of `flotilla_identity::policy`, written down once more over
//! the roles as people write them, with no thought of speed.

use flotilla_identity::policy::{Action, Decision, PolicySet, Source, compile};
use flotilla_types::policy::{ClusterRule, Role};
use proptest::prelude::*;
use proptest::sample::{Index, select, subsequence};

mod reference {
    use super::*;

    #[derive(Debug, PartialEq, Eq)]
    pub(super) enum Answer {
        Allowed,
        Denied,
        Invisible,
    }

    pub(super) fn decide(roles: &[Role], held: &[String], call: &Action<'_>) -> Answer {
        let mine = roles.iter().filter(|role| held.contains(&role.name)).flat_map(|role| &role.clusters);
        let reaching: Vec<&ClusterRule> = mine.filter(|rule| pattern(&rule.name, call.cluster)).collect();
        if reaching.is_empty() {
            return Answer::Invisible;
        }
        let allowed = open(call) || reaching.iter().any(|rule| allows(rule, call));
        if allowed { Answer::Allowed } else { Answer::Denied }
    }

    fn pattern(pattern: &str, text: &str) -> bool {
        let mut p = pattern.chars();
        match p.next() {
            None => text.is_empty(),
            Some('*') => {
                let rest = p.as_str();
                let mut t = text;
                loop {
                    if self::pattern(rest, t) {
                        return true;
                    }
                    let mut next = t.chars();
                    match next.next() {
                        None | Some('/') => return false,
                        Some(_) => t = next.as_str(),
                    }
                }
            }
            Some(literal) => text.strip_prefix(literal).is_some_and(|text| self::pattern(p.as_str(), text)),
        }
    }

    fn any(list: &[String], text: &str) -> bool {
        list.iter().any(|entry| pattern(entry, text))
    }

    fn has(list: &[String], words: &[&str]) -> bool {
        list.iter().any(|entry| words.contains(&entry.as_str()))
    }

    fn open(call: &Action<'_>) -> bool {
        let reviews = ["selfsubjectaccessreviews", "selfsubjectrulesreviews"];
        let review = call.path.is_empty()
            && call.verb == "create"
            && call.subresource.is_empty()
            && call.namespace.is_empty()
            && ((call.api_group == "authorization.k8s.io" && reviews.contains(&call.resource))
                || (call.api_group == "authentication.k8s.io" && call.resource == "selfsubjectreviews"));
        let paths = ["/version", "/healthz", "/livez/ping", "/api/v1", "/apis/apps/v1", "/openapi/v3/api/v1"];
        review || (["get", "head"].contains(&call.verb) && paths.contains(&call.path))
    }

    fn allows(rule: &ClusterRule, call: &Action<'_>) -> bool {
        if !call.path.is_empty() {
            return allows_path(rule, call);
        }
        let namespace = if call.namespace.is_empty() {
            has(&rule.namespaces, &["*"])
        } else {
            any(&rule.namespaces, call.namespace)
        };
        let name = rule.names.is_empty() || (!call.name.is_empty() && any(&rule.names, call.name));
        rule.non_resource_urls.is_empty()
            && namespace
            && name
            && any(&rule.api_groups, call.api_group)
            && acts(rule, call)
    }

    fn allows_path(rule: &ClusterRule, call: &Action<'_>) -> bool {
        if call.path.contains("/..") {
            return false;
        }
        if rule.non_resource_urls.is_empty() {
            let lists = [&rule.namespaces, &rule.verbs, &rule.resources, &rule.api_groups];
            return lists.iter().all(|list| has(list, &["*"])) && rule.names.is_empty();
        }
        let path = has(&rule.non_resource_urls, &["*"]) || any(&rule.non_resource_urls, call.path);
        path && (verb(rule, call.verb) || (call.verb == "head" && verb(rule, "get")))
    }

    /// Whether the verbs of the rule include this verb of a call.
    fn verb(rule: &ClusterRule, verb: &str) -> bool {
        let several: &[&str] = match verb {
            "get" => &["describe", "apply", "edit"],
            "list" => &["describe"],
            "create" => &["apply"],
            "patch" => &["apply", "edit"],
            "update" => &["edit"],
            _ => &[],
        };
        let is_a_verb =
            !["exec", "attach", "portforward", "port-forward", "proxy", "logs", "scale", ""].contains(&verb);
        has(&rule.verbs, &["*"]) || (is_a_verb && has(&rule.verbs, &[verb])) || has(&rule.verbs, several)
    }

    fn acts(rule: &ClusterRule, call: &Action<'_>) -> bool {
        let star = has(&rule.verbs, &["*"]);
        let word = |words: &[&str]| (star || has(&rule.verbs, words)) && for_an_action(rule, call);
        let sub = if call.verb == "proxy" { "proxy" } else { call.subresource };
        match sub {
            "exec" => word(&["exec"]) || (verb(rule, "create") && literally(rule, call)),
            "attach" => word(&["attach"]) || (verb(rule, "create") && literally(rule, call)),
            "portforward" => word(&["port-forward", "portforward"]) || (verb(rule, "create") && literally(rule, call)),
            "proxy" => word(&["proxy"]) || (verb(rule, call.verb) && literally(rule, call)),
            "log" => {
                ((star || call.verb == "get") && word(&["logs"])) || (verb(rule, call.verb) && literally(rule, call))
            }
            "scale" if ["get", "update", "patch"].contains(&call.verb) && word(&["scale"]) => true,
            _ => verb(rule, call.verb) && as_written(rule, call),
        }
    }

    fn as_written(rule: &ClusterRule, call: &Action<'_>) -> bool {
        let whole = if call.subresource.is_empty() {
            call.resource.to_owned()
        } else {
            format!("{}/{}", call.resource, call.subresource)
        };
        has(&rule.resources, &["*"]) || any(&rule.resources, &whole)
    }

    fn for_an_action(rule: &ClusterRule, call: &Action<'_>) -> bool {
        as_written(rule, call) || any(&rule.resources, call.resource)
    }

    fn literally(rule: &ClusterRule, call: &Action<'_>) -> bool {
        rule.resources.iter().any(|entry| match entry.split_once('/') {
            Some((resource, sub)) => pattern(resource, call.resource) && sub == call.subresource,
            None => false,
        })
    }
}

const CLUSTERS: [&str; 5] = ["*", "dev-*", "dev-1", "*-1", "d*v-*"];
const NAMESPACES: [&str; 6] = ["*", "a", "a*", "*b", "b", "**"];
const WORDS: [&str; 23] = [
    "get",
    "list",
    "watch",
    "create",
    "update",
    "patch",
    "delete",
    "deletecollection",
    "head",
    "logs",
    "exec",
    "attach",
    "port-forward",
    "portforward",
    "proxy",
    "scale",
    "describe",
    "apply",
    "edit",
    "*",
    "post",
    "put",
    "options",
];
const RESOURCES: [&str; 18] = [
    "*",
    "pods",
    "pods/*",
    "pods/log",
    "pods/exec",
    "*/exec",
    "*/*",
    "*/proxy",
    "p*",
    "services",
    "*s",
    "deployments/scale",
    "**",
    "*/log",
    "pods/l*",
    "*/attach",
    "p*s/portforward",
    "pods/e*c",
];
const VERBS: [&str; 14] = [
    "get",
    "list",
    "watch",
    "create",
    "update",
    "patch",
    "delete",
    "deletecollection",
    "head",
    "post",
    "",
    "proxy",
    "exec",
    "logs",
];
const PATHS: [&str; 9] = [
    "/metrics",
    "/debug/pprof",
    "/debug/pprof/heap",
    "/debug/..",
    "/version",
    "/livez/ping",
    "/api/v1",
    "/apis/apps/v1",
    "/logs",
];

fn owned(list: Vec<&str>) -> Vec<String> {
    list.into_iter().map(str::to_owned).collect()
}

fn some(from: &'static [&'static str], most: usize) -> impl Strategy<Value = Vec<String>> {
    subsequence(from, 1..=most).prop_map(owned)
}

prop_compose! {
    fn resource_rule()(
        name in select(&CLUSTERS[..]),
        namespaces in some(&NAMESPACES, 2),
        verbs in some(&WORDS, 4),
        resources in some(&RESOURCES, 3),
        api_groups in prop_oneof![3 => Just(vec!["*"]), 1 => Just(vec![""]), 1 => Just(vec!["apps", "a*.k8s.io"])],
        names in prop_oneof![4 => Just(vec![]), 1 => Just(vec!["x"]), 1 => Just(vec!["x*", "y"])],
    ) -> ClusterRule {
        ClusterRule {
            name: name.to_owned(), namespaces, verbs, resources,
            api_groups: owned(api_groups), names: owned(names), non_resource_urls: Vec::new(),
            record: Default::default(), record_input: false,
        }
    }
}

prop_compose! {
    fn path_rule()(
        name in select(&CLUSTERS[..]),
        verbs in some(&WORDS, 4),
        urls in prop_oneof![Just(vec!["*"]), Just(vec!["/metrics"]), Just(vec!["/debug/*", "/l*"])],
    ) -> ClusterRule {
        let star = || owned(vec!["*"]);
        ClusterRule {
            name: name.to_owned(), namespaces: star(), verbs, resources: star(),
            api_groups: star(), names: Vec::new(), non_resource_urls: owned(urls),
            record: Default::default(), record_input: false,
        }
    }
}

fn everything() -> ClusterRule {
    let star = || owned(vec!["*"]);
    ClusterRule {
        name: "dev-1".to_owned(),
        namespaces: star(),
        verbs: star(),
        resources: star(),
        api_groups: star(),
        names: Vec::new(),
        non_resource_urls: Vec::new(),
        record: Default::default(),
        record_input: false,
    }
}

fn rule() -> impl Strategy<Value = ClusterRule> {
    prop_oneof![16 => resource_rule(), 3 => path_rule(), 1 => Just(everything())]
}

fn roles() -> impl Strategy<Value = Vec<Role>> {
    let rules = proptest::collection::vec(rule(), 1..4);
    proptest::collection::vec(rules, 1..4).prop_map(|roles| {
        let role = |(index, clusters)| Role {
            name: format!("role-{index}"),
            description: String::new(),
            clusters,
            groups: Vec::new(),
            administrator: None,
            auditor: false,
        };
        roles.into_iter().enumerate().map(role).collect()
    })
}

fn resource_call() -> impl Strategy<Value = Action<'static>> {
    let what = (
        select(&["pods", "services", "deployments", "selfsubjectaccessreviews", ""][..]),
        select(&["", "", "", "log", "exec", "attach", "portforward", "proxy", "scale", "status"][..]),
        select(&["", "apps", "authorization.k8s.io"][..]),
    );
    let place = (
        select(&["dev-1", "dev-2", "prod-1", "prod"][..]),
        select(&["", "a", "ab", "b", "a/b"][..]),
        select(&["", "x", "xy", "z"][..]),
    );
    (what, place, select(&VERBS[..])).prop_map(
        |((resource, subresource, api_group), (cluster, namespace, name), verb)| Action {
            cluster,
            verb,
            api_group,
            resource,
            subresource,
            namespace,
            name,
            path: "",
        },
    )
}

fn call() -> impl Strategy<Value = Action<'static>> {
    let path_call = (select(&["dev-1", "prod"][..]), select(&VERBS[..]), select(&PATHS[..]))
        .prop_map(|(cluster, verb, path)| Action { cluster, verb, path, ..Action::default() });
    prop_oneof![5 => resource_call(), 1 => path_call]
}

fn compiled(roles: &[Role]) -> PolicySet {
    compile(roles.iter().map(|role| (role.clone(), Source::Database)).collect())
        .unwrap_or_else(|errors| panic!("{errors:?}"))
}

fn names(roles: &[Role]) -> Vec<String> {
    roles.iter().map(|role| role.name.clone()).collect()
}

fn answer(decision: &Decision) -> reference::Answer {
    match decision {
        Decision::Allowed { .. } => reference::Answer::Allowed,
        Decision::Denied { .. } => reference::Answer::Denied,
        Decision::Invisible => reference::Answer::Invisible,
    }
}

fn decide(roles: &[Role], call: &Action<'_>) -> reference::Answer {
    answer(&compiled(roles).decide(&names(roles), call))
}

/// Reorders roles, rules and every list by the numbers given.
fn shuffled(roles: &[Role], seed: &[Index]) -> Vec<Role> {
    fn shuffle<T>(list: &mut [T], seed: &mut impl Iterator<Item = Index>) {
        for last in (1..list.len()).rev() {
            list.swap(last, seed.next().map_or(0, |index| index.index(last + 1)));
        }
    }
    let mut seed = seed.iter().copied().cycle();
    let mut roles = roles.to_vec();
    shuffle(&mut roles, &mut seed);
    for role in &mut roles {
        shuffle(&mut role.clusters, &mut seed);
        for rule in &mut role.clusters {
            let lists = [
                &mut rule.namespaces,
                &mut rule.verbs,
                &mut rule.resources,
                &mut rule.api_groups,
                &mut rule.names,
                &mut rule.non_resource_urls,
            ];
            for list in lists {
                shuffle(list, &mut seed);
            }
        }
    }
    roles
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn agrees_with_the_reference(roles in roles(), calls in proptest::collection::vec(call(), 30)) {
        let (policy, held) = (compiled(&roles), names(&roles));
        for call in calls {
            let decision = policy.decide(&held, &call);
            prop_assert_eq!(answer(&decision), reference::decide(&roles, &held, &call), "{:?}", call);
            prop_assert_eq!(policy.sees_cluster(&held, call.cluster), decision != Decision::Invisible);
        }
    }

    #[test]
    fn order_means_nothing(roles in roles(), calls in proptest::collection::vec(call(), 10), seed in proptest::collection::vec(any::<Index>(), 16)) {
        let other = shuffled(&roles, &seed);
        for call in calls {
            prop_assert_eq!(decide(&roles, &call), decide(&other, &call), "{:?}", call);
        }
    }

    #[test]
    fn a_rule_more_never_takes_away(roles in roles(), more in rule(), at in any::<Index>(), calls in proptest::collection::vec(call(), 10)) {
        let mut wider = roles.clone();
        let role = at.index(wider.len());
        let place = at.index(wider[role].clusters.len() + 1);
        wider[role].clusters.insert(place, more);
        for call in calls {
            let (before, after) = (decide(&roles, &call), decide(&wider, &call));
            if before == reference::Answer::Allowed {
                prop_assert_eq!(&after, &reference::Answer::Allowed, "{:?}", call);
            }
            // The same, read backwards: taking the rule out again never gives anything.
            if after == reference::Answer::Denied {
                prop_assert_ne!(before, reference::Answer::Allowed, "{:?}", call);
            }
        }
    }

    #[test]
    fn a_role_less_never_gives(roles in roles(), calls in proptest::collection::vec(call(), 10)) {
        let policy = compiled(&roles);
        let held = names(&roles);
        for call in calls {
            if !policy.decide(&held, &call).is_allowed() {
                for fewer in 0..held.len() {
                    prop_assert!(!policy.decide(&held[fewer..], &call).is_allowed(), "{:?}", call);
                }
            }
        }
    }

    #[test]
    fn reading_never_opens_a_session(
        mut roles in roles(),
        subresource in select(&["exec", "attach", "portforward"][..]),
        call in resource_call(),
    ) {
        let opens = ["*", "create", "apply", "exec", "attach", "port-forward", "portforward"];
        for rule in roles.iter_mut().flat_map(|role| &mut role.clusters) {
            rule.verbs.retain(|verb| !opens.contains(&verb.as_str()));
            rule.verbs.extend(owned(vec!["get", "list", "watch", "logs"]));
        }
        let call = Action { subresource, ..call };
        prop_assume!(call.verb != "proxy");
        prop_assert_ne!(decide(&roles, &call), reference::Answer::Allowed, "{:?}", call);
    }

    #[test]
    fn no_namespace_with_a_slash(roles in roles(), call in resource_call()) {
        let call = Action { namespace: "a/b", ..call };
        prop_assert_ne!(decide(&roles, &call), reference::Answer::Allowed, "{:?}", call);
    }

    #[test]
    fn no_call_panics(roles in roles(), fields in proptest::collection::vec("\\PC{0,12}", 8)) {
        let call = Action {
            cluster: "dev-1", verb: &fields[1], api_group: &fields[2], resource: &fields[3], subresource: &fields[4],
            namespace: &fields[5], name: &fields[6], path: &fields[7],
        };
        let _ = decide(&roles, &call);
    }

    #[test]
    fn a_denial_names_the_cluster_and_a_rule_held(roles in roles(), call in resource_call()) {
        let held = names(&roles);
        if let Decision::Denied { reason } = compiled(&roles).decide(&held, &call) {
            prop_assert!(reason.contains(call.cluster), "{}", reason);
            let names_a_rule = held.iter().any(|role| reason.contains(&format!("{role}#")));
            prop_assert!(names_a_rule || reason.contains("allow no resources"), "{}", reason);
            // It says which field does not match, so it never ends with nothing.
            prop_assert!(!reason.ends_with(", "), "{}", reason);
        }
    }
}
