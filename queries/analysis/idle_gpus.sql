-- Which GPUs idled while a run held them?
--
-- A GPU idles where its utilisation is below `below` percent. Hours are from the first to the last
-- sample that is held, shared out by samples.
--
-- Parameters:
--   project VARCHAR OF projects = NULL -- ENTITY/PROJECT, or ENTITY for all its projects.
--   below DOUBLE IN [0, ) = 10.0 -- Percent under which a GPU idles.
--   share DOUBLE IN [0, 1] = 0.5 -- Least share of the samples.
--   since TIMESTAMP = NULL -- Only runs created at this time or later.
--
-- Columns:
--   entity VARCHAR -- Entity that owns the project.
--   project VARCHAR -- Project name.
--   run_id VARCHAR -- Run id.
--   display_name VARCHAR -- Name shown in W&B.
--   username VARCHAR -- Who created the run.
--   state VARCHAR -- State of the run.
--   gpu VARCHAR -- Number of the GPU within the host.
--   samples BIGINT -- Samples that are held.
--   mean_percent DOUBLE -- Mean utilisation.
--   idle_share DOUBLE -- Share of the samples in which it idled.
--   hours DOUBLE -- Hours that the samples span.
--   idle_hours DOUBLE -- Hours in which it idled.
WITH samples AS (
    SELECT r.entity, r.project, r.run_id, r.display_name, r.username, r.state, m.value, m.timestamp,
        replace(replace(m.key, 'system.gpu.', ''), '.gpu', '') AS gpu
    FROM system_metrics AS m
    JOIN runs AS r
        ON r.entity = m.entity AND r.project = m.project AND r.run_id = m.run_id
    WHERE coalesce($project, r.entity) IN (r.entity, concat(r.entity, '/', r.project))
        AND ($since IS NULL OR r.created_at >= $since)
        AND m.key LIKE 'system.gpu.%.gpu' AND m.key NOT LIKE 'system.gpu.process.%'
        AND isfinite(m.value)
),
summed AS (
    SELECT entity, project, run_id, display_name, username, state, gpu, count(*) AS samples,
        avg(value) AS mean_percent,
        CAST(count(CASE WHEN value < $below THEN 1 END) AS DOUBLE) / count(*) AS idle_share,
        (max(timestamp) - min(timestamp)) / 3600 AS hours
    FROM samples
    GROUP BY entity, project, run_id, display_name, username, state, gpu
),
idle AS (
    SELECT *, idle_share * hours AS idle_hours FROM summed WHERE idle_share >= $share
)
SELECT entity, project, run_id, display_name, username, state, gpu, samples, mean_percent,
    idle_share, hours, idle_hours
FROM idle
ORDER BY idle_hours DESC, entity, project, run_id, gpu
