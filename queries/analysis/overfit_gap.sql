-- Which runs went on fitting the training data while validation got worse?
--
-- Best and last validation value of each run, and the training value that was logged last up to
-- the same step. A gap is how much worse validation is than training. NaN and infinite values, and
-- rows without a step, are left out.
--
-- Parameters:
--   project VARCHAR OF projects -- ENTITY/PROJECT, or ENTITY for all its projects.
--   train VARCHAR OF history -- History key of the training metric.
--   validation VARCHAR OF history -- History key of the validation metric.
--   goal VARCHAR IN ('minimize', 'maximize') = 'minimize' -- Which way is better.
--
-- Columns:
--   entity VARCHAR -- Entity that owns the project.
--   project VARCHAR -- Project name.
--   run_id VARCHAR -- Run id.
--   display_name VARCHAR -- Name shown in W&B.
--   best_step BIGINT -- Step of the best validation value, the first of equal ones.
--   last_step BIGINT -- Step of the last validation value.
--   best_validation DOUBLE -- Best validation value.
--   last_validation DOUBLE -- Last validation value.
--   lost DOUBLE -- How much worse the last is than the best; never below 0.
--   gap_at_best DOUBLE -- Validation against training at the best step.
--   gap_at_last DOUBLE -- Validation against training at the last step.
WITH points AS (
    SELECT r.entity, r.project, r.run_id, h.key, h.step, h.row,
        CASE WHEN $goal = 'maximize' THEN -h.value ELSE h.value END AS cost
    FROM history AS h
    JOIN runs AS r
        ON r.entity = h.entity AND r.project = h.project AND r.run_id = h.run_id
    WHERE $project IN (r.entity, concat(r.entity, '/', r.project))
        AND h.key IN ($train, $validation) AND h.step IS NOT NULL
        AND isfinite(h.value)
),
placed AS (
    SELECT *,
        row_number() OVER (PARTITION BY entity, project, run_id ORDER BY cost, step, row) AS place,
        row_number() OVER (
            PARTITION BY entity, project, run_id ORDER BY step DESC, row DESC
        ) AS place_from_end
    FROM points
    WHERE key = $validation
),
ends AS (
    SELECT entity, project, run_id,
        max(CASE WHEN place = 1 THEN step END) AS best_step,
        max(CASE WHEN place = 1 THEN cost END) AS best_cost,
        max(CASE WHEN place_from_end = 1 THEN step END) AS last_step,
        max(CASE WHEN place_from_end = 1 THEN cost END) AS last_cost
    FROM placed
    GROUP BY entity, project, run_id
),
trained AS (
    SELECT e.entity, e.project, e.run_id, t.cost,
        CASE WHEN t.step <= e.best_step THEN row_number() OVER (
            PARTITION BY e.entity, e.project, e.run_id, t.step <= e.best_step
            ORDER BY t.step DESC, t.row DESC
        ) END AS place_to_best,
        row_number() OVER (
            PARTITION BY e.entity, e.project, e.run_id ORDER BY t.step DESC, t.row DESC
        ) AS place_to_last
    FROM ends AS e
    JOIN points AS t
        ON t.entity = e.entity AND t.project = e.project AND t.run_id = e.run_id
        AND t.key = $train AND t.step <= e.last_step
),
training AS (
    SELECT entity, project, run_id,
        max(CASE WHEN place_to_best = 1 THEN cost END) AS cost_at_best,
        max(CASE WHEN place_to_last = 1 THEN cost END) AS cost_at_last
    FROM trained
    GROUP BY entity, project, run_id
)
SELECT e.entity, e.project, e.run_id, r.display_name, e.best_step, e.last_step,
    CASE WHEN $goal = 'maximize' THEN -e.best_cost ELSE e.best_cost END AS best_validation,
    CASE WHEN $goal = 'maximize' THEN -e.last_cost ELSE e.last_cost END AS last_validation,
    e.last_cost - e.best_cost AS lost,
    e.best_cost - t.cost_at_best AS gap_at_best,
    e.last_cost - t.cost_at_last AS gap_at_last
FROM ends AS e
JOIN runs AS r
    ON r.entity = e.entity AND r.project = e.project AND r.run_id = e.run_id
LEFT JOIN training AS t
    ON t.entity = e.entity AND t.project = e.project AND t.run_id = e.run_id
ORDER BY lost DESC, e.entity, e.project, e.run_id
