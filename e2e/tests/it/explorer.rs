//! Who can do something and what somebody can do: every answer is compared with what the API server itself says to
//! `SubjectAccessReview`s that the cluster's administrator makes.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::bed::{Bed, CLUSTER, Stand, bed};
use crate::commands::run;
use crate::http::Api;

/// Bindings of every kind, in the namespace NS.
const OBJECTS: &str = r#"
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: NS-sum}
aggregationRule: {clusterRoleSelectors: [{matchLabels: {part-of: NS-sum}}]}
rules: []
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: NS-part, labels: {part-of: NS-sum}}
rules:
- {apiGroups: [""], resources: [configmaps], verbs: [create, delete]}
- {apiGroups: [apps], resources: ["*/scale"], verbs: [patch]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: NS-paths}
rules:
- {nonResourceURLs: ["/metrics", "/debug/*"], verbs: [get]}
- {apiGroups: [""], resources: [nodes], verbs: ["*"]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: named, namespace: NS}
rules:
- {apiGroups: [""], resources: [secrets], resourceNames: [one], verbs: [get]}
- {apiGroups: [""], resources: [pods/exec], verbs: [create]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: explorers, namespace: NS}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: NS-sum}
subjects:
- {apiGroup: rbac.authorization.k8s.io, kind: Group, name: explorers}
- {kind: ServiceAccount, name: robot, namespace: NS}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: bob, namespace: NS}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: named}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: bob@example.com}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: gone, namespace: NS}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: gone}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: bob@example.com}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: NS-paths}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: NS-paths}
subjects:
- {apiGroup: rbac.authorization.k8s.io, kind: User, name: ann@example.com}
- {apiGroup: rbac.authorization.k8s.io, kind: Group, name: "system:serviceaccounts:NS"}
"#;

/// Verb, resource, API group, namespace (`NS` or none), name.
const QUESTIONS: &[[&str; 5]] = &[
    ["create", "configmaps", "", "NS", ""],
    ["create", "configmaps", "", "", ""],
    ["create", "configmaps", "", "default", ""],
    ["delete", "configmaps", "", "NS", "any"],
    ["patch", "deployments/scale", "apps", "NS", ""],
    ["patch", "deployments", "apps", "NS", ""],
    ["patch", "deployments/scale", "", "NS", ""],
    ["get", "secrets", "", "NS", "one"],
    ["get", "secrets", "", "NS", "two"],
    ["get", "secrets", "", "NS", ""],
    ["list", "secrets", "", "NS", ""],
    ["create", "pods/exec", "", "NS", ""],
    ["create", "pods", "", "NS", ""],
    ["get", "nodes", "", "", ""],
    ["get", "nodes/proxy", "", "", ""],
    ["deletecollection", "nodes", "", "", ""],
    ["get", "/metrics", "", "", ""],
    ["get", "/debug/pprof", "", "", ""],
    ["get", "/version", "", "", ""],
    ["post", "/metrics", "", "", ""],
    ["create", "selfsubjectaccessreviews", "authorization.k8s.io", "", ""],
    ["impersonate", "users", "", "", ""],
    ["escalate", "clusterroles", "rbac.authorization.k8s.io", "", ""],
];

/// Somebody to the API server: user name and all groups.
type Holder = (String, Vec<String>);

