//! Which routes act or reveal, and under which word of the audit log's taxonomy; which leave no row, and why.
//!
//! Handlers write the rows of what they do ([`crate::trail`]). From this table come the rows of what was refused before a
//! handler was asked, and the check that no act goes by without one: see [`crate::request::refusals`]. A test holds it to
//! the router.
//!
//! Must not know: what any route does.

use flotilla_types::audit::Verb;

/// What becomes of a call in the audit log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trace {
    /// It has rows with this verb.
    Row(Verb),
    /// It has none of its own; why.
    None(&'static str),
}

use Trace::{None, Row};

/// Every operation that is no plain read.
pub const ACTS: &[(&str, &str, Trace)] = &[
    ("POST", "/auth/login", Row(Verb::Login)),
    ("POST", "/login", Row(Verb::Login)),
    ("POST", "/dev/login", Row(Verb::Login)),
    ("POST", "/auth/refresh", None("it goes on with a session that was signed in to; reuse ends that, with a row")),
    ("POST", "/auth/oauth/exchange", None("it fetches what a sign-in, which has its row, left for the program")),
    ("POST", "/auth/device", None("anyone may ask; the decision has a row")),
    ("POST", "/auth/device/token", None("it fetches what a decision, which has its row, allowed")),
    ("POST", "/auth/device/approve", Row(Verb::DeviceDecide)),
    ("POST", "/auth/cli", Row(Verb::DeviceDecide)),
    ("POST", "/auth/backchannel-logout", None("each session that it ends has a row")),
    ("POST", "/auth/logout", Row(Verb::Logout)),
    ("POST", "/auth/logout/everywhere", Row(Verb::Logout)),
    ("POST", "/logout", None("the session that it ends, if there is one, has a row")),
    ("POST", "/auth/password", Row(Verb::PasswordChange)),
    ("DELETE", "/api/sessions/{id}", Row(Verb::SessionEnd)),
    ("POST", "/api/api-keys", Row(Verb::ApiKeyCreate)),
    ("PUT", "/api/api-keys/{id}", Row(Verb::ApiKeyUpdate)),
    ("DELETE", "/api/api-keys/{id}", Row(Verb::ApiKeyRevoke)),
    ("POST", "/api/tickets", None("it opens one path once within 30 s; what is opened has its rows")),
    ("POST", "/api/clusters", Row(Verb::ClusterCreate)),
    ("PUT", "/api/clusters/{id}", Row(Verb::ClusterUpdate)),
    ("DELETE", "/api/clusters/{id}", Row(Verb::ClusterDelete)),
    ("POST", "/api/clusters/{id}/test", Row(Verb::ClusterTest)),
    ("POST", "/api/clusters/{id}/refresh", None("it looks whether the cluster is well")),
    ("PUT", "/api/clusters/{id}/credentials", Row(Verb::ClusterCredentials)),
    ("PUT", "/api/clusters/{id}/default", Row(Verb::ClusterDefault)),
    ("DELETE", "/api/clusters/{id}/default", Row(Verb::ClusterDefault)),
    ("POST", "/api/clusters/{id}/share", Row(Verb::ClusterShare)),
    ("DELETE", "/api/clusters/{id}/share", Row(Verb::ClusterUnshare)),
    ("POST", "/api/clusters/{id}/exec", None("the requests that kubectl makes have their rows at the gateway")),
    ("POST", "/api/clusters/{id}/can-i", None("it asks a question about the caller himself")),
    ("POST", "/api/users", Row(Verb::UserCreate)),
    ("DELETE", "/api/users/{id}", Row(Verb::UserDelete)),
    ("PUT", "/api/users/{id}/roles", Row(Verb::RoleAssign)),
    ("POST", "/api/users/{id}/password", Row(Verb::PasswordReset)),
    ("POST", "/api/roles", Row(Verb::RoleCreate)),
    ("PUT", "/api/roles/{name}", Row(Verb::RoleReplace)),
    ("DELETE", "/api/roles/{name}", Row(Verb::RoleDelete)),
    ("POST", "/api/agents/tokens", Row(Verb::AgentTokenCreate)),
    ("DELETE", "/api/agents/{cluster}", Row(Verb::AgentRevoke)),
    ("POST", "/api/agents/register", Row(Verb::AgentEnrol)),
    ("POST", "/api/orgs", Row(Verb::OrgCreate)),
    ("PATCH", "/api/orgs/{id}", Row(Verb::OrgUpdate)),
    ("DELETE", "/api/orgs/{id}", Row(Verb::OrgDelete)),
    ("PUT", "/api/orgs/{id}/members", Row(Verb::OrgMemberSet)),
    ("DELETE", "/api/orgs/{id}/members/{user}", Row(Verb::OrgMemberRemove)),
    ("PUT", "/api/orgs/{id}/clusters/{cluster}", Row(Verb::ClusterAssign)),
    ("POST", "/api/orgs/{id}/invite", Row(Verb::Invite)),
    ("DELETE", "/api/orgs/{id}/invitations/{invitation}", Row(Verb::InviteRemove)),
    ("POST", "/api/teams", Row(Verb::TeamCreate)),
    ("DELETE", "/api/teams/{id}", Row(Verb::TeamDelete)),
    ("PUT", "/api/teams/{id}/policy", Row(Verb::TeamPolicySet)),
    ("PUT", "/api/teams/{id}/members", Row(Verb::TeamMemberSet)),
    ("DELETE", "/api/teams/{id}/members/{user}", Row(Verb::TeamMemberRemove)),
    ("PUT", "/api/teams/{id}/clusters/{cluster}", Row(Verb::ClusterShare)),
    ("DELETE", "/api/teams/{id}/clusters/{cluster}", Row(Verb::ClusterUnshare)),
    ("POST", "/api/teams/{id}/invite", Row(Verb::Invite)),
    ("POST", "/api/invitations/{token}/accept", Row(Verb::InviteAccept)),
    ("POST", "/invitations/{token}", Row(Verb::InviteAccept)),
    ("POST", "/api/access-requests", Row(Verb::AccessRequest)),
    ("POST", "/api/access-requests/{id}/approve", Row(Verb::AccessApprove)),
    ("POST", "/api/access-requests/{id}/deny", Row(Verb::AccessDeny)),
    ("POST", "/api/access-requests/{id}/end", Row(Verb::AccessEnd)),
    ("DELETE", "/api/streams/{id}", Row(Verb::StreamTerminate)),
    // Ways back from providers, which sign somebody in.
    ("GET", "/auth/callback", Row(Verb::Login)),
    ("GET", "/oauth2/callback", Row(Verb::Login)),
    ("GET", "/auth/github/callback", Row(Verb::Login)),
    ("GET", "/auth/oauth/{provider}/callback", Row(Verb::Login)),
    // Reads that reveal.
    ("GET", "/api/audit/export", Row(Verb::AuditExport)),
    ("GET", "/api/recordings/{id}/cast", Row(Verb::RecordingRead)),
    ("GET", "/api/recordings/{id}/search", Row(Verb::RecordingSearch)),
    ("GET", "/api/recordings/{id}/live", Row(Verb::RecordingObserve)),
];

