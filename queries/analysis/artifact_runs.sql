-- Which runs used an artifact version, or logged it?
--
-- Parameters:
--   artifact VARCHAR -- COLLECTION:VERSION, COLLECTION:ALIAS, COLLECTION for all its versions, with
--     ENTITY/PROJECT/ before it or not, or an id.
--   project VARCHAR OF projects = NULL -- ENTITY/PROJECT that holds the artifact, or ENTITY.
--   direction VARCHAR IN ('used', 'logged', 'any') = 'used' -- What the runs did with it.
--
-- Columns:
--   artifact VARCHAR -- entity/project/collection:version.
--   direction VARCHAR -- used or logged.
--   entity VARCHAR -- Entity of the run's project.
--   project VARCHAR -- Project of the run.
--   run_id VARCHAR -- Run id.
--   display_name VARCHAR -- Name shown in W&B.
--   state VARCHAR -- State of the run.
--   username VARCHAR -- Who created it.
--   created_at TIMESTAMP -- When it was created.
WITH names AS (
    SELECT a.artifact_id, a.version_index, a.collection,
        concat(a.collection, ':', a.version) AS name, concat(a.entity, '/', a.project, '/') AS place
    FROM artifacts AS a
    WHERE coalesce($project, a.entity) IN (a.entity, concat(a.entity, '/', a.project))
),
chosen AS (
    SELECT artifact_id, version_index, concat(place, name) AS artifact
    FROM names
    WHERE $artifact IN (
        artifact_id, collection, name, concat(place, collection), concat(place, name)
    )
    UNION
    SELECT n.artifact_id, n.version_index, concat(n.place, n.name) AS artifact
    FROM names AS n
    JOIN artifact_aliases AS l ON l.artifact_id = n.artifact_id
    WHERE $artifact IN (
        concat(n.collection, ':', l.alias), concat(n.place, n.collection, ':', l.alias)
    )
)
SELECT c.artifact, l.direction, r.entity, r.project, r.run_id, r.display_name, r.state, r.username,
    r.created_at
FROM chosen AS c
JOIN run_artifacts AS l ON l.artifact_id = c.artifact_id
JOIN runs AS r
    ON r.entity = l.entity AND r.project = l.project AND r.run_id = l.run_id
WHERE $direction IN (l.direction, 'any')
ORDER BY c.artifact, l.direction, r.created_at, r.entity, r.project, r.run_id
