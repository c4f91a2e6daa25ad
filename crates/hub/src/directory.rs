//! Organisations, teams, whose each cluster is, and the grants in force: one picture in memory, made anew when the
//! store's revision counts up. From it follow what somebody may do to an object ([`Directory::org_standing`]) and the
//! policy roles that teams and grants give ([`Directory::derived`]).
//!
//! Must not know: HTTP, how a rule is judged.

use std::collections::HashMap;

use flotilla_identity::policy::{Derived, Source, TIERS, cluster_matches, compile, grant_group, tier_role, units};
use flotilla_identity::standing::Standing;
use flotilla_store::{AccessRequest, Org, OrgMember, OwnedCluster, Store, StoreError, Team, TeamMember};
use flotilla_types::id::{ClusterId, OrgId, TeamId, UserId};
use flotilla_types::org::{DEFAULT_ORG_ID, Mode, OrgRole, TeamBinding, TeamRole};
use flotilla_types::policy::{ClusterRule, Record, Role};
use flotilla_types::rights::AccessAsk;

use crate::config::GroupRule;

/// The picture.
#[derive(Default)]
pub struct Directory {
    /// The store's revision of which it is the picture.
    pub revision: i64,
    /// By name.
    pub orgs: Vec<Org>,
    /// By address.
    pub org_members: Vec<OrgMember>,
    /// By organisation and name.
    pub teams: Vec<Team>,
    /// By address.
    pub team_members: Vec<TeamMember>,
    /// All clusters, by name.
    pub clusters: Vec<OwnedCluster>,
    /// Clusters shared to teams.
    pub shared: Vec<(TeamId, ClusterId)>,
    /// Granted requests.
    pub grants: Vec<AccessRequest>,
    /// Names of derived roles, by address.
    held: HashMap<String, Vec<String>>,
}

