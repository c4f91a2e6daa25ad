//! Keys that programs use in a person's name.
//!
//! Must not know: what a key looks like, what a scope means. Only hashes come here.

use flotilla_types::id::{ApiKeyId, UserId};
use flotilla_types::time::now_ms;

use crate::Store;
use crate::db::on_db;
use crate::error::{StoreError, parse, storable};

/// A key, without its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKey {
    /// The key.
    pub id: ApiKeyId,
    /// Whose.
    pub user: UserId,
    /// Unique among his.
    pub name: String,
    /// Its beginning, for people.
    pub prefix: String,
    /// As written.
    pub scopes: Vec<String>,
    /// Milliseconds since the epoch.
    pub created_at_ms: i64,
    /// It holds until then; milliseconds since the epoch.
    pub expires_at_ms: Option<i64>,
    /// Last use that was noted; milliseconds since the epoch.
    pub last_used_ms: Option<i64>,
}

/// A key to be made.
#[derive(Clone, Debug)]
pub struct NewApiKey {
    /// Whose.
    pub user: UserId,
    /// Unique among his.
    pub name: String,
    /// Its beginning, for people.
    pub prefix: String,
    /// Hash of the secret.
    pub hash: String,
    /// As written.
    pub scopes: Vec<String>,
    /// It holds until then; milliseconds since the epoch.
    pub expires_at_ms: Option<i64>,
}

/// A key that holds, with what a request needs to know of its owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveKey {
    /// The key.
    pub key: ApiKey,
    /// The owner's account.
    pub email: String,
    /// Names of the owner's roles in the database, sorted.
    pub roles: Vec<String>,
}

type Row = (String, String, String, String, String, i64, Option<i64>, Option<i64>);

const INSERT: &str = "INSERT INTO api_keys (id, user_id, name, prefix, secret_hash, scopes, created_at, expires_at) \
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
const OF_USER: &str = "SELECT id, user_id, name, prefix, scopes, created_at, expires_at, last_used FROM api_keys \
    WHERE user_id = $1 ORDER BY id DESC";
const COUNT: &str = "SELECT COUNT(*) FROM api_keys WHERE user_id = $1";
const BY_HASH: &str = "SELECT id, user_id, name, prefix, scopes, created_at, expires_at, last_used FROM api_keys \
    WHERE secret_hash = $1 AND (expires_at IS NULL OR expires_at > $2)";
const BY_ID: &str = "SELECT id, user_id, name, prefix, scopes, created_at, expires_at, last_used FROM api_keys \
    WHERE id = $1 AND (expires_at IS NULL OR expires_at > $2)";
const OWNER: &str = "SELECT u.email, r.role FROM users u LEFT JOIN user_roles r ON r.user_id = u.id \
    WHERE u.id = $1 ORDER BY r.role";
const ANY: &str = "SELECT id, user_id, name, prefix, scopes, created_at, expires_at, last_used FROM api_keys \
    WHERE id = $1";
const UPDATE: &str = "UPDATE api_keys SET name = $2, scopes = $3 WHERE id = $1";
const REVOKE: &str = "DELETE FROM api_keys WHERE id = $1";
const TOUCH: &str = "UPDATE api_keys SET last_used = $2 WHERE id = $1 AND (last_used IS NULL OR last_used < $2)";
const FORGET: &str = "DELETE FROM api_keys WHERE expires_at <= $1";

impl Store {
    /// Makes a key, unless its owner has `most` already.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when the owner has one of that name, [`StoreError::NotFound`] when he is gone.
    /// `Ok(None)`: he has too many.
    pub async fn create_api_key(&self, new: NewApiKey, most: u32) -> Result<Option<ApiKey>, StoreError> {
        let (id, now) = (ApiKeyId::new(), now_ms());
        let scopes = serde_json::Value::from(new.scopes.clone()).to_string();
        let made = on_db!(&self.db, tx, tx => {
            let user = new.user.to_string();
            let count: i64 = sqlx::query_scalar(COUNT).bind(user.as_str()).fetch_one(&mut *tx).await?;
            if count >= i64::from(most) {
                false
            } else {
                let insert = sqlx::query(INSERT).bind(id.to_string()).bind(user.as_str()).bind(new.name.as_str());
                let insert = insert.bind(new.prefix.as_str()).bind(new.hash.as_str()).bind(scopes.as_str()).bind(now);
                insert.bind(new.expires_at_ms).execute(&mut *tx).await.map_err(broken)?;
                true
            }
        });
        let NewApiKey { user, name, prefix, scopes, expires_at_ms, .. } = new;
        let key = ApiKey { id, user, name, prefix, scopes, created_at_ms: now, expires_at_ms, last_used_ms: None };
        Ok(made.then_some(key))
    }

    /// The keys of a user, expired ones too, newest first.
    ///
    /// # Errors
    /// The database failed.
    pub async fn api_keys_of(&self, user: UserId) -> Result<Vec<ApiKey>, StoreError> {
        let rows: Vec<Row> =
            on_db!(&self.db, read, pool => sqlx::query_as(OF_USER).bind(user.to_string()).fetch_all(pool).await?);
        rows.into_iter().map(key).collect()
    }

