-- What a write to a cluster changed, on its outcome row: JSON, or nothing. Part of the row's hash when it is there.

ALTER TABLE audit_events ADD COLUMN diff TEXT NOT NULL DEFAULT '';
