-- One value of one metric of one run at one step: all that was logged, not sampled.
CREATE TABLE history (
    entity VARCHAR NOT NULL, -- Entity (user or team) that owns the project.
    project VARCHAR NOT NULL, -- Project name.
    run_id VARCHAR NOT NULL, -- Run id, as in the run's URL (W&B's `name`).
    key VARCHAR NOT NULL, -- Metric; nested dictionaries are joined with dots.
    step BIGINT, -- Step; NULL for a row that was logged without one.
    row BIGINT NOT NULL, -- Which of several rows logged at this step, from 0.
    value DOUBLE, -- Number (NaN and infinities included), or 1/0 of a boolean; NULL for anything else.
    json VARCHAR, -- JSON of what is not exactly a double: strings, booleans, lists, media, histograms, integers beyond 2^53.
    synced_at TIMESTAMP NOT NULL -- When wbsync read this row from W&B.
);
