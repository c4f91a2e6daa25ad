//! Roles that somebody holds because of something else: a team, a group of the identity provider, a granted request.
//!
//! Their names have a `:`, which no other role's name can have, so nobody can be given one by name by mistake.
//!
//! Must not know: who is in which team, how a grant comes about.

use std::collections::HashMap;

use flotilla_types::org::Mode;
use flotilla_types::policy::{ClusterRule, Role};

use super::compile::{Report, compile_rules};
use super::{CompiledRole, PolicyError, PolicySet, Source};

/// A role that follows from something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Derived {
    /// `team:acme/pay:developer:tier-write`, `group:sre:tier-write`, `grant:<id>`.
    pub name: String,
    /// What it follows from.
    pub source: Source,
    /// What it allows.
    pub rules: Vec<ClusterRule>,
    /// Names of the clusters that it reaches at most; `None` for all that its rules match.
    pub clusters: Option<Vec<String>>,
    /// Groups with which a holder arrives. Of a [`Source::Grant`] only with calls that the grant allows.
    pub groups: Vec<String>,
    /// The moment from which it gives nothing, milliseconds since the epoch.
    pub until_ms: Option<i64>,
}

impl PolicySet {
    /// Adds roles that follow from something, and how people arrive where that is not by [`Mode::Tier`].
    ///
    /// # Errors
    /// What is wrong with the rules. A wrong one spoils the set, so check rules where they come in.
    pub fn with_derived(
        mut self,
        derived: Vec<Derived>,
        modes: impl IntoIterator<Item = (String, Mode)>,
    ) -> Result<Self, Vec<PolicyError>> {
        let mut problems = Vec::new();
        for one in derived {
            let role = compiled(one, &mut problems);
            self.roles.insert(role.role.name.as_str().into(), role);
        }
        self.modes = modes.into_iter().map(|(cluster, mode)| (cluster.into(), mode)).collect::<HashMap<_, _>>();
        if problems.is_empty() { Ok(self) } else { Err(problems) }
    }
}

fn compiled(derived: Derived, problems: &mut Vec<PolicyError>) -> CompiledRole {
    let Derived { name, source, rules, clusters, groups, until_ms } = derived;
    // Whatever role it was made of: the administration of the hub is given by name only.
    let role =
        Role { name, description: String::new(), clusters: rules, groups, administrator: Some(false), auditor: false };
    let rules = compile_rules(&role, &mut Report::new(&role.name, problems));
    let scope = clusters.map(|mut clusters| {
        clusters.sort_unstable();
        clusters.into_iter().map(String::into_boxed_str).collect()
    });
    CompiledRole { rules, source, administrator: false, scope, until_ms, role }
}
