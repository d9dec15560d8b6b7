-- Which config values differ among several runs?
--
-- A row for each run and each key that is not the same in all of them, a run that lacks the key
-- included. Choose the runs by id, by sweep or by group; else they are all of the project's.
--
-- Parameters:
--   project VARCHAR OF project -- ENTITY/PROJECT.
--   run VARCHAR[] OF run = '' -- Ids of the runs.
--   sweep VARCHAR OF sweep = NULL -- Only runs of this sweep.
--   group VARCHAR = NULL -- Only runs of this group.
--
-- Columns:
--   key VARCHAR -- Dotted config key.
--   distinct_values BIGINT -- Different values of it, a missing one not counted.
--   run_id VARCHAR -- Run id.
--   display_name VARCHAR -- Name shown in W&B.
--   is_set BOOLEAN -- Whether this run has the key.
--   value DOUBLE -- Its number; NULL for anything else.
--   text VARCHAR -- JSON of what is not exactly a number.
WITH chosen AS (
    SELECT entity, project, run_id, display_name, created_at
    FROM runs
    WHERE $project = concat(entity, '/', project)
        AND (array_length($run) = 0 OR list_contains($run, run_id))
        AND ($sweep IS NULL OR sweep_id = $sweep)
        AND ($group IS NULL OR group_name = $group)
),
leaves AS (
    SELECT r.run_id, c.key, c.value, c.json,
        dense_rank() OVER (
            PARTITION BY c.key ORDER BY c.value NULLS LAST, c.json NULLS LAST
        ) AS value_number
    FROM chosen AS r
    JOIN run_config AS c
        ON c.entity = r.entity AND c.project = r.project AND c.run_id = r.run_id
),
keys AS (
    SELECT key, max(value_number) AS distinct_values
    FROM leaves
    GROUP BY key
    HAVING max(value_number) > 1 OR count(*) < (SELECT count(*) FROM chosen)
)
SELECT k.key, k.distinct_values, r.run_id, r.display_name, l.value_number IS NOT NULL AS is_set,
    l.value, l.json AS text
FROM keys AS k
CROSS JOIN chosen AS r
LEFT JOIN leaves AS l ON l.key = k.key AND l.run_id = r.run_id
ORDER BY k.key, r.created_at, r.run_id
