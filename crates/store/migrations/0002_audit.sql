-- The audit log. Rows are only ever added. No foreign keys: the log outlives users and clusters.

CREATE TABLE audit_events (
    seq           BIGINT NOT NULL PRIMARY KEY,       -- from 1, without gaps
    id            TEXT   NOT NULL UNIQUE,
    attempt_id    TEXT   UNIQUE,                     -- outcome rows: the attempted row; at most one outcome each
    time          BIGINT NOT NULL,
    request_id    TEXT   NOT NULL,
    route         TEXT   NOT NULL,
    actor_id      TEXT,
    actor_email   TEXT   NOT NULL,
    actor_groups  TEXT   NOT NULL,                   -- JSON array
    actor_address TEXT   NOT NULL,
    verb          TEXT   NOT NULL,
    outcome       TEXT   NOT NULL,
    cluster       TEXT   NOT NULL,
    cluster_id    TEXT,
    api_group     TEXT   NOT NULL,
    api_version   TEXT   NOT NULL,
    resource      TEXT   NOT NULL,
    namespace     TEXT   NOT NULL,
    name          TEXT   NOT NULL,
    command       TEXT   NOT NULL,
    reason        TEXT   NOT NULL,
    status        BIGINT NOT NULL,
    bytes         BIGINT NOT NULL,
    duration_ms   BIGINT NOT NULL,
    hash          TEXT   NOT NULL                    -- hex; see flotilla_store::audit for the canonical form
);
CREATE INDEX audit_events_request ON audit_events (request_id);
CREATE INDEX audit_events_time ON audit_events (time);
CREATE INDEX audit_events_actor ON audit_events (actor_email, seq);
CREATE INDEX audit_events_cluster ON audit_events (cluster, seq);

-- One row: the end of the chain. Writers update it first, so that two of them cannot give out one position.
CREATE TABLE audit_head (
    id          BIGINT NOT NULL PRIMARY KEY CHECK (id = 1),
    seq         BIGINT NOT NULL,
    hash        TEXT   NOT NULL,
    settled_seq BIGINT NOT NULL                      -- every attempted row up to here has its outcome
);
INSERT INTO audit_head (id, seq, hash, settled_seq)
VALUES (1, 0, '0000000000000000000000000000000000000000000000000000000000000000', 0);

-- One row per act: its first row with the outcome, `attempted` while the outcome is open.
CREATE VIEW audit_logs AS
SELECT first.id                                          AS id,
       first.actor_id                                    AS user_id,
       first.cluster_id                                  AS cluster_id,
       first.command                                     AS command,
       COALESCE(last.outcome, first.outcome)             AS status,
       COALESCE(last.duration_ms, first.duration_ms)     AS duration_ms,
       first.time                                        AS created_at
FROM audit_events first
LEFT JOIN audit_events last ON last.attempt_id = first.id
WHERE first.attempt_id IS NULL;
