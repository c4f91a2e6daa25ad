//! Recorded shells: who, where, when; and their content in sealed chunks.
//!
//! Each chunk is sealed for its recording and number, so none can be read, changed, moved or exchanged by who has only
//! the database. Each holds the hash of all before it, and the end seals how many there are and the last hash: what was
//! cut off is found, too. Of a session that the hub's end interrupted, the last chunk is the last that was written.
//!
//! Must not know: how content is written or compressed, who may see it.

use aws_lc_rs::digest;
use flotilla_types::id::{RecordingId, RequestId, UserId};
use flotilla_types::recording::{RecordingKind, RecordingQuery, RecordingState};
use flotilla_types::time::{Timestamp, now_ms};
use sqlx::{AssertSqlSafe, ColumnIndex, Decode, FromRow, Type};
use zeroize::Zeroizing;

use crate::Store;
use crate::db::on_db;
use crate::error::{StoreError, found, parse, storable};
use crate::seal::value_of;
use crate::sealed::{Place, RECORDING_CHUNK, RECORDING_END};
use flotilla_ledger::hex;

const DEFAULT_LIMIT: u32 = 100;
const MAX_LIMIT: u32 = 500;

/// The hash before the first chunk.
const NO_HASH: [u8; hex::LEN] = [0; hex::LEN];

const INSERT: &str = "INSERT INTO recordings (id, kind, user_id, email, request_id, cluster, namespace, pod, command, \
    state, reason, started_at, touched_at, duration_ms, width, height, exit_code, bytes, stored, chunks, hash, seal) \
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, 'recording', '', $10, $10, 0, 0, 0, NULL, 0, 0, 0, $11, NULL)";
const INSERT_CHUNK: &str = "INSERT INTO recording_chunks (recording_id, number, data, hash) VALUES ($1, $2, $3, $4)";
/// Only the writer that knows the number of chunks can go on, and only until the end.
const ADVANCE: &str = "UPDATE recordings SET chunks = chunks + 1, hash = $3, bytes = bytes + $4, stored = stored + $5, \
    duration_ms = $6, width = $7, height = $8, touched_at = $9 WHERE id = $1 AND chunks = $2 AND state = 'recording'";
const FINISH: &str = "UPDATE recordings SET state = $2, reason = $3, exit_code = $4, duration_ms = $5, seal = $6, \
    touched_at = $7 WHERE id = $1 AND state = 'recording'";
const TOUCH: &str = "UPDATE recordings SET touched_at = $2 WHERE id = $1 AND state = 'recording'";
const BY_ID: &str = "SELECT * FROM recordings WHERE id = $1";
const CHUNK: &str = "SELECT data, hash FROM recording_chunks WHERE recording_id = $1 AND number = $2";
const STORED: &str = "SELECT CAST(COALESCE(SUM(stored), 0) AS BIGINT) FROM recordings";
const DELETE: &str = "DELETE FROM recordings WHERE id = $1";
const FORGET: &str = "DELETE FROM recordings WHERE started_at < $1 AND touched_at < $1";

/// A session that is about to be recorded.
#[derive(Clone, Debug)]
pub struct NewRecording {
    /// What kind.
    pub kind: RecordingKind,
    /// Whose.
    pub user: UserId,
    /// His address.
    pub email: String,
    /// Finds the audit rows.
    pub request_id: RequestId,
    /// Name of the cluster.
    pub cluster: String,
    /// Namespace.
    pub namespace: String,
    /// Name of the pod.
    pub pod: String,
    /// For people.
    pub command: String,
}