#[test]
fn the_explorer_answers_as_the_api_server_does() {
    let bed = bed();
    let stand = Stand::of_its_own(bed, "");
    let namespace = bed.new_namespace("explored");
    bed.plane.apply(&OBJECTS.replace("NS", &namespace)).unwrap();
    let api = Api::admin(&stand.hub);
    let rule = json!({"name": CLUSTER, "verbs": ["get", "list", "create", "delete", "patch"], "non_resource_urls": []});
    let paths = json!({"name": CLUSTER, "verbs": ["get"], "non_resource_urls": ["/metrics"]});
    let role = json!({"name": "explorer", "administrator": false, "groups": ["explorers"], "clusters": [rule, paths]});
    assert_eq!(api.post("/api/roles", &role).status, 201);
    let people = [("ann", "explorer"), ("bob", "explorer"), ("vic", "viewer"), ("nil", "")];
    for (name, role) in people {
        let roles: Vec<&str> = Some(role).filter(|role| !role.is_empty()).into_iter().collect();
        stand.hub.add_user(&format!("{name}@example.com"), &roles).unwrap();
    }
    let holders: Vec<Holder> = ["ann", "bob", "vic"].iter().map(|name| arrival(&stand, &api, bed, name)).collect();
    let candidates = candidates(bed, &namespace);
    let mut compared = 0;
    for question in QUESTIONS {
        let question = question.map(|part| part.replace("NS", &namespace));
        let answer = who_can(&api, &question);
        assert_eq!((&answer["people_incomplete"], &answer["cluster_unanswered"]), (&Value::Null, &Value::Null));
        compared += people_agree(bed, &question, &answer, &holders);
        compared += subjects_agree(bed, &question, &answer, &candidates);
    }
    println!("{} questions, {compared} answers compared with the API server's", QUESTIONS.len());
    policy_agrees(&stand, &api, &namespace);
    only_what_one_may_know(&stand, &namespace);
    on_the_command_line(&stand, &namespace);
}

fn who_can(api: &Api, [verb, resource, group, namespace, name]: &[String; 5]) -> Value {
    let query =
        format!("cluster={CLUSTER}&verb={verb}&resource={resource}&group={group}&namespace={namespace}&name={name}");
    let answer = api.get(&format!("/api/explorer/who-can?{query}"));
    assert_eq!(answer.status, 200, "{query}: {}", answer.text());
    answer.json()
}

/// As whom a person arrives: as the explorer says, which is as the API server says to the person himself.
fn arrival(stand: &Stand, api: &Api, bed: &Bed, name: &str) -> Holder {
    let email = format!("{name}@example.com");
    let answer = api.get(&format!("/api/explorer/what-can?cluster={CLUSTER}&subject={email}")).json();
    let mut groups = texts(&answer["groups"]);
    groups.push("system:authenticated".to_owned());
    let himself = stand.kubectl(bed, name, CLUSTER).ok("auth whoami -o json");
    let himself: Value = serde_json::from_str(&himself).unwrap();
    let told: BTreeSet<String> = texts(&himself["status"]["userInfo"]["groups"]).into_iter().collect();
    assert_eq!((answer["user"].as_str(), groups.iter().cloned().collect()), (Some(email.as_str()), told), "{answer}");
    (email, groups)
}

fn texts(list: &Value) -> Vec<String> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// The API server's own answers for each holder, in one call.
fn reviews(bed: &Bed, [verb, resource, group, namespace, name]: &[String; 5], holders: &[Holder]) -> Vec<bool> {
    let review = |(user, groups): &Holder| {
        let mut spec = json!({"user": user, "groups": groups});
        if resource.starts_with('/') {
            spec["nonResourceAttributes"] = json!({"verb": verb, "path": resource});
        } else {
            let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
            spec["resourceAttributes"] = json!({"verb": verb, "group": group, "resource": resource, "subresource": subresource,
                "namespace": namespace, "name": name});
        }
        json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": spec})
    };
    let items: Vec<Value> = holders.iter().map(review).collect();
    let list = json!({"apiVersion": "v1", "kind": "List", "items": items});
    let mut kubectl = bed.plane.kubectl_command();
    kubectl.args(["create", "--validate=false", "-o", "json", "-f", "-"]);
    let answered = run(kubectl, list.to_string().as_bytes()).ok();
    // One after the other, not as a list.
    let answers: Result<Vec<Value>, _> = serde_json::Deserializer::from_str(&answered).into_iter().collect();
    let answers = answers.unwrap();
    assert_eq!(answers.len(), holders.len(), "{answered}");
    answers.iter().map(|one| one["status"]["allowed"] == json!(true)).collect()
}

