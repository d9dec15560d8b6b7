-- Which runs are said to be running, and have been silent for hours?
--
-- A run's process calls home at least every 30 seconds. Sync first: heartbeats are as old as the
-- last sync.
--
-- Parameters:
--   project VARCHAR OF projects = NULL -- ENTITY/PROJECT, or ENTITY for all its projects.
--   hours DOUBLE IN [0, ) = 3.0 -- Least hours of silence.
--   now TIMESTAMP = 'now' -- Time from which silence is counted back.
--
-- Columns:
--   entity VARCHAR -- Entity that owns the project.
--   project VARCHAR -- Project name.
--   run_id VARCHAR -- Run id.
--   display_name VARCHAR -- Name shown in W&B.
--   username VARCHAR -- Who created it.
--   host VARCHAR -- Where it runs.
--   gpu_count BIGINT -- GPUs that it may hold.
--   created_at TIMESTAMP -- When it was created.
--   heard_at TIMESTAMP -- Last heartbeat; creation where there was none.
--   silent_hours DOUBLE -- Hours since.
--   last_step BIGINT -- Last step that it logged.
WITH running AS (
    SELECT *, coalesce(heartbeat_at, created_at) AS heard_at
    FROM runs
    WHERE coalesce($project, entity) IN (entity, concat(entity, '/', project))
        AND state IN ('running', 'preempting')
),
silent AS (
    SELECT *, (epoch(CAST($now AS TIMESTAMP)) - epoch(heard_at)) / 3600 AS silent_hours
    FROM running
)
SELECT entity, project, run_id, display_name, username, host, gpu_count, created_at, heard_at,
    silent_hours, last_step
FROM silent
WHERE silent_hours >= $hours
ORDER BY silent_hours DESC, entity, project, run_id