impl Directory {
    /// Reads everything.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn read(store: &Store) -> Result<Self, StoreError> {
        // First: what changes while the rest is read makes the picture older than it is, and is read again.
        let revision = store.access_revision().await?;
        let mut directory = Self {
            revision,
            orgs: store.list_orgs().await?,
            org_members: store.list_org_members().await?,
            teams: store.list_teams().await?,
            team_members: store.list_team_members().await?,
            clusters: store.list_owned_clusters().await?,
            shared: store.list_team_clusters().await?,
            grants: store.live_grants().await?,
            held: HashMap::new(),
        };
        directory.held = directory.who_holds_what();
        Ok(directory)
    }

    fn who_holds_what(&self) -> HashMap<String, Vec<String>> {
        let mut held: HashMap<String, Vec<String>> = HashMap::new();
        for member in &self.team_members {
            let Some(team) = self.team(member.team) else { continue };
            held.entry(member.email.clone()).or_default().extend(self.roles_in(team, member.role));
        }
        for grant in &self.grants {
            held.entry(grant.email.clone()).or_default().push(grant_role(grant));
        }
        held
    }

    /// Names of the derived roles of an account, by its address.
    #[must_use]
    pub fn held_by(&self, email: &str) -> &[String] {
        self.held.get(email).map_or(&[], Vec::as_slice)
    }

    /// Names of the derived roles that a group of the identity provider gives.
    #[must_use]
    pub fn roles_of_group(&self, rule: &GroupRule) -> Vec<String> {
        let team = rule.team.as_deref().and_then(|path| self.teams.iter().find(|team| self.path(team) == path));
        let role = rule.role.unwrap_or(TeamRole::Viewer);
        let of_team = team.map(|team| self.roles_in(team, role)).unwrap_or_default();
        of_team.into_iter().chain(rule.tier.as_deref().map(|tier| group_role(&rule.group, tier))).collect()
    }

    fn roles_in(&self, team: &Team, role: TeamRole) -> Vec<String> {
        let path = self.path(team);
        let bindings = team.policy.bindings.iter().filter(|binding| binding.role <= role);
        bindings.map(|binding| team_role(&path, binding)).collect()
    }

    /// The policy roles that follow from teams, groups and grants. `role` finds the policy role of a name; a binding of
    /// one that is gone gives nothing.
    #[must_use]
    pub fn derived(&self, groups: &[GroupRule], role: impl Fn(&str) -> Option<Role>) -> Vec<Derived> {
        let mut derived = Vec::new();
        for team in &self.teams {
            for binding in &team.policy.bindings {
                derived.extend(role(&binding.policy).map(|role| self.of_team(team, binding, role)));
            }
        }
        derived.extend(groups.iter().filter_map(of_group));
        derived.extend(self.grants.iter().map(|grant| self.of_grant(grant)));
        derived
    }

    fn of_team(&self, team: &Team, binding: &TeamBinding, role: Role) -> Derived {
        let path = self.path(team);
        let mut groups = role.groups;
        groups.push(format!("flotilla:team:{path}"));
        Derived {
            name: team_role(&path, binding),
            source: Source::Team,
            rules: role.clusters,
            clusters: Some(self.clusters_of(team, &binding.clusters)),
            groups,
            until_ms: None,
        }
    }

    fn of_grant(&self, grant: &AccessRequest) -> Derived {
        let mut groups = vec![grant_group(&grant.id.to_string())];
        groups.extend(tier_for(&grant.ask).map(|tier| format!("flotilla:tier:{tier}")));
        Derived {
            name: grant_role(grant),
            source: Source::Grant,
            rules: vec![grant_rule(&grant.ask)],
            clusters: Some(self.names(&grant.clusters)),
            groups,
            // One without an end would be a fault of ours; it gives nothing.
            until_ms: Some(grant.ends_at_ms.unwrap_or(0)),
        }
    }

    /// Names of the clusters that a binding of the team reaches: those that it owns, those shared to it, and those of its
    /// organisation that a pattern matches.
    fn clusters_of(&self, team: &Team, patterns: &[String]) -> Vec<String> {
        let reached = |cluster: &&OwnedCluster| {
            let own = cluster.team == Some(team.id) || self.shared.contains(&(team.id, cluster.id));
            own || cluster.org == team.org && patterns.iter().any(|pattern| cluster_matches(pattern, &cluster.name))
        };
        self.clusters.iter().filter(reached).map(|cluster| cluster.name.clone()).collect()
    }

    /// Names of clusters that are still there.
    #[must_use]
    pub fn names(&self, ids: &[ClusterId]) -> Vec<String> {
        self.clusters.iter().filter(|one| ids.contains(&one.id)).map(|one| one.name.clone()).collect()
    }

    /// As whom people arrive, per cluster.
    pub fn modes(&self) -> impl Iterator<Item = (String, Mode)> + '_ {
        self.clusters.iter().filter(|one| one.mode != Mode::Tier).map(|one| (one.name.clone(), one.mode))
    }

    /// `organisation/team`.
    #[must_use]
    pub fn path(&self, team: &Team) -> String {
        format!("{}/{}", self.org(team.org).map_or("", |org| &org.name), team.name)
    }

    /// An organisation.
    #[must_use]
    pub fn org(&self, id: OrgId) -> Option<&Org> {
        self.orgs.iter().find(|org| org.id == id)
    }

    /// A team.
    #[must_use]
    pub fn team(&self, id: TeamId) -> Option<&Team> {
        self.teams.iter().find(|team| team.id == id)
    }

    /// What somebody is in an organisation. Who is in none is in the default one.
    #[must_use]
    pub fn org_role(&self, org: OrgId, user: UserId) -> Option<OrgRole> {
        let mut own = self.org_members.iter().filter(|member| member.user == user).peekable();
        if own.peek().is_none() {
            return (org == DEFAULT_ORG_ID).then_some(OrgRole::Member);
        }
        own.find(|member| member.org == org).map(|member| member.role)
    }

    /// What somebody is in a team.
    #[must_use]
    pub fn team_role(&self, team: TeamId, user: UserId) -> Option<TeamRole> {
        self.team_members.iter().find(|one| one.team == team && one.user == user).map(|one| one.role)
    }

    /// How somebody stands to an organisation.
    #[must_use]
    pub fn org_standing(&self, org: OrgId, user: UserId, platform_admin: bool) -> Standing {
        Standing { platform_admin, org: self.org_role(org, user), team: None }
    }

    /// How somebody stands to a team.
    #[must_use]
    pub fn team_standing(&self, team: &Team, user: UserId, platform_admin: bool) -> Standing {
        Standing { team: self.team_role(team.id, user), ..self.org_standing(team.org, user, platform_admin) }
    }

    /// How somebody stands to a cluster: to the team that owns it, or to its organisation.
    #[must_use]
    pub fn cluster_standing(&self, cluster: &OwnedCluster, user: UserId, platform_admin: bool) -> Standing {
        let org = self.org_standing(cluster.org, user, platform_admin);
        Standing { team: cluster.team.and_then(|team| self.team_role(team, user)), ..org }
    }
}

