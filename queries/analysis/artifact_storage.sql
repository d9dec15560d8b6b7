-- How much room do artifacts take, collection by collection?
--
-- Bytes are the sum of the versions' sizes: a file that several versions share counts in each,
-- though W&B stores it once. A version is idle when no run used it and it has no alias.
--
-- Parameters:
--   project VARCHAR OF projects = NULL -- ENTITY/PROJECT, or ENTITY for all its projects.
--   type VARCHAR = NULL -- Artifact type, for example model.
--
-- Columns:
--   entity VARCHAR -- Entity that owns the project.
--   project VARCHAR -- Project name.
--   type_name VARCHAR -- Artifact type.
--   collection VARCHAR -- Collection.
--   versions BIGINT -- Versions that are committed and not deleted.
--   bytes BIGINT -- Sum of their sizes.
--   share DOUBLE -- Share of all bytes shown; NULL where there are none.
--   idle_versions BIGINT -- Versions that are idle.
--   idle_bytes BIGINT -- Sum of their sizes.
--   first_at TIMESTAMP -- When the oldest version was created.
--   last_at TIMESTAMP -- When the newest was created.
WITH used AS (
    SELECT DISTINCT l.artifact_id
    FROM run_artifacts AS l
    JOIN runs AS r
        ON r.entity = l.entity AND r.project = l.project AND r.run_id = l.run_id
    WHERE l.direction = 'used'
),
aliased AS (
    SELECT DISTINCT artifact_id FROM artifact_aliases
),
versions AS (
    SELECT a.*, coalesce(a.size_bytes, 0) AS bytes,
        u.artifact_id IS NULL AND n.artifact_id IS NULL AS is_idle
    FROM artifacts AS a
    LEFT JOIN used AS u ON u.artifact_id = a.artifact_id
    LEFT JOIN aliased AS n ON n.artifact_id = a.artifact_id
    WHERE coalesce($project, a.entity) IN (a.entity, concat(a.entity, '/', a.project))
        AND ($type IS NULL OR a.type_name = $type)
        AND a.state = 'COMMITTED'
),
summed AS (
    SELECT entity, project, type_name, collection, count(*) AS versions,
        CAST(sum(bytes) AS BIGINT) AS bytes,
        count(CASE WHEN is_idle THEN 1 END) AS idle_versions,
        CAST(sum(CASE WHEN is_idle THEN bytes ELSE 0 END) AS BIGINT) AS idle_bytes,
        min(created_at) AS first_at, max(created_at) AS last_at
    FROM versions
    GROUP BY entity, project, type_name, collection
)
SELECT entity, project, type_name, collection, versions, bytes,
    CAST(bytes AS DOUBLE) / nullif(sum(bytes) OVER (), 0) AS share, idle_versions, idle_bytes,
    first_at, last_at
FROM summed
ORDER BY bytes DESC, entity, project, type_name, collection
