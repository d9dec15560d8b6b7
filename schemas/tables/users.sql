-- A person or service account that a sync met: who the key belongs to, whose entity was synced, and members of teams.
CREATE TABLE users (
    username VARCHAR NOT NULL, -- Login; runs and reports name their user by it.
    user_id VARCHAR, -- W&B's id, where W&B gave it.
    name VARCHAR, -- Name shown in W&B.
    email VARCHAR, -- Mail address, personal data: only where W&B shows it to this key, as last given.
    entity VARCHAR, -- Default entity of the user, where W&B gave it.
    is_admin BOOLEAN, -- Whether it administers the server, where W&B said so.
    deleted_at TIMESTAMP, -- When the account was deleted, as W&B says; NULL while it exists.
    synced_at TIMESTAMP NOT NULL, -- When wbsync read this row from W&B.
    PRIMARY KEY (username)
);
