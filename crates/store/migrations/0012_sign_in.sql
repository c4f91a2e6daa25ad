-- Sign-in at other providers, and hand-over of a sign-in from a browser to the command line. Nothing that is
-- shown as a secret is stored: states, codes and the browser's cookie are kept as SHA-256, tokens are sealed.

-- A sign-in that has been sent to a provider and has not come back. One use: read by deleting.
CREATE TABLE oauth_states (
    hash         TEXT    NOT NULL PRIMARY KEY,
    browser      TEXT    NOT NULL,                   -- SHA-256 of the cookie of the browser that began it
    provider     TEXT    NOT NULL,
    redirect_uri TEXT    NOT NULL,
    nonce        TEXT    NOT NULL,
    verifier     TEXT    NOT NULL,                   -- sealed; PKCE
    return_to    TEXT    NOT NULL,                   -- a path of the hub's own
    hand_over    BOOLEAN NOT NULL,                   -- end with a code for the caller's program instead of a cookie
    expires_at   BIGINT  NOT NULL
);
CREATE INDEX oauth_states_expires ON oauth_states (expires_at);

-- A finished sign-in that waits for the program that asked for it. One use: read by deleting.
CREATE TABLE oauth_codes (
    hash                TEXT   NOT NULL PRIMARY KEY,
    user_id             TEXT   NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    provider_session_id TEXT,
    challenge           TEXT,                        -- PKCE, S256
    redirect_uri        TEXT   NOT NULL,
    expires_at          BIGINT NOT NULL
);
CREATE INDEX oauth_codes_expires ON oauth_codes (expires_at);

-- Who an account is elsewhere. The pair of issuer and subject is the person; the address is for people to read.
CREATE TABLE identities (
    id         TEXT   NOT NULL PRIMARY KEY,
    user_id    TEXT   NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    provider   TEXT   NOT NULL,
    issuer     TEXT   NOT NULL,
    subject    TEXT   NOT NULL,
    email      TEXT   NOT NULL,
    groups     TEXT   NOT NULL,                      -- JSON array, as the provider last said
    seen_at    BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    UNIQUE (issuer, subject)
);
CREATE INDEX identities_user ON identities (user_id);

-- A session at a provider, for as long as a session of ours hangs on it.
CREATE TABLE provider_sessions (
    id            TEXT   NOT NULL PRIMARY KEY,
    identity_id   TEXT   NOT NULL REFERENCES identities (id) ON DELETE CASCADE,
    sid           TEXT,                              -- the provider's name for it
    id_token      TEXT,                              -- sealed; the hint when signing out there
    refresh_token TEXT,                              -- sealed
    refresh_at    BIGINT,                            -- when to ask again; none: never
    created_at    BIGINT NOT NULL
);
CREATE INDEX provider_sessions_identity ON provider_sessions (identity_id);
CREATE INDEX provider_sessions_refresh ON provider_sessions (refresh_at);

-- Sessions of ours that stand on it. No foreign key: browser sessions may be kept elsewhere.
CREATE TABLE session_origins (
    session_id          TEXT NOT NULL PRIMARY KEY,
    provider_session_id TEXT NOT NULL REFERENCES provider_sessions (id) ON DELETE CASCADE
);
CREATE INDEX session_origins_provider ON session_origins (provider_session_id);

-- Logout tokens that were obeyed; each is good once.
CREATE TABLE logout_tokens (
    issuer     TEXT   NOT NULL,
    jti        TEXT   NOT NULL,
    expires_at BIGINT NOT NULL,
    PRIMARY KEY (issuer, jti)
);

-- Device authorization grants (RFC 8628).
CREATE TABLE device_codes (
    hash                TEXT   NOT NULL PRIMARY KEY, -- SHA-256 of the device code
    user_code           TEXT   NOT NULL UNIQUE,
    client              TEXT   NOT NULL,             -- what the device says of itself, for the person who decides
    state               TEXT   NOT NULL CHECK (state IN ('pending', 'approved', 'denied')),
    user_id             TEXT   REFERENCES users (id) ON DELETE CASCADE,
    provider_session_id TEXT,
    interval_ms         BIGINT NOT NULL,
    polled_at           BIGINT NOT NULL,
    expires_at          BIGINT NOT NULL
);
CREATE INDEX device_codes_expires ON device_codes (expires_at);
