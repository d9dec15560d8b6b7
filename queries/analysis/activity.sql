-- What was run, week by week?
--
-- Runs count in the week (from Monday, UTC) in which they were created. Weeks without runs have no
-- row.
--
-- Parameters:
--   project VARCHAR OF projects = NULL -- ENTITY/PROJECT, or ENTITY for all its projects.
--   unit VARCHAR IN ('day', 'week', 'month') = 'week' -- Length of a period.
--   by VARCHAR IN ('all', 'project', 'user') = 'all' -- What each period is split by.
--   since TIMESTAMP = NULL -- Only runs created at this time or later.
--   until TIMESTAMP = NULL -- Only runs created before this time.
--
-- Columns:
--   period TIMESTAMP -- Its begin.
--   name VARCHAR -- all, the project (entity/project), or the user.
--   runs BIGINT -- Runs created.
--   users BIGINT -- Different users who created them.
--   finished BIGINT -- Runs that finished.
--   failed BIGINT -- Runs that failed, crashed, or were killed or preempted.
--   running BIGINT -- Runs that have not ended.
--   steps BIGINT -- Steps logged.
--   hours DOUBLE -- Compute hours.
--   gpu_hours DOUBLE -- GPU-hours: hours times GPUs of the host.
WITH chosen AS (
    SELECT date_trunc($unit, created_at) AS period, state, username,
        CASE $by WHEN 'project' THEN concat(entity, '/', project) WHEN 'user' THEN username
            ELSE 'all' END AS name,
        coalesce(last_step + 1, 0) AS steps, coalesce(gpu_count, 0) AS gpus,
        greatest(
            coalesce(compute_seconds, epoch(heartbeat_at) - epoch(created_at), 0), 0
        ) / 3600 AS hours
    FROM runs
    WHERE coalesce($project, entity) IN (entity, concat(entity, '/', project))
        AND created_at IS NOT NULL
        AND ($since IS NULL OR created_at >= $since)
        AND ($until IS NULL OR created_at < $until)
)
SELECT period, name, count(*) AS runs, count(DISTINCT username) AS users,
    count(CASE WHEN state = 'finished' THEN 1 END) AS finished,
    count(CASE WHEN state IN ('failed', 'crashed', 'killed', 'preempted') THEN 1 END) AS failed,
    count(CASE WHEN state IN ('running', 'pending', 'preempting') THEN 1 END) AS running,
    CAST(sum(steps) AS BIGINT) AS steps, sum(hours) AS hours, sum(hours * gpus) AS gpu_hours
FROM chosen
GROUP BY period, name
ORDER BY period, name NULLS LAST
