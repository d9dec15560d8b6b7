-- How fast do runs go, by hardware, host or user?
--
-- Steps per second of active time, run by run; runs without steps or without time are left out.
--
-- Parameters:
--   project VARCHAR OF projects = NULL -- ENTITY/PROJECT, or ENTITY for all its projects.
--   by VARCHAR IN ('gpu', 'host', 'user', 'group', 'sweep', 'project') = 'gpu' -- What runs are put
--     together by.
--   since TIMESTAMP = NULL -- Only runs created at this time or later.
--   until TIMESTAMP = NULL -- Only runs created before this time.
--
-- Columns:
--   entity VARCHAR -- Entity that owns the project.
--   project VARCHAR -- Project name: steps of different projects are not comparable.
--   name VARCHAR -- The GPU, host, ...; NULL for runs that say of none.
--   gpu_count BIGINT -- GPUs of a run; NULL where it does not say.
--   runs BIGINT -- Runs.
--   steps BIGINT -- Their steps.
--   hours DOUBLE -- Their hours.
--   mean_rate DOUBLE -- Steps per second over all of them together.
--   median_rate DOUBLE -- Median of the runs' steps per second.
--   min_rate DOUBLE -- Slowest run.
--   max_rate DOUBLE -- Fastest run.
WITH timed AS (
    SELECT entity, project, gpu_count, last_step + 1 AS steps,
        CASE $by WHEN 'gpu' THEN gpu WHEN 'host' THEN host WHEN 'user' THEN username
            WHEN 'group' THEN nullif(group_name, '') WHEN 'sweep' THEN sweep_id
            ELSE project END AS name,
        coalesce(compute_seconds, epoch(heartbeat_at) - epoch(created_at)) AS seconds
    FROM runs
    WHERE coalesce($project, entity) IN (entity, concat(entity, '/', project))
        AND ($since IS NULL OR created_at >= $since)
        AND ($until IS NULL OR created_at < $until)
),
rated AS (
    SELECT *, steps / nullif(seconds, 0) AS rate
    FROM timed
    WHERE steps > 0 AND seconds > 0
)
SELECT entity, project, name, gpu_count, count(*) AS runs, CAST(sum(steps) AS BIGINT) AS steps,
    sum(seconds) / 3600 AS hours, sum(steps) / sum(seconds) AS mean_rate,
    median(rate) AS median_rate, min(rate) AS min_rate, max(rate) AS max_rate
FROM rated
GROUP BY entity, project, name, gpu_count
ORDER BY entity, project, mean_rate DESC, name NULLS LAST, gpu_count NULLS LAST