fn team_role(path: &str, binding: &TeamBinding) -> String {
    format!("team:{path}:{}:{}", binding.role.as_str(), binding.policy)
}

fn group_role(group: &str, tier: &str) -> String {
    format!("group:{group}:tier-{tier}")
}

/// Name of the derived role of a grant.
#[must_use]
pub fn grant_role(grant: &AccessRequest) -> String {
    format!("grant:{}", grant.id)
}

/// A tier by a group: the tier's rules, in the clusters that the rule's own patterns name.
fn of_group(rule: &GroupRule) -> Option<Derived> {
    let tier = tier_role(rule.tier.as_deref()?)?;
    let everywhere = ["*".to_owned()];
    let patterns = if rule.clusters.is_empty() { &everywhere[..] } else { &rule.clusters };
    let in_cluster = |pattern: &String| {
        tier.clusters.iter().map(|rule| ClusterRule { name: pattern.clone(), ..rule.clone() }).collect::<Vec<_>>()
    };
    Some(Derived {
        name: group_role(&rule.group, rule.tier.as_deref()?),
        source: Source::Group,
        rules: patterns.iter().flat_map(in_cluster).collect(),
        clusters: None,
        groups: tier.groups.clone(),
        until_ms: None,
    })
}

/// What was asked, as a rule. Which clusters it is for, the role around it says. Shells that were lent are recorded.
#[must_use]
pub fn grant_rule(ask: &AccessAsk) -> ClusterRule {
    ClusterRule {
        name: "*".to_owned(),
        namespaces: ask.namespaces.clone(),
        verbs: ask.verbs.clone(),
        resources: ask.resources.clone(),
        api_groups: ask.api_groups.clone(),
        names: Vec::new(),
        non_resource_urls: Vec::new(),
        record: Record::On,
        record_input: false,
    }
}

/// The least tier, `write` at most, that covers what was asked: the cluster's RBAC must allow it too, and the tier's
/// group comes along with those calls only. `None` where no such tier covers it; then the group `flotilla:grant:<id>`
/// must be bound in the cluster.
#[must_use]
pub fn tier_for(ask: &AccessAsk) -> Option<&'static str> {
    let rule = grant_rule(ask);
    TIERS.iter().copied().take(3).find(|tier| {
        let Some(Ok(policy)) = tier_role(tier).map(|role| compile(vec![(role, Source::BuiltIn)])) else { return false };
        let held = [format!("tier-{tier}")];
        units(&rule, "any").iter().all(|unit| policy.decide(&held, unit).is_allowed())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(verbs: &[&str], resources: &[&str]) -> AccessAsk {
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        AccessAsk {
            cluster: "prod".into(),
            namespaces: owned(&["pay"]),
            verbs: owned(verbs),
            resources: owned(resources),
            api_groups: owned(&["*"]),
            seconds: 60,
            reason: "r".into(),
        }
    }

    #[test]
    fn a_grant_comes_with_the_least_tier_that_covers_it() {
        for (verbs, resources, tier) in [
            (&["get", "logs"][..], &["pods"][..], Some("read")),
            (&["get", "exec"], &["pods"], Some("triage")),
            (&["delete"], &["pods"], Some("triage")),
            (&["patch", "scale"], &["deployments"], Some("write")),
            (&["get"], &["secrets"], Some("write")),
            (&["update"], &["roles"], None),
            (&["get"], &["*"], None),
        ] {
            assert_eq!(tier_for(&ask(verbs, resources)), tier, "{verbs:?} {resources:?}");
        }
    }
}