    /// The key of this id, expired or not.
    ///
    /// # Errors
    /// The database failed.
    pub async fn api_key(&self, id: ApiKeyId) -> Result<Option<ApiKey>, StoreError> {
        let row: Option<Row> =
            on_db!(&self.db, read, pool => sqlx::query_as(ANY).bind(id.to_string()).fetch_optional(pool).await?);
        row.map(key).transpose()
    }

    /// Gives a key another name and other scopes.
    ///
    /// # Errors
    /// [`StoreError::NotFound`]; [`StoreError::Conflict`] when its owner has another of that name.
    pub async fn update_api_key(&self, id: ApiKeyId, name: &str, scopes: &[String]) -> Result<(), StoreError> {
        let scopes = serde_json::Value::from(scopes.to_vec()).to_string();
        let done = on_db!(&self.db, write, pool => {
            let update = sqlx::query(UPDATE).bind(id.to_string()).bind(name).bind(scopes.as_str());
            update.execute(pool).await.map_err(broken)?.rows_affected()
        });
        crate::error::found(done, "API key")
    }

    /// The key with this hash and its owner, while it holds.
    ///
    /// # Errors
    /// The database failed.
    pub async fn live_api_key_by_hash(&self, hash: &str, now_ms: i64) -> Result<Option<LiveKey>, StoreError> {
        if !storable(hash) {
            return Ok(None);
        }
        self.live_key(BY_HASH, hash, now_ms).await
    }

    /// The key with this id and its owner, while it holds.
    ///
    /// # Errors
    /// The database failed.
    pub async fn live_api_key(&self, id: ApiKeyId, now_ms: i64) -> Result<Option<LiveKey>, StoreError> {
        self.live_key(BY_ID, &id.to_string(), now_ms).await
    }

    async fn live_key(&self, sql: &'static str, by: &str, now_ms: i64) -> Result<Option<LiveKey>, StoreError> {
        let row: Option<Row> =
            on_db!(&self.db, read, pool => sqlx::query_as(sql).bind(by).bind(now_ms).fetch_optional(pool).await?);
        let Some(key) = row.map(key).transpose()? else { return Ok(None) };
        let owner = self.roles_of(key.user).await?;
        Ok(owner.map(|(email, roles)| LiveKey { key, email, roles }))
    }

    /// Name and roles (sorted) of an account, while it is there.
    ///
    /// # Errors
    /// The database failed.
    pub async fn roles_of(&self, user: UserId) -> Result<Option<(String, Vec<String>)>, StoreError> {
        let rows: Vec<(String, Option<String>)> =
            on_db!(&self.db, read, pool => sqlx::query_as(OWNER).bind(user.to_string()).fetch_all(pool).await?);
        let email = rows.first().map(|(email, _)| email.clone());
        Ok(email.map(|email| (email, rows.into_iter().filter_map(|(_, role)| role).collect())))
    }

    /// Revokes a key.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub async fn revoke_api_key(&self, id: ApiKeyId) -> Result<(), StoreError> {
        let done = on_db!(&self.db, write, pool => {
            sqlx::query(REVOKE).bind(id.to_string()).execute(pool).await?.rows_affected()
        });
        crate::error::found(done, "API key")
    }

    /// Notes when keys were last used, all in one transaction.
    ///
    /// # Errors
    /// The database failed; nothing was noted.
    pub async fn touch_api_keys(&self, used: &[(ApiKeyId, i64)]) -> Result<(), StoreError> {
        on_db!(&self.db, tx, tx => {
            for (id, at) in used {
                sqlx::query(TOUCH).bind(id.to_string()).bind(*at).execute(&mut *tx).await?;
            }
        });
        Ok(())
    }

    /// Forgets keys that ended at or before `before_ms`.
    ///
    /// # Errors
    /// The database failed.
    pub async fn forget_api_keys(&self, before_ms: i64) -> Result<u64, StoreError> {
        Ok(on_db!(&self.db, write, pool => sqlx::query(FORGET).bind(before_ms).execute(pool).await?.rows_affected()))
    }
}

fn broken(error: sqlx::Error) -> StoreError {
    match error.as_database_error() {
        Some(e) if e.is_unique_violation() => StoreError::Conflict { what: "API key" },
        Some(e) if e.is_foreign_key_violation() => StoreError::NotFound { what: "user" },
        _ => error.into(),
    }
}

fn key(row: Row) -> Result<ApiKey, StoreError> {
    let (id, user, name, prefix, scopes, created_at_ms, expires_at_ms, last_used_ms) = row;
    let (id, user) = (parse(&id, "api_keys.id")?, parse(&user, "api_keys.user_id")?);
    let scopes = serde_json::from_str(&scopes).map_err(|_| StoreError::Corrupt { column: "api_keys.scopes" })?;
    Ok(ApiKey { id, user, name, prefix, scopes, created_at_ms, expires_at_ms, last_used_ms })
}
