//! Another organisation's objects, by id: to the owner of a rival one each answer is that for an id that nothing has.
//! Every route with a parameter is in the table, or said to have no such object.

use std::collections::BTreeSet;

use flotilla_types::id::RequestId;
use flotilla_types::recording::RecordingKind;
use serde_json::{Value, json};

use super::world::{Answer, World, bearer};

/// An id that nothing has, and such a name.
const NOTHING: &str = "00000000-0000-7000-8000-00000000dead";

/// Routes with a parameter that names nobody's object.
const NOBODYS: &[(&str, &str)] = &[
    ("get", "/auth/oauth/{provider}/authorize"),
    ("get", "/auth/oauth/{provider}/callback"),
    // Of an open stream the suite on real clusters tells.
    ("delete", "/api/streams/{id}"),
];

/// What Acme has.
struct Acme {
    org: String,
    team: String,
    owner: String,
    cluster: String,
    invitation: String,
    invitation_token: String,
    request: String,
    recording: String,
    key: String,
    session: String,
    token: String,
}

/// What the attacker has.
struct Rival {
    org: String,
    team: String,
    token: String,
}

fn id(value: &Value) -> String {
    value["id"].as_str().unwrap_or_else(|| panic!("no id: {value}")).to_owned()
}

/// A call that must succeed.
fn ok(world: &World, token: &str, method: &str, path: &str, body: &Value) -> Value {
    let answer = ask(world, token, method, path, body);
    assert!((200..300).contains(&answer.status), "{method} {path}: {}", answer.text);
    answer.json()
}

fn ask(world: &World, token: &str, method: &str, path: &str, body: &Value) -> Answer {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    world.call(method, path, &[("authorization", &bearer(token))], &body)
}

/// A cluster that is not there, of an organisation.
fn cluster(world: &World, name: &str, org: &str, team: Option<&str>) -> String {
    let kubeconfig = json!({
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "c"}}],
        "clusters": [{"name": "c", "cluster": {"server": "http://127.0.0.1:1"}}],
    });
    let made =
        world.as_admin("POST", "/api/clusters", &json!({"name": name, "kubeconfig": kubeconfig.to_string()}), 201);
    world.as_admin("PUT", &format!("/api/orgs/{org}/clusters/{name}"), &json!({"team": team}), 204);
    id(&made)
}

/// A recorded shell of somebody. Put where the hub keeps them: without a cluster there is no shell to record.
fn recording(world: &World, user: &str) -> String {
    let data = world.fixture.hub.dir().join("data");
    let sealer = flotilla_store::Sealer::new(flotilla_hub::keyring::read(&data.join("seal.key")).unwrap()).unwrap();
    let config = flotilla_store::DatabaseConfig {
        driver: flotilla_store::Driver::Sqlite,
        url: format!("sqlite://{}", data.join("hub.db").display()),
    };
    let new = flotilla_store::NewRecording {
        kind: RecordingKind::Exec,
        user: user.parse().unwrap(),
        email: "owner@acme.example".to_owned(),
        request_id: RequestId::new(),
        cluster: "acme-1".to_owned(),
        namespace: "a".to_owned(),
        pod: "web".to_owned(),
        command: "sh".to_owned(),
    };
    let begin =
        async { flotilla_store::Store::open(&config, sealer).await.unwrap().create_recording(&new).await.unwrap() };
    std::thread::scope(|scope| {
        let runtime = || tokio::runtime::Runtime::new().unwrap().block_on(begin).to_string();
        scope.spawn(runtime).join().unwrap()
    })
}

fn acme(world: &World) -> Acme {
    let exec = json!({"name": "acme-*", "verbs": ["get", "exec"], "resources": ["pods"], "record": "on"});
    world.as_admin("POST", "/api/roles", &json!({"name": "acme", "clusters": [exec]}), 201);
    let token = world.person("owner@acme.example", &["acme"]);
    let org = id(&world.as_admin("POST", "/api/orgs", &json!({"name": "acme", "owner": "owner@acme.example"}), 201));
    let team = id(&ok(world, &token, "POST", "/api/teams", &json!({"org": org, "name": "pay"})));
    let cluster = cluster(world, "acme-1", &org, Some(&team));
    let owner = id(&ok(world, &token, "GET", "/api/whoami", &Value::Null));
    let invite = json!({"role": "org_owner", "email": "new@acme.example"});
    let invited = ok(world, &token, "POST", &format!("/api/orgs/{org}/invite"), &invite);
    let ask = json!({"cluster": "acme-*", "namespaces": ["a"], "verbs": ["get"], "seconds": 600, "reason": "x"});
    let request = id(&ok(world, &token, "POST", "/api/access-requests", &ask));
    let key = ok(world, &token, "POST", "/api/api-keys", &json!({"name": "acme's", "scopes": ["*"]}));
    let sessions = ok(world, &token, "GET", "/api/sessions", &Value::Null);
    let share = json!({"subject": "owner@acme.example", "level": "viewer"});
    world.as_admin("POST", "/api/clusters/acme-1/share", &share, 204);
    let recording = recording(world, &owner);
    Acme {
        invitation: id(&invited["invitation"]),
        invitation_token: invited["token"].as_str().unwrap().to_owned(),
        key: id(&key["apiKey"]),
        session: id(&sessions["sessions"][0]),
        recording,
        org,
        team,
        owner,
        cluster,
        request,
        token,
    }
}

