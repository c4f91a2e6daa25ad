-- Browser sessions, API keys, tickets; and what people want to know of their sessions.

ALTER TABLE sessions ADD COLUMN user_agent TEXT NOT NULL DEFAULT '';
ALTER TABLE sessions ADD COLUMN address TEXT NOT NULL DEFAULT '';
ALTER TABLE sessions ADD COLUMN last_seen BIGINT;

-- No foreign key: this table may be in another database than the users. A session whose user is gone holds no longer,
-- because the user is looked up too. A session that ended has no row.
CREATE TABLE browser_sessions (
    id          TEXT   NOT NULL PRIMARY KEY,
    user_id     TEXT   NOT NULL,
    cookie_hash TEXT   NOT NULL UNIQUE,              -- SHA-256 of the cookie's value, hex
    user_agent  TEXT   NOT NULL,
    address     TEXT   NOT NULL,
    created_at  BIGINT NOT NULL,
    last_seen   BIGINT NOT NULL,
    max_until   BIGINT NOT NULL
);
CREATE INDEX browser_sessions_user ON browser_sessions (user_id);
CREATE INDEX browser_sessions_max_until ON browser_sessions (max_until);

-- A key that was revoked has no row; the audit log remembers it.
CREATE TABLE api_keys (
    id          TEXT   NOT NULL PRIMARY KEY,
    user_id     TEXT   NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    name        TEXT   NOT NULL,
    prefix      TEXT   NOT NULL,                     -- sk_live_ and six characters
    secret_hash TEXT   NOT NULL UNIQUE,              -- SHA-256 of the key, hex
    scopes      TEXT   NOT NULL,                     -- JSON array
    created_at  BIGINT NOT NULL,
    expires_at  BIGINT,
    last_used   BIGINT,
    UNIQUE (user_id, name)
);

-- Only where several hubs share the database; one hub alone keeps them in memory.
CREATE TABLE tickets (
    hash       TEXT   NOT NULL PRIMARY KEY,          -- SHA-256 of the ticket, hex
    via        TEXT   NOT NULL CHECK (via IN ('token', 'browser', 'key')),
    via_id     TEXT   NOT NULL,
    path       TEXT   NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX tickets_expires ON tickets (expires_at);
