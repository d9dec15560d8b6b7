-- An entity whose projects are synced: a user, a team or an organisation.
CREATE TABLE entities (
    entity VARCHAR NOT NULL, -- Name, as in URLs.
    entity_id VARCHAR, -- W&B's id.
    kind VARCHAR, -- user, team or organization.
    username VARCHAR, -- User whose personal entity it is; NULL for teams.
    organization VARCHAR, -- Organisation that it belongs to.
    default_access VARCHAR, -- Who may see new projects, as W&B names it.
    is_read_only BOOLEAN, -- Whether this key may only read.
    is_private_only BOOLEAN, -- Whether all its projects must be private.
    is_code_saved BOOLEAN, -- Whether runs save their code.
    is_paid BOOLEAN, -- Whether it is on a paid plan.
    storage_bytes BIGINT, -- Storage that it uses, in bytes.
    held VARCHAR, -- Which tables of the entity as a whole were once read to their end, as a JSON list; NULL for none.
    deleted_at TIMESTAMP, -- When a sync first found that W&B no longer has it; NULL while it exists.
    synced_at TIMESTAMP NOT NULL, -- When wbsync read this row from W&B.
    PRIMARY KEY (entity)
);
