//! Organisations, teams, their members and invitations: words and bodies of `/api/me`, `/api/orgs`, `/api/teams` and
//! `/api/invitations`.
//!
//! Must not know: what a role of an organisation permits (`flotilla_identity::standing`).

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::id::{ClusterId, InvitationId, OrgId, TeamId, UserId};
use crate::time::Timestamp;

/// Name of the organisation that every hub has. Whoever is in no other is in it, and so is every cluster.
pub const DEFAULT_ORG: &str = "default";

/// Its id, the same on every hub.
pub const DEFAULT_ORG_ID: OrgId = OrgId(uuid::Uuid::from_u128(0x0000_0000_0000_7000_8000_0000_0000_0001));

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $word:tt),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
        pub enum $name {
            $($(#[$vdoc])* #[serde(rename = $word)] $variant,)+
        }

        impl $name {
            /// All of them, the least first.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The word used on the wire and in the database.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                }
            }

            /// The inverse of `as_str`.
            #[must_use]
            pub fn parse(word: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|one| one.as_str() == word)
            }
        }
    };
}
pub(crate) use words;

words! {
    /// What somebody is in an organisation. Each may do what those before it may.
    OrgRole {
        /// Sees the organisation and its teams.
        Member = "org_member",
        /// Manages members, teams and what teams may do.
        Admin = "org_admin",
        /// Also appoints owners and deletes the organisation.
        Owner = "org_owner",
    }
}

words! {
    /// What somebody is in a team. Each may do what those before it may.
    TeamRole {
        /// Looks.
        Viewer = "viewer",
        /// Works.
        Developer = "developer",
        /// Manages members and approves access.
        Admin = "team_admin",
    }
}

words! {
    /// As whom people arrive in a cluster.
    Mode {
        /// Everyone as one user, `flotilla:shared`. The hub's policy alone tells people apart.
        Shared = "shared",
        /// As themselves, with the groups of their tiers, roles and teams.
        Tier = "tier",
        /// As themselves, with the groups that the identity provider gives them, and no tiers.
        Raw = "raw",
    }
}

/// An organisation as its members see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OrgView {
    /// The organisation.
    pub id: OrgId,
    /// Its unique name.
    pub name: String,
    /// For people.
    pub display_name: String,
    /// What the caller is in it; absent for a platform administrator who is no member.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<OrgRole>,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
}

/// `GET /api/orgs`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OrgList {
    /// Those that the caller may see.
    pub orgs: Vec<OrgView>,
}

/// `POST /api/orgs`. Platform administrators only.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OrgCreate {
    /// Unique name: 1 to 40 of a-z, 0-9 and `-`.
    pub name: String,
    /// For people; the name when left out.
    #[serde(default)]
    pub display_name: Option<String>,
    /// Address of its first owner, who must have an account; the caller when left out.
    #[serde(default)]
    pub owner: Option<String>,
}

/// `PATCH /api/orgs/{id}`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OrgUpdate {
    /// For people.
    pub display_name: String,
}

/// A member of an organisation or a team.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MemberView {
    /// The account.
    pub user: UserId,
    /// Its address.
    pub email: String,
    /// A role of organisations or of teams.
    pub role: String,
}

/// `GET .../members`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MemberList {
    /// By address.
    pub members: Vec<MemberView>,
}

/// `PUT /api/orgs/{id}/members`: adds or changes a member.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OrgMemberPut {
    /// Address of an account.
    pub email: String,
    /// What he is to be.
    pub role: OrgRole,
}

/// `PUT /api/teams/{id}/members`: adds or changes a member, who must be in the organisation.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TeamMemberPut {
    /// Address of an account.
    pub email: String,
    /// What he is to be.
    pub role: TeamRole,
}

/// A cluster of an organisation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OrgCluster {
    /// The cluster.
    pub id: ClusterId,
    /// Its name.
    pub name: String,
    /// The team that owns it, whose administrators approve access to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub team: Option<TeamId>,
    /// As whom people arrive.
    pub mode: Mode,
    /// Teams that it is shared to.
    pub shared_to: Vec<TeamId>,
}

/// `GET /api/orgs/{id}/clusters`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OrgClusterList {
    /// By name.
    pub clusters: Vec<OrgCluster>,
}

/// `PUT /api/orgs/{id}/clusters/{cluster}`: whose the cluster is, and as whom people arrive in it.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OrgClusterPut {
    /// The team that owns it; none when left out.
    #[serde(default)]
    pub team: Option<TeamId>,
    /// As whom people arrive. Left out: as it is.
    #[serde(default)]
    pub mode: Option<Mode>,
}

/// A team as members of its organisation see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TeamView {
    /// The team.
    pub id: TeamId,
    /// Its organisation.
    pub org: OrgId,
    /// Name of the organisation.
    pub org_name: String,
    /// Unique in the organisation.
    pub name: String,
    /// What the caller is in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<TeamRole>,
    /// What it gives its members.
    pub policy: TeamPolicy,
}

/// `GET /api/teams`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TeamList {
    /// By organisation and name.
    pub teams: Vec<TeamView>,
}