fn rival(world: &World) -> Rival {
    let token = world.person("owner@rival.example", &[]);
    let org = id(&world.as_admin("POST", "/api/orgs", &json!({"name": "rival", "owner": "owner@rival.example"}), 201));
    let team = id(&ok(world, &token, "POST", "/api/teams", &json!({"org": org, "name": "spies"})));
    cluster(world, "rival-1", &org, Some(&team));
    let member = json!({"email": "owner@rival.example", "role": "team_admin"});
    ok(world, &token, "PUT", &format!("/api/teams/{team}/members"), &member);
    Rival { org, team, token }
}

/// Method, route, what stands for its parameters, body, answer. Routes of the hub's administrators answer 403 to
/// whatever is named.
type Row = (&'static str, &'static str, Vec<String>, Value, u16);

fn table(acme: &Acme) -> Vec<Row> {
    let (none, org, team, user) = (Value::Null, &acme.org, &acme.team, &acme.owner);
    let one = |text: &String| vec![text.clone()];
    let two = |first: &String, second: &String| vec![first.clone(), second.clone()];
    let (cluster, request, recording) = (one(&acme.cluster), one(&acme.request), one(&acme.recording));
    let key = json!({"name": "mine", "scopes": ["*"]});
    let share = json!({"subject": "owner@rival.example", "level": "admin"});
    let check = json!({"checks": [{"verb": "get", "resource": "pods"}]});
    let member = json!({"email": "owner@rival.example", "role": "org_owner"});
    let developer = json!({"email": "owner@rival.example", "role": "developer"});
    let mut rows: Vec<Row> = vec![
        ("delete", "/api/sessions/{id}", one(&acme.session), none.clone(), 404),
        ("get", "/api/api-keys/{id}", one(&acme.key), none.clone(), 404),
        ("put", "/api/api-keys/{id}", one(&acme.key), key, 404),
        ("delete", "/api/api-keys/{id}", one(&acme.key), none.clone(), 404),
        ("put", "/api/clusters/{id}", cluster.clone(), json!({}), 403),
        ("delete", "/api/clusters/{id}", cluster.clone(), none.clone(), 403),
        ("post", "/api/clusters/{id}/test", cluster.clone(), none.clone(), 403),
        ("put", "/api/clusters/{id}/credentials", cluster.clone(), json!({}), 403),
        ("get", "/api/clusters/{id}/share", cluster.clone(), none.clone(), 403),
        ("post", "/api/clusters/{id}/share", cluster.clone(), share, 403),
        ("delete", "/api/clusters/{id}/share", cluster.clone(), none.clone(), 403),
        ("post", "/api/clusters/{id}/exec", cluster.clone(), json!({"command": ["get", "pods"]}), 404),
        ("post", "/api/clusters/{id}/can-i", cluster.clone(), check, 404),
        ("delete", "/api/users/{id}", one(user), none.clone(), 403),
        ("put", "/api/users/{id}/roles", one(user), json!({"roles": []}), 403),
        ("post", "/api/users/{id}/password", one(user), none.clone(), 403),
        ("put", "/api/roles/{name}", vec!["acme".into()], json!({"name": "acme", "clusters": []}), 403),
        ("delete", "/api/roles/{name}", vec!["acme".into()], none.clone(), 403),
        ("delete", "/api/agents/{cluster}", vec!["acme-1".into()], none.clone(), 403),
        ("patch", "/api/orgs/{id}", one(org), json!({"display_name": "x"}), 404),
        ("put", "/api/orgs/{id}/members", one(org), member, 404),
        ("delete", "/api/orgs/{id}/members/{user}", two(org, user), none.clone(), 404),
        ("put", "/api/orgs/{id}/clusters/{cluster}", two(org, &acme.cluster), json!({}), 404),
        ("post", "/api/orgs/{id}/invite", one(org), json!({"role": "org_owner"}), 404),
        ("delete", "/api/orgs/{id}/invitations/{invitation}", two(org, &acme.invitation), none.clone(), 404),
        ("put", "/api/teams/{id}/policy", one(team), json!({}), 404),
        ("put", "/api/teams/{id}/members", one(team), developer, 404),
        ("delete", "/api/teams/{id}/members/{user}", two(team, user), none.clone(), 404),
        ("put", "/api/teams/{id}/clusters/{cluster}", two(team, &acme.cluster), none.clone(), 404),
        ("delete", "/api/teams/{id}/clusters/{cluster}", two(team, &acme.cluster), none.clone(), 404),
        ("post", "/api/teams/{id}/invite", one(team), json!({"role": "team_admin"}), 404),
        ("post", "/api/invitations/{token}/accept", one(&acme.invitation_token), json!({}), 404),
        ("get", "/invitations/{token}", one(&acme.invitation_token), none.clone(), 404),
        ("post", "/invitations/{token}", one(&acme.invitation_token), none.clone(), 404),
    ];
    for (method, route, parameters) in [
        ("get", "/api/clusters/{id}", &cluster),
        ("get", "/api/clusters/{id}/status", &cluster),
        ("post", "/api/clusters/{id}/refresh", &cluster),
        ("put", "/api/clusters/{id}/default", &cluster),
        ("delete", "/api/clusters/{id}/default", &cluster),
        ("get", "/api/orgs/{id}", &one(org)),
        ("delete", "/api/orgs/{id}", &one(org)),
        ("get", "/api/orgs/{id}/members", &one(org)),
        ("get", "/api/orgs/{id}/clusters", &one(org)),
        ("get", "/api/orgs/{id}/invitations", &one(org)),
        ("get", "/api/teams/{id}", &one(team)),
        ("delete", "/api/teams/{id}", &one(team)),
        ("get", "/api/teams/{id}/members", &one(team)),
        ("get", "/api/access-requests/{id}", &request),
        ("get", "/api/recordings/{id}", &recording),
        ("get", "/api/recordings/{id}/cast", &recording),
        ("get", "/api/recordings/{id}/search", &recording),
        ("get", "/api/recordings/{id}/live", &recording),
    ] {
        rows.push((method, route, parameters.clone(), Value::Null, 404));
    }
    for route in
        ["/api/access-requests/{id}/approve", "/api/access-requests/{id}/deny", "/api/access-requests/{id}/end"]
    {
        rows.push(("post", route, request.clone(), json!({}), 404));
    }
    rows
}

