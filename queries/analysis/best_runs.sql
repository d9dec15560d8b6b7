-- Which run is best in each group, sweep, job type or user's work?
--
-- Runs that belong to none are left out, as are values that are missing, NaN or infinite. Of runs
-- with equal values the oldest is shown.
--
-- Parameters:
--   project VARCHAR OF projects -- ENTITY/PROJECT, or ENTITY for all its projects.
--   metric VARCHAR OF summary -- Summary key; nested ones dotted.
--   goal VARCHAR IN ('minimize', 'maximize') = 'minimize' -- Which way is better.
--   by VARCHAR IN ('group', 'sweep', 'job_type', 'user', 'host', 'project') = 'group' -- What
--     makes runs belong together.
--
-- Columns:
--   entity VARCHAR -- Entity that owns the project.
--   project VARCHAR -- Project name.
--   name VARCHAR -- The group, sweep, job type, user, host or project.
--   runs BIGINT -- Its runs that have the metric.
--   best_value DOUBLE -- The metric of the best of them.
--   mean DOUBLE -- Mean of the metric.
--   stddev DOUBLE -- Standard deviation of the metric; NULL for one run.
--   run_id VARCHAR -- The best run's id.
--   display_name VARCHAR -- The best run's name in W&B.
--   created_at TIMESTAMP -- When the best run was created.
WITH scored AS (
    SELECT r.entity, r.project, r.run_id, r.display_name, r.created_at, s.value,
        CASE $by WHEN 'group' THEN r.group_name WHEN 'sweep' THEN r.sweep_id
            WHEN 'job_type' THEN r.job_type WHEN 'user' THEN r.username
            WHEN 'host' THEN r.host ELSE r.project END AS name,
        CASE WHEN $goal = 'maximize' THEN -s.value ELSE s.value END AS cost
    FROM runs AS r
    JOIN run_summary AS s
        ON s.entity = r.entity AND s.project = r.project AND s.run_id = r.run_id
    WHERE $project IN (r.entity, concat(r.entity, '/', r.project))
        AND s.key = $metric
        AND isfinite(s.value)
),
placed AS (
    SELECT *,
        row_number() OVER (
            PARTITION BY entity, project, name ORDER BY cost, created_at, run_id
        ) AS place,
        count(*) OVER (PARTITION BY entity, project, name) AS runs,
        avg(value) OVER (PARTITION BY entity, project, name) AS mean,
        stddev_samp(value) OVER (PARTITION BY entity, project, name) AS stddev
    FROM scored
    WHERE name <> ''
)
SELECT entity, project, name, runs, value AS best_value, mean, stddev, run_id, display_name,
    created_at
FROM placed
WHERE place = 1
ORDER BY entity, project, cost, name
