//! Organisations, their members, and which cluster is whose.
//!
//! Must not know: what a role permits.

use flotilla_types::id::{ClusterId, OrgId, TeamId, UserId};
use flotilla_types::org::{DEFAULT_ORG_ID, Mode, OrgRole};
use flotilla_types::time::now_ms;

use crate::Store;
use crate::db::on_db;
use crate::error::{StoreError, found, parse};

/// An organisation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Org {
    /// The organisation.
    pub id: OrgId,
    /// Its unique name.
    pub name: String,
    /// For people.
    pub display_name: String,
    /// Milliseconds since the epoch.
    pub created_at_ms: i64,
}

/// Somebody in an organisation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrgMember {
    /// The organisation.
    pub org: OrgId,
    /// Who.
    pub user: UserId,
    /// His address.
    pub email: String,
    /// What he is there.
    pub role: OrgRole,
}

/// A cluster and whose it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnedCluster {
    /// The cluster.
    pub id: ClusterId,
    /// Its name.
    pub name: String,
    /// Its organisation.
    pub org: OrgId,
    /// The team that owns it.
    pub team: Option<TeamId>,
    /// As whom people arrive.
    pub mode: Mode,
}

const ALL: &str = "SELECT id, name, display_name, created_at FROM orgs ORDER BY name";
const INSERT: &str = "INSERT INTO orgs (id, name, display_name, created_at) VALUES ($1, $2, $3, $4)";
const UPDATE: &str = "UPDATE orgs SET display_name = $2 WHERE id = $1";
const DELETE: &str = "DELETE FROM orgs WHERE id = $1";
const CLUSTERS_OF: &str = "SELECT COUNT(*) FROM cluster_access WHERE org_id = $1";
/// Who is in no organisation is a plain member of the default one.
const MEMBERS: &str = "SELECT m.org_id, u.id, u.email, m.role FROM org_members m JOIN users u ON u.id = m.user_id \
    UNION ALL SELECT $1, u.id, u.email, 'org_member' FROM users u \
    WHERE NOT EXISTS (SELECT 1 FROM org_members m WHERE m.user_id = u.id) ORDER BY 3, 1";
const PUT_MEMBER: &str = "INSERT INTO org_members (org_id, user_id, role) VALUES ($1, $2, $3) \
    ON CONFLICT (org_id, user_id) DO UPDATE SET role = excluded.role";
const REMOVE_MEMBER: &str = "DELETE FROM org_members WHERE org_id = $1 AND user_id = $2";
const REMOVE_FROM_TEAMS: &str = "DELETE FROM team_members WHERE user_id = $2 \
    AND team_id IN (SELECT id FROM teams WHERE org_id = $1)";
const OTHER_OWNERS: &str =
    "SELECT COUNT(*) FROM org_members WHERE org_id = $1 AND role = 'org_owner' AND user_id <> $2";
const CLUSTERS: &str = "SELECT c.id, c.name, a.org_id, a.team_id, a.mode FROM clusters c \
    LEFT JOIN cluster_access a ON a.cluster_id = c.id ORDER BY c.name";
const PUT_CLUSTER: &str = "INSERT INTO cluster_access (cluster_id, org_id, team_id, mode) VALUES ($1, $2, $3, $4) \
    ON CONFLICT (cluster_id) DO UPDATE SET org_id = excluded.org_id, team_id = excluded.team_id, mode = excluded.mode";
pub(crate) const BUMP: &str = "UPDATE access_revision SET revision = revision + 1";
const REVISION: &str = "SELECT revision FROM access_revision";

impl Store {
    /// Counts up whenever organisations, teams, ownership or grants change, on whatever hub.
    ///
    /// # Errors
    /// The database failed.
    pub async fn access_revision(&self) -> Result<i64, StoreError> {
        Ok(on_db!(&self.db, read, pool => sqlx::query_scalar(REVISION).fetch_one(pool).await?))
    }