/// A recording without its content.
#[derive(Clone, Debug)]
pub struct Recording {
    /// The recording.
    pub id: RecordingId,
    /// As it began.
    pub about: NewRecording,
    /// Where it stands.
    pub state: RecordingState,
    /// What is missing, or why it was cut.
    pub reason: String,
    /// Milliseconds since the epoch.
    pub started_at_ms: i64,
    /// When its writer last said that it lives, milliseconds since the epoch.
    pub touched_at_ms: i64,
    /// Milliseconds from the beginning to what was recorded last.
    pub duration_ms: i64,
    /// Characters in a line at the beginning; 0 if unknown.
    pub width: u16,
    /// Lines at the beginning; 0 if unknown.
    pub height: u16,
    /// How the program ended, where it said so.
    pub exit_code: Option<i32>,
    /// Bytes before compression.
    pub bytes: u64,
    /// Number of chunks.
    pub chunks: i64,
    hash: [u8; hex::LEN],
    seal: Option<String>,
}

/// One more chunk and what is known with it.
#[derive(Clone, Debug)]
pub struct Progress<'a> {
    /// Number of the chunk, from 0.
    pub number: i64,
    /// Content, compressed.
    pub data: &'a [u8],
    /// Bytes before compression.
    pub bytes: usize,
    /// Milliseconds from the beginning to the end of the chunk.
    pub duration_ms: i64,
    /// Characters in a line at the beginning; 0 if unknown.
    pub width: u16,
    /// Lines at the beginning; 0 if unknown.
    pub height: u16,
}

/// How a recording ended.
#[derive(Clone, Debug)]
pub struct RecordingEnd {
    /// Complete or incomplete.
    pub state: RecordingState,
    /// What is missing, or why it was cut.
    pub reason: String,
    /// How the program ended, where it said so.
    pub exit_code: Option<i32>,
    /// Milliseconds from the beginning.
    pub duration_ms: i64,
    /// Number of chunks.
    pub chunks: i64,
    /// Hash of the last chunk.
    pub hash: [u8; hex::LEN],
}

/// Reads a recording's chunks in order, and sees that none is missing.
pub struct ChunkReader {
    id: RecordingId,
    number: i64,
    hash: [u8; hex::LEN],
}

/// The columns of `recordings` that are read.
struct Row {
    id: String,
    kind: String,
    user_id: String,
    email: String,
    request_id: String,
    cluster: String,
    namespace: String,
    pod: String,
    command: String,
    state: String,
    reason: String,
    started_at: i64,
    touched_at: i64,
    duration_ms: i64,
    width: i64,
    height: i64,
    exit_code: Option<i64>,
    bytes: i64,
    chunks: i64,
    hash: String,
    seal: Option<String>,
}

impl<'r, R> FromRow<'r, R> for Row
where
    R: sqlx::Row,
    for<'c> &'c str: ColumnIndex<R>,
    String: Decode<'r, R::Database> + Type<R::Database>,
    Option<String>: Decode<'r, R::Database> + Type<R::Database>,
    i64: Decode<'r, R::Database> + Type<R::Database>,
    Option<i64>: Decode<'r, R::Database> + Type<R::Database>,
{
    fn from_row(row: &'r R) -> Result<Self, sqlx::Error> {
        Ok(Self {
            id: row.try_get("id")?,
            kind: row.try_get("kind")?,
            user_id: row.try_get("user_id")?,
            email: row.try_get("email")?,
            request_id: row.try_get("request_id")?,
            cluster: row.try_get("cluster")?,
            namespace: row.try_get("namespace")?,
            pod: row.try_get("pod")?,
            command: row.try_get("command")?,
            state: row.try_get("state")?,
            reason: row.try_get("reason")?,
            started_at: row.try_get("started_at")?,
            touched_at: row.try_get("touched_at")?,
            duration_ms: row.try_get("duration_ms")?,
            width: row.try_get("width")?,
            height: row.try_get("height")?,
            exit_code: row.try_get("exit_code")?,
            bytes: row.try_get("bytes")?,
            chunks: row.try_get("chunks")?,
            hash: row.try_get("hash")?,
            seal: row.try_get("seal")?,
        })
    }
}

impl TryFrom<Row> for Recording {
    type Error = StoreError;

