//! Identifiers. All of ours are UUIDv7 (RFC 9562 section 5.7), so they sort by time of making.
//!
//! Must not know: what the identified things look like.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

macro_rules! id_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl $name {
            /// A new identifier, later in order than any made before it.
            #[must_use]
            #[allow(clippy::new_without_default, reason = "two new ids are never equal")]
            pub fn new() -> Self {
                Self(Uuid::now_v7())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map(Self)
            }
        }
    };
}

id_type!(
    /// A person or service account of the hub.
    UserId
);
id_type!(
    /// One sign-in, from the first login until it is revoked or too old to refresh.
    SessionId
);
id_type!(
    /// A key that a program uses in a person's name.
    ApiKeyId
);
id_type!(
    /// A cluster in the hub's registry.
    ClusterId
);
id_type!(
    /// One enrolment of an agent. A re-enrolled agent gets a new one.
    AgentId
);
id_type!(
    /// One row of the audit log.
    AuditId
);
id_type!(
    /// An organisation.
    OrgId
);
id_type!(
    /// A team of an organisation.
    TeamId
);
id_type!(
    /// An invitation to an organisation or a team.
    InvitationId
);
id_type!(
    /// A request for access, and the grant that it becomes.
    AccessRequestId
);

id_type!(
    /// One recorded shell.
    RecordingId
);
id_type!(
    /// One open answer of a cluster.
    StreamId
);

/// Identifies one request from the first log line to the last audit row, in the hub, in the
/// cluster's own audit log (`Audit-ID`) and in the answer (`X-Request-Id`).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(transparent)]
pub struct RequestId(Box<str>);

impl RequestId {
    /// The longest id accepted from a caller, in bytes. The API server's `Audit-ID` has the same limit.
    pub const MAX_LEN: usize = 64;

    /// A new id (UUIDv7).
    #[must_use]
    #[allow(clippy::new_without_default, reason = "two new ids are never equal")]
    pub fn new() -> Self {
        Self(Uuid::now_v7().to_string().into_boxed_str())
    }

    /// The caller's id when it is well-formed (1 to 64 of `A-Z a-z 0-9 . _ : -`), otherwise `None`.
    #[must_use]
    pub fn from_caller(text: &str) -> Option<Self> {
        let ok = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b':' | b'-');
        let fits = !text.is_empty() && text.len() <= Self::MAX_LEN && text.bytes().all(ok);
        fits.then(|| Self(text.into()))
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::RequestId;

    #[test]
    fn request_ids_of_callers_are_checked() {
        assert!(RequestId::from_caller("abc-1.2_3:4").is_some());
        assert!(RequestId::from_caller("").is_none());
        assert!(RequestId::from_caller("a b").is_none());
        assert!(RequestId::from_caller("a\nb").is_none());
        assert!(RequestId::from_caller(&"a".repeat(65)).is_none());
    }
}