    /// All organisations, by name.
    ///
    /// # Errors
    /// The database failed.
    pub async fn list_orgs(&self) -> Result<Vec<Org>, StoreError> {
        let rows: Vec<(String, String, String, i64)> =
            on_db!(&self.db, read, pool => sqlx::query_as(ALL).fetch_all(pool).await?);
        let read = |(id, name, display_name, created_at_ms): (String, _, _, _)| {
            Ok(Org { id: parse(&id, "orgs.id")?, name, display_name, created_at_ms })
        };
        rows.into_iter().map(read).collect()
    }

    /// Makes an organisation with its first owner.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when the name is taken, [`StoreError::NotFound`] when the owner is gone.
    pub async fn create_org(&self, name: &str, display_name: &str, owner: UserId) -> Result<Org, StoreError> {
        let (id, now) = (OrgId::new(), now_ms());
        let key = id.to_string();
        on_db!(&self.db, tx, tx => {
            let insert = sqlx::query(INSERT).bind(key.as_str()).bind(name).bind(display_name).bind(now);
            insert.execute(&mut *tx).await.map_err(StoreError::unique("organisation"))?;
            let member = sqlx::query(PUT_MEMBER).bind(key.as_str()).bind(owner.to_string());
            let member = member.bind(OrgRole::Owner.as_str());
            member.execute(&mut *tx).await.map_err(StoreError::parent("user"))?;
            sqlx::query(BUMP).execute(&mut *tx).await?;
        });
        Ok(Org { id, name: name.to_owned(), display_name: display_name.to_owned(), created_at_ms: now })
    }