    fn try_from(row: Row) -> Result<Self, StoreError> {
        let corrupt = |column| StoreError::Corrupt { column };
        Ok(Self {
            id: parse(&row.id, "recordings.id")?,
            about: NewRecording {
                kind: RecordingKind::parse(&row.kind).ok_or_else(|| corrupt("recordings.kind"))?,
                user: parse(&row.user_id, "recordings.user_id")?,
                email: row.email,
                request_id: RequestId::from_caller(&row.request_id).ok_or_else(|| corrupt("recordings.request_id"))?,
                cluster: row.cluster,
                namespace: row.namespace,
                pod: row.pod,
                command: row.command,
            },
            state: RecordingState::parse(&row.state).ok_or_else(|| corrupt("recordings.state"))?,
            reason: row.reason,
            started_at_ms: row.started_at,
            touched_at_ms: row.touched_at,
            duration_ms: row.duration_ms,
            width: u16::try_from(row.width).map_err(|_| corrupt("recordings.width"))?,
            height: u16::try_from(row.height).map_err(|_| corrupt("recordings.height"))?,
            exit_code: row.exit_code.and_then(|code| i32::try_from(code).ok()),
            bytes: u64::try_from(row.bytes).map_err(|_| corrupt("recordings.bytes"))?,
            chunks: row.chunks,
            hash: hex::decode(&row.hash).ok_or_else(|| corrupt("recordings.hash"))?,
            seal: row.seal,
        })
    }
}

/// Only the encrypted value counts: another key-encryption key wraps its data key anew, and breaks no chain.
fn chain(before: &[u8; hex::LEN], sealed: &str) -> [u8; hex::LEN] {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(before);
    context.update(value_of(sealed).as_bytes());
    let mut hash = NO_HASH;
    hash.copy_from_slice(context.finish().as_ref());
    hash
}

fn chunk_row(id: RecordingId, number: i64) -> String {
    format!("{id}/{number}")
}

fn chunk_place(row: &str) -> Place<'_> {
    RECORDING_CHUNK.at(row)
}

fn end_place(row: &str) -> Place<'_> {
    RECORDING_END.at(row)
}

fn end_text(chunks: i64, hash: &[u8; hex::LEN]) -> String {
    format!("{chunks}:{}", hex::encode(hash))
}

impl RecordingEnd {
    /// The hash of a recording without chunks.
    pub const NO_HASH: [u8; hex::LEN] = NO_HASH;
}

impl Store {
    /// Notes that a session is being recorded.
    ///
    /// # Errors
    /// The database failed.
    pub async fn create_recording(&self, new: &NewRecording) -> Result<RecordingId, StoreError> {
        let (id, now) = (RecordingId::new(), now_ms());
        // PostgreSQL's TEXT holds no NUL, and a path may name a pod with one.
        let clean = |text: &str| text.replace('\0', "\u{fffd}");
        on_db!(&self.db, write, pool => {
            sqlx::query(INSERT)
                .bind(id.to_string()).bind(new.kind.as_str()).bind(new.user.to_string()).bind(new.email.as_str())
                .bind(new.request_id.as_str()).bind(new.cluster.as_str()).bind(clean(&new.namespace))
                .bind(clean(&new.pod)).bind(clean(&new.command)).bind(now).bind(hex::encode(&NO_HASH))
                .execute(pool).await?;
        });
        Ok(id)
    }

    /// Adds a chunk behind the one whose hash is `before`, and returns its own.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if the recording has ended or has other chunks; otherwise the database or the sealer
    /// failed. Nothing was added.
    pub async fn append_recording(
        &self,
        id: RecordingId,
        before: &[u8; hex::LEN],
        progress: &Progress<'_>,
    ) -> Result<[u8; hex::LEN], StoreError> {
        let sealed = self.sealer.seal(chunk_place(&chunk_row(id, progress.number)), progress.data)?;
        let hash = chain(before, &sealed);
        let (key, hash_text) = (id.to_string(), hex::encode(&hash));
        let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        on_db!(&self.db, tx, tx => {
            let advance = sqlx::query(ADVANCE)
                .bind(key.as_str()).bind(progress.number).bind(hash_text.as_str()).bind(number(progress.bytes))
                .bind(number(sealed.len())).bind(progress.duration_ms).bind(i64::from(progress.width))
                .bind(i64::from(progress.height)).bind(now_ms());
            if advance.execute(&mut *tx).await?.rows_affected() == 0 {
                return Err(StoreError::Conflict { what: "recording" });
            }
            let insert = sqlx::query(INSERT_CHUNK)
                .bind(key.as_str()).bind(progress.number).bind(sealed.as_str()).bind(hash_text.as_str());
            insert.execute(&mut *tx).await?;
        });
        Ok(hash)
    }

