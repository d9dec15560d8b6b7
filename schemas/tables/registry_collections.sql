-- A collection of a registry.
CREATE TABLE registry_collections (
    organization VARCHAR NOT NULL, -- Organisation.
    registry VARCHAR NOT NULL, -- Registry that holds the collection.
    collection VARCHAR NOT NULL, -- Collection name.
    collection_id VARCHAR NOT NULL, -- W&B's id.
    type_name VARCHAR, -- Artifact type.
    description VARCHAR, -- Description.
    tags VARCHAR, -- Tags as a JSON array.
    version_count BIGINT, -- Versions that W&B claims.
    created_at TIMESTAMP, -- When it was created.
    updated_at TIMESTAMP, -- When W&B says it last changed.
    deleted_at TIMESTAMP, -- When a sync first found that W&B no longer has it; NULL while it exists.
    synced_at TIMESTAMP NOT NULL, -- When wbsync read this row from W&B.
    PRIMARY KEY (collection_id)
);
