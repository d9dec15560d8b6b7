-- A W&B project.
CREATE TABLE projects (
    entity VARCHAR NOT NULL, -- Entity (user or team) that owns the project.
    project VARCHAR NOT NULL, -- Project name.
    project_id VARCHAR, -- W&B's storage id of the project.
    internal_id VARCHAR, -- W&B's numeric project id, stable across renames.
    description VARCHAR, -- Description.
    access VARCHAR, -- Who may see it, as W&B names it.
    is_read_only BOOLEAN, -- Whether this key may only read it.
    created_at TIMESTAMP, -- When it was created.
    updated_at TIMESTAMP, -- When W&B says it last changed.
    run_count BIGINT, -- Runs that W&B claims at the last sync.
    sweep_count BIGINT, -- Sweeps that W&B claims at the last sync.
    bookmark VARCHAR, -- Up to where this project's runs are known to be complete, and under `held` which tables of the project as a whole were read to their end, as JSON; NULL before either is known.
    deleted_at TIMESTAMP, -- When a sync first found that W&B no longer has it; NULL while it exists.
    synced_at TIMESTAMP NOT NULL, -- When wbsync read this row from W&B.
    PRIMARY KEY (entity, project)
);
