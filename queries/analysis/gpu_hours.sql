-- Who used how much compute?
--
-- Hours are the active seconds that W&B counts; where it has none, the time from a run's creation
-- to its last heartbeat. GPU-hours are hours times the number of GPUs of the host; runs that do not
-- say it count as none, and `runs_without_gpu` says how many. Runs count where they were created
-- (UTC).
--
-- Parameters:
--   project VARCHAR OF projects = NULL -- ENTITY/PROJECT, or ENTITY for all its projects.
--   by VARCHAR IN ('user', 'group', 'project', 'entity', 'sweep', 'job_type', 'host', 'gpu') =
--     'user' -- What the hours are added up by.
--   since TIMESTAMP = NULL -- Only runs created at this time or later.
--   until TIMESTAMP = NULL -- Only runs created before this time.
--
-- Columns:
--   name VARCHAR -- The user, group (entity/project/group), project (entity/project), ...; NULL for
--     runs that belong to none.
--   runs BIGINT -- Runs.
--   running BIGINT -- Those of them that still run.
--   hours DOUBLE -- Compute hours.
--   gpu_hours DOUBLE -- GPU-hours.
--   gpu_share DOUBLE -- Share of all GPU-hours; NULL where there are none.
--   runs_without_gpu BIGINT -- Runs that say of no GPU.
WITH chosen AS (
    SELECT state, gpu_count,
        CASE $by WHEN 'user' THEN username WHEN 'entity' THEN entity WHEN 'host' THEN host
            WHEN 'gpu' THEN gpu WHEN 'job_type' THEN job_type
            WHEN 'group' THEN concat(entity, '/', project, '/') || nullif(group_name, '')
            WHEN 'sweep' THEN concat(entity, '/', project, '/') || nullif(sweep_id, '')
            ELSE concat(entity, '/', project) END AS name,
        greatest(
            coalesce(compute_seconds, epoch(heartbeat_at) - epoch(created_at), 0), 0
        ) / 3600 AS hours
    FROM runs
    WHERE coalesce($project, entity) IN (entity, concat(entity, '/', project))
        AND ($since IS NULL OR created_at >= $since)
        AND ($until IS NULL OR created_at < $until)
),
summed AS (
    SELECT nullif(name, '') AS name, count(*) AS runs,
        count(CASE WHEN state = 'running' THEN 1 END) AS running,
        sum(hours) AS hours, sum(hours * coalesce(gpu_count, 0)) AS gpu_hours,
        count(CASE WHEN coalesce(gpu_count, 0) = 0 THEN 1 END) AS runs_without_gpu
    FROM chosen
    GROUP BY nullif(name, '')
)
SELECT name, runs, running, hours, gpu_hours,
    gpu_hours / nullif(sum(gpu_hours) OVER (), 0) AS gpu_share, runs_without_gpu
FROM summed
ORDER BY gpu_hours DESC, hours DESC, name NULLS LAST
