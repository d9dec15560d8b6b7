-- What is held of one table of a run (history, system_metrics, run_files), against what W&B claims.
CREATE TABLE ledger (
    entity VARCHAR NOT NULL, -- Entity (user or team) that owns the project.
    project VARCHAR NOT NULL, -- Project name.
    run_id VARCHAR NOT NULL, -- Run id, as in the run's URL (W&B's `name`).
    table_name VARCHAR NOT NULL, -- history, system_metrics or run_files.
    held_rows BIGINT NOT NULL, -- Logged rows that were read, or files that were listed; a row without any value leaves nothing in the table.
    held_steps BIGINT, -- Distinct steps among them (samples of system metrics); NULL where they were never counted.
    held_values BIGINT, -- Values among them: the run's rows in the table; NULL where they were never counted.
    last_step BIGINT, -- Last step held; NULL for none, and for system metrics.
    claimed_rows BIGINT, -- Rows that W&B claimed when all it had was read; NULL while the run is half read, and for files.
    claimed_last_step BIGINT, -- Last step that W&B claimed then.
    source VARCHAR, -- Where they came from: export, rows, export+rows, or sampled where W&B left some out.
    checksum VARCHAR, -- Checksum of the values, whatever their order and the files they lie in; NULL where there is none.
    synced_at TIMESTAMP NOT NULL, -- When held and claimed were last compared.
    PRIMARY KEY (entity, project, run_id, table_name)
);
