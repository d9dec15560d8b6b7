-- One value of one system metric (CPU, GPU, network, ...) of one run at one time.
CREATE TABLE system_metrics (
    entity VARCHAR NOT NULL, -- Entity (user or team) that owns the project.
    project VARCHAR NOT NULL, -- Project name.
    run_id VARCHAR NOT NULL, -- Run id, as in the run's URL (W&B's `name`).
    key VARCHAR NOT NULL, -- Metric, for example system.cpu.
    step BIGINT NOT NULL, -- Ordinal of the sample within the run, from 0.
    row BIGINT NOT NULL, -- Always 0; kept so that history and system_metrics have one shape.
    timestamp DOUBLE, -- Wall time, seconds since 1970 (UTC).
    runtime DOUBLE, -- Seconds since the run started.
    value DOUBLE, -- Number; NULL for anything else.
    json VARCHAR, -- JSON of what is not a number.
    synced_at TIMESTAMP NOT NULL -- When wbsync read this row from W&B.
);
