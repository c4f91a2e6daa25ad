//! Reading a backup into an empty database.
//!
//! Must not know: how a backup is made.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{Context, SHA256};
use flotilla_ledger::hex;
use flotilla_types::audit::{Verification, VerifyQuery};
use sqlx::{AssertSqlSafe, Executor};

use super::catalog::{Table, tables};
use super::{FORMAT, MANIFEST, Manifest, TableSummary, file_failed, refused};
use crate::Store;
use crate::db::{Db, Driver, newest};
use crate::error::StoreError;
use crate::schema::applied;

/// Rows written by one statement.
const BATCH_ROWS: usize = 500;
/// Bytes written by one statement, beyond which it is sent.
const BATCH_BYTES: usize = 4 << 20;
/// Largest manifest.
const MAX_MANIFEST: u64 = 1 << 20;

/// Tables of which a database that is in use has rows.
const IN_USE: [&str; 3] = ["users", "clusters", "audit_events"];

impl Store {
    /// Fills an empty database with a backup of either engine, brings it up to date and walks its audit chain.
    ///
    /// # Errors
    /// [`StoreError::Backup`] when the database is not empty, or the file is not a whole backup; [`StoreError::Newer`]
    /// when a newer version of this program made it. Then no row of it is in the database.
    pub async fn restore(&self, from: &Path) -> Result<(Manifest, Verification), StoreError> {
        let path = from.to_owned();
        let unpacked = tokio::task::spawn_blocking(move || unpack(&path));
        let parts =
            unpacked.await.map_err(|error| refused(format!("the backup was not read to its end: {error}")))??;
        self.check_empty().await?;
        // As the database was that the backup is of; what came later is done to its rows, too.
        self.db.migrate(Some(parts.manifest.schema)).await?;
        if applied(&self.db).await?.last() != Some(&parts.manifest.schema) {
            return Err(refused(
                "the database is empty but newer than the backup; make a new empty database and restore into that",
            ));
        }
        match &self.db {
            Db::Sqlite { writer, .. } => {
                let mut transaction = writer.begin_with("BEGIN IMMEDIATE").await?;
                fill!(&mut *transaction, Driver::Sqlite, &parts);
                transaction.commit().await?;
            }
            Db::Postgres(pool) => {
                let mut transaction = pool.begin().await?;
                transaction.execute("SET LOCAL statement_timeout = 0").await?;
                fill!(&mut *transaction, Driver::Postgres, &parts);
                transaction.commit().await?;
            }
        }
        self.migrate().await?;
        let report = self.verify_all().await?;
        Ok((parts.manifest, report))
    }

    async fn verify_all(&self) -> Result<Verification, StoreError> {
        let mut found = self.verify_audit(&VerifyQuery::default()).await?;
        while let Some(from) = found.next {
            found.append(self.verify_audit(&VerifyQuery { from: Some(from), ..VerifyQuery::default() }).await?);
        }
        Ok(found)
    }

    async fn check_empty(&self) -> Result<(), StoreError> {
        if applied(&self.db).await?.is_empty() {
            return Ok(());
        }
        for table in IN_USE {
            let sql = format!("SELECT COUNT(*) FROM {table}");
            let rows: i64 = crate::db::on_db!(&self.db, read, pool => {
                sqlx::query_scalar(AssertSqlSafe(sql.clone())).fetch_one(pool).await?
            });
            if rows > 0 {
                return Err(refused(format!(
                    "the database is in use: {table} has {rows} rows; name an empty one in database.url"
                )));
            }
        }
        Ok(())
    }
}

/// Replaces the rows of all tables, those that the migrations made included.
macro_rules! fill {
    ($connection:expr, $driver:expr, $parts:expr) => {{
        let tables = tables!($connection, $driver);
        $parts.check(&tables)?;
        for table in tables.iter().rev() {
            sqlx::query(AssertSqlSafe(table.clear.clone())).execute($connection).await?;
        }
        for table in &tables {
            let mut batches = $parts.batches(&table.name)?;
            while let Some(batch) = batches.next()? {
                sqlx::query(AssertSqlSafe(table.write.clone())).bind(batch).execute($connection).await?;
            }
        }
    }};
}
use fill;

/// A backup whose files were taken out of the archive and found whole.
#[derive(Debug)]
struct Parts {
    manifest: Manifest,
    directory: tempfile::TempDir,
}

impl Parts {
    fn path(&self, table: &str) -> PathBuf {
        self.directory.path().join(format!("{table}.jsonl"))
    }