    /// Ends a recording and seals how long it is.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] if it is not being recorded; otherwise the database or the sealer failed.
    pub async fn finish_recording(&self, id: RecordingId, end: &RecordingEnd) -> Result<(), StoreError> {
        let key = id.to_string();
        let seal = self.sealer.seal(end_place(&key), end_text(end.chunks, &end.hash).as_bytes())?;
        let done = on_db!(&self.db, write, pool => {
            let finish = sqlx::query(FINISH)
                .bind(key.as_str()).bind(end.state.as_str()).bind(end.reason.as_str()).bind(end.exit_code.map(i64::from))
                .bind(end.duration_ms).bind(seal).bind(now_ms());
            finish.execute(pool).await?.rows_affected()
        });
        found(done, "recording")
    }

    /// Says that sessions go on, so that nobody takes them for interrupted ones.
    ///
    /// # Errors
    /// The database failed.
    pub async fn touch_recordings(&self, ids: &[RecordingId]) -> Result<(), StoreError> {
        let now = now_ms();
        on_db!(&self.db, tx, tx => {
            for id in ids {
                sqlx::query(TOUCH).bind(id.to_string()).bind(now).execute(&mut *tx).await?;
            }
        });
        Ok(())
    }

    /// One recording.
    ///
    /// # Errors
    /// The database failed.
    pub async fn recording(&self, id: RecordingId) -> Result<Option<Recording>, StoreError> {
        let row: Option<Row> = on_db!(&self.db, read, pool => {
            sqlx::query_as(BY_ID).bind(id.to_string()).fetch_optional(pool).await?
        });
        row.map(Recording::try_from).transpose()
    }

    /// Recordings that match (but for `text`), newest first, at most `query.limit` (1 to 500, otherwise the nearest of
    /// these; 100 when left out), and whether there are more. With `only_user`, only his.
    ///
    /// # Errors
    /// The database failed.
    pub async fn list_recordings(
        &self,
        query: &RecordingQuery,
        only_user: Option<UserId>,
    ) -> Result<(Vec<Recording>, bool), StoreError> {
        let filter = Filter::new(query, only_user);
        if filter.texts.iter().flatten().any(|text| !storable(text)) {
            return Ok((Vec::new(), false));
        }
        let limit = query.limit.unwrap_or(DEFAULT_LIMIT).clamp(1, MAX_LIMIT) as usize;
        let sql = format!("{} ORDER BY id DESC LIMIT {}", filter.sql, limit + 1);
        let rows: Vec<Row> = on_db!(&self.db, read, pool => {
            let mut select = sqlx::query_as(AssertSqlSafe(sql));
            for text in filter.texts.iter().flatten() {
                select = select.bind(text.as_str());
            }
            for time in filter.times.iter().flatten() {
                select = select.bind(*time);
            }
            select.fetch_all(pool).await?
        });
        let more = rows.len() > limit;
        let recordings: Result<Vec<_>, _> = rows.into_iter().take(limit).map(Recording::try_from).collect();
        Ok((recordings?, more))
    }

    /// Bytes of all chunks as they are kept.
    ///
    /// # Errors
    /// The database failed.
    pub async fn recordings_stored(&self) -> Result<u64, StoreError> {
        let (bytes,): (i64,) = on_db!(&self.db, read, pool => sqlx::query_as(STORED).fetch_one(pool).await?);
        Ok(u64::try_from(bytes).unwrap_or(0))
    }

