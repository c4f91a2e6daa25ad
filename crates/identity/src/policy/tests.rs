//! Examples of the contract, one by one. Properties are in `tests/policy_properties.rs`.

use flotilla_types::policy::{ClusterRule, Role};

use super::*;

fn owned(texts: &[&str]) -> Vec<String> {
    texts.iter().copied().map(str::to_owned).collect()
}

fn rule(cluster: &str, namespaces: &[&str], verbs: &[&str], resources: &[&str]) -> ClusterRule {
    ClusterRule {
        name: cluster.to_owned(),
        namespaces: owned(namespaces),
        verbs: owned(verbs),
        resources: owned(resources),
        api_groups: owned(&["*"]),
        names: Vec::new(),
        non_resource_urls: Vec::new(),
        record: Default::default(),
        record_input: false,
    }
}

fn role(name: &str, clusters: Vec<ClusterRule>) -> Role {
    Role {
        name: name.to_owned(),
        description: String::new(),
        clusters,
        groups: Vec::new(),
        administrator: None,
        auditor: false,
    }
}

fn policy(roles: Vec<Role>) -> PolicySet {
    compile(roles.into_iter().map(|role| (role, Source::Database)).collect())
        .unwrap_or_else(|errors| panic!("{errors:?}"))
}

/// `verb resource[/subresource] [namespace]` in dev-1.
fn call<'a>(verb: &'a str, resource: &'a str, namespace: &'a str) -> Action<'a> {
    let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
    Action { cluster: "dev-1", verb, resource, subresource, namespace, ..Action::default() }
}

fn allowed(rule: &ClusterRule, action: &Action<'_>) -> bool {
    policy(vec![role("r", vec![rule.clone()])]).decide(&owned(&["r"]), action).is_allowed()
}

