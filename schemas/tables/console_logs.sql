-- A line of a run's console output; read only where it is asked for (`wbsync sync --logs`).
CREATE TABLE console_logs (
    entity VARCHAR NOT NULL, -- Entity (user or team) that owns the project.
    project VARCHAR NOT NULL, -- Project name.
    run_id VARCHAR NOT NULL, -- Run id, as in the run's URL (W&B's `name`).
    number BIGINT NOT NULL, -- Number of the line within the run, from 0.
    timestamp TIMESTAMP, -- When the line was written.
    level VARCHAR, -- error for what came on standard error; NULL otherwise.
    label VARCHAR, -- Which of several processes wrote it; NULL where there was one.
    line VARCHAR, -- The text, with terminal escapes as they were written.
    synced_at TIMESTAMP NOT NULL, -- When wbsync read this row from W&B.
    PRIMARY KEY (entity, project, run_id, number)
);