    /// Removes a recording.
    ///
    /// # Errors
    /// The database failed.
    pub async fn delete_recording(&self, id: RecordingId) -> Result<(), StoreError> {
        on_db!(&self.db, write, pool => {
            sqlx::query(DELETE).bind(id.to_string()).execute(pool).await?;
        });
        Ok(())
    }

    /// Removes recordings of sessions that began and ended before `before_ms`, and returns how many.
    ///
    /// # Errors
    /// The database failed.
    pub async fn forget_recordings(&self, before_ms: i64) -> Result<u64, StoreError> {
        Ok(on_db!(&self.db, write, pool => sqlx::query(FORGET).bind(before_ms).execute(pool).await?.rows_affected()))
    }
}

/// The conditions of a query; values in the order of their placeholders, texts first.
struct Filter {
    sql: String,
    texts: [Option<String>; 6],
    times: [Option<i64>; 2],
}

impl Filter {
    fn new(query: &RecordingQuery, only_user: Option<UserId>) -> Self {
        let texts = [
            ("user_id =", only_user.map(|id| id.to_string())),
            ("email =", query.user.clone()),
            ("cluster =", query.cluster.clone()),
            ("namespace =", query.namespace.clone()),
            ("pod =", query.pod.clone()),
            ("id <", query.before.map(|id| id.to_string())),
        ];
        let times = [
            ("started_at >=", query.since.map(Timestamp::as_millisecond)),
            ("started_at <", query.until.map(Timestamp::as_millisecond)),
        ];
        let given = texts.iter().filter(|(_, value)| value.is_some()).map(|(condition, _)| *condition);
        let given = given.chain(times.iter().filter(|(_, value)| value.is_some()).map(|(condition, _)| *condition));
        let mut sql = "SELECT * FROM recordings WHERE chunks >= 0".to_owned();
        for (at, condition) in given.enumerate() {
            sql.push_str(&format!(" AND {condition} ${}", at + 1));
        }
        Self { sql, texts: texts.map(|(_, value)| value), times: times.map(|(_, value)| value) }
    }
}

impl ChunkReader {
    /// Reads from the first chunk on.
    #[must_use]
    pub fn new(id: RecordingId) -> Self {
        Self { id, number: 0, hash: NO_HASH }
    }

    /// The next chunk's content, compressed; `None` after the last one that there is now.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] if a chunk is missing, or not the one that was written; [`StoreError::Sealed`] if it does
    /// not open; otherwise the database failed.
    pub async fn next(&mut self, store: &Store) -> Result<Option<Zeroizing<Vec<u8>>>, StoreError> {
        let row: Option<(String, String)> = on_db!(&store.db, read, pool => {
            sqlx::query_as(CHUNK).bind(self.id.to_string()).bind(self.number).fetch_optional(pool).await?
        });
        let Some((sealed, hash)) = row else {
            self.check_end(store).await?;
            return Ok(None);
        };
        let chained = chain(&self.hash, &sealed);
        if hex::decode(&hash) != Some(chained) {
            return Err(StoreError::Corrupt { column: "recording_chunks.hash" });
        }
        let plain = store.sealer.open(chunk_place(&chunk_row(self.id, self.number)), &sealed)?;
        self.hash = chained;
        self.number += 1;
        Ok(Some(plain))
    }

    /// That what was read is all there is.
    async fn check_end(&self, store: &Store) -> Result<(), StoreError> {
        let Some(recording) = store.recording(self.id).await? else { return Ok(()) };
        let cut_off = || StoreError::Corrupt { column: "recordings.chunks" };
        let Some(seal) = &recording.seal else {
            // It goes on, or was interrupted. More may have been written since the last chunk was looked for.
            return if recording.chunks >= self.number { Ok(()) } else { Err(cut_off()) };
        };
        let sealed = store.sealer.open(end_place(&self.id.to_string()), seal)?;
        if sealed.as_slice() == end_text(self.number, &self.hash).as_bytes() && recording.hash == self.hash {
            return Ok(());
        }
        Err(cut_off())
    }
}