fn people_agree(bed: &Bed, question: &[String; 5], answer: &Value, holders: &[Holder]) -> usize {
    let people = answer["people"].as_array().unwrap();
    let allowed = reviews(bed, question, holders);
    let mut compared = 0;
    for ((email, _), allowed) in holders.iter().zip(allowed) {
        let Some(person) = people.iter().find(|person| person["email"] == json!(email)) else { continue };
        assert_eq!(person["cluster_allows"], json!(allowed), "{question:?}: {person}");
        assert_eq!(person["binding"].is_string(), allowed, "{question:?}: {person}");
        compared += 1;
    }
    assert!(!people.iter().any(|person| person["email"] == "nil@example.com"), "{question:?}: {answer}");
    compared
}

/// Everybody who is bound anywhere in the cluster, and some who are not: kind and name.
fn candidates(bed: &Bed, namespace: &str) -> BTreeSet<(String, String)> {
    let bound = bed.plane.kubectl_ok(&["get", "clusterrolebindings,rolebindings", "-A", "-o", "json"]).unwrap();
    let bound: Value = serde_json::from_str(&bound).unwrap();
    let mut candidates: BTreeSet<(String, String)> = BTreeSet::from([
        ("User".into(), "nobody-at-all".into()),
        ("Group".into(), "no-such-group".into()),
        ("ServiceAccount".into(), format!("{namespace}/default")),
    ]);
    for binding in bound["items"].as_array().unwrap() {
        for subject in binding["subjects"].as_array().into_iter().flatten() {
            let (kind, name) = (subject["kind"].as_str().unwrap(), subject["name"].as_str().unwrap());
            let home = subject["namespace"].as_str().map(|home| format!("{home}/")).unwrap_or_default();
            candidates.insert((kind.to_owned(), format!("{home}{name}")));
        }
    }
    // Nodes have an authorizer of their own; nobody who is known is unauthenticated.
    candidates.retain(|(_, name)| name != "system:nodes" && name != "system:unauthenticated");
    candidates
}

/// Each candidate is named, by himself or by a group, exactly when the API server lets him.
fn subjects_agree(bed: &Bed, question: &[String; 5], answer: &Value, candidates: &BTreeSet<(String, String)>) -> usize {
    let subjects = answer["subjects"].as_array().unwrap();
    let named: BTreeSet<(&str, &str)> =
        subjects.iter().map(|one| (one["kind"].as_str().unwrap(), one["name"].as_str().unwrap())).collect();
    let holders: Vec<Holder> = candidates.iter().map(|(kind, name)| holder(kind, name)).collect();
    for ((candidate, holder), allowed) in candidates.iter().zip(&holders).zip(reviews(bed, question, &holders)) {
        let by_group = holder.1.iter().any(|group| named.contains(&("Group", group.as_str())));
        let by_name = named.contains(&(candidate.0.as_str(), candidate.1.as_str()));
        assert_eq!(by_group || by_name, allowed, "{question:?}: {candidate:?} among {named:?}");
    }
    candidates.len()
}

fn holder(kind: &str, name: &str) -> Holder {
    let known = "system:authenticated".to_owned();
    match kind {
        "User" => (name.to_owned(), vec![known]),
        "Group" => ("nobody-at-all".to_owned(), vec![name.to_owned(), known]),
        _ => {
            let (namespace, account) = name.split_once('/').unwrap();
            let groups = vec!["system:serviceaccounts".into(), format!("system:serviceaccounts:{namespace}"), known];
            (format!("system:serviceaccount:{namespace}:{account}"), groups)
        }
    }
}

