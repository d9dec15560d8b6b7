-- An automation: an event that is waited for, and what is done then.
CREATE TABLE automations (
    entity VARCHAR NOT NULL, -- Entity that it belongs to.
    automation_id VARCHAR NOT NULL, -- W&B's id.
    name VARCHAR, -- Name.
    description VARCHAR, -- Description.
    is_enabled BOOLEAN, -- Whether it acts.
    scope_type VARCHAR, -- What it watches: PROJECT, ARTIFACT_COLLECTION or ENTITY.
    scope_id VARCHAR, -- W&B's id of what it watches.
    scope_name VARCHAR, -- Name of what it watches.
    event_type VARCHAR, -- Event, for example RUN_METRIC, RUN_STATE or LINK_MODEL.
    filter VARCHAR, -- Condition of the event as JSON; filters that W&B encodes as text inside are unfolded.
    action_type VARCHAR, -- NOTIFICATION, GENERIC_WEBHOOK, QUEUE_JOB, NO_OP, ARIA, or W&B's name of another kind.
    action VARCHAR, -- Details of the action as JSON; a webhook's payload and a job's template may hold secrets and are never read.
    integration_id VARCHAR, -- Webhook or channel that it tells.
    created_at TIMESTAMP, -- When it was created.
    updated_at TIMESTAMP, -- When W&B says it last changed.
    deleted_at TIMESTAMP, -- When a sync first found that W&B no longer has it; NULL while it exists.
    synced_at TIMESTAMP NOT NULL, -- When wbsync read this row from W&B.
    PRIMARY KEY (entity, automation_id)
);
