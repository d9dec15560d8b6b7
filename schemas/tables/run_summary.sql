-- One leaf of a run's summary.
CREATE TABLE run_summary (
    entity VARCHAR NOT NULL, -- Entity (user or team) that owns the project.
    project VARCHAR NOT NULL, -- Project name.
    run_id VARCHAR NOT NULL, -- Run id, as in the run's URL (W&B's `name`).
    key VARCHAR NOT NULL, -- Dotted path of the leaf.
    value DOUBLE, -- Number (NaN and infinities included), or 1/0 of a boolean; NULL for anything else.
    json VARCHAR, -- JSON of what is not exactly a double: strings, booleans, lists, media, null, integers beyond 2^53.
    synced_at TIMESTAMP NOT NULL, -- When wbsync read this row from W&B.
    PRIMARY KEY (entity, project, run_id, key)
);
