//! The roles that every hub has. A role of the same name in the roles file replaces one.
//!
//! Must not know: anything but the shapes of roles.

use flotilla_types::policy::{ClusterRule, Record, Role};

/// What people run, and what they look at while it runs. Secrets and RBAC are not in it.
const WORKLOADS: [&str; 28] = [
    "configmaps",
    "controllerrevisions",
    "cronjobs",
    "daemonsets",
    "deployments",
    "endpoints",
    "endpointslices",
    "events",
    "gateways",
    "grpcroutes",
    "horizontalpodautoscalers",
    "httproutes",
    "ingresses",
    "jobs",
    "leases",
    "limitranges",
    "namespaces",
    "networkpolicies",
    "persistentvolumeclaims",
    "poddisruptionbudgets",
    "pods",
    "podtemplates",
    "replicasets",
    "replicationcontrollers",
    "resourcequotas",
    "serviceaccounts",
    "services",
    "statefulsets",
];

/// Cluster-scoped kinds that explain how a workload behaves.
const SURROUNDINGS: [&str; 12] = [
    "apiservices",
    "componentstatuses",
    "csidrivers",
    "csinodes",
    "customresourcedefinitions",
    "gatewayclasses",
    "ingressclasses",
    "nodes",
    "persistentvolumes",
    "priorityclasses",
    "runtimeclasses",
    "storageclasses",
];

/// What a developer may also change. Secrets are in it, as in Kubernetes' own role `edit`: Helm keeps
/// its releases in them.
const DEVELOPED: [&str; 23] = [
    "configmaps",
    "cronjobs",
    "daemonsets",
    "deployments",
    "endpoints",
    "grpcroutes",
    "horizontalpodautoscalers",
    "httproutes",
    "ingresses",
    "jobs",
    "networkpolicies",
    "persistentvolumeclaims",
    "poddisruptionbudgets",
    "pods",
    "pods/ephemeralcontainers",
    "pods/eviction",
    "pods/resize",
    "podtemplates",
    "replicasets",
    "replicationcontrollers",
    "secrets",
    "services",
    "statefulsets",
];

/// `admin` (everything, and the hub itself), `developer` (works in clusters called `dev-*`) and
/// `viewer` (looks at workloads everywhere).
///
/// The viewer's resources are named one by one, because there are no denying rules: secrets, RBAC
/// objects, logs and custom resources are not among them. Whoever should see those gets a role of his own.
/// And one role for each of the [`TIERS`], in every cluster. A tier's role allows at the hub what the tier's
/// ClusterRole allows in a cluster, so that neither of the two is a surprise.
#[must_use]
pub fn built_in_roles() -> Vec<Role> {
    let mut roles = vec![admin(), developer(), viewer()];
    roles.extend(TIERS.iter().filter_map(|tier| tier_role(tier)));
    roles
}

/// The tiers, the least first. Each is a Kubernetes group `flotilla:tier:<tier>`, bound by the agent's manifest.
pub const TIERS: [&str; 5] = ["read", "triage", "write", "maintain", "admin"];

/// What may be looked at in any tier: `view` of Kubernetes, and the kinds around.
const LOOKING: [&str; 3] = ["get", "list", "watch"];

/// The role `tier-<tier>`; `None` for a word that is no tier.
#[must_use]
pub fn tier_role(tier: &str) -> Option<Role> {
    let mut seen = WORKLOADS.to_vec();
    seen.extend(SURROUNDINGS);
    let look = [rule("*", &LOOKING, &seen), rule("*", &["logs"], &["pods"])];
    let debug = [
        rule("*", &["exec", "attach", "port-forward"], &["pods"]),
        rule("*", &["delete"], &["pods"]),
        rule("*", &["create"], &["pods/eviction"]),
    ];
    let change = ["get", "list", "watch", "create", "update", "patch", "delete", "deletecollection", "scale"];
    let everything = ["*"];
    let (description, rules): (&str, Vec<ClusterRule>) = match tier {
        "read" => ("Looks at workloads and their logs", look.into()),
        "triage" => ("Also gets into pods, and deletes or evicts them", look.into_iter().chain(debug).collect()),
        "write" => (
            "Also changes workloads, secrets included",
            look.into_iter().chain(debug).chain([rule("*", &change, &DEVELOPED)]).collect(),
        ),
        "maintain" => (
            "Also service accounts, and roles in namespaces",
            look.into_iter().chain(debug).chain([rule("*", &change, &DEVELOPED), maintained(&change)]).collect(),
        ),
        "admin" => ("Everything, but not the hub itself", vec![rule("*", &everything, &everything)]),
        _ => return None,
    };
    Some(Role {
        name: format!("tier-{tier}"),
        description: description.to_owned(),
        clusters: rules,
        groups: vec![format!("flotilla:tier:{tier}")],
        administrator: Some(false),
        auditor: false,
    })
}

fn maintained(verbs: &[&str]) -> ClusterRule {
    rule(
        "*",
        verbs,
        &["localsubjectaccessreviews", "rolebindings", "roles", "serviceaccounts", "serviceaccounts/token"],
    )
}

fn admin() -> Role {
    Role {
        name: "admin".to_owned(),
        description: "Everything in every cluster, and the administration of the hub".to_owned(),
        clusters: vec![rule("*", &["*"], &["*"])],
        groups: vec!["flotilla:tier:admin".to_owned()],
        administrator: Some(true),
        auditor: false,
    }
}

fn developer() -> Role {
    let working = [
        "get",
        "list",
        "watch",
        "create",
        "update",
        "patch",
        "delete",
        "deletecollection",
        "logs",
        "exec",
        "attach",
        "port-forward",
        "scale",
    ];
    let mut seen = WORKLOADS.to_vec();
    seen.extend(SURROUNDINGS);
    Role {
        name: "developer".to_owned(),
        description: "Works in clusters called dev-*: workloads, their logs, a shell in them".to_owned(),
        clusters: vec![rule("dev-*", &working, &DEVELOPED), rule("dev-*", &["get", "list", "watch"], &seen)],
        groups: vec!["flotilla:tier:write".to_owned()],
        administrator: None,
        auditor: false,
    }
}

fn viewer() -> Role {
    let mut seen = WORKLOADS.to_vec();
    seen.extend(SURROUNDINGS);
    Role {
        name: "viewer".to_owned(),
        description: "Looks at workloads in every cluster; no secrets, no logs, no changes".to_owned(),
        clusters: vec![rule("*", &["get", "list", "watch"], &seen)],
        groups: vec!["flotilla:tier:read".to_owned()],
        administrator: None,
        auditor: false,
    }
}

fn rule(cluster: &str, verbs: &[&str], resources: &[&str]) -> ClusterRule {
    let owned = |texts: &[&str]| texts.iter().copied().map(str::to_owned).collect();
    ClusterRule {
        name: cluster.to_owned(),
        namespaces: owned(&["*"]),
        verbs: owned(verbs),
        resources: owned(resources),
        api_groups: owned(&["*"]),
        names: Vec::new(),
        non_resource_urls: Vec::new(),
        record: Record::Off,
        record_input: false,
    }
}
