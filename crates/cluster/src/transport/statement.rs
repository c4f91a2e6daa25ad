//! Who is asking, as a cluster is told: the signed statement for agents, impersonation headers for direct backends.
//! Each is built once per person, groups and cluster, and kept while it holds.
//!
//! Must not know: requests.

use std::sync::Arc;
use std::time::Duration;

use flotilla_identity::token::KeyRing;
use flotilla_upstream::Identity;
use http::HeaderValue;
use moka::sync::Cache;

use super::TransportError;
use crate::gate::Subject;

/// Most people times clusters that are remembered.
const REMEMBERED: u64 = 10_000;

/// Statements made so far.
pub(super) struct Statements {
    keys: KeyRing,
    ttl: Duration,
    signed: Cache<Subject, HeaderValue>,
    impersonations: Cache<Subject, Arc<Identity>>,
}

impl Statements {
    pub(super) fn new(keys: KeyRing, ttl: Duration) -> Self {
        // Renewed with a fifth of its life left, so that none ends on the way or while a clock is a little off.
        let renew_after = ttl * 4 / 5;
        Self {
            keys,
            ttl,
            signed: Cache::builder().max_capacity(REMEMBERED).time_to_live(renew_after).build(),
            impersonations: Cache::builder().max_capacity(REMEMBERED).time_to_idle(renew_after).build(),
        }
    }

    /// The value of the `flotilla-identity` header.
    pub(super) fn signed(&self, subject: &Subject) -> Result<HeaderValue, TransportError> {
        if let Some(statement) = self.signed.get(subject) {
            return Ok(statement);
        }
        // What an agent would refuse is not signed.
        self.impersonation(subject)?;
        let failed = |error: &dyn std::fmt::Display| TransportError::Signing(error.to_string());
        let token = self
            .keys
            .issue_identity(&subject.cluster, &subject.user, &subject.groups, self.ttl)
            .map_err(|error| failed(&error))?;
        // Not marked as sensitive: HPACK would then spell it out in each request (RFC 7541 section 6.2.3), and its
        // coding would cost more than all the rest of the request's head. Inside the tunnel nobody else chooses headers
        // to compare it with.
        let statement = HeaderValue::from_str(&token).map_err(|error| failed(&error))?;
        self.signed.insert(subject.clone(), statement.clone());
        Ok(statement)
    }

    /// The names as checked header values.
    pub(super) fn impersonation(&self, subject: &Subject) -> Result<Arc<Identity>, TransportError> {
        if let Some(identity) = self.impersonations.get(subject) {
            return Ok(identity);
        }
        let identity = Identity::new(subject.user.clone(), subject.groups.clone());
        let identity = Arc::new(identity.map_err(|error| TransportError::Identity(error.to_string()))?);
        self.impersonations.insert(subject.clone(), identity.clone());
        Ok(identity)
    }
}