fn reason(policy: &PolicySet, roles: &[&str], action: &Action<'_>) -> String {
    match policy.decide(&owned(roles), action) {
        Decision::Denied { reason } => reason,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_worked_example() {
    let team = role(
        "team-a",
        vec![
            rule(
                "dev-*",
                &["team-a", "team-a-*"],
                &["get", "list", "watch", "create", "update", "patch", "delete", "logs", "exec"],
                &["pods", "deployments", "*/scale"],
            ),
            rule("prod-*", &["*"], &["get", "list", "watch"], &["pods", "nodes"]),
        ],
    );
    let policy = policy(vec![team]);
    let held = owned(&["team-a"]);
    let decide = |action: Action<'_>| policy.decide(&held, &action);
    let by = |rule: &str| Decision::Allowed { rule: rule.into() };
    assert_eq!(decide(call("list", "pods", "team-a")), by("team-a#1"));
    assert_eq!(decide(call("get", "pods/exec", "team-a-x")), by("team-a#1"));
    assert_eq!(decide(call("patch", "deployments/scale", "team-a")), by("team-a#1"));
    assert!(matches!(decide(call("list", "pods", "")), Decision::Denied { .. }));
    assert_eq!(decide(Action { cluster: "prod-1", ..call("list", "pods", "") }), by("team-a#2"));
    assert!(matches!(decide(Action { cluster: "prod-1", ..call("get", "pods/log", "x") }), Decision::Denied { .. }));
    assert_eq!(decide(Action { cluster: "staging", ..call("list", "pods", "team-a") }), Decision::Invisible);
}

#[test]
fn reading_is_not_acting() {
    let reader = rule("*", &["*"], &["get", "list", "watch"], &["*"]);
    assert!(allowed(&reader, &call("get", "pods", "a")));
    assert!(allowed(&reader, &call("get", "pods/status", "a")));
    for resource in
        ["pods/exec", "pods/attach", "pods/portforward", "pods/proxy", "services/proxy", "nodes/proxy", "pods/log"]
    {
        assert!(!allowed(&reader, &call("get", resource, "a")), "{resource}");
    }
    for pattern in ["pods/*", "*/*", "pods/e*"] {
        let reader = rule("*", &["*"], &["get", "create"], &[pattern]);
        for resource in ["pods/exec", "pods/attach", "pods/portforward", "pods/proxy", "pods/log"] {
            assert!(!allowed(&reader, &call("get", resource, "a")), "{pattern} {resource}");
        }
    }
    // `get pods/exec` would be enough for the API server's WebSocket exec; not here.
    assert!(!allowed(&rule("*", &["*"], &["get"], &["pods/exec"]), &call("get", "pods/exec", "a")));
    assert!(!allowed(&rule("*", &["*"], &["create"], &["*"]), &call("create", "pods/exec", "a")));
}

#[test]
fn actions_by_word() {
    for (word, resource) in [
        ("exec", "pods/exec"),
        ("attach", "pods/attach"),
        ("port-forward", "pods/portforward"),
        ("portforward", "pods/portforward"),
        ("proxy", "pods/proxy"),
        ("logs", "pods/log"),
        ("scale", "pods/scale"),
    ] {
        for resources in [["pods"], ["*"], ["pods/*"], ["p*"]] {
            let by_word = rule("*", &["a"], &[word], &resources);
            assert!(allowed(&by_word, &call("get", resource, "a")), "{word} {resources:?}");
            assert!(!allowed(&by_word, &call("get", resource, "b")), "{word} in another namespace");
            assert!(!allowed(&by_word, &call("get", "pods", "a")), "{word} is not get");
        }
        let elsewhere = rule("*", &["*"], &[word], &["services"]);
        assert!(!allowed(&elsewhere, &call("get", resource, "a")), "{word} on services");
        assert!(allowed(&rule("*", &["*"], &["*"], &["pods"]), &call("get", resource, "a")), "* is all words");
    }
    assert!(!allowed(&rule("*", &["*"], &["exec"], &["*"]), &call("create", "pods/attach", "a")));
    assert!(!allowed(&rule("*", &["*"], &["logs"], &["*"]), &call("delete", "pods/log", "a")));
    assert!(!allowed(&rule("*", &["*"], &["scale"], &["*"]), &call("delete", "deployments/scale", "a")));
    let legacy = Action { verb: "proxy", ..call("", "pods", "a") };
    assert!(!allowed(&rule("*", &["*"], &["get", "create"], &["*"]), &legacy));
    assert!(allowed(&rule("*", &["*"], &["proxy"], &["pods"]), &legacy));
}

#[test]
fn actions_by_name() {
    let exec = rule("*", &["*"], &["create"], &["pods/exec"]);
    assert!(allowed(&exec, &call("create", "pods/exec", "a")));
    assert!(allowed(&exec, &call("get", "pods/exec", "a")), "whatever the method");
    assert!(!allowed(&exec, &call("create", "pods/attach", "a")));
    let proxy = rule("*", &["*"], &["get"], &["*/proxy"]);
    assert!(allowed(&proxy, &call("get", "services/proxy", "a")));
    assert!(!allowed(&proxy, &call("create", "services/proxy", "a")), "the verb of the call counts");
    let log = rule("*", &["*"], &["get"], &["pods/log"]);
    assert!(allowed(&log, &call("get", "pods/log", "a")));
    assert!(!allowed(&log, &call("get", "pods", "a")));
}

#[test]
fn words_for_several_verbs() {
    for (word, verbs) in [
        ("describe", vec!["get", "list"]),
        ("apply", vec!["get", "create", "patch"]),
        ("edit", vec!["get", "patch", "update"]),
    ] {
        for verb in ["get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"] {
            let expected = verbs.contains(&verb);
            assert_eq!(
                allowed(&rule("*", &["*"], &[word], &["*"]), &call(verb, "pods", "a")),
                expected,
                "{word} {verb}"
            );
        }
    }
}

#[test]
fn subresources_are_named() {
    let pods = rule("*", &["*"], &["get", "update"], &["pods"]);
    assert!(!allowed(&pods, &call("update", "pods/status", "a")));
    assert!(allowed(&rule("*", &["*"], &["update"], &["pods/*"]), &call("update", "pods/status", "a")));
    assert!(!allowed(&rule("*", &["*"], &["update"], &["pods/*"]), &call("update", "pods", "a")));
    assert!(allowed(&rule("*", &["*"], &["update"], &["*"]), &call("update", "pods/status", "a")));
    assert!(!allowed(&rule("*", &["*"], &["update"], &["**"]), &call("update", "pods/status", "a")), "only the lone *");
    assert!(!allowed(&rule("*", &["*"], &["*"], &["pods"]), &call("update", "pods/status", "a")));
}

#[test]
fn outside_any_namespace_only_the_star_counts() {
    for (namespaces, expected) in [(&["*"][..], true), (&["**"], false), (&["a*"], false), (&["a", "*"], true)] {
        assert_eq!(
            allowed(&rule("*", namespaces, &["*"], &["*"]), &call("list", "nodes", "")),
            expected,
            "{namespaces:?}"
        );
    }
    assert!(allowed(&rule("*", &["team-*"], &["get"], &["namespaces"]), &call("get", "namespaces", "team-a")));
}

#[test]
fn names_must_be_carried() {
    let mut named = rule("*", &["*"], &["*"], &["*"]);
    named.names = owned(&["web-*"]);
    assert!(allowed(&named, &Action { name: "web-1", ..call("get", "pods", "a") }));
    assert!(!allowed(&named, &Action { name: "db-1", ..call("get", "pods", "a") }));
    assert!(!allowed(&named, &call("list", "pods", "a")));
    named.names = owned(&["*"]);
    assert!(!allowed(&named, &call("create", "pods", "a")), "a creation carries no name");
}

#[test]
fn api_groups() {
    let mut core = rule("*", &["*"], &["*"], &["*"]);
    core.api_groups = owned(&[""]);
    assert!(allowed(&core, &call("get", "pods", "a")));
    assert!(!allowed(&core, &Action { api_group: "apps", ..call("get", "deployments", "a") }));
    core.api_groups = owned(&["*.k8s.io"]);
    assert!(allowed(&core, &Action { api_group: "metrics.k8s.io", ..call("get", "pods", "a") }));
    assert!(!allowed(&core, &call("get", "pods", "a")));
}

#[test]
fn paths_outside_the_resource_api() {
    let path = |verb, path| Action { cluster: "dev-1", verb, path, ..Action::default() };
    let mut paths = rule("*", &["*"], &["get"], &["*"]);
    assert!(!allowed(&paths, &path("get", "/metrics")), "resources are not paths");
    assert!(allowed(&paths, &path("get", "/version")), "open");
    paths.non_resource_urls = owned(&["/metrics", "/debug/*"]);
    assert!(allowed(&paths, &path("get", "/metrics")));
    assert!(allowed(&paths, &path("head", "/metrics")));
    assert!(!allowed(&paths, &path("post", "/metrics")));
    assert!(allowed(&paths, &path("get", "/debug/pprof")));
    assert!(!allowed(&paths, &path("get", "/debug/pprof/heap")));
    assert!(!allowed(&paths, &path("get", "/debug/..")));
    assert!(!allowed(&paths, &call("get", "pods", "a")), "paths are not resources");
    paths.non_resource_urls = owned(&["*"]);
    assert!(allowed(&paths, &path("get", "/debug/pprof/heap")));
    assert!(!allowed(&paths, &path("get", "/debug/../x")));
    let everything = rule("dev-*", &["*"], &["*"], &["*"]);
    assert!(allowed(&everything, &path("put", "/anything/at/all")));
    assert!(!allowed(&everything, &path("get", "/a//b")));
    assert!(!allowed(&rule("*", &["a"], &["*"], &["*"]), &path("get", "/metrics")));
}

#[test]
fn open_calls_need_to_reach_the_cluster() {
    let policy = policy(vec![role("r", vec![rule("dev-*", &["a"], &["get"], &["pods"])])]);
    let review = Action {
        cluster: "dev-1",
        verb: "create",
        api_group: "authorization.k8s.io",
        resource: "selfsubjectaccessreviews",
        ..Action::default()
    };
    assert_eq!(policy.decide(&owned(&["r"]), &review), Decision::Allowed { rule: "open".into() });
    assert_eq!(policy.decide(&owned(&["r"]), &Action { cluster: "prod", ..review }), Decision::Invisible);
    assert_eq!(policy.decide(&[], &review), Decision::Invisible);
    assert_eq!(policy.decide(&owned(&["no-such-role"]), &review), Decision::Invisible);
}

#[test]
fn denials_explain_themselves() {
    let developer = role(
        "developer",
        vec![rule("*", &["kube-*"], &["get"], &["events"]), rule("*", &["team-*"], &["get", "list"], &["pods"])],
    );
    let policy = policy(vec![developer]);
    let because = |action: Action<'_>| reason(&policy, &["developer"], &action);
    assert_eq!(
        because(Action { name: "web", ..call("delete", "pods", "team-a") }),
        "delete on pods \"web\" in namespace team-a is not allowed in cluster dev-1: developer#2 allows get, list on \
         pods in namespaces team-*, not delete"
    );
    assert_eq!(
        because(call("list", "pods", "")),
        "list on pods outside any namespace or over all of them is not allowed in cluster dev-1: developer#2 allows \
         get, list on pods in namespaces team-*, and only the namespace pattern * covers this"
    );
    assert_eq!(
        because(call("get", "pods/exec", "team-a")),
        "exec on pods in namespace team-a is not allowed in cluster dev-1: developer#2 allows get, list on pods in \
         namespaces team-*, not exec"
    );
    assert_eq!(
        because(call("get", "secrets", "team-a")),
        "get on secrets in namespace team-a is not allowed in cluster dev-1: developer#2 allows get, list on pods in \
         namespaces team-*, not secrets"
    );
    assert_eq!(
        because(Action { cluster: "dev-1", verb: "get", path: "/metrics", ..Action::default() }),
        "get on /metrics is not allowed in cluster dev-1: no rule names this path in non_resource_urls"
    );
    let logs = because(call("get", "pods/log", "kube-system"));
    assert!(logs.starts_with("logs on pods in namespace kube-system is not allowed"), "{logs}");
}

#[test]
fn groups_come_from_roles_that_reach_the_cluster() {
    let mut dev =
        role("dev", vec![rule("dev-*", &["*"], &["get"], &["pods"]), rule("dev-1", &["*"], &["get"], &["nodes"])]);
    dev.groups = owned(&["z-team", "a-team"]);
    let mut ops = role("ops", vec![rule("*", &["*"], &["get"], &["pods"])]);
    ops.groups = owned(&["a-team"]);
    let policy = policy(vec![dev, ops]);
    let held = owned(&["ops", "dev", "dev", "gone"]);
    assert_eq!(policy.groups_for(&held, "dev-1"), ["a-team", "flotilla:role:dev", "flotilla:role:ops", "z-team"]);
    assert_eq!(policy.groups_for(&held, "prod"), ["a-team", "flotilla:role:ops"]);
    assert!(policy.sees_cluster(&held, "prod") && !policy.sees_cluster(&owned(&["dev"]), "prod"));
}

#[test]
fn administrators() {
    let everything = rule("*", &["*"], &["*"], &["*"]);
    let with = |administrator, rule: ClusterRule| {
        let role = Role { administrator, ..role("r", vec![rule]) };
        policy(vec![role]).is_administrator(&owned(&["r"]))
    };
    assert!(with(None, everything.clone()));
    assert!(!with(Some(false), everything.clone()));
    assert!(with(Some(true), rule("dev-*", &["*"], &["get"], &["pods"])));
    assert!(!with(None, rule("dev-*", &["*"], &["*"], &["*"])));
    assert!(!with(None, ClusterRule { names: owned(&["*"]), ..everything.clone() }));
    assert!(!with(None, ClusterRule { non_resource_urls: owned(&["*"]), ..everything }));
}

#[test]
fn all_problems_are_reported() {
    let mut bad = role(
        "bad name!",
        vec![
            rule("Dev_*", &["team-?"], &["lst", "impersonate"], &["pods/log/x", "/", "[a-z]+"]),
            rule("*", &[], &[], &[]),
        ],
    );
    bad.groups = owned(&["system:masters", " System:x", "a b", ""]);
    bad.clusters[1].api_groups = Vec::new();
    let mut paths = rule("*", &["a"], &["get"], &["pods"]);
    paths.non_resource_urls = owned(&["metrics"]);
    paths.names = owned(&["x"]);
    let roles = vec![
        bad,
        role("empty", vec![]),
        role("twice", vec![paths]),
        role("twice", vec![rule("*", &["*"], &["get"], &["*"])]),
    ];
    let errors = compile(roles.into_iter().map(|role| (role, Source::File)).collect()).err().expect("refused");
    let fields: Vec<_> = errors.iter().map(|error| (error.role.as_str(), error.rule, error.field)).collect();
    let bad = "bad name!";
    assert_eq!(
        fields,
        [
            (bad, None, "name"),
            (bad, None, "groups"),
            (bad, None, "groups"),
            (bad, None, "groups"),
            (bad, None, "groups"),
            (bad, Some(1), "name"),
            (bad, Some(1), "namespaces"),
            (bad, Some(1), "resources"),
            (bad, Some(1), "resources"),
            (bad, Some(1), "resources"),
            (bad, Some(1), "verbs"),
            (bad, Some(1), "verbs"),
            (bad, Some(2), "namespaces"),
            (bad, Some(2), "resources"),
            (bad, Some(2), "api_groups"),
            (bad, Some(2), "verbs"),
            ("empty", None, "clusters"),
            ("twice", Some(1), "non_resource_urls"),
            ("twice", Some(1), "resources"),
            ("twice", Some(1), "names"),
            ("twice", Some(1), "namespaces"),
            ("twice", None, "name"),
        ]
    );
    assert_eq!(
        errors[10].to_string(),
        "role \"bad name!\", rule 1: verbs: unknown verb \"lst\": did you mean \"list\"?"
    );
}

#[test]
fn the_file_hides_the_built_in_hides_the_database() {
    let named = |cluster: &str| role("admin", vec![rule(cluster, &["*"], &["get"], &["pods"])]);
    for order in [[0, 1, 2], [2, 1, 0], [1, 0, 2]] {
        let all = [
            (named("file"), Source::File),
            (named("built-in"), Source::BuiltIn),
            (named("database"), Source::Database),
        ];
        let roles = order.iter().map(|index| all[*index].clone()).collect();
        let policy = compile(roles).unwrap_or_else(|errors| panic!("{errors:?}"));
        let views = policy.roles();
        assert_eq!(views.len(), 1);
        assert_eq!((views[0].source.as_str(), views[0].role.clusters[0].name.as_str()), ("file", "file"));
    }
}

#[test]
fn built_in_roles_mean_what_they_say() {
    let policy = compile(built_in_roles().into_iter().map(|role| (role, Source::BuiltIn)).collect())
        .unwrap_or_else(|errors| panic!("{errors:?}"));
    let can = |role: &str, action: Action<'_>| policy.decide(&owned(&[role]), &action).is_allowed();
    assert!(policy.is_administrator(&owned(&["admin"])));
    assert!(!policy.is_administrator(&owned(&["developer", "viewer"])));
    assert!(can("admin", call("delete", "nodes", "")) && can("admin", call("get", "pods/exec", "a")));
    for action in [
        call("create", "deployments", "a"),
        call("get", "pods/exec", "a"),
        call("get", "pods/log", "a"),
        call("create", "pods/portforward", "a"),
        call("patch", "deployments/scale", "a"),
        call("list", "pods", ""),
        call("get", "secrets", "a"),
        call("create", "pods/eviction", "a"),
        call("list", "nodes", ""),
    ] {
        assert!(can("developer", action), "{action:?}");
        assert_eq!(policy.decide(&owned(&["developer"]), &Action { cluster: "prod-1", ..action }), Decision::Invisible);
    }
    for action in [
        call("delete", "namespaces", "a"),
        call("create", "rolebindings", "a"),
        call("create", "clusterroles", ""),
        call("delete", "nodes", ""),
        call("create", "serviceaccounts/token", "a"),
        call("get", "pods/proxy", "a"),
        call("get", "nodes/proxy", ""),
    ] {
        assert!(!can("developer", action), "{action:?}");
    }
    assert!(can("viewer", call("watch", "pods", "")) && can("viewer", call("get", "configmaps", "a")));
    for action in [
        call("get", "secrets", "a"),
        call("list", "secrets", ""),
        call("get", "pods/log", "a"),
        call("get", "pods/exec", "a"),
        call("create", "pods/exec", "a"),
        call("delete", "pods", "a"),
        call("list", "clusterrolebindings", ""),
    ] {
        assert!(!can("viewer", action), "{action:?}");
    }
    assert_eq!(policy.groups_for(&owned(&["viewer"]), "x"), ["flotilla:role:viewer", "flotilla:tier:read"]);
}

#[test]
fn permissions_are_the_rules_as_written() {
    let rules = vec![rule("a", &["*"], &["describe"], &["pods"]), rule("b", &["*"], &["*"], &["*"])];
    let policy = policy(vec![role("r", rules.clone())]);
    let written: Vec<ClusterRule> =
        policy.permissions(&owned(&["r", "gone"])).into_iter().map(|permission| permission.rule).collect();
    assert_eq!(written, rules);
}

#[test]
fn the_strictest_rule_that_allows_a_shell_says_how_it_is_recorded() {
    use Record::{Off, On, Required};
    let with = |record, record_input, verbs: &[&str]| ClusterRule {
        record,
        record_input,
        ..rule("dev-*", &["*"], verbs, &["pods"])
    };
    let policy = policy(vec![
        role("plain", vec![with(Off, false, &["exec"])]),
        role("seen", vec![with(On, true, &["exec"])]),
        role("strict", vec![with(Required, false, &["exec"])]),
        role("reader", vec![with(Required, true, &["get"])]),
    ]);
    let call = call("create", "pods/exec", "shop");
    let recording = |roles: &[&str]| policy.recording(&owned(roles), &call);
    assert_eq!(recording(&["plain"]), Recording::default());
    assert_eq!(recording(&["plain", "seen"]), Recording { record: On, input: true });
    assert_eq!(recording(&["strict", "plain", "seen"]), Recording { record: Required, input: true });
    assert_eq!(recording(&["reader", "plain"]), Recording::default(), "a rule that allows no shell says nothing of it");
}

#[test]
fn auditors_are_those_whose_role_says_so_and_administrators() {
    let auditor = Role { auditor: true, ..role("auditor", vec![rule("dev-*", &["*"], &["get"], &["pods"])]) };
    let policy = policy([built_in_roles(), vec![auditor]].concat());
    assert!(policy.is_auditor(&owned(&["auditor"])) && policy.is_auditor(&owned(&["admin"])));
    assert!(!policy.is_auditor(&owned(&["developer", "viewer", "nobody"])));
    assert!(!policy.is_administrator(&owned(&["auditor"])));
}
