-- How does a metric change with one config value?
--
-- Numbers are cut into `bins` classes of about as many runs; each text, list or boolean is a class
-- of its own. Runs whose metric is missing, NaN or infinite are left out.
--
-- Parameters:
--   project VARCHAR OF projects -- ENTITY/PROJECT, or ENTITY for all its projects.
--   parameter VARCHAR OF config -- Config key; nested ones dotted.
--   metric VARCHAR OF summary -- Summary key; nested ones dotted.
--   sweep VARCHAR OF sweep = NULL -- Only runs of this sweep.
--   bins BIGINT IN [1, 1000] = 8 -- Classes that numbers are cut into.
--
-- Columns:
--   low DOUBLE -- Least value of the class; NULL for what is not a number.
--   high DOUBLE -- Greatest value of the class; NULL for what is not a number.
--   text VARCHAR -- The value as JSON, where it is not a number.
--   runs BIGINT -- Runs in the class.
--   mean DOUBLE -- Mean of the metric.
--   median DOUBLE -- Median of the metric.
--   stddev DOUBLE -- Standard deviation of the metric; NULL for one run.
--   min DOUBLE -- Least value of the metric.
--   max DOUBLE -- Greatest value of the metric.
WITH leaves AS (
    SELECT s.value AS score,
        CASE WHEN c.json IS NULL OR c.json NOT IN ('true', 'false') THEN c.value END AS number,
        CASE WHEN c.value IS NULL OR c.json IN ('true', 'false') THEN c.json END AS text
    FROM runs AS r
    JOIN run_summary AS s
        ON s.entity = r.entity AND s.project = r.project AND s.run_id = r.run_id
    JOIN run_config AS c
        ON c.entity = r.entity AND c.project = r.project AND c.run_id = r.run_id
    WHERE $project IN (r.entity, concat(r.entity, '/', r.project))
        AND ($sweep IS NULL OR r.sweep_id = $sweep)
        AND s.key = $metric
        AND isfinite(s.value)
        AND c.key = $parameter
),
ranked AS (
    SELECT *,
        rank() OVER (PARTITION BY text ORDER BY number) AS place,
        dense_rank() OVER (PARTITION BY text ORDER BY number) AS number_place,
        count(*) OVER (PARTITION BY text) AS runs
    FROM leaves
),
classed AS (
    SELECT score, number, text,
        CASE WHEN max(number_place) OVER (PARTITION BY text) <= $bins
            THEN CAST(number_place AS DOUBLE) ELSE floor((place - 1) * $bins / runs) END AS class
    FROM ranked
)
SELECT min(number) AS low, max(number) AS high, text, count(*) AS runs,
    avg(score) AS mean, median(score) AS median, stddev_samp(score) AS stddev,
    min(score) AS min, max(score) AS max
FROM classed
GROUP BY text, class
ORDER BY low NULLS LAST, text
