-- An artifact version that is linked into a registry's collection.
CREATE TABLE registry_versions (
    organization VARCHAR NOT NULL, -- Organisation.
    registry VARCHAR NOT NULL, -- Registry.
    collection VARCHAR NOT NULL, -- Collection name.
    collection_id VARCHAR NOT NULL, -- W&B's id of the collection.
    membership_id VARCHAR NOT NULL, -- W&B's id of the link.
    version_index BIGINT, -- Number of the version in this collection.
    version VARCHAR, -- Version as written in names, for example v3.
    aliases VARCHAR, -- Aliases in this collection as a JSON array.
    artifact_id VARCHAR, -- Version that is linked; NULL where W&B does not show it.
    linked_at TIMESTAMP, -- When it was linked.
    source_entity VARCHAR, -- Entity of the project it was logged to.
    source_project VARCHAR, -- Project it was logged to.
    source_collection VARCHAR, -- Its collection there.
    source_version VARCHAR, -- Its version there, for example v7.
    deleted_at TIMESTAMP, -- When a sync first found that W&B no longer has it; NULL while it exists.
    synced_at TIMESTAMP NOT NULL, -- When wbsync read this row from W&B.
    PRIMARY KEY (membership_id)
);
