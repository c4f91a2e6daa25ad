//! As whom somebody arrives in a cluster: the user name and groups that the cluster's own RBAC judges.
//!
//! Must not know: how they are passed on.

use flotilla_types::org::Mode;
use flotilla_types::time::now_ms;

use super::rule::Query;
use super::{Action, CompiledRole, PolicySet, Source, open};

/// The one user, and the one group, of clusters of mode `shared`.
pub const SHARED: &str = "flotilla:shared";

/// Groups of grants begin with it.
const GRANT: &str = "flotilla:grant:";

/// Groups of the tiers begin with it.
const TIER: &str = "flotilla:tier:";

/// Who somebody is in one cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// User name.
    pub user: String,
    /// Groups, sorted, without repetitions; none begins with `system:`.
    pub groups: Vec<String>,
}

/// The group of a grant, by the name of the request that was granted.
#[must_use]
pub fn grant_group(request: &str) -> String {
    format!("{GRANT}{request}")
}

/// Whether it is the group of a grant, so that who has it now may not have it for long.
#[must_use]
pub fn is_of_a_grant(group: &str) -> bool {
    group.starts_with(GRANT)
}

impl PolicySet {
    /// As whom the holder of `roles` arrives with one call. `email` is his address, `idp_groups` are his groups at the
    /// identity provider.
    ///
    /// - `tier`: `flotilla:role:<name>` and the groups of each role held that reaches the cluster.
    /// - `raw`: the same without `flotilla:tier:*`, and the groups of the identity provider, of which those that begin
    ///   with `system:` or `flotilla:` are left out: they are not his to name.
    /// - `shared`: [`SHARED`], whoever it is.
    ///
    /// Groups of grants come along only with calls that the grant allows, so that a grant lends nothing to other calls,
    /// and with reviews of oneself, which change nothing.
    #[must_use]
    pub fn arrival(&self, email: &str, roles: &[String], idp_groups: &[String], action: &Action<'_>) -> Arrival {
        let mode = self.mode(action.cluster);
        if mode == Mode::Shared {
            return Arrival { user: SHARED.to_owned(), groups: vec![SHARED.to_owned()] };
        }
        let mut groups = self.groups_with(roles, action);
        if mode == Mode::Raw {
            groups.retain(|group| !group.starts_with(TIER));
            groups.extend(idp_groups.iter().filter(|group| may_be_passed_on(group)).cloned());
            groups.sort_unstable();
            groups.dedup();
        }
        Arrival { user: email.to_owned(), groups }
    }

    /// As whom people arrive in the cluster.
    #[must_use]
    pub fn mode(&self, cluster: &str) -> Mode {
        self.modes.get(cluster).copied().unwrap_or(Mode::Tier)
    }

    /// The groups with which a holder of `roles` arrives in `cluster` whatever he does: those of grants are not among
    /// them.
    #[must_use]
    pub fn groups_for(&self, roles: &[String], cluster: &str) -> Vec<String> {
        self.groups_with(roles, &Action { cluster, ..Action::default() })
    }

    fn groups_with(&self, roles: &[String], action: &Action<'_>) -> Vec<String> {
        let query = Query::new(action);
        let mut groups = Vec::new();
        for role in self.held(now_ms(), roles).filter(|role| role.lends_groups(&query)) {
            if role.source <= Source::Database {
                groups.push(format!("flotilla:role:{}", role.role.name));
            }
            groups.extend(role.role.groups.iter().cloned());
        }
        groups.sort_unstable();
        groups.dedup();
        groups
    }
}

impl CompiledRole {
    fn lends_groups(&self, query: &Query<'_>) -> bool {
        let cluster = query.action.cluster;
        match self.source {
            Source::Grant => {
                let mut reaching = self.reaching(cluster).peekable();
                let reviewed = reaching.peek().is_some() && open::is_self_review(&query.action);
                reviewed || reaching.any(|rule| rule.rights.allow(query))
            }
            _ => self.reaches(cluster),
        }
    }
}

fn may_be_passed_on(group: &str) -> bool {
    let lower = group.trim().to_lowercase();
    let reserved = lower.starts_with("system:") || lower.starts_with("flotilla:");
    !reserved && (1..=253).contains(&group.len()) && group.bytes().all(|b| b.is_ascii_graphic())
}
