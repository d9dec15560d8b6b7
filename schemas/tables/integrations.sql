-- A webhook or channel of an entity that automations can tell.
CREATE TABLE integrations (
    entity VARCHAR NOT NULL, -- Entity that it belongs to.
    integration_id VARCHAR NOT NULL, -- W&B's id; the kind where W&B gives none.
    kind VARCHAR, -- slack, webhook, or W&B's name of another kind.
    name VARCHAR, -- Name of a webhook.
    team_name VARCHAR, -- Slack workspace.
    channel_name VARCHAR, -- Slack channel.
    url_host VARCHAR, -- Scheme, host and port that a webhook calls; user, path and query may hold secrets and are not kept.
    deleted_at TIMESTAMP, -- When a sync first found that W&B no longer has it; NULL while it exists.
    synced_at TIMESTAMP NOT NULL, -- When wbsync read this row from W&B.
    PRIMARY KEY (entity, integration_id)
);
