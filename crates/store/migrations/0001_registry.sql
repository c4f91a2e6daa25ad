-- One text for SQLite and PostgreSQL. Ids are UUIDv7 as TEXT, times are milliseconds since the epoch as
-- BIGINT, JSON is TEXT. A migration that has been released is never edited: the next one mends it.

CREATE TABLE users (
    id            TEXT    NOT NULL PRIMARY KEY,
    email         TEXT    NOT NULL UNIQUE,           -- normalised (trimmed, lower case) by the caller
    password_hash TEXT    NOT NULL,                  -- PHC string or bcrypt; empty means no password sign-in
    must_change   BOOLEAN NOT NULL,
    created_at    BIGINT  NOT NULL,
    updated_at    BIGINT  NOT NULL
);

CREATE TABLE roles (
    name       TEXT   NOT NULL PRIMARY KEY,
    definition TEXT   NOT NULL,                      -- flotilla_types::policy::Role as JSON
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);

-- `role` is a name and deliberately no foreign key to `roles`: a role may be built in or live in the roles
-- file, and is assigned in the same way. A name that no source knows gives no rights.
CREATE TABLE user_roles (
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    role    TEXT NOT NULL,
    PRIMARY KEY (user_id, role)
);
CREATE INDEX user_roles_role ON user_roles (role);

CREATE TABLE sessions (
    id         TEXT   NOT NULL PRIMARY KEY,
    user_id    TEXT   NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    created_at BIGINT NOT NULL,
    max_until  BIGINT NOT NULL,                      -- no refresh and no access from this moment on
    ended_at   BIGINT
);
CREATE INDEX sessions_user ON sessions (user_id);
CREATE INDEX sessions_max_until ON sessions (max_until);

-- Every refresh token that a session ever had, spent ones too: a spent one that is shown again is stolen.
CREATE TABLE refresh_tokens (
    hash       TEXT   NOT NULL PRIMARY KEY,          -- SHA-256 of the token, hex
    session_id TEXT   NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    issued_at  BIGINT NOT NULL,
    spent_at   BIGINT
);
CREATE INDEX refresh_tokens_session ON refresh_tokens (session_id);

CREATE TABLE clusters (
    id         TEXT   NOT NULL PRIMARY KEY,
    name       TEXT   NOT NULL UNIQUE,
    backend    TEXT   NOT NULL CHECK (backend IN ('agent', 'kubeconfig', 'in-cluster')),
    credential TEXT,                                 -- sealed; only direct backends have one
    metadata   TEXT   NOT NULL,                      -- JSON object
    last_seen  BIGINT,
    created_at BIGINT NOT NULL
);

CREATE TABLE enrolment_tokens (
    secret_hash TEXT   NOT NULL PRIMARY KEY,         -- SHA-256 of the secret part, hex
    cluster     TEXT   NOT NULL,                     -- a name: the cluster is registered when the agent comes
    created_by  TEXT,                                -- users.id; kept when the user goes
    created_at  BIGINT NOT NULL,
    expires_at  BIGINT NOT NULL,
    redeemed_at BIGINT
);
CREATE INDEX enrolment_tokens_expires ON enrolment_tokens (expires_at);

CREATE TABLE agents (
    id                 TEXT   NOT NULL PRIMARY KEY,
    cluster_id         TEXT   NOT NULL REFERENCES clusters (id) ON DELETE CASCADE,
    certificate_serial TEXT   NOT NULL,
    certificate_until  BIGINT NOT NULL,
    enrolled_at        BIGINT NOT NULL,
    last_seen          BIGINT,
    revoked_at         BIGINT
);
CREATE INDEX agents_cluster ON agents (cluster_id);

CREATE TABLE signing_keys (
    kid         TEXT   NOT NULL PRIMARY KEY,
    algorithm   TEXT   NOT NULL,
    private_key TEXT   NOT NULL,                     -- sealed
    created_at  BIGINT NOT NULL,
    retired_at  BIGINT
);
