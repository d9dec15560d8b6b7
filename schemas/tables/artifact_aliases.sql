-- An alias of an artifact version.
CREATE TABLE artifact_aliases (
    entity VARCHAR NOT NULL, -- Entity (user or team) that owns the project.
    project VARCHAR NOT NULL, -- Project name.
    collection VARCHAR NOT NULL, -- Collection in which the alias stands.
    alias VARCHAR NOT NULL, -- Alias, for example latest or best.
    artifact_id VARCHAR NOT NULL, -- Version that it points to.
    version_index BIGINT, -- Number of that version.
    synced_at TIMESTAMP NOT NULL, -- When wbsync read this row from W&B.
    PRIMARY KEY (entity, project, collection, alias)
);
