//! Accounts and the roles given to them.
//!
//! Must not know: how passwords are hashed, what a role means.

use flotilla_types::id::UserId;
use flotilla_types::time::now_ms;
use secrecy::{ExposeSecret, SecretString};

use crate::Store;
use crate::db::on_db;
use crate::error::{StoreError, found, parse, storable};

/// An account.
#[derive(Clone, Debug)]
pub struct User {
    /// The account.
    pub id: UserId,
    /// Its unique name, as given.
    pub email: String,
    /// Hash of the password; empty when none is set.
    pub password_hash: SecretString,
    /// Whether the password was set by somebody else and should be changed.
    pub must_change: bool,
    /// Names of roles, sorted. A name may belong to a built-in role, the roles file or the database.
    pub roles: Vec<String>,
    /// Milliseconds since the epoch.
    pub created_at_ms: i64,
    /// Milliseconds since the epoch; changes with password and roles.
    pub updated_at_ms: i64,
}

/// An account to be made.
#[derive(Clone, Debug)]
pub struct NewUser {
    /// Unique name, normalised by the caller (`flotilla_types::name::normalize_email`).
    pub email: String,
    /// Hash of the password; empty for an account that cannot sign in with one.
    pub password_hash: SecretString,
    /// Whether the password should be changed at the first sign-in.
    pub must_change: bool,
    /// Names of roles; repeated ones count once.
    pub roles: Vec<String>,
}

/// A user joined with one of its roles.
type Joined = (String, String, String, bool, i64, i64, Option<String>);

const INSERT: &str = "INSERT INTO users (id, email, password_hash, must_change, created_at, updated_at) \
    VALUES ($1, $2, $3, $4, $5, $5)";
const INSERT_ROLE: &str = "INSERT INTO user_roles (user_id, role) VALUES ($1, $2) ON CONFLICT DO NOTHING";
const DELETE_ROLES: &str = "DELETE FROM user_roles WHERE user_id = $1";
const BY_EMAIL: &str = "SELECT u.id, u.email, u.password_hash, u.must_change, u.created_at, u.updated_at, r.role \
    FROM users u LEFT JOIN user_roles r ON r.user_id = u.id WHERE u.email = $1 ORDER BY r.role";
const BY_ID: &str = "SELECT u.id, u.email, u.password_hash, u.must_change, u.created_at, u.updated_at, r.role \
    FROM users u LEFT JOIN user_roles r ON r.user_id = u.id WHERE u.id = $1 ORDER BY r.role";
const ALL: &str = "SELECT u.id, u.email, u.password_hash, u.must_change, u.created_at, u.updated_at, r.role \
    FROM users u LEFT JOIN user_roles r ON r.user_id = u.id ORDER BY u.email, r.role";
const COUNT: &str = "SELECT COUNT(*) FROM users";
const SET_PASSWORD: &str = "UPDATE users SET password_hash = $2, must_change = $3, updated_at = $4 WHERE id = $1";
const TOUCH: &str = "UPDATE users SET updated_at = $2 WHERE id = $1";
const DELETE: &str = "DELETE FROM users WHERE id = $1";

impl Store {
    /// Makes an account.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when the address is taken.
    pub async fn create_user(&self, new: NewUser) -> Result<User, StoreError> {
        let (id, now) = (UserId::new(), now_ms());
        let key = id.to_string();
        on_db!(&self.db, tx, tx => {
            let insert = sqlx::query(INSERT).bind(key.as_str()).bind(new.email.as_str());
            let insert = insert.bind(new.password_hash.expose_secret()).bind(new.must_change).bind(now);
            insert.execute(&mut *tx).await.map_err(StoreError::unique("user"))?;
            for role in &new.roles {
                sqlx::query(INSERT_ROLE).bind(key.as_str()).bind(role.as_str()).execute(&mut *tx).await?;
            }
        });
        let NewUser { email, password_hash, must_change, mut roles } = new;
        roles.sort_unstable();
        roles.dedup();
        Ok(User { id, email, password_hash, must_change, roles, created_at_ms: now, updated_at_ms: now })
    }

