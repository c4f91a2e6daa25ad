//! The tables of a database and the statements that read and write their rows as JSON, per engine.
//!
//! Rows have one form on both: texts and numbers as they are, truth as `true` and `false`, bytes as PostgreSQL writes
//! them (`\x` and hex digits).
//!
//! Must not know: what a table means, files.

/// A table.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    /// Its name.
    pub(crate) name: String,
    /// Reads each row as one text of JSON, in the order of the primary key.
    pub(crate) read: String,
    /// Writes the rows of one JSON array.
    pub(crate) write: String,
    /// Empties it.
    pub(crate) clear: String,
    /// Tables that it refers to.
    pub(crate) parents: Vec<String>,
}

/// Ours: no table of the engine's or of the migrator's.
pub(super) const SQLITE_TABLES: &str = "SELECT name FROM sqlite_master WHERE type = 'table' \
    AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' AND name NOT LIKE '\\_sqlx%' ESCAPE '\\' ORDER BY name";
pub(super) const POSTGRES_TABLES: &str = "SELECT table_name::text FROM information_schema.tables \
    WHERE table_schema = current_schema() AND table_type = 'BASE TABLE' AND table_name NOT LIKE '\\_sqlx%' \
    ORDER BY table_name";

/// Name, declared type, place in the primary key (0: not in it).
pub(super) const SQLITE_COLUMNS: &str = "SELECT name, upper(type), pk FROM pragma_table_info($1) ORDER BY cid";
pub(super) const POSTGRES_COLUMNS: &str = "SELECT c.column_name::text, upper(c.data_type)::text, \
    COALESCE((SELECT k.ordinal_position FROM information_schema.table_constraints t \
    JOIN information_schema.key_column_usage k USING (constraint_schema, constraint_name) \
    WHERE t.table_schema = c.table_schema AND t.table_name = c.table_name AND t.constraint_type = 'PRIMARY KEY' \
    AND k.column_name = c.column_name), 0)::bigint \
    FROM information_schema.columns c WHERE c.table_schema = current_schema() AND c.table_name = $1 \
    ORDER BY c.ordinal_position";

pub(super) const SQLITE_PARENTS: &str = "SELECT DISTINCT \"table\" FROM pragma_foreign_key_list($1)";
pub(super) const POSTGRES_PARENTS: &str = "SELECT DISTINCT p.relname::text FROM pg_constraint f \
    JOIN pg_class c ON c.oid = f.conrelid JOIN pg_class p ON p.oid = f.confrelid \
    JOIN pg_namespace n ON n.oid = c.relnamespace \
    WHERE f.contype = 'f' AND n.nspname = current_schema() AND c.relname = $1";

/// All tables, each after those that it refers to.
macro_rules! tables {
    ($connection:expr, $driver:expr) => {{
        let [list, columns, parents] = $crate::backup::catalog::statements($driver);
        let names: Vec<String> = sqlx::query_scalar(list).fetch_all($connection).await?;
        let mut found: Vec<Table> = Vec::with_capacity(names.len());
        for name in names {
            let columns: Vec<(String, String, i64)> =
                sqlx::query_as(columns).bind(name.as_str()).fetch_all($connection).await?;
            let parents: Vec<String> = sqlx::query_scalar(parents).bind(name.as_str()).fetch_all($connection).await?;
            found.push($crate::backup::catalog::table($driver, name, &columns, parents));
        }
        $crate::backup::catalog::parents_first(found)
    }};
}
pub(crate) use tables;

use crate::db::Driver;

pub(crate) fn statements(driver: Driver) -> [&'static str; 3] {
    match driver {
        Driver::Sqlite => [SQLITE_TABLES, SQLITE_COLUMNS, SQLITE_PARENTS],
        Driver::Postgres => [POSTGRES_TABLES, POSTGRES_COLUMNS, POSTGRES_PARENTS],
    }
}

/// Writes the statements. Names come from the engine's own catalogue and are quoted.
pub(crate) fn table(driver: Driver, name: String, columns: &[(String, String, i64)], parents: Vec<String>) -> Table {
    let quoted = |text: &str| format!("\"{}\"", text.replace('"', "\"\""));
    let (from, list) = (quoted(&name), joined(columns.iter().map(|(column, ..)| quoted(column))));
    let mut key: Vec<_> = columns.iter().filter(|(.., place)| *place > 0).collect();
    key.sort_by_key(|(.., place)| *place);
    // One order on both engines, whatever the database's language.
    let collate = |declared: &str| match (driver, declared) {
        (Driver::Postgres, "TEXT") => " COLLATE \"C\"",
        _ => "",
    };
    let order = joined(key.iter().map(|(column, declared, _)| format!("{}{}", quoted(column), collate(declared))));
    let order = if order.is_empty() { String::new() } else { format!(" ORDER BY {order}") };
    let (read, write) = match driver {
        Driver::Postgres => (
            format!("SELECT row_to_json(t)::text FROM (SELECT * FROM {from}) t{order}"),
            format!(
                "INSERT INTO {from} ({list}) SELECT {list} FROM json_populate_recordset(NULL::{from}, $1::text::json)"
            ),
        ),
        Driver::Sqlite => {
            let members = joined(columns.iter().map(|(column, declared, _)| sqlite_member(column, declared)));
            let values = joined(columns.iter().map(|(column, declared, _)| sqlite_value(column, declared)));
            (
                format!("SELECT json_object({members}) FROM {from}{order}"),
                format!("INSERT INTO {from} ({list}) SELECT {values} FROM json_each($1)"),
            )
        }
    };
    Table { clear: format!("DELETE FROM {from}"), name, read, write, parents }
}

fn joined(parts: impl Iterator<Item = String>) -> String {
    parts.collect::<Vec<_>>().join(", ")
}

fn is_bytes(declared: &str) -> bool {
    matches!(declared, "BLOB" | "BYTEA")
}

/// `'column', <value as JSON>`.
fn sqlite_member(column: &str, declared: &str) -> String {
    let (text, name) = (column.replace('\'', "''"), format!("\"{}\"", column.replace('"', "\"\"")));
    if declared.starts_with("BOOL") {
        return format!("'{text}', json(CASE {name} WHEN 1 THEN 'true' WHEN 0 THEN 'false' ELSE 'null' END)");
    }
    if is_bytes(declared) {
        return format!("'{text}', CASE WHEN {name} IS NULL THEN NULL ELSE '\\x' || lower(hex({name})) END");
    }
    format!("'{text}', {name}")
}

fn sqlite_value(column: &str, declared: &str) -> String {
    let path = format!("'$.\"{}\"'", column.replace('\'', "''"));
    if is_bytes(declared) {
        return format!("unhex(substr(json_extract(value, {path}), 3))");
    }
    format!("json_extract(value, {path})")
}

/// Orders tables so that none comes before one that it refers to; those in a circle keep their place.
pub(crate) fn parents_first(mut rest: Vec<Table>) -> Vec<Table> {
    let mut ordered: Vec<Table> = Vec::with_capacity(rest.len());
    while !rest.is_empty() {
        let waits = |table: &Table| {
            table.parents.iter().any(|parent| *parent != table.name && rest.iter().any(|other| other.name == *parent))
        };
        let next = rest.iter().position(|table| !waits(table)).unwrap_or_default();
        ordered.push(rest.remove(next));
    }
    ordered
}
