//! Somebody with an ordinary role, without any `*`, who tries to make more of it: by subresources that act as somebody
//! or something else, and by the verbs with which RBAC guards itself.

use serde_json::{Value, json};

use super::world::{TRAP, World, bearer};

pub(super) fn escalation(world: &mut World) {
    let verbs = json!(["get", "list", "watch", "create", "update", "patch", "delete"]);
    let resources = ["pods", "services", "deployments", "serviceaccounts", "roles", "rolebindings"];
    let wide = ["nodes", "namespaces", "clusterroles", "clusterrolebindings", "users", "groups"];
    let wide = [&wide[..], &["certificatesigningrequests"]].concat();
    let rules = json!([
        {"name": "dev-trap", "namespaces": ["shop"], "verbs": verbs, "resources": resources},
        {"name": "dev-trap", "verbs": verbs, "resources": wide},
    ]);
    world.as_admin("POST", "/api/roles", &json!({"name": "ordinary", "clusters": rules}), 201);
    let person = bearer(&world.person("ordinary@example.com", &["ordinary"]));
    let gateway = format!("/k8s/clusters/{TRAP}");
    let (shop, rbac) = ("/api/v1/namespaces/shop", "/apis/rbac.authorization.k8s.io/v1");
    for (method, path) in [
        ("GET", format!("{shop}/pods/web")),
        ("PATCH", format!("{shop}/serviceaccounts/default")),
        ("POST", format!("{rbac}/namespaces/shop/rolebindings")),
        ("GET", "/api/v1/nodes/n1".to_owned()),
    ] {
        let answer = world.call(method, &format!("{gateway}{path}"), &[("authorization", &person)], "");
        world.control(&format!("{method} {path}"), &answer, 200);
    }
    let mut calls = vec![
        ("POST", format!("{shop}/serviceaccounts/default/token")),
        ("PATCH", format!("{shop}/serviceaccounts/default/token")),
        ("PATCH", format!("{shop}/pods/web/ephemeralcontainers")),
        ("PUT", format!("{shop}/pods/web/ephemeralcontainers")),
        ("GET", format!("{shop}/pods/web/ephemeralcontainers")),
        ("POST", format!("{shop}/pods/web/eviction")),
        ("POST", format!("{shop}/pods/web/binding")),
        ("POST", format!("{shop}/bindings")),
        ("GET", format!("{shop}/pods/web/log")),
        ("PATCH", format!("{shop}/pods/web/resize")),
        ("PATCH", format!("{shop}/pods/web/status")),
        ("PATCH", "/api/v1/nodes/n1/status".to_owned()),
        ("PUT", "/api/v1/namespaces/shop/finalize".to_owned()),
        ("PUT", "/apis/certificates.k8s.io/v1/certificatesigningrequests/mine/approval".to_owned()),
        ("PUT", "/apis/certificates.k8s.io/v1/certificatesigningrequests/mine/status".to_owned()),
        ("PATCH", "/apis/apps/v1/namespaces/shop/deployments/web/scale".to_owned()),
        ("GET", format!("{shop}/secrets/default-token")),
        ("POST", "/api/v1/namespaces/kube-system/pods".to_owned()),
        ("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews".to_owned()),
    ];
    for method in ["GET", "POST", "PUT", "PATCH", "DELETE"] {
        for path in ["proxy/exec/shop/web/c?command=id", "proxy/run/shop/web/c", "proxy/pods", "proxy"] {
            calls.push((method, format!("/api/v1/nodes/n1/{path}")));
        }
        for subresource in ["exec?command=sh", "attach", "portforward", "proxy/"] {
            calls.push((method, format!("{shop}/pods/web/{subresource}")));
        }
        calls.push((method, format!("{shop}/services/https:web:443/proxy/")));
    }
    for (method, path) in &calls {
        let answer = world.call(method, &format!("{gateway}{path}"), &[("authorization", &person)], "");
        world.attack(&format!("{method} {path} with an ordinary role"), &answer, &[400, 403]);
    }
    // The same as an upgrade, which is a GET.
    let upgrade = [
        ("authorization", person.as_str()),
        ("connection", "Upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "AAAAAAAAAAAAAAAAAAAAAA=="),
        ("sec-websocket-protocol", "v5.channel.k8s.io"),
    ];
    for path in [format!("{shop}/pods/web/exec?command=sh"), "/api/v1/nodes/n1/proxy/exec/shop/web/c".to_owned()] {
        let answer = world.call("GET", &format!("{gateway}{path}"), &upgrade, "");
        world.attack(&format!("an upgrade of {path} with an ordinary role"), &answer, &[403]);
    }
    for name in ["Impersonate-User", "Impersonate-Group"] {
        let headers = [("authorization", person.as_str()), (name, "system:masters")];
        let answer = world.call("GET", &format!("{gateway}{shop}/pods/web"), &headers, "");
        world.attack(&format!("{name} with an ordinary role"), &answer, &[403]);
    }
    guarded_verbs(world, &person);
}

/// The verbs that no call has and RBAC asks about: the hub gives them to nobody who does not have them by name.
fn guarded_verbs(world: &mut World, person: &str) {
    let rbac = "rbac.authorization.k8s.io";
    for (verb, group, resource) in [
        ("impersonate", "", "users"),
        ("impersonate", "", "groups"),
        ("impersonate", "", "serviceaccounts"),
        ("impersonate", "authentication.k8s.io", "uids"),
        ("impersonate", "authentication.k8s.io", "userextras/scopes"),
        ("escalate", rbac, "roles"),
        ("escalate", rbac, "clusterroles"),
        ("bind", rbac, "roles"),
        ("bind", rbac, "clusterroles"),
        ("approve", "certificates.k8s.io", "signers"),
        ("sign", "certificates.k8s.io", "signers"),
        ("use", "policy", "podsecuritypolicies"),
        ("create", "", "serviceaccounts/token"),
        ("get", "", "nodes/proxy"),
        ("patch", "", "pods/ephemeralcontainers"),
    ] {
        let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
        let check = json!({"verb": verb, "group": group, "resource": resource, "subresource": subresource, "namespace": "shop"});
        let body = json!({"checks": [check]}).to_string();
        let path = format!("/api/clusters/{TRAP}/can-i");
        let answer = world.call("POST", &path, &[("authorization", person)], &body);
        let result: Value = answer.json()["results"][0].clone();
        let refused = result["allowed"] == json!(false) && result["by"] == json!("hub");
        world.note(refused, &format!("{verb} {resource}/{subresource} is refused by the hub itself"), &answer);
        world.attack(&format!("{verb} {resource}/{subresource} with an ordinary role"), &answer, &[200]);
    }
}
