-- Clusters: more ways to reach one, what people say of it, how it is, and who shares it.

-- A CHECK cannot be widened with one text for both engines: the column is made anew.
ALTER TABLE clusters ADD COLUMN way TEXT NOT NULL DEFAULT 'agent'
    CHECK (way IN ('agent', 'kubeconfig', 'in-cluster', 'eks'));
UPDATE clusters SET way = backend;
ALTER TABLE clusters DROP COLUMN backend;
ALTER TABLE clusters RENAME COLUMN way TO backend;

ALTER TABLE clusters ADD COLUMN auth_type TEXT;                       -- what the credential is; NULL without one
ALTER TABLE clusters ADD COLUMN server TEXT NOT NULL DEFAULT '';      -- URL of the API server, for people
ALTER TABLE clusters ADD COLUMN labels TEXT NOT NULL DEFAULT '{}';    -- JSON object of texts
UPDATE clusters SET auth_type = 'kubeconfig' WHERE backend = 'kubeconfig' AND credential IS NOT NULL;

-- How each cluster was when it was last looked at.
CREATE TABLE cluster_health (
    cluster_id     TEXT   NOT NULL PRIMARY KEY REFERENCES clusters (id) ON DELETE CASCADE,
    status         TEXT   NOT NULL,                  -- healthy, degraded, unreachable, unknown, denied
    error_class    TEXT,                             -- denied, auth_failed, timeout, apiserver_unreachable, unknown
    detail         TEXT   NOT NULL,                  -- for people
    server_version TEXT   NOT NULL,                  -- as the API server gave it; empty when it did not
    latency_ms     BIGINT NOT NULL,
    checked_at     BIGINT NOT NULL,
    changed_at     BIGINT NOT NULL                   -- since when the status is what it is
);

-- The cluster that a person works with unless he names another.
CREATE TABLE cluster_defaults (
    user_id    TEXT NOT NULL PRIMARY KEY REFERENCES users (id) ON DELETE CASCADE,
    cluster_id TEXT NOT NULL REFERENCES clusters (id) ON DELETE CASCADE
);
CREATE INDEX cluster_defaults_cluster ON cluster_defaults (cluster_id);

-- `subject_id` is no foreign key, because its table depends on `subject_kind`. Ids are never used again.
CREATE TABLE cluster_shares (
    cluster_id   TEXT   NOT NULL REFERENCES clusters (id) ON DELETE CASCADE,
    subject_kind TEXT   NOT NULL,                    -- user (team)
    subject_id   TEXT   NOT NULL,
    level        TEXT   NOT NULL,                    -- name of the built-in role whose rules hold for this cluster
    created_by   TEXT   NOT NULL,
    created_at   BIGINT NOT NULL,
    PRIMARY KEY (cluster_id, subject_kind, subject_id)
);
CREATE INDEX cluster_shares_subject ON cluster_shares (subject_kind, subject_id);
