-- One change of state of an operation in the queue of edits: the audit trail.
CREATE TABLE edit_log (
    line BIGINT NOT NULL, -- Number of the line; later ones happened later.
    at TIMESTAMP NOT NULL, -- When it happened.
    op_id BIGINT NOT NULL, -- Operation; the table edits says what it changes, and who made it.
    from_state VARCHAR, -- State before; NULL where it was queued.
    to_state VARCHAR NOT NULL, -- State since: pending, sending, applied, conflict, failed or dropped.
    push_id VARCHAR, -- Push that changed it; NULL where a person did.
    error VARCHAR, -- Why, where something went wrong.
    PRIMARY KEY (line)
);
