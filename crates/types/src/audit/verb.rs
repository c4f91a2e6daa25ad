//! Every word that the audit log has for what was done, in one place.
//!
//! Must not know: which request is which act; the gate and the hub's routes say that.

/// Makes the enumeration and both ways between it and its words.
macro_rules! verbs {
    ($($(#[$meta:meta])+ $name:ident = $word:literal,)+) => {
        /// What was done. The words are part of the interface: never renamed, never reused.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
        pub enum Verb {
            $($(#[$meta])+ $name,)+
        }

        impl Verb {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name),+];

            /// The word used on the wire and in the database.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $word,)+
                }
            }

            /// The inverse of [`Verb::as_str`].
            #[must_use]
            pub fn parse(word: &str) -> Option<Self> {
                match word {
                    $($word => Some(Self::$name),)+
                    _ => None,
                }
            }
        }
    };
}

verbs! {
    /// A request whose meaning is not known.
    #[default]
    Unknown = "unknown",

    // Acts on objects of a cluster.
    /// An object is made.
    Create = "create",
    /// An object is replaced.
    Update = "update",
    /// An object is patched.
    Patch = "patch",
    /// Server-side apply.
    Apply = "apply",
    /// An object is deleted.
    Delete = "delete",
    /// All objects of a kind that fit are deleted.
    DeleteCollection = "delete_collection",
    /// A pod is evicted.
    Evict = "evict",
    /// A cron job is run now.
    Trigger = "trigger",
    /// A service account's token is asked for.
    TokenRequest = "token_request",
    /// A path of the API server that is no resource is written to, or reveals what its machine knows.
    BareRequest = "bare_request",

    // Acts that reveal.
    /// Secrets are read.
    SecretRead = "secret_read",
    /// One key of a Secret is shown.
    SecretReveal = "secret_reveal",
    /// Many objects are downloaded at once.
    BulkDownload = "bulk_download",
    /// A container's log is opened.
    LogOpen = "log_open",

    /// A recorded shell is replayed or exported.
    RecordingRead = "recording_read",
    /// Recorded shells are searched for words.
    RecordingSearch = "recording_search",
    /// A shell is watched while it runs.
    RecordingObserve = "recording_observe",

    // Acts that open a way in.
    /// A command is run in a container.
    ExecOpen = "exec_open",
    /// A command in a container has ended.
    ExecClose = "exec_close",
    /// A container's terminal is joined.
    AttachOpen = "attach_open",
    /// Ports of a pod are forwarded.
    PortForwardOpen = "port_forward_open",
    /// An open stream of somebody is cut.
    StreamTerminate = "stream_terminate",
    /// A pod, service or node is called through the API server.
    Proxy = "proxy",
    /// A connection of unknown meaning is upgraded.
    ConnectOpen = "connect_open",

    // Reads, where they are recorded.
    /// One object is read.
    Get = "get",
    /// Objects are listed.
    List = "list",
    /// Objects are watched.
    Watch = "watch",
    /// Only the head of an answer is asked for.
    Head = "head",

    // Acts on the hub: people.
    /// A person signs in; `denied` when it fails.
    Login = "login",
    /// A person signs out.
    Logout = "logout",
    /// A session is ended by the hub: a spent refresh token was used again.
    SessionEnd = "session_end",
    /// A person's groups at his identity provider are others than before.
    GroupsChange = "groups_change",
    /// A person lets another device sign in as him, or not.
    DeviceDecide = "device_decide",
    /// An API key is made.
    ApiKeyCreate = "api_key_create",
    /// An API key is given another name.
    ApiKeyUpdate = "api_key_update",
    /// An API key is revoked.
    ApiKeyRevoke = "api_key_revoke",
    /// A person changes his password.
    PasswordChange = "password_change",
    /// An administrator gives an account a new password.
    PasswordReset = "password_reset",
    /// An account is made.
    UserCreate = "user_create",
    /// An account is removed.
    UserDelete = "user_delete",
    /// An account's roles are set.
    RoleAssign = "role_assign",
    /// A role is made.
    RoleCreate = "role_create",
    /// A role is replaced.
    RoleReplace = "role_replace",
    /// A role is removed.
    RoleDelete = "role_delete",

    // Acts on the hub: clusters and agents.
    /// A cluster is registered.
    ClusterCreate = "cluster_create",
    /// A cluster is removed.
    ClusterDelete = "cluster_delete",
    /// A cluster's credentials are tried.
    ClusterTest = "cluster_test",
    /// A cluster's name or labels are changed.
    ClusterUpdate = "cluster_update",
    /// A cluster's credentials are replaced.
    ClusterCredentials = "cluster_credentials",
    /// A person chooses the cluster that he works on.
    ClusterDefault = "cluster_default",
    /// A cluster is shared with somebody.
    ClusterShare = "cluster_share",
    /// The share of a cluster is ended.
    ClusterUnshare = "cluster_unshare",
    /// A cluster is given to an organisation or team, or gets another mode.
    ClusterAssign = "cluster_assign",
    /// An enrolment token is made.
    AgentTokenCreate = "agent_token_create",
    /// An agent enrols.
    AgentEnrol = "agent_enrol",
    /// The agents of a cluster are revoked.
    AgentRevoke = "agent_revoke",

    // Acts on the hub: organisations and access.
    /// An organisation is made.
    OrgCreate = "org_create",
    /// An organisation is changed.
    OrgUpdate = "org_update",
    /// An organisation is removed.
    OrgDelete = "org_delete",
    /// Somebody becomes a member of an organisation, or another kind of member.
    OrgMemberSet = "org_member_set",
    /// Somebody leaves an organisation.
    OrgMemberRemove = "org_member_remove",
    /// A team is made.
    TeamCreate = "team_create",
    /// A team is removed.
    TeamDelete = "team_delete",
    /// Somebody becomes a member of a team, or another kind of member.
    TeamMemberSet = "team_member_set",
    /// Somebody leaves a team.
    TeamMemberRemove = "team_member_remove",
    /// What a team's roles give is set.
    TeamPolicySet = "team_policy_set",
    /// Somebody is invited.
    Invite = "invite",
    /// An invitation is accepted.
    InviteAccept = "invite_accept",
    /// An invitation is taken back.
    InviteRemove = "invite_remove",
    /// Somebody asks for access.
    AccessRequest = "access_request",
    /// A request for access is approved; it holds when enough have.
    AccessApprove = "access_approve",
    /// Access that was asked for begins.
    AccessGrant = "access_grant",
    /// A request for access is denied.
    AccessDeny = "access_deny",
    /// Access that was granted ends, or a request is withdrawn.
    AccessEnd = "access_end",

    // Acts on and of the hub itself.
    /// The roles file is read again.
    PolicyReload = "policy_reload",
    /// Recorded shells that are old enough are removed, as configured.
    RecordingRetention = "recording_retention",
    /// Signing keys are replaced.
    KeyRotate = "key_rotate",
    /// Rows of the audit log are taken out.
    AuditExport = "audit_export",
    /// The oldest rows of the audit log are removed, as configured.
    AuditRetention = "audit_retention",
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_word_stands_for_one_verb() {
        let words: HashSet<_> = Verb::ALL.iter().map(|verb| verb.as_str()).collect();
        assert_eq!(words.len(), Verb::ALL.len());
        for verb in Verb::ALL {
            assert_eq!(Verb::parse(verb.as_str()), Some(*verb));
            assert!(verb.as_str().bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{verb:?}");
        }
        assert_eq!(Verb::parse("no such word"), None);
    }

    #[test]
    fn the_contracts_words_are_there() {
        for word in
            ["apply", "delete", "trigger", "secret_reveal", "bulk_download", "exec_open", "exec_close", "log_open"]
        {
            assert!(Verb::parse(word).is_some(), "{word}");
        }
    }
}
