-- Organisations, teams, invitations, whose each cluster is, and access on request.

CREATE TABLE orgs (
    id           TEXT   NOT NULL PRIMARY KEY,
    name         TEXT   NOT NULL UNIQUE,             -- checked by the caller (flotilla_types::name::check_slug)
    display_name TEXT   NOT NULL,
    created_at   BIGINT NOT NULL
);
-- Every hub has it: whoever and whatever belongs to no other organisation belongs to this one.
INSERT INTO orgs (id, name, display_name, created_at)
VALUES ('00000000-0000-7000-8000-000000000001', 'default', 'Default', 0);

CREATE TABLE org_members (
    org_id  TEXT NOT NULL REFERENCES orgs (id) ON DELETE CASCADE,
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    role    TEXT NOT NULL,                           -- org_owner, org_admin, org_member
    PRIMARY KEY (org_id, user_id)
);
CREATE INDEX org_members_user ON org_members (user_id);

CREATE TABLE teams (
    id         TEXT   NOT NULL PRIMARY KEY,
    org_id     TEXT   NOT NULL REFERENCES orgs (id) ON DELETE CASCADE,
    name       TEXT   NOT NULL,
    policy     TEXT   NOT NULL,                      -- flotilla_types::org::TeamPolicy as JSON
    created_at BIGINT NOT NULL,
    UNIQUE (org_id, name)
);

CREATE TABLE team_members (
    team_id TEXT NOT NULL REFERENCES teams (id) ON DELETE CASCADE,
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    role    TEXT NOT NULL,                           -- team_admin, developer, viewer
    PRIMARY KEY (team_id, user_id)
);
CREATE INDEX team_members_user ON team_members (user_id);

-- A cluster without a row belongs to the default organisation, in mode `tier`.
CREATE TABLE cluster_access (
    cluster_id TEXT NOT NULL PRIMARY KEY REFERENCES clusters (id) ON DELETE CASCADE,
    org_id     TEXT NOT NULL REFERENCES orgs (id) ON DELETE CASCADE,
    team_id    TEXT REFERENCES teams (id) ON DELETE SET NULL,
    mode       TEXT NOT NULL                         -- shared, tier, raw
);
CREATE INDEX cluster_access_org ON cluster_access (org_id);

CREATE TABLE team_clusters (
    team_id    TEXT NOT NULL REFERENCES teams (id) ON DELETE CASCADE,
    cluster_id TEXT NOT NULL REFERENCES clusters (id) ON DELETE CASCADE,
    PRIMARY KEY (team_id, cluster_id)
);
CREATE INDEX team_clusters_cluster ON team_clusters (cluster_id);

CREATE TABLE invitations (
    id          TEXT   NOT NULL PRIMARY KEY,
    token_hash  TEXT   NOT NULL UNIQUE,              -- SHA-256 of the token, hex
    org_id      TEXT   NOT NULL REFERENCES orgs (id) ON DELETE CASCADE,
    team_id     TEXT   REFERENCES teams (id) ON DELETE CASCADE,
    role        TEXT   NOT NULL,
    email       TEXT,                                -- only he may accept
    created_by  TEXT   NOT NULL,
    created_at  BIGINT NOT NULL,
    expires_at  BIGINT NOT NULL,
    accepted_at BIGINT,
    accepted_by TEXT
);
CREATE INDEX invitations_org ON invitations (org_id);
CREATE INDEX invitations_expires ON invitations (expires_at);

CREATE TABLE access_requests (
    id               TEXT   NOT NULL PRIMARY KEY,
    user_id          TEXT   NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    ask              TEXT   NOT NULL,                -- flotilla_types::access::AccessAsk as JSON
    clusters         TEXT   NOT NULL,                -- JSON array of ids of clusters
    approvals_needed BIGINT NOT NULL,
    state            TEXT   NOT NULL,                -- pending, granted, denied, ended, expired
    created_at       BIGINT NOT NULL,
    granted_at       BIGINT,
    ends_at          BIGINT
);
CREATE INDEX access_requests_user ON access_requests (user_id);
CREATE INDEX access_requests_state ON access_requests (state, ends_at);

CREATE TABLE access_decisions (
    request_id TEXT    NOT NULL REFERENCES access_requests (id) ON DELETE CASCADE,
    user_id    TEXT    NOT NULL,                     -- no foreign key: what was decided stays
    email      TEXT    NOT NULL,
    approved   BOOLEAN NOT NULL,
    comment    TEXT    NOT NULL,
    at         BIGINT  NOT NULL,
    PRIMARY KEY (request_id, user_id)
);

-- One row, counted up by whatever changes the tables above: hubs see by it that they must read them again.
CREATE TABLE access_revision (
    id       BIGINT NOT NULL PRIMARY KEY CHECK (id = 1),
    revision BIGINT NOT NULL
);
INSERT INTO access_revision (id, revision) VALUES (1, 1);
