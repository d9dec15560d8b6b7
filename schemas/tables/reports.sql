-- A report, a draft of one, or a saved workspace view of a project.
CREATE TABLE reports (
    entity VARCHAR NOT NULL, -- Entity (user or team) that owns the project.
    project VARCHAR NOT NULL, -- Project name.
    report_id VARCHAR NOT NULL, -- W&B's id.
    view_type VARCHAR NOT NULL, -- runs for a published report, runs/draft for a draft, project-view for a workspace.
    name VARCHAR, -- Internal name.
    display_name VARCHAR, -- Title.
    description VARCHAR, -- Description.
    username VARCHAR, -- User who made it.
    url_slug VARCHAR, -- Last part of its URL: ENTITY/PROJECT/reports/SLUG; NULL for workspaces.
    spec VARCHAR, -- Content as JSON: blocks, panels, run sets with their filters.
    created_at TIMESTAMP, -- When it was created.
    updated_at TIMESTAMP, -- When W&B says it last changed.
    deleted_at TIMESTAMP, -- When a sync first found that W&B no longer has it; NULL while it exists.
    synced_at TIMESTAMP NOT NULL, -- When wbsync read this row from W&B.
    PRIMARY KEY (entity, project, report_id)
);
