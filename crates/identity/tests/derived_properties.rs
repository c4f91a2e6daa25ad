//! Properties of roles that follow from teams, groups and grants.

use flotilla_identity::policy::{Action, Derived, PolicySet, Source, compile, units};
use flotilla_types::org::Mode;
use flotilla_types::policy::{ClusterRule, Record, Role};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

const CLUSTERS: [&str; 4] = ["dev-1", "dev-2", "prod-1", "prod-2"];
const CLUSTER_PATTERNS: [&str; 5] = ["*", "dev-*", "prod-*", "prod-1", "*-1"];
const NAMESPACES: [&str; 5] = ["*", "pay", "pay-*", "p*", "shop"];
const VERBS: [&str; 9] = ["get", "list", "delete", "logs", "exec", "scale", "proxy", "edit", "create"];
const RESOURCES: [&str; 8] = ["*", "pods", "pods/log", "pods/exec", "*/scale", "deployments", "p*", "pods/*"];

fn rule() -> impl Strategy<Value = ClusterRule> {
    let some = |from: &'static [&'static str]| {
        subsequence(from, 1..=3).prop_map(|texts| texts.into_iter().map(str::to_owned).collect::<Vec<String>>())
    };
    let names = prop_oneof![3 => Just(vec![]), 1 => Just(vec!["web-*".to_owned()])];
    (select(&CLUSTER_PATTERNS[..]), some(&NAMESPACES), some(&VERBS), some(&RESOURCES), names).prop_map(
        |(name, namespaces, verbs, resources, names)| ClusterRule {
            name: name.to_owned(),
            namespaces,
            verbs,
            resources,
            api_groups: vec!["*".to_owned()],
            names,
            non_resource_urls: vec![],
            record: Record::Off,
            record_input: false,
        },
    )
}

fn action() -> impl Strategy<Value = Action<'static>> {
    let subresources = ["", "log", "exec", "scale", "proxy", "status"];
    (
        select(&CLUSTERS[..]),
        select(&["get", "list", "create", "update", "patch", "delete", "unheard-of"][..]),
        select(&["pods", "deployments", "services", "nodes"][..]),
        select(subresources.to_vec()),
        select(&["", "pay", "pay-a", "shop"][..]),
        select(&["", "web-1", "db"][..]),
    )
        .prop_map(|(cluster, verb, resource, subresource, namespace, name)| Action {
            cluster,
            verb,
            resource,
            subresource,
            namespace,
            name,
            ..Action::default()
        })
}

fn role(name: &str, rules: Vec<ClusterRule>) -> Role {
    Role {
        name: name.to_owned(),
        description: String::new(),
        clusters: rules,
        groups: vec![],
        administrator: None,
        auditor: false,
    }
}

fn base(rules: Vec<ClusterRule>) -> PolicySet {
    compile(vec![(role("own", rules), Source::Database)]).unwrap_or_else(|errors| panic!("{errors:?}"))
}

fn derive(set: PolicySet, derived: Vec<Derived>) -> PolicySet {
    set.with_derived(derived, []).unwrap_or_else(|errors| panic!("{errors:?}"))
}

fn grant(rules: Vec<ClusterRule>, clusters: &[&str], until_ms: i64) -> Derived {
    Derived {
        name: "grant:1".to_owned(),
        source: Source::Grant,
        rules,
        clusters: Some(clusters.iter().map(|name| (*name).to_owned()).collect()),
        groups: vec!["flotilla:grant:1".to_owned(), "flotilla:tier:triage".to_owned()],
        until_ms: Some(until_ms),
    }
}

