//! Enrolment tokens and enrolled agents.
//!
//! Must not know: certificates, except for their serial and end.

use flotilla_ledger::hex;
use flotilla_types::id::{AgentId, ClusterId, UserId};
use flotilla_types::time::now_ms;

use crate::Store;
use crate::db::on_db;
use crate::error::{StoreError, found, parse, storable};

/// One enrolment of an agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agent {
    /// The enrolment.
    pub id: AgentId,
    /// Name of the cluster that it serves.
    pub cluster: String,
    /// That cluster.
    pub cluster_id: ClusterId,
    /// Serial number of its newest certificate, as the CA writes it.
    pub certificate_serial: String,
    /// When that certificate ends, milliseconds since the epoch.
    pub certificate_not_after_ms: i64,
    /// Milliseconds since the epoch.
    pub enrolled_at_ms: i64,
    /// Milliseconds since the epoch.
    pub last_seen_ms: Option<i64>,
    /// When it was cut off, milliseconds since the epoch.
    pub revoked_at_ms: Option<i64>,
}

/// An enrolment to be noted.
#[derive(Clone, Debug)]
pub struct NewAgent {
    /// The enrolment; chosen by the caller because the certificate names it.
    pub id: AgentId,
    /// The cluster that it serves.
    pub cluster_id: ClusterId,
    /// Serial number of its first certificate.
    pub certificate_serial: String,
    /// When that certificate ends, milliseconds since the epoch.
    pub certificate_not_after_ms: i64,
}

type Row = (String, String, String, String, i64, i64, Option<i64>, Option<i64>);

const INSERT_TOKEN: &str = "INSERT INTO enrolment_tokens (secret_hash, cluster, created_by, created_at, expires_at) \
    VALUES ($1, $2, $3, $4, $5)";
const REDEEM: &str = "UPDATE enrolment_tokens SET redeemed_at = $3 \
    WHERE secret_hash = $1 AND cluster = $2 AND redeemed_at IS NULL AND expires_at > $3";
const VOID_TOKENS: &str = "DELETE FROM enrolment_tokens WHERE cluster = $1 AND redeemed_at IS NULL AND expires_at > $2";
const FORGET_TOKENS: &str = "DELETE FROM enrolment_tokens WHERE expires_at <= $1";
const INSERT: &str = "INSERT INTO agents (id, cluster_id, certificate_serial, certificate_until, enrolled_at) \
    VALUES ($1, $2, $3, $4, $5)";
const BY_ID: &str = "SELECT a.id, c.name, a.cluster_id, a.certificate_serial, a.certificate_until, a.enrolled_at, \
    a.last_seen, a.revoked_at FROM agents a JOIN clusters c ON c.id = a.cluster_id WHERE a.id = $1";
const ALL: &str = "SELECT a.id, c.name, a.cluster_id, a.certificate_serial, a.certificate_until, a.enrolled_at, \
    a.last_seen, a.revoked_at FROM agents a JOIN clusters c ON c.id = a.cluster_id ORDER BY c.name, a.id";
const CERTIFY: &str = "UPDATE agents SET certificate_serial = $2, certificate_until = $3 \
    WHERE id = $1 AND revoked_at IS NULL";
const REVOKE_OF: &str = "UPDATE agents SET revoked_at = $2 WHERE revoked_at IS NULL \
    AND cluster_id = (SELECT id FROM clusters WHERE name = $1) RETURNING id";
const TOUCH: &str = "UPDATE agents SET last_seen = $2 WHERE id = $1 AND (last_seen IS NULL OR last_seen < $2)";

impl Store {
    /// Notes a one-use enrolment token by the SHA-256 of its secret. It is bound to a cluster's name and ends
    /// at `expires_at_ms` (milliseconds since the epoch).
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when the hash is known.
    pub async fn create_enrolment_token(
        &self,
        secret_hash: &[u8; 32],
        cluster: &str,
        expires_at_ms: i64,
        created_by: Option<UserId>,
    ) -> Result<(), StoreError> {
        on_db!(&self.db, write, pool => {
            let insert = sqlx::query(INSERT_TOKEN).bind(hex::encode(secret_hash)).bind(cluster);
            let insert = insert.bind(created_by.map(|id| id.to_string())).bind(now_ms()).bind(expires_at_ms);
            insert.execute(pool).await.map_err(StoreError::unique("enrolment token"))?;
        });
        Ok(())
    }

    /// Spends an enrolment token. `false` when it is unknown, spent, too old or bound to another cluster;
    /// which of these is nobody's business. Of several callers at once exactly one gets `true`.
    ///
    /// # Errors
    /// The database failed.
    pub async fn redeem_enrolment_token(
        &self,
        secret_hash: &[u8; 32],
        cluster: &str,
        now_ms: i64,
    ) -> Result<bool, StoreError> {
        if !storable(cluster) {
            return Ok(false);
        }
        let done = on_db!(&self.db, write, pool => {
            let update = sqlx::query(REDEEM).bind(hex::encode(secret_hash)).bind(cluster).bind(now_ms);
            update.execute(pool).await?.rows_affected()
        });
        Ok(done == 1)
    }

