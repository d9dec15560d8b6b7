-- Which runs stopped improving long before they ended?
--
-- A run has settled at the first step at which all but `tolerance` of its improvement (from its
-- first value to its best) was made; from there to its last step it lay on a plateau. Runs whose
-- plateau is at least `share` of their steps are shown. NaN and infinite values, and rows without a
-- step, are left out.
--
-- Parameters:
--   project VARCHAR OF projects -- ENTITY/PROJECT, or ENTITY for all its projects.
--   metric VARCHAR OF history -- History key; nested ones dotted.
--   goal VARCHAR IN ('minimize', 'maximize') = 'minimize' -- Which way is better.
--   tolerance DOUBLE IN [0, 1] = 0.02 -- Share of the improvement that may still be missing.
--   share DOUBLE IN [0, 1] = 0.3 -- Least share of the steps.
--
-- Columns:
--   entity VARCHAR -- Entity that owns the project.
--   project VARCHAR -- Project name.
--   run_id VARCHAR -- Run id.
--   display_name VARCHAR -- Name shown in W&B.
--   state VARCHAR -- State of the run.
--   settled_step BIGINT -- Step from which on it gained next to nothing.
--   last_step BIGINT -- Last step of the metric.
--   plateau_share DOUBLE -- The plateau as a share of the steps.
--   plateau_hours DOUBLE -- Compute hours on it, by share of the steps.
--   first_value DOUBLE -- First value.
--   best_value DOUBLE -- Best value.
WITH points AS (
    SELECT r.entity, r.project, r.run_id, h.step, h.row,
        CASE WHEN $goal = 'maximize' THEN -h.value ELSE h.value END AS cost
    FROM history AS h
    JOIN runs AS r
        ON r.entity = h.entity AND r.project = h.project AND r.run_id = h.run_id
    WHERE $project IN (r.entity, concat(r.entity, '/', r.project))
        AND h.key = $metric AND h.step IS NOT NULL
        AND isfinite(h.value)
),
framed AS (
    SELECT *,
        first_value(cost) OVER (
            PARTITION BY entity, project, run_id ORDER BY step, row
        ) AS first_cost,
        min(cost) OVER (PARTITION BY entity, project, run_id) AS best_cost
    FROM points
),
settled AS (
    SELECT entity, project, run_id, first_cost, best_cost, min(step) AS first_step,
        max(step) AS last_step,
        min(CASE WHEN cost <= best_cost + $tolerance * (first_cost - best_cost) THEN step END)
            AS settled_step
    FROM framed
    GROUP BY entity, project, run_id, first_cost, best_cost
),
shared AS (
    SELECT *, CAST(last_step - settled_step AS DOUBLE) / nullif(last_step - first_step, 0)
            AS plateau_share
    FROM settled
)
SELECT r.entity, r.project, r.run_id, r.display_name, r.state, s.settled_step, s.last_step,
    s.plateau_share, s.plateau_share * r.compute_seconds / 3600 AS plateau_hours,
    CASE WHEN $goal = 'maximize' THEN -s.first_cost ELSE s.first_cost END AS first_value,
    CASE WHEN $goal = 'maximize' THEN -s.best_cost ELSE s.best_cost END AS best_value
FROM shared AS s
JOIN runs AS r
    ON r.entity = s.entity AND r.project = s.project AND r.run_id = s.run_id
WHERE s.plateau_share >= $share
ORDER BY plateau_share DESC, r.entity, r.project, r.run_id
