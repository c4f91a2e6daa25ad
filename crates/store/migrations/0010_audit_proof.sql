-- The audit log as a proof: which run of a hub wrote a row, signed checkpoints, what was cut, and where each sink is.

ALTER TABLE audit_events ADD COLUMN run TEXT NOT NULL DEFAULT '';

-- Runs of hubs that have not ended in order. Open acts of a run that is not seen any more are closed by another.
CREATE TABLE audit_runs (
    run           TEXT   NOT NULL PRIMARY KEY,
    started_after BIGINT NOT NULL,                   -- its rows have positions above this one
    last_seen     BIGINT NOT NULL
);
-- Rows older than the column `run` have the empty one, and it is never seen again.
INSERT INTO audit_runs (run, started_after, last_seen) SELECT '', settled_seq, 0 FROM audit_head WHERE id = 1;
ALTER TABLE audit_head DROP COLUMN settled_seq;

-- Checkpoints as JWS. At most one is of kind `retention`: the rows up to it are gone, or about to be.
CREATE TABLE audit_checkpoints (
    seq   BIGINT NOT NULL,
    kind  TEXT   NOT NULL CHECK (kind IN ('head', 'retention')),
    token TEXT   NOT NULL,
    PRIMARY KEY (seq, kind)
);

-- Public halves of all keys that ever signed a checkpoint. Sealed, so that nobody adds one of his own.
CREATE TABLE audit_keys (
    kid        TEXT NOT NULL PRIMARY KEY,
    public_key TEXT NOT NULL                         -- JWK, sealed
);

CREATE TABLE audit_sinks (
    name          TEXT   NOT NULL PRIMARY KEY,
    delivered_seq BIGINT NOT NULL                    -- every row up to here has been delivered
);

-- Who does what only one hub may do at a time.
CREATE TABLE audit_leases (
    name       TEXT   NOT NULL PRIMARY KEY,
    holder     TEXT   NOT NULL,
    held_until BIGINT NOT NULL
);
