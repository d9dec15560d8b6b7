-- Why do runs fail, and where?
--
-- W&B tells how a run ended, not why. `stage` narrows it down: a run that logged nothing broke in
-- its set-up; one whose summary holds NaN or infinity, in its numbers; any other, in training.
--
-- Parameters:
--   project VARCHAR OF projects = NULL -- ENTITY/PROJECT, or ENTITY for all its projects.
--   by VARCHAR IN ('project', 'user', 'host', 'gpu', 'program', 'group') = 'project' -- What
--     failures are counted by.
--   since TIMESTAMP = NULL -- Only runs created at this time or later.
--   until TIMESTAMP = NULL -- Only runs created before this time.
--
-- Columns:
--   name VARCHAR -- The project (entity/project), user, host, ...; NULL for runs that say of none.
--   state VARCHAR -- failed (non-zero exit), crashed (fell silent), killed or preempted.
--   stage VARCHAR -- set-up, numbers or training.
--   runs BIGINT -- Runs that ended so.
--   share DOUBLE -- Share of all runs of that name.
--   hours DOUBLE -- Compute hours that they took.
--   last_at TIMESTAMP -- When the newest of them was created.
--   last_run VARCHAR -- Its id.
WITH chosen AS (
    SELECT entity, project, run_id, state, created_at, last_step, history_line_count,
        CASE $by WHEN 'user' THEN username WHEN 'host' THEN host WHEN 'gpu' THEN gpu
            WHEN 'program' THEN program WHEN 'group' THEN nullif(group_name, '')
            ELSE concat(entity, '/', project) END AS name,
        greatest(
            coalesce(compute_seconds, epoch(heartbeat_at) - epoch(created_at), 0), 0
        ) / 3600 AS hours
    FROM runs
    WHERE coalesce($project, entity) IN (entity, concat(entity, '/', project))
        AND ($since IS NULL OR created_at >= $since)
        AND ($until IS NULL OR created_at < $until)
),
broken AS (
    SELECT DISTINCT entity, project, run_id
    FROM run_summary
    WHERE NOT isfinite(value)
),
staged AS (
    SELECT c.*,
        count(*) OVER (PARTITION BY c.name) AS runs_of_name,
        CASE WHEN c.last_step IS NULL AND coalesce(c.history_line_count, 0) = 0 THEN 'set-up'
            WHEN b.run_id IS NOT NULL THEN 'numbers' ELSE 'training' END AS stage
    FROM chosen AS c
    LEFT JOIN broken AS b
        ON b.entity = c.entity AND b.project = c.project AND b.run_id = c.run_id
),
placed AS (
    SELECT *,
        row_number() OVER (
            PARTITION BY name, state, stage ORDER BY created_at DESC, entity, project, run_id
        ) AS place
    FROM staged
    WHERE state IN ('failed', 'crashed', 'killed', 'preempted')
)
SELECT name, state, stage, count(*) AS runs, CAST(count(*) AS DOUBLE) / max(runs_of_name) AS share,
    sum(hours) AS hours, max(created_at) AS last_at,
    max(CASE WHEN place = 1 THEN run_id END) AS last_run
FROM placed
GROUP BY name, state, stage
ORDER BY runs DESC, name NULLS LAST, state, stage
