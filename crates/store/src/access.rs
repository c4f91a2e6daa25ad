//! Requests for access, what was decided about them, and the grants that they become.
//!
//! A request moves from `pending` to `granted`, `denied` or `expired`, and from `granted` to `ended`; each move is one
//! guarded update, so of two hubs or two approvers one makes it.
//!
//! Must not know: who may decide, what a grant allows.

use flotilla_types::id::{AccessRequestId, ClusterId, UserId};
use flotilla_types::rights::{AccessAsk, RequestState};
use flotilla_types::time::now_ms;

use crate::Store;
use crate::db::on_db;
use crate::error::{StoreError, parse};
use crate::orgs::BUMP;

/// A request for access.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessRequest {
    /// The request.
    pub id: AccessRequestId,
    /// Who asks.
    pub user: UserId,
    /// His address.
    pub email: String,
    /// For what.
    pub ask: AccessAsk,
    /// In which clusters.
    pub clusters: Vec<ClusterId>,
    /// How many must approve.
    pub approvals_needed: u32,
    /// Where it stands.
    pub state: RequestState,
    /// Milliseconds since the epoch.
    pub created_at_ms: i64,
    /// Since when it holds.
    pub granted_at_ms: Option<i64>,
    /// Until when it holds; for what ended before, when it ended.
    pub ends_at_ms: Option<i64>,
    /// Who said what, in order.
    pub decisions: Vec<Decision>,
}

/// What somebody said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Who.
    pub user: UserId,
    /// His address.
    pub email: String,
    /// Yes or no.
    pub approved: bool,
    /// Why.
    pub comment: String,
    /// Milliseconds since the epoch.
    pub at_ms: i64,
}

/// A request to be made.
#[derive(Clone, Debug)]
pub struct NewAccessRequest {
    /// Who asks.
    pub user: UserId,
    /// For what.
    pub ask: AccessAsk,
    /// In which clusters.
    pub clusters: Vec<ClusterId>,
    /// How many must approve.
    pub approvals_needed: u32,
}

/// What a decision led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decided {
    /// It waits for more approvals.
    Waiting,
    /// It holds from now on, until this moment in milliseconds since the epoch.
    Granted(i64),
    /// It was refused.
    Denied,
}

type Row = (String, String, String, String, String, i64, String, i64, Option<i64>, Option<i64>);
type DecisionRow = (String, String, String, bool, String, i64);

const INSERT: &str = "INSERT INTO access_requests \
    (id, user_id, ask, clusters, approvals_needed, state, created_at) VALUES ($1, $2, $3, $4, $5, 'pending', $6)";
const NEWEST: &str = "SELECT r.id, r.user_id, u.email, r.ask, r.clusters, r.approvals_needed, r.state, r.created_at, \
    r.granted_at, r.ends_at FROM access_requests r JOIN users u ON u.id = r.user_id ORDER BY r.created_at DESC LIMIT $1";
const LIVE: &str = "SELECT r.id, r.user_id, u.email, r.ask, r.clusters, r.approvals_needed, r.state, r.created_at, \
    r.granted_at, r.ends_at FROM access_requests r JOIN users u ON u.id = r.user_id WHERE r.state = 'granted'";
const BY_ID: &str = "SELECT r.id, r.user_id, u.email, r.ask, r.clusters, r.approvals_needed, r.state, r.created_at, \
    r.granted_at, r.ends_at FROM access_requests r JOIN users u ON u.id = r.user_id WHERE r.id = $1";
const PENDING_OF: &str = "SELECT COUNT(*) FROM access_requests WHERE user_id = $1 AND state = 'pending'";
const ALL_DECISIONS: &str = "SELECT d.request_id, d.user_id, d.email, d.approved, d.comment, d.at \
    FROM access_decisions d ORDER BY d.at, d.user_id";
const DECISIONS: &str = "SELECT d.request_id, d.user_id, d.email, d.approved, d.comment, d.at \
    FROM access_decisions d WHERE d.request_id = $1 ORDER BY d.at, d.user_id";
const LOCK: &str = "UPDATE access_requests SET state = state WHERE id = $1 AND state = 'pending'";
const DECIDE: &str = "INSERT INTO access_decisions (request_id, user_id, email, approved, comment, at) \
    VALUES ($1, $2, $3, $4, $5, $6)";
