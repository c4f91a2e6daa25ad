//! Who is calling.
//!
//! Must not know: how it was proven. A [`Principal`] can only be made by [`crate::authn`], so having
//! one is the proof.

use std::sync::Arc;

use flotilla_types::id::{SessionId, UserId};
use uuid::Uuid;

/// A caller whose identity was checked. Cloning is cheap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal(Arc<Inner>);

#[derive(Debug, PartialEq, Eq)]
struct Inner {
    user: UserId,
    email: String,
    session: Option<SessionId>,
    roles: Vec<String>,
    groups: Vec<String>,
}

impl Principal {
    pub(crate) fn new(
        user: UserId,
        email: String,
        session: SessionId,
        roles: Vec<String>,
        groups: Vec<String>,
    ) -> Self {
        Self(Arc::new(Inner { user, email, session: Some(session), roles, groups }))
    }

    /// The hub itself, in a job that nobody asked for (`retention`, `health`). It has no roles, so
    /// the policy gives it nothing: it exists to be named in logs and audit rows, not to act in a
    /// cluster.
    #[must_use]
    pub fn system(job: &str) -> Self {
        let email = format!("flotilla:system:{job}");
        Self(Arc::new(Inner { user: UserId(Uuid::nil()), email, session: None, roles: Vec::new(), groups: Vec::new() }))
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

    /// The sign-in that the caller's token belongs to.
    #[must_use]
    pub fn session(&self) -> Option<SessionId> {
        self.0.session
    }

    /// Names of the roles held, as they were when the session was last read (at most
    /// [`crate::authn::CACHED_FOR`] ago).
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
