-- Recorded shells. No foreign keys to users and clusters: recordings outlive them.

CREATE TABLE recordings (
    id          TEXT   NOT NULL PRIMARY KEY,
    kind        TEXT   NOT NULL,                     -- exec, attach, port-forward
    user_id     TEXT   NOT NULL,
    email       TEXT   NOT NULL,
    request_id  TEXT   NOT NULL,
    cluster     TEXT   NOT NULL,
    namespace   TEXT   NOT NULL,
    pod         TEXT   NOT NULL,
    command     TEXT   NOT NULL,
    state       TEXT   NOT NULL,                     -- recording, complete, incomplete
    reason      TEXT   NOT NULL,
    started_at  BIGINT NOT NULL,
    touched_at  BIGINT NOT NULL,                     -- a session that goes on touches its row every few seconds
    duration_ms BIGINT NOT NULL,
    width       BIGINT NOT NULL,
    height      BIGINT NOT NULL,
    exit_code   BIGINT,
    bytes       BIGINT NOT NULL,                     -- before compression
    stored      BIGINT NOT NULL,                     -- of all chunks as they are kept
    chunks      BIGINT NOT NULL,
    hash        TEXT   NOT NULL,                     -- hex; of the last chunk, which holds those before it
    seal        TEXT                                 -- sealed: number of chunks and last hash, once it has ended
);
CREATE INDEX recordings_user ON recordings (user_id, id);
CREATE INDEX recordings_cluster ON recordings (cluster, id);
CREATE INDEX recordings_started ON recordings (started_at);

CREATE TABLE recording_chunks (
    recording_id TEXT   NOT NULL REFERENCES recordings (id) ON DELETE CASCADE,
    number       BIGINT NOT NULL,                    -- from 0
    data         TEXT   NOT NULL,                    -- sealed for this recording and number
    hash         TEXT   NOT NULL,                    -- hex: SHA-256 of the hash before and of data
    PRIMARY KEY (recording_id, number)
);
