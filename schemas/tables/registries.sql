-- A registry of an organisation.
CREATE TABLE registries (
    organization VARCHAR NOT NULL, -- Organisation.
    registry VARCHAR NOT NULL, -- Name, without the prefix wandb-registry- that its project has.
    registry_id VARCHAR NOT NULL, -- W&B's id of its project.
    entity VARCHAR NOT NULL, -- Entity of the organisation, which owns its project.
    description VARCHAR, -- Description.
    visibility VARCHAR, -- organization (all members see it) or restricted (those invited do).
    access VARCHAR, -- Access as W&B writes it.
    allow_all_artifact_types BOOLEAN, -- Whether artifacts of any type may be linked into it.
    artifact_types VARCHAR, -- Types that it takes, or that are used in it, as a JSON array.
    created_at TIMESTAMP, -- When it was created.
    updated_at TIMESTAMP, -- When W&B says it last changed.
    deleted_at TIMESTAMP, -- When a sync first found that W&B no longer has it; NULL while it exists.
    synced_at TIMESTAMP NOT NULL, -- When wbsync read this row from W&B.
    PRIMARY KEY (organization, registry)
);