fn filled(route: &str, parameters: &[String]) -> String {
    let mut path = route.to_owned();
    for parameter in parameters {
        let (before, rest) = path.split_once('{').expect("a parameter");
        let (_, after) = rest.split_once('}').expect("its end");
        path = format!("{before}{parameter}{after}");
    }
    // What is searched for is part of the question.
    if path.ends_with("/search") { path + "?text=x" } else { path }
}

/// What differs between two refusals of the same thing: the request's id, and what was named.
fn comparable(answer: &Answer, parameters: &[String]) -> Value {
    let mut problem = answer.json();
    problem["request_id"] = Value::Null;
    let mut text = problem.to_string();
    for parameter in parameters {
        text = text.replace(parameter, NOTHING);
    }
    Value::from(text)
}

pub(super) fn other_organisations(world: &mut World) {
    let (acme, rival) = (acme(world), rival(world));
    let table = table(&acme);
    every_route_is_in(&table);
    for (method, route, parameters, body, wanted) in &table {
        let method = method.to_uppercase();
        let nothing: Vec<String> = parameters.iter().map(|_| NOTHING.to_owned()).collect();
        let hidden = ask(world, &rival.token, &method, &filled(route, parameters), body);
        let absent = ask(world, &rival.token, &method, &filled(route, &nothing), body);
        let name = format!("{method} {route} of another organisation");
        let same = hidden.status == absent.status && comparable(&hidden, parameters) == comparable(&absent, parameters);
        world.note(same, &format!("{name} differs from what is not there ({})", absent.text), &hidden);
        world.attack(&name, &hidden, &[*wanted]);
    }
    by_own_objects(world, &acme, &rival);
    unharmed(world, &acme);
}

fn every_route_is_in(table: &[Row]) {
    let with_parameters: BTreeSet<(String, String)> =
        crate::documented().into_iter().filter(|(_, path)| path.contains('{')).collect();
    let own = |(method, route): (&str, &str)| (method.to_owned(), route.to_owned());
    let listed: BTreeSet<(String, String)> = table
        .iter()
        .map(|(method, route, ..)| own((method, route)))
        .chain(NOBODYS.iter().map(|row| own(*row)))
        .collect();
    let missing: Vec<_> = with_parameters.difference(&listed).collect();
    assert!(missing.is_empty(), "routes with an id that no other organisation's owner has tried: {missing:?}");
}

