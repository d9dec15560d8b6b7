-- A file of a run, as W&B describes it; its content stays at W&B.
CREATE TABLE run_files (
    entity VARCHAR NOT NULL, -- Entity (user or team) that owns the project.
    project VARCHAR NOT NULL, -- Project name.
    run_id VARCHAR NOT NULL, -- Run id, as in the run's URL (W&B's `name`).
    name VARCHAR NOT NULL, -- Path of the file within the run, as it was given when it was logged.
    file_id VARCHAR, -- W&B's id of the file.
    size_bytes BIGINT, -- Size; NULL where W&B does not say.
    mimetype VARCHAR, -- Kind of file, for example text/plain.
    md5 VARCHAR, -- MD5 of the content, in base64; NULL where W&B has none.
    updated_at TIMESTAMP, -- When it was last uploaded.
    deleted_at TIMESTAMP, -- When a sync first found that W&B no longer has it; NULL while it exists.
    synced_at TIMESTAMP NOT NULL, -- When wbsync read this row from W&B.
    PRIMARY KEY (entity, project, run_id, name)
);
