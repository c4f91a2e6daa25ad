//! Who is calling.
//!
//! Must not know: how it was proven. A [`Principal`] can only be made by [`crate::authn`], so having
//! one is the proof.

use std::sync::Arc;

use flotilla_types::id::{ApiKeyId, SessionId, UserId};
use uuid::Uuid;

use crate::policy::{Action, Decision, PolicySet};
use crate::scopes::Scopes;

/// By what the caller proved who he is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Via {
    /// An access token of this session (command line, kubectl).
    Token(SessionId),
    /// The cookie of this session.
    Browser(SessionId),
    /// A key that he made for a program.
    Key(ApiKeyId),
    /// Nothing: it is the hub itself.
    System,
}

/// A caller whose identity was checked. Cloning is cheap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal(Arc<Inner>);

#[derive(Debug, PartialEq, Eq)]
struct Inner {
    user: UserId,
    email: String,
    via: Via,
    roles: Vec<String>,
    groups: Vec<String>,
    scopes: Option<Scopes>,
}

impl Principal {
    pub(crate) fn new(
        user: UserId,
        email: String,
        via: Via,
        roles: Vec<String>,
        groups: Vec<String>,
        scopes: Option<Scopes>,
    ) -> Self {
        Self(Arc::new(Inner { user, email, via, roles, groups, scopes }))
    }

    /// The hub itself, in a job that nobody asked for (`retention`, `health`). It has no roles, so
    /// the policy gives it nothing: it exists to be named in logs and audit rows, not to act in a
    /// cluster.
    #[must_use]
    pub fn system(job: &str) -> Self {
        let email = format!("flotilla:system:{job}");
        Self::new(UserId(Uuid::nil()), email, Via::System, Vec::new(), Vec::new(), None)
    }

    /// The account's address, which is also the user name in every cluster.
    #[must_use]
    pub fn email(&self) -> &str {
        &self.0.email
    }

    /// The account; the nil UUID for [`Principal::system`].
    #[must_use]
    pub fn user_id(&self) -> UserId {
        self.0.user
    }

    /// By what he proved it.
    #[must_use]
    pub fn via(&self) -> Via {
        self.0.via
    }

    /// The sign-in that the caller's token or cookie belongs to; a key belongs to none.
    #[must_use]
    pub fn session(&self) -> Option<SessionId> {
        match self.0.via {
            Via::Token(session) | Via::Browser(session) => Some(session),
            Via::Key(_) | Via::System => None,
        }
    }

    /// Names of the roles held, as they were when the session was last read (at most
    /// [`crate::authn::CACHED_FOR`] ago). A key's scopes may narrow them: decide with [`Principal::may`].
    #[must_use]
    pub fn roles(&self) -> &[String] {
        &self.0.roles
    }

    /// Groups at the identity provider, as they were when the session was last read. In clusters of mode `raw` they
    /// are passed on; what else they give is among the roles.
    #[must_use]
    pub fn groups(&self) -> &[String] {
        &self.0.groups
    }

    /// What narrows the roles: the scopes of a key.
    #[must_use]
    pub fn scopes(&self) -> Option<&Scopes> {
        self.0.scopes.as_ref()
    }

    /// Decides one call: the roles must allow it, and the scopes, if any, must not exclude it.
    #[must_use]
    pub fn may(&self, policy: &PolicySet, action: &Action<'_>) -> Decision {
        let decision = policy.decide(self.roles(), action);
        match self.scopes() {
            Some(scopes) if decision.is_allowed() => scopes.narrow(decision, action),
            _ => decision,
        }
    }

    /// Whether the caller may know that the cluster exists.
    #[must_use]
    pub fn sees(&self, policy: &PolicySet, cluster: &str) -> bool {
        policy.sees_cluster(self.roles(), cluster) && self.scopes().is_none_or(|scopes| scopes.sees_cluster(cluster))
    }
}

#[cfg(test)]
mod tests {
    use super::Principal;

    #[test]
    fn the_system_holds_no_rights() {
        let system = Principal::system("retention");
        assert_eq!(system.email(), "flotilla:system:retention");
        assert!(system.roles().is_empty());
        assert!(system.session().is_none());
    }
}
