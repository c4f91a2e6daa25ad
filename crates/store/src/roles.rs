//! Roles kept in the database, next to the built-in ones and those of the roles file.
//!
//! Must not know: what a rule means.

use flotilla_types::policy::Role;
use flotilla_types::time::now_ms;

use crate::Store;
use crate::db::on_db;
use crate::error::{StoreError, found};

const ALL: &str = "SELECT definition FROM roles ORDER BY name";
const INSERT: &str = "INSERT INTO roles (name, definition, created_at, updated_at) VALUES ($1, $2, $3, $3)";
const REPLACE: &str = "UPDATE roles SET definition = $2, updated_at = $3 WHERE name = $1";
const DELETE: &str = "DELETE FROM roles WHERE name = $1";
const UNASSIGN: &str = "DELETE FROM user_roles WHERE role = $1";

fn encode(role: &Role) -> Result<String, StoreError> {
    serde_json::to_string(role).map_err(|_| StoreError::Corrupt { column: "roles.definition" })
}

impl Store {
    /// All roles of the database, by name.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] when a definition cannot be read.
    pub async fn list_roles(&self) -> Result<Vec<Role>, StoreError> {
        let rows: Vec<(String,)> = on_db!(&self.db, read, pool => sqlx::query_as(ALL).fetch_all(pool).await?);
        let decode = |(text,): (String,)| serde_json::from_str(&text);
        let roles: Result<_, _> = rows.into_iter().map(decode).collect();
        roles.map_err(|_| StoreError::Corrupt { column: "roles.definition" })
    }

    /// Adds a role.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when the name is taken.
    pub async fn create_role(&self, role: &Role) -> Result<(), StoreError> {
        let definition = encode(role)?;
        on_db!(&self.db, write, pool => {
            let insert = sqlx::query(INSERT).bind(role.name.as_str()).bind(definition).bind(now_ms());
            insert.execute(pool).await.map_err(StoreError::unique("role"))?;
        });
        Ok(())
    }

    /// Replaces the role of the same name.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub async fn replace_role(&self, role: &Role) -> Result<(), StoreError> {
        let definition = encode(role)?;
        let done = on_db!(&self.db, write, pool => {
            let update = sqlx::query(REPLACE).bind(role.name.as_str()).bind(definition).bind(now_ms());
            update.execute(pool).await?.rows_affected()
        });
        found(done, "role")
    }

    /// Deletes a role and takes its name from everyone who had it, so that a later role of the same name is
    /// not theirs without anyone saying so.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub async fn delete_role(&self, name: &str) -> Result<(), StoreError> {
        on_db!(&self.db, tx, tx => {
            let deleted = sqlx::query(DELETE).bind(name).execute(&mut *tx).await?;
            found(deleted.rows_affected(), "role")?;
            sqlx::query(UNASSIGN).bind(name).execute(&mut *tx).await?;
        });
        Ok(())
    }
}
