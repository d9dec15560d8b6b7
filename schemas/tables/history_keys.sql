-- A metric of a run: what was logged under one key, and whether all of it is held.
CREATE TABLE history_keys (
    entity VARCHAR NOT NULL, -- Entity (user or team) that owns the project.
    project VARCHAR NOT NULL, -- Project name.
    run_id VARCHAR NOT NULL, -- Run id, as in the run's URL (W&B's `name`).
    key VARCHAR NOT NULL, -- Metric.
    types VARCHAR, -- What W&B says was logged, as JSON: type to count.
    claimed_count BIGINT, -- Values that W&B claims; NULL where it does not say.
    held_count BIGINT NOT NULL, -- Values held in history.
    last_step BIGINT, -- Last step held.
    source VARCHAR, -- Where the values came from: export, rows, export+rows or sampled.
    synced_at TIMESTAMP NOT NULL, -- When wbsync read this row from W&B.
    PRIMARY KEY (entity, project, run_id, key)
);
