//! Every sealed column of the schema, in one list.
//!
//! A [`Place`] can only be had from a [`Column`], and columns are only made here, where each gets into [`ALL`] by the
//! same line. So what is sealed at all is also sealed again when the key-encryption key changes.
//!
//! Must not know: how a value is sealed.

/// A sealed column and the statements over it.
///
/// `page` reads keys behind one, in their order, and the beginnings of values, which name the key-encryption key;
/// `value` reads one value; `exchange` writes another in its place if it is still there.
#[derive(Debug)]
pub(crate) struct Column {
    table: &'static str,
    column: &'static str,
    pub(crate) key: Key,
    pub(crate) page: &'static str,
    pub(crate) value: &'static str,
    pub(crate) exchange: &'static str,
}

/// What a row of a table is found by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    /// A text.
    Text,
    /// A text, and a number that is counted within it.
    TextAndNumber,
}

/// Where a sealed value belongs.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// Table.
    pub(crate) table: &'static str,
    /// Column.
    pub(crate) column: &'static str,
    /// The row's primary key.
    pub(crate) row: &'a str,
    /// Nobody else makes one.
    _sealed: (),
}

impl Column {
    /// The place of one of its values, by the row's primary key; of a row with two, `text/number`.
    pub(crate) const fn at<'a>(&self, row: &'a str) -> Place<'a> {
        Place { table: self.table, column: self.column, row, _sealed: () }
    }
}

/// Longer than `s1.`, the longest id of a key and a point.
macro_rules! head {
    ($column:literal) => {
        concat!("substr(", $column, ", 1, 40)")
    };
}

macro_rules! statements {
    ($table:literal, $column:literal, ($key:literal)) => {
        Column {
            table: $table,
            column: $column,
            key: Key::Text,
            page: concat!(
                "SELECT ",
                $key,
                ", CAST(0 AS BIGINT), ",
                head!($column),
                " FROM ",
                $table,
                " WHERE ",
                $column,
                " IS NOT NULL AND ",
                $key,
                " > $1 ORDER BY ",
                $key,
                " LIMIT $2"
            ),
            value: concat!(
                "SELECT ",
                $column,
                " FROM ",
                $table,
                " WHERE ",
                $key,
                " = $1 AND ",
                $column,
                " IS NOT NULL"
            ),
            exchange: concat!(
                "UPDATE ",
                $table,
                " SET ",
                $column,
                " = $3 WHERE ",
                $key,
                " = $1 AND ",
                $column,
                " = $2"
            ),
        }
    };
    ($table:literal, $column:literal, ($key:literal, $number:literal)) => {
        Column {
            table: $table,
            column: $column,
            key: Key::TextAndNumber,
            // Compared as a row, which both engines answer from the primary key's index.
            page: concat!(
                "SELECT ",
                $key,
                ", ",
                $number,
                ", ",
                head!($column),
                " FROM ",
                $table,
                " WHERE (",
                $key,
                ", ",
                $number,
                ") > ($1, $2) ORDER BY ",
                $key,
                ", ",
                $number,
                " LIMIT $3"
            ),
            value: concat!("SELECT ", $column, " FROM ", $table, " WHERE ", $key, " = $1 AND ", $number, " = $2"),
            exchange: concat!(
                "UPDATE ",
                $table,
                " SET ",
                $column,
                " = $4 WHERE ",
                $key,
                " = $1 AND ",
                $number,
                " = $2 AND ",
                $column,
                " = $3"
            ),
        }
    };
}

macro_rules! sealed {
    ($($(#[$doc:meta])* $name:ident = $table:literal . $column:literal by $key:tt;)+) => {
        $($(#[$doc])* pub(crate) static $name: Column = statements!($table, $column, $key);)+

        /// All of them.
        pub(crate) static ALL: &[&Column] = &[$(&$name),+];
    };
}

sealed! {
    /// How a cluster is reached without an agent.
    CLUSTER_CREDENTIAL = "clusters"."credential" by ("id");
    /// Signs tokens, statements of identity and checkpoints.
    SIGNING_KEY = "signing_keys"."private_key" by ("kid");
    /// Vouches for checkpoints.
    AUDIT_KEY = "audit_keys"."public_key" by ("kid");
    /// Of the proof key of a sign-in elsewhere (RFC 7636).
    VERIFIER = "oauth_states"."verifier" by ("hash");
    /// The provider's word on who somebody is.
    ID_TOKEN = "provider_sessions"."id_token" by ("id");
    /// Renews a session at a provider.
    REFRESH_TOKEN = "provider_sessions"."refresh_token" by ("id");
    /// How long a recording is.
    RECORDING_END = "recordings"."seal" by ("id");
    /// A piece of a recording.
    RECORDING_CHUNK = "recording_chunks"."data" by ("recording_id", "number");
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    /// `table.column` of what a migration says is sealed.
    fn said_to_be_sealed(migration: &str) -> Vec<String> {
        let (mut table, mut found) = (String::new(), Vec::new());
        for line in migration.lines() {
            let mut words = line.split_whitespace();
            match words.next() {
                Some("CREATE" | "ALTER") if words.next() == Some("TABLE") => {
                    words.next().unwrap_or_default().clone_into(&mut table);
                }
                Some(column)
                    if column != "--" && line.split_once("--").is_some_and(|(_, said)| said.contains("sealed")) =>
                {
                    found.push(format!("{table}.{column}"));
                }
                _ => {}
            }
        }
        found
    }

    #[test]
    fn every_sealed_column_of_the_schema_is_listed() {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations");
        let files = std::fs::read_dir(directory).unwrap().map(|file| std::fs::read_to_string(file.unwrap().path()));
        let said: BTreeSet<String> = files.flat_map(|text| said_to_be_sealed(&text.unwrap())).collect();
        let listed: BTreeSet<String> = ALL.iter().map(|one| format!("{}.{}", one.table, one.column)).collect();
        assert_eq!(listed, said);
        assert!(said.len() >= 8, "{said:?}");
    }
}
