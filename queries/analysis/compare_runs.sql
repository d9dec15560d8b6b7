-- What differs between two runs?
--
-- Config and summary leaf by leaf, and what W&B knows of the runs themselves; only what differs,
-- and what one of them lacks. NaN is the same as NaN.
--
-- Parameters:
--   project VARCHAR OF project -- ENTITY/PROJECT.
--   a VARCHAR OF run -- Id of one run.
--   b VARCHAR OF run -- Id of the other.
--
-- Columns:
--   part VARCHAR -- run, config or summary.
--   key VARCHAR -- Field of the run, or dotted key.
--   a_value DOUBLE -- Number of the one; NULL for anything else.
--   b_value DOUBLE -- Number of the other.
--   difference DOUBLE -- How much greater the other's number is.
--   a_text VARCHAR -- What is not exactly a number: a field's text, or JSON.
--   b_text VARCHAR -- The same of the other.
WITH chosen AS (
    SELECT *
    FROM runs
    WHERE $project = concat(entity, '/', project) AND run_id IN ($a, $b)
),
fields AS (
    SELECT unnest([
        'state', 'display_name', 'group_name', 'job_type', 'username', 'sweep_id', 'host', 'os',
        'gpu', 'program', 'git_remote', 'git_commit', 'python_version', 'sdk_version'
    ]) AS field
),
leaves AS (
    SELECT r.run_id, 1 AS part_number, 'run' AS part, f.field AS key,
        CAST(NULL AS DOUBLE) AS value,
        CASE f.field WHEN 'state' THEN r.state WHEN 'display_name' THEN r.display_name
            WHEN 'group_name' THEN r.group_name WHEN 'job_type' THEN r.job_type
            WHEN 'username' THEN r.username WHEN 'sweep_id' THEN r.sweep_id
            WHEN 'host' THEN r.host WHEN 'os' THEN r.os WHEN 'gpu' THEN r.gpu
            WHEN 'program' THEN r.program WHEN 'git_remote' THEN r.git_remote
            WHEN 'git_commit' THEN r.git_commit WHEN 'python_version' THEN r.python_version
            ELSE r.sdk_version END AS json
    FROM chosen AS r
    CROSS JOIN fields AS f
    UNION ALL
    SELECT c.run_id, 2, 'config', c.key, c.value, c.json
    FROM run_config AS c
    JOIN chosen AS r
        ON r.entity = c.entity AND r.project = c.project AND r.run_id = c.run_id
    UNION ALL
    SELECT s.run_id, 3, 'summary', s.key, s.value, s.json
    FROM run_summary AS s
    JOIN chosen AS r
        ON r.entity = s.entity AND r.project = s.project AND r.run_id = s.run_id
),
a_leaves AS (SELECT * FROM leaves WHERE run_id = $a),
b_leaves AS (SELECT * FROM leaves WHERE run_id = $b),
sides AS (
    SELECT coalesce(a.part_number, b.part_number) AS part_number, coalesce(a.part, b.part) AS part,
        coalesce(a.key, b.key) AS key, a.key IS NULL OR b.key IS NULL AS is_missing,
        a.value AS a_value, b.value AS b_value, a.json AS a_text, b.json AS b_text
    FROM a_leaves AS a
    FULL JOIN b_leaves AS b ON b.part = a.part AND b.key = a.key
)
SELECT part, key, a_value, b_value, b_value - a_value AS difference, a_text, b_text
FROM sides
WHERE is_missing
    OR a_value IS DISTINCT FROM b_value
    OR a_text IS DISTINCT FROM b_text
ORDER BY part_number, key
