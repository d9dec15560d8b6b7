-- One sync of one project, or of what belongs to an entity as a whole, and what it cost.
CREATE TABLE sync_log (
    sync_id VARCHAR NOT NULL, -- Id of the sync.
    entity VARCHAR NOT NULL, -- Entity.
    project VARCHAR NOT NULL, -- Project; empty for what belongs to the entity as a whole.
    started_at TIMESTAMP NOT NULL, -- When it started.
    ended_at TIMESTAMP, -- When it ended.
    outcome VARCHAR NOT NULL, -- complete, partial, stopped, interrupted or failed.
    requests BIGINT NOT NULL, -- Requests to W&B.
    bytes_in BIGINT NOT NULL, -- Bytes received.
    runs_seen BIGINT NOT NULL, -- Runs that W&B listed.
    runs_changed BIGINT NOT NULL, -- Runs that were new or changed.
    history_rows BIGINT NOT NULL, -- History values written.
    skipped BIGINT NOT NULL, -- Things set aside.
    error VARCHAR, -- What went wrong, if anything.
    PRIMARY KEY (sync_id, entity, project)
);
