-- Which runs logged NaN or infinite values, and from when on?
--
-- Parameters:
--   project VARCHAR OF projects -- ENTITY/PROJECT, or ENTITY for all its projects.
--   metric VARCHAR OF history = NULL -- History key; all that were logged unless given.
--
-- Columns:
--   entity VARCHAR -- Entity that owns the project.
--   project VARCHAR -- Project name.
--   run_id VARCHAR -- Run id.
--   display_name VARCHAR -- Name shown in W&B.
--   state VARCHAR -- State of the run.
--   key VARCHAR -- Metric.
--   first_step BIGINT -- Step of the first such value; NULL where none has a step.
--   last_finite_step BIGINT -- Last step with a finite value; NULL for none.
--   last_step BIGINT -- Last step of the metric.
--   nan_values BIGINT -- How many are NaN.
--   infinite_values BIGINT -- How many are infinite.
--   finite_values BIGINT -- How many are finite.
WITH counted AS (
    SELECT r.entity, r.project, r.run_id, r.display_name, r.state, h.key,
        min(CASE WHEN NOT isfinite(h.value) THEN h.step END) AS first_step,
        max(CASE WHEN isfinite(h.value) THEN h.step END)
            AS last_finite_step,
        max(h.step) AS last_step,
        count(CASE WHEN isnan(h.value) THEN 1 END) AS nan_values,
        count(CASE WHEN isinf(h.value) THEN 1 END) AS infinite_values,
        count(CASE WHEN isfinite(h.value) THEN 1 END) AS finite_values
    FROM history AS h
    JOIN runs AS r
        ON r.entity = h.entity AND r.project = h.project AND r.run_id = h.run_id
    WHERE $project IN (r.entity, concat(r.entity, '/', r.project))
        AND ($metric IS NULL OR h.key = $metric)
        AND h.value IS NOT NULL
    GROUP BY r.entity, r.project, r.run_id, r.display_name, r.state, h.key
)
SELECT entity, project, run_id, display_name, state, key, first_step, last_finite_step, last_step,
    nan_values, infinite_values, finite_values
FROM counted
WHERE nan_values + infinite_values > 0
ORDER BY entity, project, run_id, first_step NULLS LAST, key