    fn check(&self, tables: &[Table]) -> Result<(), StoreError> {
        let names: Vec<&String> = tables.iter().map(|table| &table.name).collect();
        let mut strange = self.manifest.tables.keys().filter(|name| !names.contains(name));
        match strange.next() {
            Some(name) => Err(refused(format!("the backup has a table {name:?} that its version did not have"))),
            None => Ok(()),
        }
    }

    fn batches(&self, table: &str) -> Result<Batches, StoreError> {
        let lines = match self.manifest.tables.contains_key(table) {
            true => Some(BufReader::new(File::open(self.path(table)).map_err(file_failed("read the backup"))?)),
            false => None,
        };
        Ok(Batches { lines })
    }
}

/// A table's rows as JSON arrays.
struct Batches {
    lines: Option<BufReader<File>>,
}

impl Batches {
    fn next(&mut self) -> Result<Option<String>, StoreError> {
        let Some(lines) = &mut self.lines else { return Ok(None) };
        let mut batch = String::new();
        for _ in 0..BATCH_ROWS {
            let start = batch.len();
            batch.push(if start == 0 { '[' } else { ',' });
            if lines.read_line(&mut batch).map_err(file_failed("read the backup"))? == 0 {
                batch.truncate(start);
                break;
            }
            if batch.len() > BATCH_BYTES {
                break;
            }
        }
        if batch.is_empty() {
            return Ok(None);
        }
        batch.push(']');
        Ok(Some(batch))
    }
}

/// Takes the files out and checks that they are all there, as the manifest says.
fn unpack(from: &Path) -> Result<Parts, StoreError> {
    let failed = file_failed("read the backup");
    let file = File::open(from).map_err(|error| refused(format!("cannot open {}: {error}", from.display())))?;
    let directory = tempfile::tempdir().map_err(file_failed("make a temporary directory"))?;
    let mut archive = tar::Archive::new(BufReader::new(file));
    let not_one = |_| refused(format!("{} is not a backup of this program", from.display()));
    let mut manifest: Option<Manifest> = None;
    let mut found: BTreeMap<String, TableSummary> = BTreeMap::new();
    for entry in archive.entries().map_err(not_one)? {
        let mut entry = entry.map_err(not_one)?;
        let name = entry.path().map_err(not_one)?.to_string_lossy().into_owned();
        match &manifest {
            None if name == MANIFEST => manifest = Some(read_manifest(entry)?),
            Some(known) => {
                let table = name.strip_suffix(".jsonl").filter(|table| known.tables.contains_key(*table));
                let table =
                    table.ok_or_else(|| refused(format!("the backup holds {name:?}, which does not belong there")))?;
                let to = File::create(directory.path().join(&name)).map_err(&failed)?;
                found.insert(table.to_owned(), copy(&mut entry, to).map_err(&failed)?);
            }
            None => return Err(refused(format!("{} is not a backup of this program", from.display()))),
        }
    }
    let manifest = manifest.ok_or_else(|| refused(format!("{} is not a backup of this program", from.display())))?;
    for (table, wanted) in &manifest.tables {
        if found.get(table) != Some(wanted) {
            return Err(refused(format!(
                "the backup is damaged: {table} is missing, cut off or changed; use another one"
            )));
        }
    }
    Ok(Parts { manifest, directory })
}

fn read_manifest(entry: impl Read) -> Result<Manifest, StoreError> {
    let wrong = || refused("the backup's manifest cannot be read; it is damaged or not of this program");
    let manifest: Manifest = serde_json::from_reader(entry.take(MAX_MANIFEST)).map_err(|_| wrong())?;
    // A table's name becomes a file's.
    let plain = |name: &String| {
        !name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_' || b.is_ascii_digit())
    };
    if manifest.format != FORMAT || !manifest.tables.keys().all(plain) {
        return Err(wrong());
    }
    if manifest.schema > newest() {
        return Err(StoreError::Newer { found: manifest.schema, known: newest() });
    }
    Ok(manifest)
}

/// Copies lines, counting and hashing them.
fn copy(from: &mut impl Read, mut to: File) -> std::io::Result<TableSummary> {
    let mut digest = Context::new(&SHA256);
    let (mut rows, mut buffer) = (0, vec![0; 64 * 1024]);
    loop {
        let read = from.read(&mut buffer)?;
        let Some(bytes) = buffer.get(..read).filter(|bytes| !bytes.is_empty()) else { break };
        digest.update(bytes);
        rows += bytes.iter().filter(|byte| **byte == b'\n').count() as u64;
        std::io::Write::write_all(&mut to, bytes)?;
    }
    Ok(TableSummary { rows, sha256: hex::encode(digest.finish().as_ref()) })
}
