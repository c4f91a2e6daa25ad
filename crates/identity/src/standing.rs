//! What somebody may do to organisations, teams and what is theirs: platform, then organisation, then team.
//!
//! ```text
//! platform_admin ─ may everything
//!   org_owner ─ org_admin ─ org_member          in one organisation
//!     team_admin ─ developer ─ viewer           in one team of it
//! ```
//!
//! A [`Standing`] is what somebody is with regard to *one* object; [`Standing::may`] answers with the level that allows
//! it, or with what is missing. Who stands nowhere learns nothing: to him the object does not exist.
//!
//! What people may do in clusters is another matter: see [`crate::policy`].
//!
//! Must not know: where memberships are kept, HTTP.

use flotilla_types::org::{OrgRole, TeamRole};

/// Something that is done to an organisation, a team or what belongs to them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Act {
    /// See the organisation, its members, its teams.
    See,
    /// See who is invited, which clusters there are and who asks for access.
    SeeInside,
    /// Change names, members, teams, what teams may do; share clusters; invite.
    ManageOrg,
    /// Appoint, change or remove owners; delete the organisation.
    ManageOwners,
    /// Change the members of one team; invite to it.
    ManageTeam,
    /// Approve access to clusters of one team.
    Approve,
    /// Make organisations, move clusters between them.
    ManagePlatform,
}

impl Act {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::See,
        Self::SeeInside,
        Self::ManageOrg,
        Self::ManageOwners,
        Self::ManageTeam,
        Self::Approve,
        Self::ManagePlatform,
    ];

    /// The least role in the organisation that may do it, and the least role in the team.
    const fn needs(self) -> (Option<OrgRole>, Option<TeamRole>) {
        match self {
            Self::See => (Some(OrgRole::Member), Some(TeamRole::Viewer)),
            Self::SeeInside => (Some(OrgRole::Admin), Some(TeamRole::Admin)),
            Self::ManageOrg => (Some(OrgRole::Admin), None),
            Self::ManageOwners => (Some(OrgRole::Owner), None),
            Self::ManageTeam | Self::Approve => (Some(OrgRole::Admin), Some(TeamRole::Admin)),
            Self::ManagePlatform => (None, None),
        }
    }
}

/// What somebody is with regard to one object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Standing {
    /// Administers the hub.
    pub platform_admin: bool,
    /// In the organisation of the object.
    pub org: Option<OrgRole>,
    /// In the team that the object is, or belongs to.
    pub team: Option<TeamRole>,
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Yes, and why: `platform_admin`, or a role.
    Allowed(&'static str),
    /// No, and what would be needed.
    Denied(String),
    /// He may not even know that it is there.
    Invisible,
}

impl Standing {
    /// Whether he may, decided from the top: platform, organisation, team.
    #[must_use]
    pub fn may(self, act: Act) -> Verdict {
        if self.platform_admin {
            return Verdict::Allowed("platform_admin");
        }
        let (org, team) = act.needs();
        if let (Some(role), Some(least)) = (self.org, org)
            && role >= least
        {
            return Verdict::Allowed(role.as_str());
        }
        if let (Some(role), Some(least)) = (self.team, team)
            && role >= least
        {
            return Verdict::Allowed(role.as_str());
        }
        if self.org.is_none() && self.team.is_none() {
            return Verdict::Invisible;
        }
        Verdict::Denied(self.missing(org, team))
    }

    fn missing(self, org: Option<OrgRole>, team: Option<TeamRole>) -> String {
        let needed: Vec<&str> = [team.map(TeamRole::as_str), org.map(OrgRole::as_str)].into_iter().flatten().collect();
        let here = [self.org.map(OrgRole::as_str), self.team.map(TeamRole::as_str)];
        let here: Vec<&str> = here.into_iter().flatten().collect();
        let needed = if needed.is_empty() { "platform_admin".to_owned() } else { needed.join(" or ") };
        format!("this needs {needed}; here you are {}", here.join(" and "))
    }
}
