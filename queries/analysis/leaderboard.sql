-- Which runs are best by a summary value?
--
-- Runs whose value is missing, NaN or infinite are left out. Runs with equal values share a rank;
-- the older stands first.
--
-- Parameters:
--   project VARCHAR OF projects -- ENTITY/PROJECT, or ENTITY for all its projects.
--   metric VARCHAR OF summary -- Summary key; nested ones dotted.
--   goal VARCHAR IN ('minimize', 'maximize') = 'minimize' -- Which way is better.
--   tag VARCHAR = NULL -- Only runs with this tag.
--   state VARCHAR = NULL -- Only runs in this state, for example finished.
--   top BIGINT IN [1, ) = 20 -- Ranks to show.
--
-- Columns:
--   rank BIGINT -- 1 for the best.
--   value DOUBLE -- The metric in the run's summary.
--   entity VARCHAR -- Entity that owns the project.
--   project VARCHAR -- Project name.
--   run_id VARCHAR -- Run id.
--   display_name VARCHAR -- Name shown in W&B.
--   state VARCHAR -- State of the run.
--   username VARCHAR -- Who created it.
--   created_at TIMESTAMP -- When it was created.
WITH scored AS (
    SELECT r.entity, r.project, r.run_id, r.display_name, r.state, r.username, r.created_at,
        s.value,
        CASE WHEN $goal = 'maximize' THEN -s.value ELSE s.value END AS cost
    FROM runs AS r
    JOIN run_summary AS s
        ON s.entity = r.entity AND s.project = r.project AND s.run_id = r.run_id
    WHERE $project IN (r.entity, concat(r.entity, '/', r.project))
        AND s.key = $metric
        AND isfinite(s.value)
        AND ($state IS NULL OR r.state = $state)
        AND ($tag IS NULL OR EXISTS (
            SELECT 1 FROM run_tags AS t
            WHERE t.entity = r.entity AND t.project = r.project AND t.run_id = r.run_id
                AND t.tag = $tag
        ))
),
ranked AS (
    SELECT *, rank() OVER (ORDER BY cost) AS rank FROM scored
)
SELECT rank, value, entity, project, run_id, display_name, state, username, created_at
FROM ranked
WHERE rank <= $top
ORDER BY rank, created_at, entity, project, run_id
