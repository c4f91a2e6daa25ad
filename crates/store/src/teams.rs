//! Teams, their members, and the clusters shared to them.
//!
//! Must not know: what a team's policy means.

use flotilla_types::id::{ClusterId, OrgId, TeamId, UserId};
use flotilla_types::org::{TeamPolicy, TeamRole};
use flotilla_types::time::now_ms;

use crate::Store;
use crate::db::on_db;
use crate::error::{StoreError, found, parse};
use crate::orgs::BUMP;

/// A team.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Team {
    /// The team.
    pub id: TeamId,
    /// Its organisation.
    pub org: OrgId,
    /// Unique in the organisation.
    pub name: String,
    /// What it gives its members.
    pub policy: TeamPolicy,
}

/// Somebody in a team.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TeamMember {
    /// The team.
    pub team: TeamId,
    /// Who.
    pub user: UserId,
    /// His address.
    pub email: String,
    /// What he is there.
    pub role: TeamRole,
}

const ALL: &str = "SELECT t.id, t.org_id, t.name, t.policy FROM teams t JOIN orgs o ON o.id = t.org_id \
    ORDER BY o.name, t.name";
const INSERT: &str = "INSERT INTO teams (id, org_id, name, policy, created_at) VALUES ($1, $2, $3, $4, $5)";
const SET_POLICY: &str = "UPDATE teams SET policy = $2 WHERE id = $1";
const DELETE: &str = "DELETE FROM teams WHERE id = $1";
const MEMBERS: &str = "SELECT m.team_id, u.id, u.email, m.role FROM team_members m JOIN users u ON u.id = m.user_id \
    ORDER BY u.email, m.team_id";
const PUT_MEMBER: &str = "INSERT INTO team_members (team_id, user_id, role) VALUES ($1, $2, $3) \
    ON CONFLICT (team_id, user_id) DO UPDATE SET role = excluded.role";
const REMOVE_MEMBER: &str = "DELETE FROM team_members WHERE team_id = $1 AND user_id = $2";
const SHARED: &str = "SELECT team_id, cluster_id FROM team_clusters ORDER BY team_id, cluster_id";
const SHARE: &str = "INSERT INTO team_clusters (team_id, cluster_id) VALUES ($1, $2) ON CONFLICT DO NOTHING";
const UNSHARE: &str = "DELETE FROM team_clusters WHERE team_id = $1 AND cluster_id = $2";

fn encode(policy: &TeamPolicy) -> Result<String, StoreError> {
    serde_json::to_string(policy).map_err(|_| StoreError::Corrupt { column: "teams.policy" })
}

impl Store {
    /// All teams, by organisation and name.
    ///
    /// # Errors
    /// The database failed.
    pub async fn list_teams(&self) -> Result<Vec<Team>, StoreError> {
        let rows: Vec<(String, String, String, String)> =
            on_db!(&self.db, read, pool => sqlx::query_as(ALL).fetch_all(pool).await?);
        let read = |(id, org, name, policy): (String, String, String, String)| {
            let policy = serde_json::from_str(&policy).map_err(|_| StoreError::Corrupt { column: "teams.policy" })?;
            Ok(Team { id: parse(&id, "teams.id")?, org: parse(&org, "teams.org_id")?, name, policy })
        };
        rows.into_iter().map(read).collect()
    }

    /// Makes a team.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when the organisation has one of that name, [`StoreError::NotFound`] when it is gone.
    pub async fn create_team(&self, org: OrgId, name: &str, policy: &TeamPolicy) -> Result<TeamId, StoreError> {
        let (id, policy) = (TeamId::new(), encode(policy)?);
        on_db!(&self.db, tx, tx => {
            let insert = sqlx::query(INSERT).bind(id.to_string()).bind(org.to_string()).bind(name);
            let insert = insert.bind(policy.as_str()).bind(now_ms());
            insert.execute(&mut *tx).await.map_err(|error| match StoreError::unique("team")(error) {
                StoreError::Database(error) => StoreError::parent("organisation")(error),
                other => other,
            })?;
            sqlx::query(BUMP).execute(&mut *tx).await?;
        });
        Ok(id)
    }