/// Who is named by the hub's policy is who it lets.
fn policy_agrees(stand: &Stand, api: &Api, namespace: &str) {
    for (verb, resource) in [("create", "configmaps"), ("get", "pods"), ("get", "secrets"), ("create", "pods/exec")] {
        let question = [verb, resource, "", namespace, ""].map(str::to_owned);
        let answer = who_can(api, &question);
        let named: Vec<&str> =
            answer["people"].as_array().unwrap().iter().filter_map(|person| person["email"].as_str()).collect();
        for name in ["ann", "bob", "vic"] {
            let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
            let check = json!({"verb": verb, "resource": resource, "subresource": subresource, "namespace": namespace});
            let own =
                Api::of(&stand.hub, name).post(&format!("/api/clusters/{CLUSTER}/can-i"), &json!({"checks": [check]}));
            let by_hub = own.json()["results"][0]["by"] == "hub";
            let listed = named.contains(&format!("{name}@example.com").as_str());
            assert_eq!(listed, !by_hub, "{name} {verb} {resource}: {}", own.text());
            // The explorer's answer is the sum of both sides.
            let both = own.json()["results"][0]["allowed"] == json!(true);
            let person =
                answer["people"].as_array().unwrap().iter().find(|one| one["email"] == format!("{name}@example.com"));
            assert_eq!(
                person.is_some_and(|one| one["cluster_allows"] == json!(true)),
                both,
                "{name} {verb} {resource}"
            );
        }
    }
}

fn only_what_one_may_know(stand: &Stand, namespace: &str) {
    let vic = Api::of(&stand.hub, "vic");
    let question = ["get", "pods", "", namespace, ""].map(str::to_owned);
    let answer = who_can(&vic, &question);
    let people = answer["people"].as_array().unwrap();
    assert_eq!((people.len(), &people[0]["email"]), (1, &json!("vic@example.com")), "{answer}");
    assert!(people[0]["cluster_allows"].is_null() && answer["subjects"] == json!([]), "{answer}");
    assert!(answer["people_incomplete"].as_str().unwrap().contains("only you"), "{answer}");
    let missing = answer["cluster_unanswered"].as_str().unwrap();
    assert!(missing.contains("list") && missing.contains("clusterroles"), "it names the right: {missing}");
    let what = |subject: &str| vic.get(&format!("/api/explorer/what-can?cluster={CLUSTER}&subject={subject}"));
    let own = what("").json();
    assert_eq!((&own["subject"], &own["hub"][0]["role"]), (&json!("vic@example.com"), &json!("viewer")), "{own}");
    let (hidden, absent) = (what("ann@example.com"), what("no-one@example.com"));
    assert_eq!((hidden.status, absent.status), (404, 404));
    assert_eq!(
        hidden.json()["detail"].as_str().unwrap().replace("ann@", "no-one@"),
        absent.json()["detail"].as_str().unwrap()
    );
    let nowhere = Api::of(&stand.hub, "nil").get(&format!("/api/explorer/what-can?cluster={CLUSTER}"));
    assert_eq!(nowhere.status, 404, "who does not see the cluster learns nothing of it");
    let refused = stand.hub.flotilla_ok("admin", &["audit", "--outcome", "denied", "-o", "json"]).unwrap();
    assert!(refused.contains("/api/explorer/who-can") && refused.contains("clusterroles"), "{refused}");
}

fn on_the_command_line(stand: &Stand, namespace: &str) {
    let flotilla =
        |words: &[&str]| stand.hub.flotilla_ok("admin", &[&["--cluster", CLUSTER, "auth"], words].concat()).unwrap();
    let who = flotilla(&["who-can", "create", "configmaps", "-n", namespace]);
    for words in
        ["ann@example.com", "explorer#1", &format!("RoleBinding/{namespace}/explorers"), &format!("{namespace}/robot")]
    {
        assert!(who.contains(words), "{words}: {who}");
    }
    let scale = flotilla(&["who-can", "patch", "deployments.apps/scale", "-n", namespace, "-o", "json"]);
    assert!(serde_json::from_str::<Value>(&scale).unwrap()["subjects"].to_string().contains("explorers"), "{scale}");
    let what = flotilla(&["what-can", "bob@example.com"]);
    for words in ["bob@example.com", "explorers", &format!("RoleBinding/{namespace}/bob"), "pods/exec", "explorer"] {
        assert!(what.contains(words), "{words}: {what}");
    }
    assert!(flotilla(&["what-can", "-o", "yaml"]).contains("cluster:"));
}
