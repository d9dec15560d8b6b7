-- One operation of an edit: what waits to be pushed, and what became of what was pushed.
CREATE TABLE edits (
    op_id BIGINT NOT NULL, -- Number of the operation; later ones build on earlier ones.
    edit_id VARCHAR NOT NULL, -- Edit that it is part of: one accepted command.
    state VARCHAR NOT NULL, -- pending, sending, applied, conflict, failed or dropped.
    kind VARCHAR NOT NULL, -- What it changes: run, artifact or artifact_collection.
    entity VARCHAR NOT NULL, -- Entity (user or team) that owns the project.
    project VARCHAR NOT NULL, -- Project name.
    name VARCHAR NOT NULL, -- Run id, `collection:v3`, or collection.
    field VARCHAR NOT NULL, -- Field that it changes, for example tags or config.
    path VARCHAR NOT NULL, -- Keys down to the leaf, or the alias, as a JSON array; [] for a whole field.
    action VARCHAR NOT NULL, -- add, remove, set, append or unset.
    value VARCHAR, -- What is set, added, taken away or appended, as JSON; NULL for unset.
    base VARCHAR, -- Value of the field that it was based on, as JSON; NULL where there was none.
    before VARCHAR, -- Value that W&B held when it was sent, as JSON.
    after VARCHAR, -- Value that W&B holds because of it, as JSON.
    theirs VARCHAR, -- Value that W&B was found to hold, of a conflict, as JSON.
    who VARCHAR NOT NULL, -- Who made the edit.
    why VARCHAR NOT NULL, -- What for; empty where nobody said.
    origin VARCHAR NOT NULL, -- Way in: cli, sql, import, python or undo.
    command VARCHAR NOT NULL, -- What was typed.
    made_at TIMESTAMP NOT NULL, -- When the edit was accepted.
    changed_at TIMESTAMP NOT NULL, -- When the operation came into its state.
    attempts BIGINT NOT NULL, -- How often it was sent.
    error VARCHAR, -- Why it waits or failed.
    push_id VARCHAR, -- Push that touched it last.
    undoes VARCHAR, -- Edit or push that the edit takes back.
    PRIMARY KEY (op_id)
);