/// The act that a call is: the route's pattern and its verb. `None` for reads and for what leaves no row.
#[must_use]
pub fn find(method: &str, path: &str) -> Option<(&'static str, Verb)> {
    ACTS.iter().find(|(act, pattern, _)| *act == method && fits(pattern, path)).and_then(|(_, pattern, trace)| {
        match trace {
            Row(verb) => Some((*pattern, *verb)),
            None(_) => Option::None,
        }
    })
}

/// Whether a path is one of a pattern's. Fixed words come before parameters in no table of ours that collides.
fn fits(pattern: &str, path: &str) -> bool {
    let mut segments = path.split('/');
    let all = pattern.split('/').all(|expected| match segments.next() {
        Some(segment) => segment == expected || (expected.starts_with('{') && !segment.is_empty()),
        Option::None => false,
    });
    all && segments.next().is_none()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_route_that_is_no_read_stands_here_once() {
        let document = serde_json::to_value(crate::routes::openapi_document()).unwrap();
        let mut routes = BTreeSet::new();
        for (path, item) in document["paths"].as_object().unwrap() {
            routes.extend(item.as_object().unwrap().keys().map(|method| (method.to_uppercase(), path.clone())));
        }
        let listed: BTreeSet<_> =
            ACTS.iter().map(|(method, path, _)| ((*method).to_owned(), (*path).to_owned())).collect();
        assert_eq!(listed.len(), ACTS.len(), "a route stands there twice");
        let acts = |(method, _): &&(String, String)| ["POST", "PUT", "PATCH", "DELETE"].contains(&method.as_str());
        let missing: Vec<_> = routes.iter().filter(acts).filter(|route| !listed.contains(*route)).collect();
        assert!(missing.is_empty(), "say under which verb these are recorded, or why they are not: {missing:?}");
        assert_eq!(listed.difference(&routes).next(), Option::None, "there is no such route");
    }

    #[test]
    fn paths_find_their_acts() {
        assert_eq!(find("DELETE", "/api/users/7"), Some(("/api/users/{id}", Verb::UserDelete)));
        assert_eq!(find("POST", "/auth/logout/everywhere"), Some(("/auth/logout/everywhere", Verb::Logout)));
        for (method, path) in
            [("GET", "/api/users"), ("POST", "/api/tickets"), ("DELETE", "/api/users/"), ("PUT", "/x")]
        {
            assert_eq!(find(method, path), Option::None, "{method} {path}");
        }
    }
}
