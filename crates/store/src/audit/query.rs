//! Reading the audit log.
//!
//! Must not know: who may read what; the caller says.

use flotilla_types::api::AuditPage;
use flotilla_types::audit::{AuditQuery, AuditRow, Bucket, Outcome, Timeline};
use flotilla_types::id::UserId;
use flotilla_types::time::{Timestamp, from_ms};
use sqlx::postgres::PgRow;
use sqlx::sqlite::SqliteRow;
use sqlx::{AssertSqlSafe, FromRow};

use crate::Store;
use crate::db::on_db;
use crate::error::{StoreError, storable};

use super::row::StoredRow;

const DEFAULT_LIMIT: u32 = 100;
const MAX_LIMIT: u32 = 1000;
const MAX_BUCKETS: u32 = 1000;
const DAY_MS: i64 = 86_400_000;

enum Value {
    Text(String),
    Number(i64),
}

/// The conditions of a query as SQL with numbered placeholders, and the values for them.
struct Filter {
    sql: String,
    values: Vec<Value>,
}

impl Filter {
    /// `select` is a text of this file.
    fn new(select: &str, query: &AuditQuery, only_user: Option<UserId>) -> Self {
        let mut filter = Self { sql: format!("{select} FROM audit_events WHERE seq > 0"), values: Vec::new() };
        filter.text("actor_id =", only_user.map(|id| id.to_string()).as_ref());
        filter.text("actor_email =", query.actor.as_ref());
        filter.text("verb =", query.verb.as_ref());
        filter.text("outcome =", query.outcome.map(|outcome| outcome.as_str().to_owned()).as_ref());
        filter.text("cluster =", query.cluster.as_ref());
        filter.text("namespace =", query.namespace.as_ref());
        filter.text("name =", query.name.as_ref());
        filter.text("request_id =", query.request_id.as_ref());
        // Rows are kept to the millisecond: a bound between two of them is rounded up, for both ends.
        let ceil = |time: flotilla_types::time::Timestamp| {
            let rest = i64::from(time.as_nanosecond() % 1_000_000 > 0);
            time.as_millisecond() + rest
        };
        filter.number("time >=", query.since.map(ceil));
        filter.number("time <", query.until.map(ceil));
        filter.number("seq <", query.before);
        filter
    }

    /// `condition` is a literal of this file, never anything that a caller sent.
    fn text(&mut self, condition: &'static str, value: Option<&String>) {
        if let Some(value) = value {
            self.push(condition, Value::Text(value.clone()));
        }
    }

    fn number(&mut self, condition: &'static str, value: Option<i64>) {
        if let Some(value) = value {
            self.push(condition, Value::Number(value));
        }
    }

    fn push(&mut self, condition: &'static str, value: Value) {
        self.values.push(value);
        self.sql.push_str(&format!(" AND {condition} ${}", self.values.len()));
    }

    fn can_match(&self) -> bool {
        self.values
            .iter()
            .all(|value| matches!(value, Value::Number(_)) || matches!(value, Value::Text(t) if storable(t)))
    }
}

impl Store {
    /// Rows that match, newest first, at most `query.limit` (1 to 1000, otherwise the nearest of these; 100
    /// when left out). With `only_user`, only rows of acts by that user.
    ///
    /// # Errors
    /// The database failed.
    pub async fn audit_query(&self, query: &AuditQuery, only_user: Option<UserId>) -> Result<AuditPage, StoreError> {
        let mut filter = Filter::new("SELECT *", query, only_user);
        if !filter.can_match() {
            return Ok(AuditPage { rows: Vec::new(), next: None });
        }
        let limit = query.limit.unwrap_or(DEFAULT_LIMIT).clamp(1, MAX_LIMIT) as usize;
        // One more than asked for tells whether there is another page.
        filter.sql.push_str(&format!(" ORDER BY seq DESC LIMIT {}", limit + 1));
        let rows: Vec<StoredRow> = self.fetch(filter).await?;
        let more = rows.len() > limit;
        let rows: Result<Vec<_>, _> = rows.into_iter().take(limit).map(StoredRow::into_row).collect();
        let rows = rows?;
        let next = rows.last().filter(|_| more).map(|row| row.seq);
        Ok(AuditPage { rows, next })
    }

    async fn fetch<T>(&self, filter: Filter) -> Result<Vec<T>, StoreError>
    where
        T: Send + Unpin + for<'r> FromRow<'r, SqliteRow> + for<'r> FromRow<'r, PgRow>,
    {
        let Filter { sql, values } = filter;
        Ok(on_db!(&self.db, read, pool => {
            let mut select = sqlx::query_as(AssertSqlSafe(sql));
            for value in values {
                select = match value {
                    Value::Text(text) => select.bind(text),
                    Value::Number(number) => select.bind(number),
                };
            }
            select.fetch_all(pool).await?
        }))
    }

    /// Rows that match behind position `after` up to `to`, oldest first, at most `limit`.
    ///
    /// # Errors
    /// The database failed, or holds what is not a row.
    pub async fn audit_rows(
        &self,
        query: &AuditQuery,
        after: i64,
        to: i64,
        limit: u32,
    ) -> Result<Vec<AuditRow>, StoreError> {
        let mut filter = Filter::new("SELECT *", query, None);
        if !filter.can_match() {
            return Ok(Vec::new());
        }
        filter.number("seq >", Some(after));
        filter.number("seq <=", Some(to));
        filter.sql.push_str(&format!(" ORDER BY seq LIMIT {limit}"));
        self.fetch::<StoredRow>(filter).await?.into_iter().map(StoredRow::into_row).collect()
    }

    /// How many rows match in each of `buckets` equal stretches of time (1 to 1000) from `query.since` (a day before
    /// the end when left out) to `query.until` (now).
    ///
    /// # Errors
    /// The database failed.
    pub async fn audit_timeline(
        &self,
        query: &AuditQuery,
        buckets: u32,
        only_user: Option<UserId>,
    ) -> Result<Timeline, StoreError> {
        let buckets = i64::from(buckets.clamp(1, MAX_BUCKETS));
        let until = query.until.unwrap_or_else(Timestamp::now);
        let end = until.as_millisecond();
        let start = query.since.map_or(end - DAY_MS, Timestamp::as_millisecond).min(end - 1);
        let width = (end - start + buckets - 1) / buckets;
        let query = AuditQuery { since: Some(from_ms(start)), until: Some(until), ..query.clone() };
        let select = format!("SELECT (time - {start}) / {width}, outcome, COUNT(*)");
        let mut filter = Filter::new(&select, &query, only_user);
        filter.sql.push_str(" GROUP BY 1, 2");
        let counts: Vec<(i64, String, i64)> = if filter.can_match() { self.fetch(filter).await? } else { Vec::new() };
        let bucket = |index: i64| Bucket { start: from_ms(start + index * width), ..Bucket::default() };
        let mut timeline = Timeline { width_ms: width, buckets: (0..buckets).map(bucket).collect() };
        for (index, outcome, count) in counts {
            let bucket = usize::try_from(index).ok().and_then(|index| timeline.buckets.get_mut(index));
            if let (Some(bucket), Some(outcome)) = (bucket, Outcome::parse(&outcome)) {
                *bucket.count_mut(outcome) = count.unsigned_abs();
            }
        }
        Ok(timeline)
    }
}