fn held(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    /// From its end on, a grant decides nothing at all: not the decision, not its words.
    #[test]
    fn a_grant_never_widens_after_its_end(own in prop::collection::vec(rule(), 1..3), given in prop::collection::vec(rule(), 1..3), call in action(), until in 0_i64..1000, later in 0_i64..1000) {
        let set = derive(base(own), vec![grant(given, &CLUSTERS, until)]);
        let after = until + later;
        prop_assert_eq!(set.decide_at(after, &held(&["own", "grant:1"]), &call), set.decide_at(after, &held(&["own"]), &call));
        let before = set.decide_at(until - 1, &held(&["own", "grant:1"]), &call);
        prop_assert!(!set.decide_at(until - 1, &held(&["own"]), &call).is_allowed() || before.is_allowed(), "it takes nothing away");
    }

    /// The order in which roles are held or derived never matters.
    #[test]
    fn ordering_never_widens(own in prop::collection::vec(rule(), 1..3), given in prop::collection::vec(rule(), 1..3), call in action(), now in 0_i64..20) {
        let other = Derived { name: "team:a/b:viewer:x".to_owned(), source: Source::Team, until_ms: None, ..grant(given.clone(), &CLUSTERS[..2], 0) };
        let one = derive(base(own.clone()), vec![grant(given.clone(), &CLUSTERS, 10), other.clone()]);
        let two = derive(base(own), vec![other, grant(given, &CLUSTERS, 10)]);
        let a = one.decide_at(now, &held(&["own", "grant:1", "team:a/b:viewer:x"]), &call);
        let b = two.decide_at(now, &held(&["team:a/b:viewer:x", "grant:1", "own"]), &call);
        prop_assert_eq!(a.is_allowed(), b.is_allowed());
    }

    /// What follows from something stays in its clusters, and allows there no more than the same rules of a role.
    #[test]
    fn a_scope_only_narrows(given in prop::collection::vec(rule(), 1..3), call in action(), scope in subsequence(&CLUSTERS[..], 0..4)) {
        let set = derive(base(given.clone()), vec![grant(given, &scope, i64::MAX)]);
        let (derived, whole) = (set.decide(&held(&["grant:1"]), &call), set.decide(&held(&["own"]), &call));
        prop_assert_eq!(derived.is_allowed(), whole.is_allowed() && scope.contains(&call.cluster));
        prop_assert!(scope.contains(&call.cluster) || derived == flotilla_identity::policy::Decision::Invisible);
    }

    /// Who holds all units of a rule may do everything that the rule allows.
    #[test]
    fn units_stand_for_the_whole_rule(mine in prop::collection::vec(rule(), 1..4), given in rule(), call in action()) {
        let set = base(mine);
        let given = ClusterRule { name: "*".to_owned(), ..given };
        let covered = units(&given, call.cluster).iter().all(|unit| set.decide(&held(&["own"]), unit).is_allowed());
        let gives = base(vec![given]).decide(&held(&["own"]), &call).is_allowed();
        prop_assert!(!(covered && gives) || set.decide(&held(&["own"]), &call).is_allowed());
    }

    /// A grant's groups come along with what the grant allows, and with nothing else.
    #[test]
    fn a_grant_lends_its_groups_to_nothing_else(own in prop::collection::vec(rule(), 1..3), given in rule(), call in action()) {
        let set = derive(base(own), vec![grant(vec![given], &CLUSTERS, i64::MAX)]);
        let arrival = set.arrival("a@x", &held(&["own", "grant:1"]), &[], &call);
        let lent = arrival.groups.iter().any(|group| group == "flotilla:grant:1");
        prop_assert_eq!(lent, set.decide(&held(&["grant:1"]), &call).is_allowed());
    }
}

#[test]
fn nothing_derived_administers_the_hub() {
    let everything = ClusterRule {
        name: "*".into(),
        namespaces: held(&["*"]),
        verbs: held(&["*"]),
        resources: held(&["*"]),
        api_groups: held(&["*"]),
        names: vec![],
        non_resource_urls: vec![],
        record: Record::Off,
        record_input: false,
    };
    let set = derive(base(vec![everything.clone()]), vec![grant(vec![everything], &CLUSTERS, i64::MAX)]);
    assert!(set.is_administrator(&held(&["own"])) && !set.is_administrator(&held(&["grant:1"])));
}

#[test]
fn modes_say_as_whom_people_arrive() {
    let rule = ClusterRule {
        name: "*".into(),
        namespaces: held(&["*"]),
        verbs: held(&["get"]),
        resources: held(&["pods"]),
        api_groups: held(&["*"]),
        names: vec![],
        non_resource_urls: vec![],
        record: Record::Off,
        record_input: false,
    };
    let role = Role { groups: held(&["flotilla:tier:read", "ops"]), ..role("own", vec![rule]) };
    let set = compile(vec![(role, Source::Database)]).unwrap_or_else(|errors| panic!("{errors:?}"));
    let modes = [("raw".to_owned(), Mode::Raw), ("shared".to_owned(), Mode::Shared)];
    let set = set.with_derived(vec![], modes).unwrap_or_else(|errors| panic!("{errors:?}"));
    let idp = held(&["sre", "system:masters", "SYSTEM:masters", "flotilla:tier:admin", "two words"]);
    let arrive = |cluster| {
        let arrival = set.arrival("a@x", &held(&["own"]), &idp, &Action { cluster, ..Action::default() });
        (arrival.user, arrival.groups)
    };
    assert_eq!(arrive("any"), ("a@x".into(), held(&["flotilla:role:own", "flotilla:tier:read", "ops"])));
    assert_eq!(arrive("raw"), ("a@x".into(), held(&["flotilla:role:own", "ops", "sre"])));
    assert_eq!(arrive("shared"), ("flotilla:shared".into(), held(&["flotilla:shared"])));
}
