-- How far do runs that differ in their seed alone spread?
--
-- Runs of one project belong together when their configs are the same but for the keys of `ignore`.
-- Values that are NaN or infinite do not count.
--
-- Parameters:
--   project VARCHAR OF projects -- ENTITY/PROJECT, or ENTITY for all its projects.
--   metric VARCHAR OF summary -- Summary key; nested ones dotted.
--   goal VARCHAR IN ('minimize', 'maximize') = 'minimize' -- Which way is better.
--   ignore VARCHAR[] = 'seed,random_seed' -- Config keys that may differ, whole or by their last
--     dotted part.
--   min_runs BIGINT IN [1, ) = 2 -- Fewest runs that a setting must have.
--
-- Columns:
--   entity VARCHAR -- Entity that owns the project.
--   project VARCHAR -- Project name.
--   runs BIGINT -- Runs of this setting.
--   scored BIGINT -- Those of them that have the metric, finite.
--   mean DOUBLE -- Mean of the metric.
--   stddev DOUBLE -- Standard deviation; NULL for one run.
--   standard_error DOUBLE -- Standard error of the mean; NULL for one run.
--   min DOUBLE -- Least value.
--   max DOUBLE -- Greatest value.
--   first_run VARCHAR -- Id of the setting's oldest run.
--   display_name VARCHAR -- That run's name in W&B.
--   config VARCHAR -- That run's config as JSON, ignored keys included.
WITH chosen AS (
    SELECT entity, project, run_id, display_name, created_at, config
    FROM runs
    WHERE $project IN (entity, concat(entity, '/', project))
),
leaves AS (
    SELECT r.entity, r.project, r.run_id, c.key,
        dense_rank() OVER (
            PARTITION BY c.key ORDER BY c.value NULLS LAST, c.json NULLS LAST
        ) AS value_number
    FROM chosen AS r
    JOIN run_config AS c
        ON c.entity = r.entity AND c.project = r.project AND c.run_id = r.run_id
    WHERE NOT list_contains($ignore, c.key)
        AND NOT list_contains($ignore, split_part(c.key, '.', -1))
),
settings AS (
    SELECT entity, project, run_id,
        array_to_string(
            list_sort(list(concat(
                CAST(length(key) AS VARCHAR), ':', key, '=', CAST(value_number AS VARCHAR)
            ))), ','
        ) AS setting
    FROM leaves
    GROUP BY entity, project, run_id
),
placed AS (
    SELECT r.*, g.setting,
        CASE WHEN isfinite(s.value) THEN s.value END AS value,
        row_number() OVER (
            PARTITION BY r.entity, r.project, g.setting ORDER BY r.created_at, r.run_id
        ) AS place
    FROM chosen AS r
    JOIN settings AS g
        ON g.entity = r.entity AND g.project = r.project AND g.run_id = r.run_id
    LEFT JOIN run_summary AS s
        ON s.entity = r.entity AND s.project = r.project AND s.run_id = r.run_id
        AND s.key = $metric
),
spread AS (
    SELECT entity, project, count(*) AS runs, count(value) AS scored, avg(value) AS mean,
        stddev_samp(value) AS stddev, min(value) AS min, max(value) AS max,
        max(CASE WHEN place = 1 THEN run_id END) AS first_run,
        max(CASE WHEN place = 1 THEN display_name END) AS display_name,
        max(CASE WHEN place = 1 THEN config END) AS config
    FROM placed
    GROUP BY entity, project, setting
),
ordered AS (
    SELECT *, CASE WHEN $goal = 'maximize' THEN -mean ELSE mean END AS cost
    FROM spread
    WHERE runs >= $min_runs AND scored > 0
)
SELECT entity, project, runs, scored, mean, stddev, stddev / sqrt(scored) AS standard_error,
    min, max, first_run, display_name, config
FROM ordered
ORDER BY cost, entity, project, first_run
