//! Invitations to organisations and teams. Only a token's hash is kept, and it is spent once.
//!
//! Must not know: what a token looks like, how mail is sent.

use flotilla_types::id::{InvitationId, OrgId, TeamId, UserId};
use flotilla_types::time::now_ms;
use secrecy::{ExposeSecret, SecretString};

use crate::Store;
use crate::db::on_db;
use crate::error::{StoreError, found, parse, storable};
use crate::orgs::BUMP;

/// An invitation that can still be accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invitation {
    /// The invitation.
    pub id: InvitationId,
    /// To which organisation.
    pub org: OrgId,
    /// To which team.
    pub team: Option<TeamId>,
    /// A role of organisations or of teams.
    pub role: String,
    /// Who may accept; anyone when `None`.
    pub email: Option<String>,
    /// Milliseconds since the epoch.
    pub expires_at_ms: i64,
}

/// An invitation to be made.
#[derive(Clone, Debug)]
pub struct NewInvitation {
    /// SHA-256 of the token, hex.
    pub token_hash: String,
    /// To which organisation.
    pub org: OrgId,
    /// To which team.
    pub team: Option<TeamId>,
    /// A role of organisations or of teams.
    pub role: String,
    /// Who may accept.
    pub email: Option<String>,
    /// Who invites: an account's address.
    pub created_by: String,
    /// Milliseconds since the epoch.
    pub expires_at_ms: i64,
}

/// Who accepts.
#[derive(Clone, Debug)]
pub enum Acceptance {
    /// An account that is there.
    Account(UserId),
    /// One that is to be made: address and hash of the password.
    New(String, SecretString),
}

type Row = (String, String, Option<String>, String, Option<String>, i64);

const INSERT: &str = "INSERT INTO invitations \
    (id, token_hash, org_id, team_id, role, email, created_by, created_at, expires_at) \
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
const OPEN: &str = "SELECT id, org_id, team_id, role, email, expires_at FROM invitations \
    WHERE token_hash = $1 AND accepted_at IS NULL AND expires_at > $2";
const OF_ORG: &str = "SELECT id, org_id, team_id, role, email, expires_at FROM invitations \
    WHERE org_id = $1 AND accepted_at IS NULL AND expires_at > $2 ORDER BY created_at DESC";
const SPEND: &str = "UPDATE invitations SET accepted_at = $2, accepted_by = $3 \
    WHERE id = $1 AND accepted_at IS NULL AND expires_at > $2";
const DELETE: &str = "DELETE FROM invitations WHERE id = $1 AND org_id = $2 AND accepted_at IS NULL";
const FORGET: &str = "DELETE FROM invitations WHERE expires_at <= $1";
const INSERT_USER: &str = "INSERT INTO users (id, email, password_hash, must_change, created_at, updated_at) \
    VALUES ($1, $2, $3, $4, $5, $5)";
/// Whoever is more already stays that.
const JOIN_ORG: &str = "INSERT INTO org_members (org_id, user_id, role) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";
const JOIN_TEAM: &str = "INSERT INTO team_members (team_id, user_id, role) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";

impl Store {
    /// Keeps an invitation.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when the organisation or the team is gone.
    pub async fn create_invitation(&self, new: &NewInvitation) -> Result<InvitationId, StoreError> {
        let id = InvitationId::new();
        on_db!(&self.db, write, pool => {
            let insert = sqlx::query(INSERT).bind(id.to_string()).bind(new.token_hash.as_str());
            let insert = insert.bind(new.org.to_string()).bind(new.team.map(|team| team.to_string()));
            let insert = insert.bind(new.role.as_str()).bind(new.email.as_deref()).bind(new.created_by.as_str());
            let insert = insert.bind(now_ms()).bind(new.expires_at_ms);
            insert.execute(pool).await.map_err(StoreError::parent("organisation or team"))?;
        });
        Ok(id)
    }