/// Ways to what is Acme's by way of what is his own.
fn by_own_objects(world: &mut World, acme: &Acme, rival: &Rival) {
    let (org, team) = (format!("/api/orgs/{}", rival.org), format!("/api/teams/{}", rival.team));
    let access = json!({"cluster": "acme-*", "namespaces": ["a"], "verbs": ["get"], "seconds": 600, "reason": "x"});
    let moved = json!({"team": acme.team});
    let member = |role: &str| json!({"email": "owner@acme.example", "role": role});
    let null = Value::Null;
    let explorer = "/api/explorer";
    for (method, path, body, wanted) in [
        ("PUT", format!("{org}/clusters/acme-1"), &json!({}), 404),
        ("PUT", format!("{org}/clusters/{}", acme.cluster), &json!({}), 404),
        ("PUT", format!("{org}/clusters/rival-1"), &moved, 422),
        ("DELETE", format!("{org}/invitations/{}", acme.invitation), &null, 404),
        ("DELETE", format!("{org}/members/{}", acme.owner), &null, 404),
        ("PUT", format!("{org}/members"), &member("org_member"), 409),
        ("PUT", format!("{team}/clusters/acme-1"), &null, 404),
        ("DELETE", format!("{team}/clusters/acme-1"), &null, 404),
        ("DELETE", format!("{team}/members/{}", acme.owner), &null, 404),
        ("PUT", format!("{team}/members"), &member("viewer"), 422),
        ("POST", "/api/access-requests".to_owned(), &access, 404),
        ("POST", "/api/teams".to_owned(), &json!({"org": acme.org, "name": "spies"}), 404),
        ("GET", format!("{explorer}/who-can?cluster=acme-1&verb=get&resource=pods"), &null, 404),
        ("GET", format!("{explorer}/what-can?cluster=acme-1"), &null, 404),
        ("GET", format!("{explorer}/what-can?cluster=rival-1&subject=owner@acme.example"), &null, 404),
        ("GET", "/k8s/clusters/acme-1/api/v1/pods".to_owned(), &null, 404),
    ] {
        let answer = ask(world, &rival.token, method, &path, body);
        world.attack(&format!("{method} {path} by way of his own"), &answer, &[wanted]);
    }
    // A team's rule may name what it likes: it reaches clusters of its own organisation only.
    let binding = json!({"role": "team_admin", "policy": "admin", "clusters": ["acme-*", "*"]});
    let policy = json!({"bindings": [binding], "approvals": 1, "max_grant_seconds": 600});
    ok(world, &rival.token, "PUT", &format!("{team}/policy"), &policy);
    let answer = ask(world, &rival.token, "GET", "/api/clusters/acme-1", &null);
    world.attack("a team's rule that names another's clusters", &answer, &[404]);
    let answer = ask(world, &rival.token, "GET", "/api/users", &null);
    world.attack("a team's rule that gives the role of administrators", &answer, &[403]);
    let who = format!("{explorer}/who-can?cluster=rival-1&verb=get&resource=pods&namespace=a");
    let answer = ask(world, &rival.token, "GET", &who, &null);
    let named = answer.text.contains("acme.example");
    world.note(!named && answer.text.contains("owner@rival.example"), "who can names his own people only", &answer);
    world.control(&who, &answer, 200);
    let hidden = [&acme.org, &acme.team, &acme.cluster, &acme.request, &acme.recording, &acme.key, &acme.session];
    for list in ["clusters", "orgs", "teams", "access-requests", "recordings", "api-keys", "sessions"] {
        let answer = ask(world, &rival.token, "GET", &format!("/api/{list}"), &null);
        let leaks = hidden.iter().any(|id| answer.text.contains(id.as_str()));
        world.note(!leaks, &format!("the list of {list} names what is another organisation's"), &answer);
        world.attack(&format!("the list of {list}"), &answer, &[200]);
    }
}

/// Everything that was attacked is as it was.
fn unharmed(world: &World, acme: &Acme) {
    for path in [
        format!("/api/orgs/{}", acme.org),
        format!("/api/teams/{}", acme.team),
        format!("/api/clusters/{}", acme.cluster),
        format!("/api/access-requests/{}", acme.request),
        format!("/api/recordings/{}", acme.recording),
        format!("/api/api-keys/{}", acme.key),
    ] {
        ok(world, &acme.token, "GET", &path, &Value::Null);
    }
    let request = ok(world, &acme.token, "GET", &format!("/api/access-requests/{}", acme.request), &Value::Null);
    assert_eq!(request["state"], "pending");
    let org = &acme.org;
    let invited = ok(world, &acme.token, "GET", &format!("/api/orgs/{org}/invitations"), &Value::Null);
    assert_eq!(invited["invitations"].as_array().map(Vec::len), Some(1), "{invited}");
    let members = ok(world, &acme.token, "GET", &format!("/api/orgs/{org}/members"), &Value::Null);
    assert_eq!(members["members"].as_array().map(Vec::len), Some(1), "{members}");
}
