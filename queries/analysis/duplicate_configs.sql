-- Which runs were made with the same config?
--
-- Runs of one project are copies when every config value is the same, but for the keys of `ignore`.
-- Runs without a config are left out.
--
-- Parameters:
--   project VARCHAR OF projects = NULL -- ENTITY/PROJECT, or ENTITY for all its projects.
--   ignore VARCHAR[] = '' -- Config keys that may differ, whole or by their last dotted part.
--   min_runs BIGINT IN [1, ) = 2 -- Fewest runs that share a config.
--
-- Columns:
--   entity VARCHAR -- Entity that owns the project.
--   project VARCHAR -- Project name.
--   runs BIGINT -- Runs that share this config.
--   repeated_hours DOUBLE -- Compute hours of all but the first.
--   first_run VARCHAR -- Id of the oldest.
--   display_name VARCHAR -- Its name in W&B.
--   first_at TIMESTAMP -- When it was created.
--   last_at TIMESTAMP -- When the newest was created.
--   run_ids VARCHAR -- Ids of all, in alphabetical order, with commas between.
WITH chosen AS (
    SELECT entity, project, run_id, display_name, created_at,
        coalesce(compute_seconds, epoch(heartbeat_at) - epoch(created_at), 0) / 3600 AS hours
    FROM runs
    WHERE coalesce($project, entity) IN (entity, concat(entity, '/', project))
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
        row_number() OVER (
            PARTITION BY r.entity, r.project, g.setting ORDER BY r.created_at, r.run_id
        ) AS place
    FROM chosen AS r
    JOIN settings AS g
        ON g.entity = r.entity AND g.project = r.project AND g.run_id = r.run_id
),
shared AS (
    SELECT entity, project, count(*) AS runs,
        sum(CASE WHEN place > 1 THEN greatest(hours, 0) ELSE 0 END) AS repeated_hours,
        max(CASE WHEN place = 1 THEN run_id END) AS first_run,
        max(CASE WHEN place = 1 THEN display_name END) AS display_name,
        min(created_at) AS first_at, max(created_at) AS last_at,
        array_to_string(list_sort(list(run_id)), ',') AS run_ids
    FROM placed
    GROUP BY entity, project, setting
)
SELECT entity, project, runs, repeated_hours, first_run, display_name, first_at, last_at, run_ids
FROM shared
WHERE runs >= $min_runs
ORDER BY repeated_hours DESC, entity, project, first_run
