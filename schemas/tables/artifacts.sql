-- A version of an artifact in its source collection.
CREATE TABLE artifacts (
    entity VARCHAR NOT NULL, -- Entity (user or team) that owns the project.
    project VARCHAR NOT NULL, -- Project name.
    artifact_id VARCHAR NOT NULL, -- W&B's id of the version.
    type_name VARCHAR NOT NULL, -- Artifact type.
    collection VARCHAR NOT NULL, -- Source collection.
    version_index BIGINT, -- Number of the version in its source collection.
    version VARCHAR, -- Version as written in names, for example v3.
    state VARCHAR, -- PENDING, COMMITTED or DELETED.
    description VARCHAR, -- Description.
    metadata VARCHAR, -- Metadata as JSON.
    tags VARCHAR, -- Tags as a JSON array.
    digest VARCHAR, -- Digest of the manifest.
    size_bytes BIGINT, -- Total size of the files.
    file_count BIGINT, -- Number of files.
    commit_hash VARCHAR, -- Commit hash of the version.
    history_step BIGINT, -- Step of the run at which it was logged.
    ttl_seconds BIGINT, -- Time to live in seconds; NULL for none.
    created_at TIMESTAMP, -- When it was created.
    updated_at TIMESTAMP, -- When W&B says it last changed.
    deleted_at TIMESTAMP, -- When a sync first found that W&B no longer has it; NULL while it exists.
    synced_at TIMESTAMP NOT NULL, -- When wbsync read this row from W&B.
    PRIMARY KEY (artifact_id)
);