    /// Makes the unspent enrolment tokens of a cluster worthless. Returns how many would still have held.
    ///
    /// # Errors
    /// The database failed.
    pub async fn void_enrolment_tokens(&self, cluster: &str) -> Result<u64, StoreError> {
        if !storable(cluster) {
            return Ok(0);
        }
        Ok(on_db!(&self.db, write, pool => {
            sqlx::query(VOID_TOKENS).bind(cluster).bind(now_ms()).execute(pool).await?.rows_affected()
        }))
    }

    /// Forgets enrolment tokens, spent or not, that ended at or before `before_ms`.
    ///
    /// # Errors
    /// The database failed.
    pub async fn forget_enrolment_tokens(&self, before_ms: i64) -> Result<u64, StoreError> {
        Ok(on_db!(&self.db, write, pool => {
            sqlx::query(FORGET_TOKENS).bind(before_ms).execute(pool).await?.rows_affected()
        }))
    }

    /// Notes an enrolment.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when the cluster is gone, [`StoreError::Conflict`] when the id is taken.
    pub async fn create_agent(&self, new: &NewAgent) -> Result<(), StoreError> {
        let wrong = |error: sqlx::Error| match error.as_database_error() {
            Some(e) if e.is_foreign_key_violation() => StoreError::NotFound { what: "cluster" },
            _ => StoreError::unique("agent")(error),
        };
        on_db!(&self.db, write, pool => {
            let insert = sqlx::query(INSERT).bind(new.id.to_string()).bind(new.cluster_id.to_string());
            let insert = insert.bind(new.certificate_serial.as_str()).bind(new.certificate_not_after_ms).bind(now_ms());
            insert.execute(pool).await.map_err(wrong)?;
        });
        Ok(())
    }

    /// The enrolment with that id, revoked ones too.
    ///
    /// # Errors
    /// The database failed.
    pub async fn agent(&self, id: AgentId) -> Result<Option<Agent>, StoreError> {
        let row: Option<Row> =
            on_db!(&self.db, read, pool => sqlx::query_as(BY_ID).bind(id.to_string()).fetch_optional(pool).await?);
        row.map(read).transpose()
    }

    /// All enrolments by cluster, oldest first, revoked ones too.
    ///
    /// # Errors
    /// The database failed.
    pub async fn list_agents(&self) -> Result<Vec<Agent>, StoreError> {
        let rows: Vec<Row> = on_db!(&self.db, read, pool => sqlx::query_as(ALL).fetch_all(pool).await?);
        rows.into_iter().map(read).collect()
    }

    /// Notes a renewed certificate.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when the enrolment is unknown or revoked: the certificate must not be handed out.
    pub async fn record_certificate(&self, id: AgentId, serial: &str, not_after_ms: i64) -> Result<(), StoreError> {
        let done = on_db!(&self.db, write, pool => {
            let update = sqlx::query(CERTIFY).bind(id.to_string()).bind(serial).bind(not_after_ms);
            update.execute(pool).await?.rows_affected()
        });
        found(done, "agent")
    }

    /// Revokes all enrolments for a cluster and returns those that held until now.
    ///
    /// # Errors
    /// The database failed.
    pub async fn revoke_agents_of(&self, cluster: &str) -> Result<Vec<AgentId>, StoreError> {
        let revoked: Vec<(String,)> = on_db!(&self.db, write, pool => {
            sqlx::query_as(REVOKE_OF).bind(cluster).bind(now_ms()).fetch_all(pool).await?
        });
        revoked.iter().map(|(id,)| parse(id, "agents.id")).collect()
    }

    /// Notes when agents were last heard of (milliseconds since the epoch), many in one transaction. Never
    /// moves a time backwards; unknown agents are passed over.
    ///
    /// # Errors
    /// The database failed; then none was noted.
    pub async fn touch_agents(&self, seen: &[(AgentId, i64)]) -> Result<(), StoreError> {
        on_db!(&self.db, tx, tx => for (id, at) in seen {
            sqlx::query(TOUCH).bind(id.to_string()).bind(*at).execute(&mut *tx).await?;
        });
        Ok(())
    }
}

fn read((id, cluster, cluster_id, serial, until, enrolled, seen, revoked): Row) -> Result<Agent, StoreError> {
    Ok(Agent {
        id: parse(&id, "agents.id")?,
        cluster,
        cluster_id: parse(&cluster_id, "agents.cluster_id")?,
        certificate_serial: serial,
        certificate_not_after_ms: until,
        enrolled_at_ms: enrolled,
        last_seen_ms: seen,
        revoked_at_ms: revoked,
    })
}