    /// Replaces what a team gives its members.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub async fn set_team_policy(&self, id: TeamId, policy: &TeamPolicy) -> Result<(), StoreError> {
        let policy = encode(policy)?;
        on_db!(&self.db, tx, tx => {
            let done = sqlx::query(SET_POLICY).bind(id.to_string()).bind(policy.as_str()).execute(&mut *tx).await?;
            found(done.rows_affected(), "team")?;
            sqlx::query(BUMP).execute(&mut *tx).await?;
        });
        Ok(())
    }

    /// Deletes a team. Its clusters stay with the organisation.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub async fn delete_team(&self, id: TeamId) -> Result<(), StoreError> {
        on_db!(&self.db, tx, tx => {
            found(sqlx::query(DELETE).bind(id.to_string()).execute(&mut *tx).await?.rows_affected(), "team")?;
            sqlx::query(BUMP).execute(&mut *tx).await?;
        });
        Ok(())
    }

    /// All members of all teams, by address.
    ///
    /// # Errors
    /// The database failed.
    pub async fn list_team_members(&self) -> Result<Vec<TeamMember>, StoreError> {
        let rows: Vec<(String, String, String, String)> =
            on_db!(&self.db, read, pool => sqlx::query_as(MEMBERS).fetch_all(pool).await?);
        let read = |(team, user, email, role): (String, String, String, String)| {
            let role = TeamRole::parse(&role).ok_or(StoreError::Corrupt { column: "team_members.role" })?;
            Ok(TeamMember { team: parse(&team, "team_members.team_id")?, user: parse(&user, "users.id")?, email, role })
        };
        rows.into_iter().map(read).collect()
    }

    /// Adds a member or changes what he is.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when team or user are gone.
    pub async fn put_team_member(&self, team: TeamId, user: UserId, role: TeamRole) -> Result<(), StoreError> {
        on_db!(&self.db, tx, tx => {
            let put = sqlx::query(PUT_MEMBER).bind(team.to_string()).bind(user.to_string()).bind(role.as_str());
            put.execute(&mut *tx).await.map_err(StoreError::parent("user or team"))?;
            sqlx::query(BUMP).execute(&mut *tx).await?;
        });
        Ok(())
    }

    /// Removes a member.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub async fn remove_team_member(&self, team: TeamId, user: UserId) -> Result<(), StoreError> {
        on_db!(&self.db, tx, tx => {
            let done = sqlx::query(REMOVE_MEMBER).bind(team.to_string()).bind(user.to_string());
            found(done.execute(&mut *tx).await?.rows_affected(), "member")?;
            sqlx::query(BUMP).execute(&mut *tx).await?;
        });
        Ok(())
    }

    /// Which clusters are shared to which teams.
    ///
    /// # Errors
    /// The database failed.
    pub async fn list_team_clusters(&self) -> Result<Vec<(TeamId, ClusterId)>, StoreError> {
        let rows: Vec<(String, String)> = on_db!(&self.db, read, pool => sqlx::query_as(SHARED).fetch_all(pool).await?);
        let read = |(team, cluster): (String, String)| {
            Ok((parse(&team, "team_clusters.team_id")?, parse(&cluster, "team_clusters.cluster_id")?))
        };
        rows.into_iter().map(read).collect()
    }

    /// Shares a cluster to a team, or no longer.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when one of them is gone, or it was not shared.
    pub async fn share_cluster_with_team(
        &self,
        team: TeamId,
        cluster: ClusterId,
        shared: bool,
    ) -> Result<(), StoreError> {
        let statement = if shared { SHARE } else { UNSHARE };
        on_db!(&self.db, tx, tx => {
            let done = sqlx::query(statement).bind(team.to_string()).bind(cluster.to_string());
            let done = done.execute(&mut *tx).await.map_err(StoreError::parent("cluster or team"))?;
            if !shared {
                found(done.rows_affected(), "shared cluster")?;
            }
            sqlx::query(BUMP).execute(&mut *tx).await?;
        });
        Ok(())
    }
}
