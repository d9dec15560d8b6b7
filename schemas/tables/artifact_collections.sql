-- A collection: the named sequence of versions of an artifact.
CREATE TABLE artifact_collections (
    entity VARCHAR NOT NULL, -- Entity (user or team) that owns the project.
    project VARCHAR NOT NULL, -- Project name.
    type_name VARCHAR NOT NULL, -- Artifact type.
    collection VARCHAR NOT NULL, -- Collection name.
    collection_id VARCHAR NOT NULL, -- W&B's id.
    kind VARCHAR, -- ArtifactSequence (source) or ArtifactPortfolio (linked).
    description VARCHAR, -- Description.
    tags VARCHAR, -- Tags as a JSON array.
    version_count BIGINT, -- Versions that W&B claims.
    created_at TIMESTAMP, -- When it was created.
    updated_at TIMESTAMP, -- When W&B says it last changed.
    deleted_at TIMESTAMP, -- When a sync first found that W&B no longer has it; NULL while it exists.
    synced_at TIMESTAMP NOT NULL, -- When wbsync read this row from W&B.
    PRIMARY KEY (entity, project, type_name, collection)
);