const APPROVED: &str = "SELECT COUNT(*) FROM access_decisions WHERE request_id = $1 AND approved = $2";
const GRANT: &str = "UPDATE access_requests SET state = 'granted', granted_at = $2, ends_at = $3 WHERE id = $1";
const DENY: &str = "UPDATE access_requests SET state = 'denied' WHERE id = $1";
const END: &str = "UPDATE access_requests SET state = 'ended', ends_at = $2 \
    WHERE id = $1 AND (state = 'granted' OR state = 'pending')";
const OVER: &str = "UPDATE access_requests SET state = 'ended' WHERE state = 'granted' AND ends_at <= $1 RETURNING id";
const STALE: &str = "UPDATE access_requests SET state = 'expired' WHERE state = 'pending' AND created_at <= $1 \
    RETURNING id";

impl Store {
    /// Keeps a request.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when the user is gone.
    pub async fn create_access_request(&self, id: AccessRequestId, new: &NewAccessRequest) -> Result<(), StoreError> {
        let corrupt = |_| StoreError::Corrupt { column: "access_requests.ask" };
        let ask = serde_json::to_string(&new.ask).map_err(corrupt)?;
        let clusters = serde_json::to_string(&new.clusters).map_err(corrupt)?;
        on_db!(&self.db, write, pool => {
            let insert = sqlx::query(INSERT).bind(id.to_string()).bind(new.user.to_string()).bind(ask.as_str());
            let insert = insert.bind(clusters.as_str()).bind(i64::from(new.approvals_needed)).bind(now_ms());
            insert.execute(pool).await.map_err(StoreError::parent("user"))?;
        });
        Ok(())
    }

    /// How many requests of a person wait.
    ///
    /// # Errors
    /// The database failed.
    pub async fn pending_access_requests(&self, user: UserId) -> Result<u64, StoreError> {
        let count: i64 = on_db!(&self.db, read, pool => {
            sqlx::query_scalar(PENDING_OF).bind(user.to_string()).fetch_one(pool).await?
        });
        Ok(count.unsigned_abs())
    }

    /// The newest requests, `limit` of them at most.
    ///
    /// # Errors
    /// The database failed.
    pub async fn list_access_requests(&self, limit: i64) -> Result<Vec<AccessRequest>, StoreError> {
        let (rows, decisions): (Vec<Row>, Vec<DecisionRow>) = on_db!(&self.db, read, pool => (
            sqlx::query_as(NEWEST).bind(limit).fetch_all(pool).await?,
            sqlx::query_as(ALL_DECISIONS).fetch_all(pool).await?,
        ));
        rows.into_iter().map(|row| read(row, &decisions)).collect()
    }

    /// Requests that were granted and not yet ended. Whoever uses one compares its end with the clock.
    ///
    /// # Errors
    /// The database failed.
    pub async fn live_grants(&self) -> Result<Vec<AccessRequest>, StoreError> {
        let rows: Vec<Row> = on_db!(&self.db, read, pool => sqlx::query_as(LIVE).fetch_all(pool).await?);
        rows.into_iter().map(|row| read(row, &[])).collect()
    }

    /// One request.
    ///
    /// # Errors
    /// The database failed.
    pub async fn access_request(&self, id: AccessRequestId) -> Result<Option<AccessRequest>, StoreError> {
        let key = id.to_string();
        let (row, decisions): (Option<Row>, Vec<DecisionRow>) = on_db!(&self.db, read, pool => (
            sqlx::query_as(BY_ID).bind(key.as_str()).fetch_optional(pool).await?,
            sqlx::query_as(DECISIONS).bind(key.as_str()).fetch_all(pool).await?,
        ));
        row.map(|row| read(row, &decisions)).transpose()
    }

