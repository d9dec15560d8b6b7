-- Which runs diverged, how early, and how much was logged in vain?
--
-- A run has diverged at the first value that is NaN or infinite, or worse than the best so far by
-- more than `factor` times the size of its first value (or of its improvement, where that is more).
-- Rows without a step are left out.
--
-- Parameters:
--   project VARCHAR OF projects -- ENTITY/PROJECT, or ENTITY for all its projects.
--   metric VARCHAR OF history -- History key; nested ones dotted.
--   goal VARCHAR IN ('minimize', 'maximize') = 'minimize' -- Which way is better.
--   factor DOUBLE IN (0, ) = 3.0 -- How much worse is divergence.
--
-- Columns:
--   entity VARCHAR -- Entity that owns the project.
--   project VARCHAR -- Project name.
--   run_id VARCHAR -- Run id.
--   display_name VARCHAR -- Name shown in W&B.
--   state VARCHAR -- State of the run.
--   verdict VARCHAR -- not finite, or blew up.
--   step BIGINT -- Step at which it diverged.
--   share DOUBLE -- That step as a share of the run's last.
--   value DOUBLE -- Value at that step.
--   best_before DOUBLE -- Best value before; NULL for none.
--   values_after BIGINT -- Values that were logged from there on.
--   has_recovered BOOLEAN -- Whether the last value is again better than the bound.
--   hours_after DOUBLE -- Compute hours from there on, by share of the steps.
WITH points AS (
    SELECT r.entity, r.project, r.run_id, h.step, h.row, h.value,
        CASE WHEN $goal = 'maximize' THEN -h.value ELSE h.value END AS cost,
        isfinite(h.value) AS is_finite
    FROM history AS h
    JOIN runs AS r
        ON r.entity = h.entity AND r.project = h.project AND r.run_id = h.run_id
    WHERE $project IN (r.entity, concat(r.entity, '/', r.project))
        AND h.key = $metric AND h.step IS NOT NULL AND h.value IS NOT NULL
),
numbered AS (
    SELECT *,
        row_number() OVER (PARTITION BY entity, project, run_id ORDER BY step, row) AS place,
        row_number() OVER (
            PARTITION BY entity, project, run_id ORDER BY step DESC, row DESC
        ) AS place_from_end,
        min(CASE WHEN is_finite THEN cost END) OVER (
            PARTITION BY entity, project, run_id ORDER BY step, row
            ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ) AS best
    FROM points
),
firsts AS (
    SELECT entity, project, run_id, cost AS first_cost
    FROM (
        SELECT entity, project, run_id, cost,
            row_number() OVER (PARTITION BY entity, project, run_id ORDER BY step, row) AS place
        FROM points
        WHERE is_finite
    ) AS finite
    WHERE place = 1
),
judged AS (
    SELECT n.*, f.first_cost,
        NOT n.is_finite OR coalesce(
            n.cost - n.best > $factor * greatest(abs(f.first_cost), abs(f.first_cost - n.best)),
            FALSE
        ) AS is_bad
    FROM numbered AS n
    LEFT JOIN firsts AS f
        ON f.entity = n.entity AND f.project = n.project AND f.run_id = n.run_id
),
firsts_bad AS (
    SELECT entity, project, run_id,
        min(CASE WHEN is_bad THEN place END) AS place,
        max(step) AS last_step, count(*) AS logged,
        max(CASE WHEN place_from_end = 1 AND is_bad THEN 1 ELSE 0 END) AS ends_bad
    FROM judged
    GROUP BY entity, project, run_id
)
SELECT r.entity, r.project, r.run_id, r.display_name, r.state,
    CASE WHEN j.is_finite THEN 'blew up' ELSE 'not finite' END AS verdict,
    j.step,
    CASE WHEN b.last_step > 0 THEN CAST(j.step AS DOUBLE) / b.last_step ELSE 0 END AS share,
    j.value,
    CASE WHEN $goal = 'maximize' THEN -j.best ELSE j.best END AS best_before,
    b.logged - b.place + 1 AS values_after,
    b.ends_bad = 0 AS has_recovered,
    CASE WHEN b.last_step > 0 THEN (b.last_step - j.step) * r.compute_seconds / b.last_step / 3600
        END AS hours_after
FROM firsts_bad AS b
JOIN judged AS j
    ON j.entity = b.entity AND j.project = b.project AND j.run_id = b.run_id AND j.place = b.place
JOIN runs AS r
    ON r.entity = b.entity AND r.project = b.project AND r.run_id = b.run_id
ORDER BY share, r.entity, r.project, r.run_id
