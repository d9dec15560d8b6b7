-- A type of artifact in a project.
CREATE TABLE artifact_types (
    entity VARCHAR NOT NULL, -- Entity (user or team) that owns the project.
    project VARCHAR NOT NULL, -- Project name.
    type_name VARCHAR NOT NULL, -- Type, for example dataset or model.
    type_id VARCHAR, -- W&B's id.
    description VARCHAR, -- Description.
    created_at TIMESTAMP, -- When it was created.
    deleted_at TIMESTAMP, -- When a sync first found that W&B no longer has it; NULL while it exists.
    synced_at TIMESTAMP NOT NULL, -- When wbsync read this row from W&B.
    PRIMARY KEY (entity, project, type_name)
);