    /// Changes what people read.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub async fn rename_org(&self, id: OrgId, display_name: &str) -> Result<(), StoreError> {
        on_db!(&self.db, tx, tx => {
            let done = sqlx::query(UPDATE).bind(id.to_string()).bind(display_name).execute(&mut *tx).await?;
            found(done.rows_affected(), "organisation")?;
            sqlx::query(BUMP).execute(&mut *tx).await?;
        });
        Ok(())
    }

    /// Deletes an organisation with its teams and invitations.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] while clusters are its own: moving them must not happen by the way.
    pub async fn delete_org(&self, id: OrgId) -> Result<(), StoreError> {
        let key = id.to_string();
        on_db!(&self.db, tx, tx => {
            let clusters: i64 = sqlx::query_scalar(CLUSTERS_OF).bind(key.as_str()).fetch_one(&mut *tx).await?;
            if clusters > 0 {
                return Err(StoreError::Conflict { what: "organisation's cluster" });
            }
            found(sqlx::query(DELETE).bind(key.as_str()).execute(&mut *tx).await?.rows_affected(), "organisation")?;
            sqlx::query(BUMP).execute(&mut *tx).await?;
        });
        Ok(())
    }

    /// All members of all organisations, by address.
    ///
    /// # Errors
    /// The database failed.
    pub async fn list_org_members(&self) -> Result<Vec<OrgMember>, StoreError> {
        let rows: Vec<(String, String, String, String)> = on_db!(&self.db, read, pool => {
            sqlx::query_as(MEMBERS).bind(DEFAULT_ORG_ID.to_string()).fetch_all(pool).await?
        });
        let read = |(org, user, email, role): (String, String, String, String)| {
            let role = OrgRole::parse(&role).ok_or(StoreError::Corrupt { column: "org_members.role" })?;
            Ok(OrgMember { org: parse(&org, "org_members.org_id")?, user: parse(&user, "users.id")?, email, role })
        };
        rows.into_iter().map(read).collect()
    }

    /// Adds a member or changes what he is. An organisation that has an owner keeps one.
    ///
    /// # Errors
    /// [`StoreError::NotFound`]; [`StoreError::Conflict`] when he is the last owner.
    pub async fn put_org_member(&self, org: OrgId, user: UserId, role: OrgRole) -> Result<(), StoreError> {
        let (key, who) = (org.to_string(), user.to_string());
        on_db!(&self.db, tx, tx => {
            if role != OrgRole::Owner {
                let others: i64 =
                    sqlx::query_scalar(OTHER_OWNERS).bind(key.as_str()).bind(who.as_str()).fetch_one(&mut *tx).await?;
                let was: Option<String> = sqlx::query_scalar(MEMBER_ROLE).bind(key.as_str()).bind(who.as_str())
                    .fetch_optional(&mut *tx).await?;
                if others == 0 && was.as_deref() == Some(OrgRole::Owner.as_str()) {
                    return Err(StoreError::Conflict { what: "last owner" });
                }
            }
            let put = sqlx::query(PUT_MEMBER).bind(key.as_str()).bind(who.as_str()).bind(role.as_str());
            put.execute(&mut *tx).await.map_err(StoreError::parent("user or organisation"))?;
            sqlx::query(BUMP).execute(&mut *tx).await?;
        });
        Ok(())
    }

    /// Removes a member, from the organisation's teams too.
    ///
    /// # Errors
    /// [`StoreError::NotFound`]; [`StoreError::Conflict`] when he is the last owner.
    pub async fn remove_org_member(&self, org: OrgId, user: UserId) -> Result<(), StoreError> {
        let (key, who) = (org.to_string(), user.to_string());
        on_db!(&self.db, tx, tx => {
            let was: Option<String> = sqlx::query_scalar(MEMBER_ROLE).bind(key.as_str()).bind(who.as_str())
                .fetch_optional(&mut *tx).await?;
            let others: i64 =
                sqlx::query_scalar(OTHER_OWNERS).bind(key.as_str()).bind(who.as_str()).fetch_one(&mut *tx).await?;
            if others == 0 && was.as_deref() == Some(OrgRole::Owner.as_str()) {
                return Err(StoreError::Conflict { what: "last owner" });
            }
            sqlx::query(REMOVE_FROM_TEAMS).bind(key.as_str()).bind(who.as_str()).execute(&mut *tx).await?;
            let done = sqlx::query(REMOVE_MEMBER).bind(key.as_str()).bind(who.as_str()).execute(&mut *tx).await?;
            found(done.rows_affected(), "member")?;
            sqlx::query(BUMP).execute(&mut *tx).await?;
        });
        Ok(())
    }

    /// All clusters and whose they are, by name.
    ///
    /// # Errors
    /// The database failed.
    pub async fn list_owned_clusters(&self) -> Result<Vec<OwnedCluster>, StoreError> {
        type Row = (String, String, Option<String>, Option<String>, Option<String>);
        let rows: Vec<Row> = on_db!(&self.db, read, pool => sqlx::query_as(CLUSTERS).fetch_all(pool).await?);
        let read = |(id, name, org, team, mode): Row| {
            let mode = mode.map_or(Some(Mode::Tier), |mode| Mode::parse(&mode));
            Ok(OwnedCluster {
                id: parse(&id, "clusters.id")?,
                name,
                org: org.map_or(Ok(DEFAULT_ORG_ID), |org| parse(&org, "cluster_access.org_id"))?,
                team: team.map(|team| parse(&team, "cluster_access.team_id")).transpose()?,
                mode: mode.ok_or(StoreError::Corrupt { column: "cluster_access.mode" })?,
            })
        };
        rows.into_iter().map(read).collect()
    }

    /// Says whose a cluster is, and as whom people arrive in it.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when the cluster, the organisation or the team is gone.
    pub async fn put_owned_cluster(&self, cluster: &OwnedCluster) -> Result<(), StoreError> {
        on_db!(&self.db, tx, tx => {
            let put = sqlx::query(PUT_CLUSTER).bind(cluster.id.to_string()).bind(cluster.org.to_string());
            let put = put.bind(cluster.team.map(|team| team.to_string())).bind(cluster.mode.as_str());
            put.execute(&mut *tx).await.map_err(StoreError::parent("cluster, organisation or team"))?;
            sqlx::query(BUMP).execute(&mut *tx).await?;
        });
        Ok(())
    }
}

const MEMBER_ROLE: &str = "SELECT role FROM org_members WHERE org_id = $1 AND user_id = $2";