    /// The invitation with this hash of a token, if it can still be accepted.
    ///
    /// # Errors
    /// The database failed.
    pub async fn open_invitation(&self, token_hash: &str, now_ms: i64) -> Result<Option<Invitation>, StoreError> {
        if !storable(token_hash) {
            return Ok(None);
        }
        let row: Option<Row> = on_db!(&self.db, read, pool => {
            sqlx::query_as(OPEN).bind(token_hash).bind(now_ms).fetch_optional(pool).await?
        });
        row.map(read).transpose()
    }

    /// Open invitations to an organisation and its teams, newest first.
    ///
    /// # Errors
    /// The database failed.
    pub async fn invitations_of(&self, org: OrgId) -> Result<Vec<Invitation>, StoreError> {
        let rows: Vec<Row> = on_db!(&self.db, read, pool => {
            sqlx::query_as(OF_ORG).bind(org.to_string()).bind(now_ms()).fetch_all(pool).await?
        });
        rows.into_iter().map(read).collect()
    }

    /// Spends an invitation and makes the membership, and the account if it is to be made, in one transaction.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when it was spent meanwhile or is too old; [`StoreError::Conflict`] when the account is
    /// there already.
    pub async fn accept_invitation(
        &self,
        invitation: &Invitation,
        who: &Acceptance,
        now_ms: i64,
    ) -> Result<UserId, StoreError> {
        let user = match who {
            Acceptance::Account(user) => *user,
            Acceptance::New(..) => UserId::new(),
        };
        let (key, org) = (user.to_string(), invitation.org.to_string());
        on_db!(&self.db, tx, tx => {
            let spend = sqlx::query(SPEND).bind(invitation.id.to_string()).bind(now_ms).bind(key.as_str());
            found(spend.execute(&mut *tx).await?.rows_affected(), "invitation")?;
            if let Acceptance::New(email, hash) = who {
                let insert = sqlx::query(INSERT_USER).bind(key.as_str()).bind(email.as_str());
                let insert = insert.bind(hash.expose_secret()).bind(false).bind(now_ms);
                insert.execute(&mut *tx).await.map_err(StoreError::unique("user"))?;
            }
            let org_role = if invitation.team.is_some() { "org_member" } else { invitation.role.as_str() };
            let join = sqlx::query(JOIN_ORG).bind(org.as_str()).bind(key.as_str()).bind(org_role);
            join.execute(&mut *tx).await.map_err(StoreError::parent("user"))?;
            if let Some(team) = invitation.team {
                let join = sqlx::query(JOIN_TEAM).bind(team.to_string()).bind(key.as_str());
                join.bind(invitation.role.as_str()).execute(&mut *tx).await?;
            }
            sqlx::query(BUMP).execute(&mut *tx).await?;
        });
        Ok(user)
    }

    /// Takes an invitation to this organisation, or a team of it, back.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub async fn delete_invitation(&self, org: OrgId, id: InvitationId) -> Result<(), StoreError> {
        let done = on_db!(&self.db, write, pool => {
            sqlx::query(DELETE).bind(id.to_string()).bind(org.to_string()).execute(pool).await?.rows_affected()
        });
        found(done, "invitation")
    }

    /// Forgets invitations that ran out at or before `before_ms`.
    ///
    /// # Errors
    /// The database failed.
    pub async fn forget_invitations(&self, before_ms: i64) -> Result<u64, StoreError> {
        Ok(on_db!(&self.db, write, pool => sqlx::query(FORGET).bind(before_ms).execute(pool).await?.rows_affected()))
    }
}

fn read((id, org, team, role, email, expires_at_ms): Row) -> Result<Invitation, StoreError> {
    let team = team.map(|team| parse(&team, "invitations.team_id")).transpose()?;
    let (id, org) = (parse(&id, "invitations.id")?, parse(&org, "invitations.org_id")?);
    Ok(Invitation { id, org, team, role, email, expires_at_ms })
}
