-- How does a metric go in each run, on a common axis?
--
-- The axis is cut into `points` equal pieces over all runs that are asked for. A piece holds the
-- mean of what a run logged in it; pieces between, in which it logged nothing, lie on the straight
-- line; before its first and after its last it has no rows. `smoothed` is the exponential moving
-- average, corrected for its start: each piece back weighs `smoothing` times as much. NaN and
-- infinite values, and rows without a step, are left out.
--
-- Parameters:
--   project VARCHAR OF project -- ENTITY/PROJECT.
--   metric VARCHAR OF history -- History key; nested ones dotted.
--   run VARCHAR[] OF run = '' -- Ids of the runs; all of the project's unless given.
--   sweep VARCHAR OF sweep = NULL -- Only runs of this sweep.
--   group VARCHAR = NULL -- Only runs of this group.
--   axis VARCHAR = '_step' -- History key of the axis, logged together with the metric, for example
--     _runtime or epoch.
--   points BIGINT IN [1, 100000] = 100 -- Pieces of the axis.
--   smoothing DOUBLE IN [0, 1) = 0.6 -- From 0 (none) to below 1.
--
-- Columns:
--   run_id VARCHAR -- Run id.
--   display_name VARCHAR -- Name shown in W&B.
--   piece BIGINT -- Piece of the axis, from 0: the same in every run.
--   x DOUBLE -- Its middle.
--   value DOUBLE -- Mean of the metric in it, or the line between its neighbours.
--   smoothed DOUBLE -- The moving average.
--   samples BIGINT -- Values that were logged in it.
WITH chosen AS (
    SELECT entity, project, run_id, display_name
    FROM runs
    WHERE $project = concat(entity, '/', project)
        AND (array_length($run) = 0 OR list_contains($run, run_id))
        AND ($sweep IS NULL OR sweep_id = $sweep)
        AND ($group IS NULL OR group_name = $group)
),
metric AS (
    SELECT h.run_id, h.step, h.row, h.value
    FROM history AS h
    JOIN chosen AS r
        ON r.entity = h.entity AND r.project = h.project AND r.run_id = h.run_id
    WHERE h.key = $metric AND h.step IS NOT NULL AND isfinite(h.value)
),
logged AS (
    SELECT run_id, CAST(step AS DOUBLE) AS x, value
    FROM metric
    WHERE $axis = '_step'
    UNION ALL
    SELECT m.run_id, h.value AS x, m.value
    FROM history AS h
    JOIN chosen AS r
        ON r.entity = h.entity AND r.project = h.project AND r.run_id = h.run_id
    JOIN metric AS m ON m.run_id = h.run_id AND m.step = h.step AND m.row = h.row
    WHERE h.key = $axis AND isfinite(h.value)
),
bounds AS (
    SELECT min(x) AS low, max(x) AS high, greatest($points, 1) AS points FROM logged
),
placed AS (
    SELECT l.run_id, l.value,
        CASE WHEN b.high = b.low THEN 0
            ELSE least(
                CAST(floor((l.x - b.low) / (b.high - b.low) * b.points) AS BIGINT), b.points - 1
            ) END AS piece
    FROM logged AS l
    CROSS JOIN bounds AS b
),
filled AS (
    SELECT run_id, piece, avg(value) AS value, count(*) AS samples
    FROM placed
    GROUP BY run_id, piece
),
spans AS (
    SELECT run_id, min(piece) AS first_piece, max(piece) AS last_piece
    FROM filled
    GROUP BY run_id
),
pieces AS (
    SELECT unnest(generate_series(0, greatest($points, 1) - 1)) AS piece
),
grid AS (
    SELECT s.run_id, p.piece, f.samples,
        max(f.piece) OVER (
            PARTITION BY s.run_id ORDER BY p.piece ROWS UNBOUNDED PRECEDING
        ) AS before,
        min(f.piece) OVER (
            PARTITION BY s.run_id ORDER BY p.piece
            ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING
        ) AS after
    FROM spans AS s
    JOIN pieces AS p ON p.piece BETWEEN s.first_piece AND s.last_piece
    LEFT JOIN filled AS f ON f.run_id = s.run_id AND f.piece = p.piece
),
resampled AS (
    SELECT g.run_id, g.piece, g.samples,
        CASE WHEN g.before = g.after THEN b.value
            ELSE b.value + (a.value - b.value) * (g.piece - g.before) / (g.after - g.before)
            END AS value
    FROM grid AS g
    JOIN filled AS b ON b.run_id = g.run_id AND b.piece = g.before
    JOIN filled AS a ON a.run_id = g.run_id AND a.piece = g.after
),
smooth AS (
    SELECT n.run_id, n.piece,
        sum(o.value * pow($smoothing, n.piece - o.piece)) / sum(pow($smoothing, n.piece - o.piece))
            AS smoothed
    FROM resampled AS n
    JOIN resampled AS o ON o.run_id = n.run_id AND o.piece <= n.piece
    GROUP BY n.run_id, n.piece
)
SELECT r.run_id, r.display_name, v.piece,
    b.low + (2 * v.piece + 1) * (b.high - b.low) / (2 * b.points) AS x,
    v.value, s.smoothed, coalesce(v.samples, 0) AS samples
FROM resampled AS v
JOIN smooth AS s ON s.run_id = v.run_id AND s.piece = v.piece
JOIN chosen AS r ON r.run_id = v.run_id
CROSS JOIN bounds AS b
ORDER BY r.run_id, v.piece
