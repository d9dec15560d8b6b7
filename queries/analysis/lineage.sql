-- What went into an artifact, and what came of it?
--
-- Goes from run to run, upward (the runs that logged it, what they used, the runs that logged that,
-- ...) and downward (the runs that used it, what they logged, ...), at most 10 runs each way. A row
-- is one run and one artifact beyond it; each stands where it is met first.
--
-- Parameters:
--   artifact VARCHAR -- COLLECTION:VERSION, COLLECTION:ALIAS, COLLECTION for all its versions, with
--     ENTITY/PROJECT/ before it or not, or an id.
--   project VARCHAR OF projects = NULL -- ENTITY/PROJECT that holds the artifact, or ENTITY.
--   direction VARCHAR IN ('up', 'down', 'both') = 'both' -- Which way to go.
--
-- Columns:
--   direction VARCHAR -- up or down.
--   hop BIGINT -- Runs passed, this one included.
--   entity VARCHAR -- Entity of the run's project.
--   project VARCHAR -- Project of the run.
--   run_id VARCHAR -- Run id.
--   display_name VARCHAR -- Name shown in W&B.
--   artifact VARCHAR -- Artifact that the run used (up) or logged (down), as collection:version;
--     NULL for none.
--   type_name VARCHAR -- Its type.
--   artifact_id VARCHAR -- Its id.
WITH names AS (
    SELECT a.artifact_id, a.collection, concat(a.collection, ':', a.version) AS name,
        concat(a.entity, '/', a.project, '/') AS place
    FROM artifacts AS a
    WHERE coalesce($project, a.entity) IN (a.entity, concat(a.entity, '/', a.project))
),
chosen AS (
    SELECT artifact_id AS id
    FROM names
    WHERE $artifact IN (
        artifact_id, collection, name, concat(place, collection), concat(place, name)
    )
    UNION
    SELECT n.artifact_id AS id
    FROM names AS n
    JOIN artifact_aliases AS l ON l.artifact_id = n.artifact_id
    WHERE $artifact IN (
        concat(n.collection, ':', l.alias), concat(n.place, n.collection, ':', l.alias)
    )
),
links AS (
    SELECT l.entity, l.project, l.run_id, r.display_name, l.artifact_id, l.artifact_name,
        l.type_name, d.direction,
        (d.direction = 'up') = (l.direction = 'logged') AS is_near
    FROM run_artifacts AS l
    JOIN runs AS r
        ON r.entity = l.entity AND r.project = l.project AND r.run_id = l.run_id
    JOIN (SELECT unnest(['up', 'down']) AS direction) AS d ON $direction IN (d.direction, 'both')
),
moves AS (
    SELECT DISTINCT n.direction, n.artifact_id AS near, f.artifact_id AS far, 1 AS cost
    FROM links AS n
    JOIN links AS f
        ON f.direction = n.direction AND f.entity = n.entity AND f.project = n.project
        AND f.run_id = n.run_id
    WHERE n.is_near AND NOT f.is_near AND n.artifact_id <> f.artifact_id
    UNION ALL
    SELECT DISTINCT direction, artifact_id, artifact_id, 0 FROM links
),
met_1 AS (
    SELECT d.direction, c.id, 1 AS hop
    FROM chosen AS c
    CROSS JOIN (SELECT unnest(['up', 'down']) AS direction) AS d
),
met_2 AS (
    SELECT m.direction, v.far AS id, min(m.hop + v.cost) AS hop
    FROM met_1 AS m JOIN moves AS v ON v.direction = m.direction AND v.near = m.id
    GROUP BY m.direction, v.far
),
met_3 AS (
    SELECT m.direction, v.far AS id, min(m.hop + v.cost) AS hop
    FROM met_2 AS m JOIN moves AS v ON v.direction = m.direction AND v.near = m.id
    GROUP BY m.direction, v.far
),
met_4 AS (
    SELECT m.direction, v.far AS id, min(m.hop + v.cost) AS hop
    FROM met_3 AS m JOIN moves AS v ON v.direction = m.direction AND v.near = m.id
    GROUP BY m.direction, v.far
),
met_5 AS (
    SELECT m.direction, v.far AS id, min(m.hop + v.cost) AS hop
    FROM met_4 AS m JOIN moves AS v ON v.direction = m.direction AND v.near = m.id
    GROUP BY m.direction, v.far
),
met_6 AS (
    SELECT m.direction, v.far AS id, min(m.hop + v.cost) AS hop
    FROM met_5 AS m JOIN moves AS v ON v.direction = m.direction AND v.near = m.id
    GROUP BY m.direction, v.far
),
met_7 AS (
    SELECT m.direction, v.far AS id, min(m.hop + v.cost) AS hop
    FROM met_6 AS m JOIN moves AS v ON v.direction = m.direction AND v.near = m.id
    GROUP BY m.direction, v.far
),
met_8 AS (
    SELECT m.direction, v.far AS id, min(m.hop + v.cost) AS hop
    FROM met_7 AS m JOIN moves AS v ON v.direction = m.direction AND v.near = m.id
    GROUP BY m.direction, v.far
),
met_9 AS (
    SELECT m.direction, v.far AS id, min(m.hop + v.cost) AS hop
    FROM met_8 AS m JOIN moves AS v ON v.direction = m.direction AND v.near = m.id
    GROUP BY m.direction, v.far
),
met_10 AS (
    SELECT m.direction, v.far AS id, min(m.hop + v.cost) AS hop
    FROM met_9 AS m JOIN moves AS v ON v.direction = m.direction AND v.near = m.id
    GROUP BY m.direction, v.far
),
passed AS (
    SELECT n.direction, n.entity, n.project, n.run_id, n.display_name, min(m.hop) AS hop
    FROM met_10 AS m
    JOIN links AS n ON n.direction = m.direction AND n.artifact_id = m.id AND n.is_near
    GROUP BY n.direction, n.entity, n.project, n.run_id, n.display_name
)
SELECT p.direction, CAST(p.hop AS BIGINT) AS hop, p.entity, p.project, p.run_id, p.display_name,
    f.artifact_name AS artifact, f.type_name, f.artifact_id
FROM passed AS p
LEFT JOIN links AS f
    ON f.direction = p.direction AND f.entity = p.entity AND f.project = p.project
    AND f.run_id = p.run_id AND NOT f.is_near
ORDER BY p.direction DESC, p.hop, p.entity, p.project, p.run_id, artifact NULLS LAST, f.artifact_id
