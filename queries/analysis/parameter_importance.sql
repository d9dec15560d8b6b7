-- Which config values matter for a metric?
--
-- For each config key that varies, by two measures. Spearman's rank correlation says how nearly the
-- metric goes up or down with the value. Mutual information sees any dependence: values and metric
-- are cut into classes of about as many runs (a text's every value is a class), and what chance
-- alone would show in so few runs (its mean and two standard deviations) is taken off. As a
-- coefficient, sqrt(1 - exp(-2 information)), it stands on the correlation's own scale, and
-- `importance` is the greater of the two. Keys are taken one by one: what matters only together
-- with another is not seen. Runs whose metric is missing, NaN or infinite are left out.
--
-- Parameters:
--   project VARCHAR OF project -- ENTITY/PROJECT.
--   metric VARCHAR OF summary -- Summary key; nested ones dotted.
--   sweep VARCHAR OF sweep = NULL -- Only runs of this sweep.
--   bins BIGINT IN [2, 1000] = NULL -- Classes that numbers are cut into; by default 2 to 6, the
--     more the more runs there are.
--   min_runs BIGINT IN [2, ) = 10 -- Fewest runs that must have a key.
--
-- Columns:
--   key VARCHAR -- Config key.
--   importance DOUBLE -- 0 for none that can be told from chance, up to 1.
--   rank_correlation DOUBLE -- Spearman's rho, from -1 to 1; NULL where values are not all numbers.
--   mutual_information DOUBLE -- Nats beyond what chance would show; never below 0.
--   runs BIGINT -- Runs that have the key and the metric.
--   distinct_values BIGINT -- Different values of the key among them.
--   is_numeric BOOLEAN -- Whether all its values are finite numbers or booleans.
WITH scored AS (
    SELECT r.entity, r.project, r.run_id, s.value AS score
    FROM runs AS r
    JOIN run_summary AS s
        ON s.entity = r.entity AND s.project = r.project AND s.run_id = r.run_id
    WHERE $project = concat(r.entity, '/', r.project)
        AND ($sweep IS NULL OR r.sweep_id = $sweep)
        AND s.key = $metric
        AND isfinite(s.value)
),
leaves AS (
    SELECT c.key, c.value, c.json, s.score,
        count(*) OVER (PARTITION BY c.key) AS runs,
        dense_rank() OVER (
            PARTITION BY c.key ORDER BY c.value NULLS LAST, c.json NULLS LAST
        ) AS value_number,
        min(CASE WHEN isfinite(c.value) THEN 1 ELSE 0 END)
            OVER (PARTITION BY c.key) AS is_numeric
    FROM scored AS s
    JOIN run_config AS c
        ON c.entity = s.entity AND c.project = s.project AND c.run_id = s.run_id
),
ranked AS (
    SELECT *,
        coalesce($bins, CASE WHEN runs < 27 THEN 2 WHEN runs < 64 THEN 3 WHEN runs < 125 THEN 4
            WHEN runs < 216 THEN 5 ELSE 6 END) AS bins,
        max(value_number) OVER (PARTITION BY key) AS distinct_values,
        rank() OVER (PARTITION BY key ORDER BY value NULLS LAST) AS value_rank,
        count(*) OVER (PARTITION BY key, value) AS value_ties,
        rank() OVER (PARTITION BY key ORDER BY score) AS score_rank,
        count(*) OVER (PARTITION BY key, score) AS score_ties
    FROM leaves
    WHERE runs >= $min_runs
),
classed AS (
    SELECT key, runs, distinct_values, is_numeric,
        value_rank + (value_ties - 1) / 2 AS x,
        score_rank + (score_ties - 1) / 2 AS y,
        max(score_rank) OVER (PARTITION BY key) > 1 AS varies,
        CASE WHEN is_numeric = 0 OR distinct_values <= bins THEN CAST(value_number AS DOUBLE)
            ELSE floor((value_rank - 1) * bins / runs) END AS value_class,
        floor((score_rank - 1) * bins / runs) AS score_class
    FROM ranked
    WHERE distinct_values > 1
),
correlated AS (
    SELECT key, corr(x, y) AS rank_correlation
    FROM classed
    WHERE is_numeric = 1 AND varies
    GROUP BY key
),
cells AS (
    SELECT key, runs, distinct_values, is_numeric, value_class, score_class, count(*) AS n
    FROM classed
    GROUP BY key, runs, distinct_values, is_numeric, value_class, score_class
),
margins AS (
    SELECT *,
        sum(n) OVER (PARTITION BY key, value_class) AS n_value,
        sum(n) OVER (PARTITION BY key, score_class) AS n_score
    FROM cells
),
informed AS (
    SELECT key, runs, distinct_values, is_numeric,
        sum(n * ln(CAST(n AS DOUBLE) * runs / (n_value * n_score))) / runs AS information,
        CAST((count(DISTINCT value_class) - 1) * (count(DISTINCT score_class) - 1) AS DOUBLE)
            AS freedom
    FROM margins
    GROUP BY key, runs, distinct_values, is_numeric
),
measured AS (
    SELECT i.key, i.runs, i.distinct_values, i.is_numeric = 1 AS is_numeric,
        round(c.rank_correlation, 6) AS rank_correlation,
        round(greatest(
            i.information - (i.freedom + 2 * sqrt(2 * i.freedom)) / (2 * i.runs), 0
        ), 6) AS mutual_information
    FROM informed AS i
    LEFT JOIN correlated AS c ON c.key = i.key
),
weighed AS (
    SELECT *, abs(coalesce(rank_correlation, 0)) AS correlation,
        round(greatest(
            abs(coalesce(rank_correlation, 0)), sqrt(1 - exp(-2 * mutual_information))
        ), 6) AS importance
    FROM measured
)
SELECT key, importance, rank_correlation, mutual_information, runs, distinct_values, is_numeric
FROM weighed
ORDER BY importance DESC, correlation DESC, key
