-- A change of one field of a run's metadata that a sync saw.
CREATE TABLE run_changes (
    entity VARCHAR NOT NULL, -- Entity (user or team) that owns the project.
    project VARCHAR NOT NULL, -- Project name.
    run_id VARCHAR NOT NULL, -- Run id, as in the run's URL (W&B's `name`).
    field VARCHAR NOT NULL, -- Column of runs, or config. or summary. and the dotted path of a leaf.
    old VARCHAR, -- Value before, as JSON; NULL where there was none.
    new VARCHAR, -- Value after, as JSON; NULL where there is none.
    held_since TIMESTAMP NOT NULL, -- When wbsync read the run as it was before: the change was made after that.
    synced_at TIMESTAMP NOT NULL -- When wbsync read the run as it was after: the change was made before that.
);
