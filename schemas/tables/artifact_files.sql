-- A file of an artifact version, as its manifest names it.
CREATE TABLE artifact_files (
    entity VARCHAR NOT NULL, -- Entity (user or team) that owns the project.
    project VARCHAR NOT NULL, -- Project name.
    artifact_id VARCHAR NOT NULL, -- Version that holds the file.
    path VARCHAR NOT NULL, -- Path within the artifact, as it was given when it was logged.
    digest VARCHAR NOT NULL, -- MD5 (or XXH128 where `extra` says so) in base64; for references the ETag, checksum or address.
    size_bytes BIGINT, -- Size; NULL where the manifest does not say.
    ref VARCHAR, -- Address of a file that W&B does not hold, for example s3://bucket/key; NULL otherwise.
    birth_artifact_id VARCHAR, -- Version that first held this content.
    extra VARCHAR, -- Further facts as JSON, for example ETag and version of a cloud object.
    synced_at TIMESTAMP NOT NULL, -- When wbsync read this row from W&B.
    PRIMARY KEY (artifact_id, path)
);
