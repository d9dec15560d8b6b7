-- How long does each run take to reach a target?
--
-- The first logged value that is at least as good as the target. NaN and infinite values, and rows
-- without a step, are left out; a run that logged nothing else has no row.
--
-- Parameters:
--   project VARCHAR OF projects -- ENTITY/PROJECT, or ENTITY for all its projects.
--   metric VARCHAR OF history -- History key; nested ones dotted.
--   target DOUBLE -- Value to reach.
--   goal VARCHAR IN ('minimize', 'maximize') = 'minimize' -- Which way is better.
--   sweep VARCHAR OF sweep = NULL -- Only runs of this sweep.
--
-- Columns:
--   entity VARCHAR -- Entity that owns the project.
--   project VARCHAR -- Project name.
--   run_id VARCHAR -- Run id.
--   display_name VARCHAR -- Name shown in W&B.
--   state VARCHAR -- State of the run.
--   is_reached BOOLEAN -- Whether it got there.
--   step BIGINT -- Step at which it did.
--   seconds DOUBLE -- Runtime at that step; NULL where none was logged with it.
--   value DOUBLE -- Value at that step.
--   best_value DOUBLE -- Best value of the whole run.
WITH points AS (
    SELECT r.entity, r.project, r.run_id, r.display_name, r.state, h.step, h.row, h.value,
        CASE WHEN $goal = 'maximize' THEN -h.value ELSE h.value END AS cost,
        CASE WHEN $goal = 'maximize' THEN -$target ELSE $target END AS target_cost
    FROM history AS h
    JOIN runs AS r
        ON r.entity = h.entity AND r.project = h.project AND r.run_id = h.run_id
    WHERE $project IN (r.entity, concat(r.entity, '/', r.project))
        AND ($sweep IS NULL OR r.sweep_id = $sweep)
        AND h.key = $metric
        AND h.step IS NOT NULL
        AND isfinite(h.value)
),
ordered AS (
    SELECT *,
        row_number() OVER (
            PARTITION BY entity, project, run_id
            ORDER BY CASE WHEN cost <= target_cost THEN 0 ELSE 1 END, step, row
        ) AS place,
        min(cost) OVER (PARTITION BY entity, project, run_id) AS best_cost
    FROM points
),
firsts AS (
    SELECT *, cost <= target_cost AS is_reached FROM ordered WHERE place = 1
)
SELECT f.entity, f.project, f.run_id, f.display_name, f.state, f.is_reached,
    CASE WHEN f.is_reached THEN f.step END AS step,
    CASE WHEN f.is_reached THEN t.value END AS seconds,
    CASE WHEN f.is_reached THEN f.value END AS value,
    CASE WHEN $goal = 'maximize' THEN -f.best_cost ELSE f.best_cost END AS best_value
FROM firsts AS f
LEFT JOIN history AS t
    ON t.entity = f.entity AND t.project = f.project AND t.run_id = f.run_id
    AND t.step = f.step AND t.row = f.row AND t.key = '_runtime'
ORDER BY is_reached DESC, step NULLS LAST, f.entity, f.project, f.run_id
