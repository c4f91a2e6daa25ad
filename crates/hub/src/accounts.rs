//! Accounts as the policy sees them, for questions about others: with which roles and groups would they call now?
//!
//! What somebody has by groups of an identity provider counts while he is signed in there, as it does for his calls.
//!
//! Must not know: what a role allows.

use std::collections::HashMap;

use flotilla_identity::standing::{Act, Verdict};
use flotilla_store::StoreError;
use flotilla_types::id::{OrgId, UserId};

use crate::hub::Hub;
use crate::request::caller::Caller;
use crate::shares;
use crate::sign_in::OIDC;

/// Somebody, and what he holds.
#[derive(Clone, Debug)]
pub struct Account {
    /// The account.
    pub id: UserId,
    /// Its address.
    pub email: String,
    /// Names of all roles held, sorted.
    pub roles: Vec<String>,
    /// Groups at the OpenID Connect provider.
    pub groups: Vec<String>,
}

/// Whose rights somebody may know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Circle {
    /// Everybody's: he administers the hub or audits it.
    Everybody,
    /// Those of people of the organisations that he administers, and his own.
    Orgs(Vec<OrgId>),
    /// His own.
    Himself,
}

impl Circle {
    /// The caller's.
    #[must_use]
    pub fn of(hub: &Hub, caller: &Caller) -> Self {
        if hub.policy.load().is_auditor(caller.principal.roles()) {
            return Self::Everybody;
        }
        let (directory, user) = (hub.roles.directory(), caller.principal.user_id());
        let runs = |org| matches!(directory.org_standing(org, user, false).may(Act::SeeInside), Verdict::Allowed(_));
        let orgs: Vec<OrgId> = directory.orgs.iter().map(|org| org.id).filter(|org| runs(*org)).collect();
        if orgs.is_empty() { Self::Himself } else { Self::Orgs(orgs) }
    }

    /// Who is not in it, for people to read; empty when all are.
    #[must_use]
    pub fn left_out(&self, hub: &Hub) -> String {
        let directory = hub.roles.directory();
        match self {
            Self::Everybody => String::new(),
            Self::Orgs(orgs) => {
                let names = orgs.iter().filter_map(|org| directory.org(*org)).map(|org| org.name.as_str());
                let names = names.collect::<Vec<_>>().join(", ");
                format!("only people of {names} are shown; an administrator or auditor of the hub sees all")
            }
            Self::Himself => {
                "only you are shown; an administrator of your organisation sees its people, an administrator or \
                auditor of the hub all"
                    .to_owned()
            }
        }
    }
}

/// The accounts whose rights the caller may know, by address. He himself is as he came: with what this sign-in of his
/// gives.
///
/// # Errors
/// The store does not answer.
pub async fn known_to(hub: &Hub, caller: &Caller, circle: &Circle) -> Result<Vec<Account>, StoreError> {
    let me = Account {
        id: caller.principal.user_id(),
        email: caller.principal.email().to_owned(),
        roles: caller.principal.roles().to_vec(),
        groups: caller.principal.groups().to_vec(),
    };
    if *circle == Circle::Himself {
        return Ok(vec![me]);
    }
    let directory = hub.roles.directory();
    let inside = |user: UserId| match circle {
        Circle::Orgs(orgs) => orgs.iter().any(|org| directory.org_role(*org, user).is_some()),
        _ => true,
    };
    let mut accounts = others(hub).await?;
    accounts.retain(|one| one.id != me.id && inside(one.id));
    accounts.push(me);
    accounts.sort_unstable_by(|a, b| a.email.cmp(&b.email));
    Ok(accounts)
}

async fn others(hub: &Hub) -> Result<Vec<Account>, StoreError> {
    let mut shared = shares::roles_by_user(&hub.store).await?;
    let mut signed_in: HashMap<UserId, Vec<(String, Vec<String>)>> = HashMap::new();
    for (user, provider, groups) in hub.store.groups_in_sessions().await? {
        signed_in.entry(user).or_default().push((provider, groups));
    }
    let users = hub.store.list_users().await?;
    let account = |user: flotilla_store::User| {
        let mut roles = user.roles;
        roles.extend(shared.remove(&user.id.to_string()).unwrap_or_default());
        let mut at_provider = Vec::new();
        for (provider, groups) in signed_in.remove(&user.id).unwrap_or_default() {
            roles.extend(hub.ways.roles_of(&provider, &groups));
            if provider == OIDC {
                roles.extend(hub.roles.of_groups(&groups));
                at_provider = groups;
            }
        }
        Account { id: user.id, roles: hub.roles.effective(&user.email, roles), email: user.email, groups: at_provider }
    };
    Ok(users.into_iter().map(account).collect())
}
