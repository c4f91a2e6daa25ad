//! Shares of clusters as what the policy knows: each level of each shared cluster is a role of its own, with the rules
//! of the built-in role of that name for this cluster alone. So a share is decided where everything is decided.
//!
//! Must not know: who shares what (`flotilla_store`), how a rule is judged.

use std::collections::HashMap;

use flotilla_identity::policy::built_in_roles;
use flotilla_store::{ClusterShare, Store, StoreError};
use flotilla_types::id::{ClusterId, UserId};
use flotilla_types::policy::Role;

/// `subject_kind` of people.
pub const USER: &str = "user";

/// The levels that there are.
#[must_use]
pub fn levels() -> Vec<String> {
    built_in_roles().into_iter().map(|role| role.name).collect()
}

/// Name of the role that a share gives. By id: a cluster may be renamed.
fn role_name(cluster: ClusterId, level: &str) -> String {
    format!("share.{}.{level}", cluster.0.simple())
}

fn role(share: &ClusterShare) -> Option<Role> {
    let mut role = built_in_roles().into_iter().find(|role| role.name == share.level)?;
    role.name = role_name(share.cluster, &share.level);
    role.description = format!("{} in cluster {}, shared", share.level, share.cluster_name);
    role.administrator = Some(false);
    for rule in &mut role.clusters {
        rule.name.clone_from(&share.cluster_name);
    }
    Some(role)
}

/// The roles of the database with those that shares need.
///
/// # Errors
/// The database failed.
pub async fn roles(store: &Store) -> Result<Vec<Role>, StoreError> {
    let mut roles = store.list_roles().await?;
    let mut shared: Vec<Role> = store.list_cluster_shares().await?.iter().filter_map(role).collect();
    shared.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    shared.dedup_by(|a, b| a.name == b.name);
    roles.extend(shared);
    Ok(roles)
}

/// Names of the roles that shares give, by the id of whom they are for.
///
/// # Errors
/// The database failed.
pub async fn roles_by_user(store: &Store) -> Result<HashMap<String, Vec<String>>, StoreError> {
    let mut roles: HashMap<String, Vec<String>> = HashMap::new();
    for share in store.list_cluster_shares().await? {
        if share.subject_kind == USER {
            roles.entry(share.subject_id).or_default().push(role_name(share.cluster, &share.level));
        }
    }
    Ok(roles)
}

/// Names of the roles that shares give to a person.
///
/// # Errors
/// The database failed.
pub async fn roles_of(store: &Store, user: UserId) -> Result<Vec<String>, StoreError> {
    let shares = store.cluster_shares_of(USER, &user.to_string()).await?;
    Ok(shares.iter().map(|share| role_name(share.cluster, &share.level)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_level_is_a_valid_role_for_one_cluster_and_no_administrator() {
        for level in levels() {
            let share = ClusterShare {
                cluster: ClusterId::new(),
                cluster_name: "prod-eu.1".into(),
                subject_kind: USER.into(),
                subject_id: String::new(),
                level: level.clone(),
                created_by: String::new(),
                created_at_ms: 0,
            };
            let role = role(&share).unwrap();
            let name = role.name.clone();
            let policy = flotilla_identity::policy::compile(vec![(role, flotilla_identity::policy::Source::Database)]);
            let policy = policy.unwrap_or_else(|problems| panic!("{problems:?}"));
            let held = [name];
            assert!(!policy.is_administrator(&held), "{level}");
            assert!(policy.sees_cluster(&held, "prod-eu.1") && !policy.sees_cluster(&held, "prod-eu-1"), "{level}");
        }
    }
}
