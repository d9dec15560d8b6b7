-- How did configs change from one date to another?
--
-- Compares the runs of the `days` days up to each date, key by key: the most frequent value then,
-- and how many of the runs that have the key had it. Shown are keys whose most frequent value
-- changed, and keys that came or went. Of equally frequent values the least is taken.
--
-- Parameters:
--   project VARCHAR OF project -- ENTITY/PROJECT.
--   first TIMESTAMP -- The earlier date.
--   second TIMESTAMP -- The later date.
--   days DOUBLE IN (0, ) = 7.0 -- Days before each date that count.
--
-- Columns:
--   key VARCHAR -- Dotted config key.
--   change VARCHAR -- added, removed or changed.
--   first_runs BIGINT -- Runs of the first period that have the key.
--   second_runs BIGINT -- Runs of the second period that have the key.
--   first_value DOUBLE -- Most frequent number of the first period; NULL for anything else.
--   second_value DOUBLE -- Most frequent number of the second period.
--   first_text VARCHAR -- JSON of what is not exactly a number.
--   second_text VARCHAR -- JSON of what is not exactly a number.
--   first_share DOUBLE -- Share of the first period's runs with the key that had that value.
--   second_share DOUBLE -- Share of the second period's.
WITH chosen AS (
    SELECT entity, project, run_id,
        epoch(CAST($first AS TIMESTAMP)) - epoch(created_at) AS before_first,
        epoch(CAST($second AS TIMESTAMP)) - epoch(created_at) AS before_second
    FROM runs
    WHERE $project = concat(entity, '/', project)
),
sampled AS (
    SELECT entity, project, run_id, 1 AS period
    FROM chosen
    WHERE before_first > 0 AND before_first <= $days * 86400
    UNION ALL
    SELECT entity, project, run_id, 2 AS period
    FROM chosen
    WHERE before_second > 0 AND before_second <= $days * 86400
),
counted AS (
    SELECT s.period, c.key, c.value, c.json, count(*) AS runs
    FROM sampled AS s
    JOIN run_config AS c
        ON c.entity = s.entity AND c.project = s.project AND c.run_id = s.run_id
    GROUP BY s.period, c.key, c.value, c.json
),
placed AS (
    SELECT *,
        sum(runs) OVER (PARTITION BY period, key) AS all_runs,
        row_number() OVER (
            PARTITION BY period, key ORDER BY runs DESC, value NULLS LAST, json NULLS LAST
        ) AS place
    FROM counted
),
firsts AS (SELECT * FROM placed WHERE place = 1 AND period = 1),
seconds AS (SELECT * FROM placed WHERE place = 1 AND period = 2),
sides AS (
    SELECT coalesce(a.key, b.key) AS key,
        CASE WHEN a.key IS NULL THEN 'added' WHEN b.key IS NULL THEN 'removed' ELSE 'changed' END
            AS change,
        a.value AS first_value, b.value AS second_value, a.json AS first_text,
        b.json AS second_text, coalesce(a.all_runs, 0) AS first_runs,
        coalesce(b.all_runs, 0) AS second_runs,
        CAST(a.runs AS DOUBLE) / a.all_runs AS first_share,
        CAST(b.runs AS DOUBLE) / b.all_runs AS second_share
    FROM firsts AS a
    FULL JOIN seconds AS b ON b.key = a.key
)
SELECT key, change, CAST(first_runs AS BIGINT) AS first_runs,
    CAST(second_runs AS BIGINT) AS second_runs, first_value, second_value, first_text, second_text,
    first_share, second_share
FROM sides
WHERE change <> 'changed'
    OR first_value IS DISTINCT FROM second_value
    OR first_text IS DISTINCT FROM second_text
ORDER BY key
