-- A run: what was trained, by whom, with which settings, and how it ended.
CREATE TABLE runs (
    entity VARCHAR NOT NULL, -- Entity (user or team) that owns the project.
    project VARCHAR NOT NULL, -- Project name.
    run_id VARCHAR NOT NULL, -- Run id, as in the run's URL (W&B's `name`).
    storage_id VARCHAR, -- W&B's storage id of the run, needed to write to it.
    display_name VARCHAR, -- Name shown in W&B; editable, not unique.
    state VARCHAR, -- running, finished, failed, crashed, killed, pending, preempting or preempted.
    notes VARCHAR, -- Notes.
    tags VARCHAR, -- Tags as a JSON array; run_tags holds one row a tag.
    group_name VARCHAR, -- Group.
    job_type VARCHAR, -- Job type.
    username VARCHAR, -- Login of the user who created the run.
    user_name VARCHAR, -- Full name of that user.
    sweep_id VARCHAR, -- Sweep that started the run.
    created_at TIMESTAMP, -- When the run was created.
    heartbeat_at TIMESTAMP, -- When the run's process was last heard of; the end of a finished run, nearly.
    updated_at TIMESTAMP, -- When W&B says the run last changed; NULL where the server does not say.
    compute_seconds DOUBLE, -- Active seconds.
    git_commit VARCHAR, -- Git commit SHA.
    git_remote VARCHAR, -- Git remote.
    host VARCHAR, -- Host name.
    program VARCHAR, -- Program that was run.
    python_version VARCHAR, -- Python version.
    sdk_version VARCHAR, -- Version of the wandb SDK that logged the run.
    os VARCHAR, -- Operating system.
    gpu VARCHAR, -- GPU model.
    gpu_count BIGINT, -- Number of GPUs.
    config VARCHAR, -- Config as JSON, without W&B's own keys; run_config holds one row a leaf.
    config_raw VARCHAR, -- Config exactly as W&B holds it, with `desc` and `_wandb`.
    summary VARCHAR, -- Summary as JSON; run_summary holds one row a leaf.
    system_summary VARCHAR, -- Last value of each system metric, as JSON.
    history_line_count BIGINT, -- Rows of history that W&B claims.
    last_step BIGINT, -- Last step that W&B claims; NULL for an empty history.
    event_line_count BIGINT, -- Rows of system metrics that W&B claims.
    log_line_count BIGINT, -- Lines of console output that W&B claims.
    branch_point VARCHAR, -- Run and step this run was forked or rewound from, as JSON.
    content_hash VARCHAR, -- Hash of the row as W&B gave it; changes when the run does. NULL where W&B has not told all of the run yet: each sync asks again.
    deleted_at TIMESTAMP, -- When a sync first found that W&B no longer has it; NULL while it exists.
    synced_at TIMESTAMP NOT NULL, -- When wbsync read this row from W&B.
    PRIMARY KEY (entity, project, run_id)
);