/// `POST /api/teams`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TeamCreate {
    /// Its organisation.
    pub org: OrgId,
    /// Unique in the organisation: 1 to 40 of a-z, 0-9 and `-`.
    pub name: String,
}

/// What a team gives its members, and how access to its clusters is approved. Set by administrators of the organisation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TeamPolicy {
    /// Which policy roles a role of the team brings, and where.
    #[serde(default)]
    pub bindings: Vec<TeamBinding>,
    /// How many must approve access to the team's clusters, 1 to 5.
    #[serde(default = "one")]
    pub approvals: u32,
    /// Longest access on request, seconds; at most 7 days.
    #[serde(default = "eight_hours")]
    pub max_grant_seconds: u64,
}

fn one() -> u32 {
    1
}

fn eight_hours() -> u64 {
    8 * 3600
}

impl Default for TeamPolicy {
    /// Viewers look, developers work, administrators maintain, in all clusters of the organisation that are shared to
    /// the team or owned by it.
    fn default() -> Self {
        let binding = |role, policy: &str| TeamBinding { role, policy: policy.to_owned(), clusters: Vec::new() };
        Self {
            bindings: vec![
                binding(TeamRole::Viewer, "tier-read"),
                binding(TeamRole::Developer, "tier-write"),
                binding(TeamRole::Admin, "tier-maintain"),
            ],
            approvals: one(),
            max_grant_seconds: eight_hours(),
        }
    }
}

/// A policy role that comes with a role of a team. It never reaches further than the policy role itself does, and never
/// out of the clusters that are the team's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TeamBinding {
    /// Who has it.
    pub role: TeamRole,
    /// Name of a policy role (`flotilla roles list`).
    pub policy: String,
    /// Patterns of names of clusters of the organisation, beside those that the team owns or that are shared to it.
    #[serde(default)]
    pub clusters: Vec<String>,
}

/// `POST /api/orgs/{id}/invite`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OrgInvite {
    /// Only this address may accept; it gets a mail when the hub can send any. Left out: whoever has the link.
    #[serde(default)]
    pub email: Option<String>,
    /// What the invited is to be.
    pub role: OrgRole,
}

/// `POST /api/teams/{id}/invite`. Whoever accepts also becomes a member of the organisation.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TeamInvite {
    /// Only this address may accept; it gets a mail when the hub can send any. Left out: whoever has the link.
    #[serde(default)]
    pub email: Option<String>,
    /// What the invited is to be.
    pub role: TeamRole,
}

/// Answer to an invitation.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct InvitationCreated {
    /// The invitation.
    pub invitation: InvitationView,
    /// Accept with it, once. Shown here and nowhere else.
    pub token: String,
    /// The same as a link.
    pub link: String,
    /// Whether it went out by mail.
    pub mailed: bool,
}

/// An invitation that is not accepted yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct InvitationView {
    /// The invitation.
    pub id: InvitationId,
    /// To which organisation.
    pub org: OrgId,
    /// To which team of it, if to one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub team: Option<TeamId>,
    /// A role of organisations or of teams.
    pub role: String,
    /// Who may accept; anyone when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// Until when.
    #[schema(value_type = String, format = DateTime)]
    pub expires_at: Timestamp,
}

/// `GET /api/orgs/{id}/invitations`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct InvitationList {
    /// Open ones, newest first.
    pub invitations: Vec<InvitationView>,
}

/// `POST /api/invitations/{token}/accept`, by someone who is signed in (no password), or by someone who has no account
/// yet and was invited by address: then an account is made.
#[derive(Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct InvitationAccept {
    /// Password of the new account, 12 to 256 characters.
    #[serde(default)]
    pub password: Option<String>,
}

/// Answer to [`InvitationAccept`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct InvitationAccepted {
    /// Who accepted.
    pub email: String,
    /// Whether an account was made.
    pub account_made: bool,
    /// The organisation.
    pub org: String,
    /// The team, if it was to one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub team: Option<String>,
    /// What he is there now.
    pub role: String,
}

/// `GET /api/me`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Me {
    /// The account.
    pub id: UserId,
    /// Its address.
    pub email: String,
    /// Whether the caller administers the hub.
    pub platform_admin: bool,
    /// Policy roles held, those of teams and grants too.
    pub roles: Vec<String>,
    /// Organisations.
    pub orgs: Vec<OrgView>,
    /// Teams.
    pub teams: Vec<MyTeam>,
}

/// A team of the caller's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MyTeam {
    /// The team.
    pub id: TeamId,
    /// Organisation and team: `acme/pay`.
    pub path: String,
    /// What the caller is in it.
    pub role: TeamRole,
}

/// `GET /api/admin/users`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AdminUserList {
    /// All accounts, by address.
    pub users: Vec<AdminUser>,
}

/// An account with all that it belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AdminUser {
    /// The account.
    pub id: UserId,
    /// Its address.
    pub email: String,
    /// Whether it administers the hub.
    pub platform_admin: bool,
    /// Policy roles, those of teams and grants too.
    pub roles: Vec<String>,
    /// `acme: org_owner`.
    pub orgs: Vec<String>,
    /// `acme/pay: developer`.
    pub teams: Vec<String>,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
}
