-- A sweep.
CREATE TABLE sweeps (
    entity VARCHAR NOT NULL, -- Entity (user or team) that owns the project.
    project VARCHAR NOT NULL, -- Project name.
    sweep_id VARCHAR NOT NULL, -- Sweep id, as in its URL.
    storage_id VARCHAR, -- W&B's storage id.
    display_name VARCHAR, -- Name shown in W&B.
    description VARCHAR, -- Description.
    state VARCHAR, -- PENDING, RUNNING, PAUSED, FINISHED or CANCELED.
    method VARCHAR, -- grid, random or bayes.
    metric VARCHAR, -- Metric that the sweep optimises.
    goal VARCHAR, -- minimize or maximize.
    config VARCHAR, -- Sweep configuration as JSON.
    config_yaml VARCHAR, -- Sweep configuration as W&B holds it (YAML).
    best_loss DOUBLE, -- Best value as W&B reports it.
    best_run_id VARCHAR, -- Best run by the sweep's metric and goal among the runs held.
    run_count BIGINT, -- Runs that W&B claims.
    run_count_expected BIGINT, -- Runs that W&B expects (grid sweeps).
    created_at TIMESTAMP, -- When it was created.
    updated_at TIMESTAMP, -- When W&B says it last changed.
    deleted_at TIMESTAMP, -- When a sync first found that W&B no longer has it; NULL while it exists.
    synced_at TIMESTAMP NOT NULL, -- When wbsync read this row from W&B.
    PRIMARY KEY (entity, project, sweep_id)
);