    /// The account of that name.
    ///
    /// # Errors
    /// The database failed.
    pub async fn user_by_email(&self, email: &str) -> Result<Option<User>, StoreError> {
        if !storable(email) {
            return Ok(None);
        }
        let rows = on_db!(&self.db, read, pool => sqlx::query_as(BY_EMAIL).bind(email).fetch_all(pool).await?);
        Ok(fold(rows)?.pop())
    }

    /// The account with that id.
    ///
    /// # Errors
    /// The database failed.
    pub async fn user_by_id(&self, id: UserId) -> Result<Option<User>, StoreError> {
        let rows = on_db!(&self.db, read, pool => sqlx::query_as(BY_ID).bind(id.to_string()).fetch_all(pool).await?);
        Ok(fold(rows)?.pop())
    }

    /// All accounts, by name.
    ///
    /// # Errors
    /// The database failed.
    pub async fn list_users(&self) -> Result<Vec<User>, StoreError> {
        fold(on_db!(&self.db, read, pool => sqlx::query_as(ALL).fetch_all(pool).await?))
    }

    /// How many accounts there are.
    ///
    /// # Errors
    /// The database failed.
    pub async fn count_users(&self) -> Result<u64, StoreError> {
        let count: i64 = on_db!(&self.db, read, pool => sqlx::query_scalar(COUNT).fetch_one(pool).await?);
        Ok(count.unsigned_abs())
    }

    /// Sets a password. Sessions are not ended: see [`Store::end_sessions_of`].
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub async fn set_password(&self, id: UserId, hash: &SecretString, must_change: bool) -> Result<(), StoreError> {
        let done = on_db!(&self.db, write, pool => {
            let update = sqlx::query(SET_PASSWORD).bind(id.to_string()).bind(hash.expose_secret());
            update.bind(must_change).bind(now_ms()).execute(pool).await?.rows_affected()
        });
        found(done, "user")
    }

    /// Replaces the roles of an account. Names are kept as given, whether or not a role of that name exists
    /// in the database: it may be built in or come from the roles file.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub async fn set_user_roles(&self, id: UserId, roles: &[String]) -> Result<(), StoreError> {
        let key = id.to_string();
        on_db!(&self.db, tx, tx => {
            let touched = sqlx::query(TOUCH).bind(key.as_str()).bind(now_ms()).execute(&mut *tx).await?;
            found(touched.rows_affected(), "user")?;
            sqlx::query(DELETE_ROLES).bind(key.as_str()).execute(&mut *tx).await?;
            for role in roles {
                sqlx::query(INSERT_ROLE).bind(key.as_str()).bind(role.as_str()).execute(&mut *tx).await?;
            }
        });
        Ok(())
    }

    /// Deletes an account with its roles and sessions. Audit rows stay.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub async fn delete_user(&self, id: UserId) -> Result<(), StoreError> {
        on_db!(&self.db, tx, tx => {
            found(sqlx::query(DELETE).bind(id.to_string()).execute(&mut *tx).await?.rows_affected(), "user")?;
            // Memberships and grants went along: an account of the same name must not find them in some hub's memory.
            sqlx::query(crate::orgs::BUMP).execute(&mut *tx).await?;
        });
        Ok(())
    }
}

/// Rows of one user follow each other.
fn fold(rows: Vec<Joined>) -> Result<Vec<User>, StoreError> {
    let mut users: Vec<User> = Vec::new();
    for (id, email, hash, must_change, created_at_ms, updated_at_ms, role) in rows {
        let id: UserId = parse(&id, "users.id")?;
        if users.last().is_none_or(|user| user.id != id) {
            let password_hash = SecretString::from(hash);
            users.push(User { id, email, password_hash, must_change, roles: vec![], created_at_ms, updated_at_ms });
        }
        if let (Some(user), Some(role)) = (users.last_mut(), role) {
            user.roles.push(role);
        }
    }
    Ok(users)
}