    /// Writes down what somebody says and, when that settles it, moves the request. It holds for as long as was asked,
    /// counted from `decision.at_ms`.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when it does not wait any more, [`StoreError::Conflict`] when he has decided before.
    pub async fn decide_access_request(
        &self,
        request: &AccessRequest,
        decision: &Decision,
    ) -> Result<Decided, StoreError> {
        let key = request.id.to_string();
        let seconds = i64::try_from(request.ask.seconds).unwrap_or(i64::MAX / 1000);
        let until = decision.at_ms.saturating_add(seconds.saturating_mul(1000));
        Ok(on_db!(&self.db, tx, tx => {
            // Takes the row, so that two approvers come one after the other.
            let locked = sqlx::query(LOCK).bind(key.as_str()).execute(&mut *tx).await?;
            crate::error::found(locked.rows_affected(), "waiting request")?;
            let insert = sqlx::query(DECIDE).bind(key.as_str()).bind(decision.user.to_string());
            let insert = insert.bind(decision.email.as_str()).bind(decision.approved);
            let insert = insert.bind(decision.comment.as_str()).bind(decision.at_ms);
            insert.execute(&mut *tx).await.map_err(StoreError::unique("decision of yours"))?;
            let approvals: i64 =
                sqlx::query_scalar(APPROVED).bind(key.as_str()).bind(true).fetch_one(&mut *tx).await?;
            if !decision.approved {
                sqlx::query(DENY).bind(key.as_str()).execute(&mut *tx).await?;
                Decided::Denied
            } else if approvals >= i64::from(request.approvals_needed) {
                let grant = sqlx::query(GRANT).bind(key.as_str()).bind(decision.at_ms).bind(until);
                grant.execute(&mut *tx).await?;
                sqlx::query(BUMP).execute(&mut *tx).await?;
                Decided::Granted(until)
            } else {
                Decided::Waiting
            }
        }))
    }

    /// Ends a grant, or withdraws a request. Whether there was anything to end.
    ///
    /// # Errors
    /// The database failed.
    pub async fn end_access_request(&self, id: AccessRequestId, now_ms: i64) -> Result<bool, StoreError> {
        Ok(on_db!(&self.db, tx, tx => {
            let done = sqlx::query(END).bind(id.to_string()).bind(now_ms).execute(&mut *tx).await?.rows_affected();
            sqlx::query(BUMP).execute(&mut *tx).await?;
            done > 0
        }))
    }

    /// Marks what is over: grants whose end has come, and requests that were made at or before `stale_ms` and never
    /// decided. Returns the grants, each to one caller only.
    ///
    /// # Errors
    /// The database failed.
    pub async fn sweep_access_requests(&self, now_ms: i64, stale_ms: i64) -> Result<Vec<AccessRequestId>, StoreError> {
        let over: Vec<(String,)> = on_db!(&self.db, tx, tx => {
            let over: Vec<(String,)> = sqlx::query_as(OVER).bind(now_ms).fetch_all(&mut *tx).await?;
            let _: Vec<(String,)> = sqlx::query_as(STALE).bind(stale_ms).fetch_all(&mut *tx).await?;
            if !over.is_empty() {
                sqlx::query(BUMP).execute(&mut *tx).await?;
            }
            over
        });
        over.iter().map(|(id,)| parse(id, "access_requests.id")).collect()
    }
}

fn read(row: Row, decisions: &[DecisionRow]) -> Result<AccessRequest, StoreError> {
    let (id, user, email, ask, clusters, approvals, state, created_at_ms, granted_at_ms, ends_at_ms) = row;
    let corrupt = |column| move |_| StoreError::Corrupt { column };
    let mine = decisions.iter().filter(|decision| decision.0 == id);
    Ok(AccessRequest {
        id: parse(&id, "access_requests.id")?,
        user: parse(&user, "access_requests.user_id")?,
        email,
        ask: serde_json::from_str(&ask).map_err(corrupt("access_requests.ask"))?,
        clusters: serde_json::from_str(&clusters).map_err(corrupt("access_requests.clusters"))?,
        approvals_needed: u32::try_from(approvals).unwrap_or(u32::MAX),
        state: RequestState::parse(&state).ok_or(StoreError::Corrupt { column: "access_requests.state" })?,
        created_at_ms,
        granted_at_ms,
        ends_at_ms,
        decisions: mine.cloned().map(decision).collect::<Result<_, _>>()?,
    })
}

fn decision((_, user, email, approved, comment, at_ms): DecisionRow) -> Result<Decision, StoreError> {
    Ok(Decision { user: parse(&user, "access_decisions.user_id")?, email, approved, comment, at_ms })
}
