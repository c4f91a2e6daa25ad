//! Backup and restore, the same file for both engines.
//!
//! A backup is a tar archive, and so readable without this program:
//!
//! ```text
//! manifest.json   format, number of the newest migration, time, and for each table its rows and SHA-256
//! <table>.jsonl   one row a line: an object of its columns
//! ```
//!
//! *Guarantees.* All tables are of one moment (one snapshot of the database), while hubs go on writing. Sealed columns
//! stay sealed: a backup opens nothing without the key-encryption key, which is deliberately not in it. A restore
//! is all or nothing, checks each table's hash and walks the audit chain afterwards.
//! *Non-guarantees.* What is written after the snapshot is not in it. A table that refers to itself is restored in the
//! order of its primary key: parents must sort before children, as `UUIDv7`s do.
//!
//! Must not know: what a table means.

mod catalog;
mod restore;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use aws_lc_rs::digest::{Context, SHA256};
use flotilla_types::time::now_ms;
use futures_util::TryStreamExt;
use serde::{Deserialize, Serialize};
use sqlx::{AssertSqlSafe, Executor};

use crate::Store;
use crate::db::{Db, Driver};
use crate::error::StoreError;
use crate::schema::applied;
use catalog::{Table, tables};
use flotilla_ledger::hex;

/// Of the file; another number is another program's.
const FORMAT: u32 = 1;
const MANIFEST: &str = "manifest.json";

/// What a backup holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Number of the file's format.
    pub format: u32,
    /// Number of the newest migration.
    pub schema: i64,
    /// When the snapshot was taken, milliseconds since the epoch.
    pub created_at_ms: i64,
    /// Its tables by name.
    pub tables: BTreeMap<String, TableSummary>,
}

/// One table of a backup.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableSummary {
    /// How many rows it has.
    pub rows: u64,
    /// SHA-256 of its lines, hex.
    pub sha256: String,
}

impl Manifest {
    /// Rows of all tables.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.tables.values().map(|table| table.rows).sum()
    }
}

/// A text as an error of this module.
pub(crate) fn refused(text: impl Into<String>) -> StoreError {
    StoreError::Backup(text.into())
}

pub(crate) fn file_failed(doing: &str) -> impl Fn(std::io::Error) -> StoreError + '_ {
    move |error| refused(format!("cannot {doing}: {error}"))
}

impl Store {
    /// Writes everything that the database holds to `to`, which is made for its owner only and appears when it is
    /// whole. Nobody has to stop.
    ///
    /// # Errors
    /// [`StoreError::Backup`] when the file cannot be written or is there already, or the schema is not this
    /// program's; the database failed.
    pub async fn backup(&self, to: &Path) -> Result<Manifest, StoreError> {
        if to.exists() {
            return Err(refused(format!("{} is there already; name a new file", to.display())));
        }
        let directory = to.parent().filter(|path| !path.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let parts = tempfile::tempdir_in(directory).map_err(file_failed("make a directory beside the backup"))?;
        let schema = applied(&self.db).await?.last().copied().unwrap_or_default();
        if schema != crate::db::newest() {
            return Err(refused("the database is not of this version; bring it up to date first (--migrate-only)"));
        }
        let mut manifest = Manifest { format: FORMAT, schema, created_at_ms: now_ms(), tables: BTreeMap::new() };
        match &self.db {
            // A read transaction of SQLite's WAL sees one moment of the file.
            Db::Sqlite { reader, .. } => {
                let mut snapshot = reader.begin().await?;
                for table in tables!(&mut *snapshot, Driver::Sqlite) {
                    let summary = dump!(&mut *snapshot, &table, parts.path());
                    manifest.tables.insert(table.name, summary);
                }
            }
            Db::Postgres(pool) => {
                let mut snapshot = pool.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
                snapshot.execute("SET LOCAL statement_timeout = 0").await?;
                for table in tables!(&mut *snapshot, Driver::Postgres) {
                    let summary = dump!(&mut *snapshot, &table, parts.path());
                    manifest.tables.insert(table.name, summary);
                }
            }
        }
        let (archive, to) = (manifest.clone(), to.to_owned());
        let pack = tokio::task::spawn_blocking(move || pack(&archive, parts.path(), &to));
        pack.await.map_err(|error| refused(format!("the backup was cut off: {error}")))??;
        Ok(manifest)
    }
}

/// Writes one table's rows to a file of its own, hashing as it goes.
macro_rules! dump {
    ($connection:expr, $table:expr, $directory:expr) => {{
        let mut lines = Lines::create(&$directory.join(format!("{}.jsonl", $table.name)))?;
        let mut rows = sqlx::query_scalar::<_, String>(AssertSqlSafe($table.read.clone())).fetch($connection);
        while let Some(line) = rows.try_next().await? {
            lines.push(&line)?;
        }
        lines.finish()?
    }};
}
use dump;

/// The lines of one table.
struct Lines {
    out: BufWriter<File>,
    digest: Context,
    rows: u64,
}

impl Lines {
    fn create(path: &Path) -> Result<Self, StoreError> {
        let file = File::create(path).map_err(file_failed("write the backup"))?;
        Ok(Self { out: BufWriter::new(file), digest: Context::new(&SHA256), rows: 0 })
    }

    fn push(&mut self, line: &str) -> Result<(), StoreError> {
        for bytes in [line.as_bytes(), b"\n"] {
            self.digest.update(bytes);
            self.out.write_all(bytes).map_err(file_failed("write the backup"))?;
        }
        self.rows += 1;
        Ok(())
    }

    fn finish(mut self) -> Result<TableSummary, StoreError> {
        self.out.flush().map_err(file_failed("write the backup"))?;
        Ok(TableSummary { rows: self.rows, sha256: hex::encode(self.digest.finish().as_ref()) })
    }
}

/// Puts the parts into one file, which gets its name when it is on disk.
fn pack(manifest: &Manifest, parts: &Path, to: &Path) -> Result<(), StoreError> {
    let failed = file_failed("write the backup");
    let directory = to.parent().filter(|path| !path.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // For its owner only, by tempfile's own rule.
    let whole = tempfile::NamedTempFile::new_in(directory).map_err(&failed)?;
    let mut archive = tar::Builder::new(BufWriter::new(whole));
    let text = serde_json::to_vec_pretty(manifest).map_err(|error| refused(error.to_string()))?;
    let mut header = tar::Header::new_ustar();
    header.set_size(text.len() as u64);
    header.set_mode(0o600);
    header.set_mtime(u64::try_from(manifest.created_at_ms / 1000).unwrap_or_default());
    archive.append_data(&mut header, MANIFEST, text.as_slice()).map_err(&failed)?;
    for table in manifest.tables.keys() {
        let name = format!("{table}.jsonl");
        archive.append_path_with_name(parts.join(&name), &name).map_err(&failed)?;
    }
    let whole = archive.into_inner().map_err(&failed)?.into_inner().map_err(|error| failed(error.into_error()))?;
    whole.as_file().sync_all().map_err(&failed)?;
    whole.persist_noclobber(to).map_err(|error| failed(error.error))?;
    Ok(())
}
