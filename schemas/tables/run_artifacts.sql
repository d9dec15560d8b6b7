-- Lineage: this run logged or used that artifact version.
CREATE TABLE run_artifacts (
    entity VARCHAR NOT NULL, -- Entity (user or team) that owns the project.
    project VARCHAR NOT NULL, -- Project name.
    run_id VARCHAR NOT NULL, -- Run id, as in the run's URL (W&B's `name`).
    artifact_id VARCHAR NOT NULL, -- W&B's id of the version.
    direction VARCHAR NOT NULL, -- logged or used.
    type_name VARCHAR, -- Artifact type.
    artifact_name VARCHAR, -- Source collection and version, for example dataset:v3.
    synced_at TIMESTAMP NOT NULL, -- When wbsync read this row from W&B.
    PRIMARY KEY (entity, project, run_id, artifact_id, direction)
);
