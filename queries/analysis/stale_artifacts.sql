-- Which artifact versions has no one used for long?
--
-- A version is stale when it is older than `days`, no run that was created since then used it, and
-- no alias but `latest` points to it (nor `latest`, unless asked). Runs that were deleted do not
-- count as users.
--
-- Parameters:
--   project VARCHAR OF projects = NULL -- ENTITY/PROJECT, or ENTITY for all its projects.
--   type VARCHAR = NULL -- Artifact type, for example model.
--   days DOUBLE IN [0, ) = 90.0 -- Days without use.
--   latest BOOLEAN = false -- Whether versions with the alias latest may be stale, too.
--   now TIMESTAMP = 'now' -- Time from which days are counted back.
--
-- Columns:
--   entity VARCHAR -- Entity that owns the project.
--   project VARCHAR -- Project name.
--   type_name VARCHAR -- Artifact type.
--   collection VARCHAR -- Collection.
--   version VARCHAR -- Version, for example v3.
--   bytes BIGINT -- Its size.
--   created_at TIMESTAMP -- When it was created.
--   last_used_at TIMESTAMP -- When the newest run that used it was created; NULL for none.
--   idle_days DOUBLE -- Days since the later of both.
--   artifact_id VARCHAR -- W&B's id of the version.
WITH used AS (
    SELECT l.artifact_id, max(r.created_at) AS last_used_at
    FROM run_artifacts AS l
    JOIN runs AS r
        ON r.entity = l.entity AND r.project = l.project AND r.run_id = l.run_id
    WHERE l.direction = 'used'
    GROUP BY l.artifact_id
),
held AS (
    SELECT DISTINCT artifact_id
    FROM artifact_aliases
    WHERE alias <> 'latest' OR NOT $latest
),
versions AS (
    SELECT a.*, u.last_used_at,
        greatest(a.created_at, coalesce(u.last_used_at, a.created_at)) AS last_at
    FROM artifacts AS a
    LEFT JOIN used AS u ON u.artifact_id = a.artifact_id
    LEFT JOIN held AS h ON h.artifact_id = a.artifact_id
    WHERE coalesce($project, a.entity) IN (a.entity, concat(a.entity, '/', a.project))
        AND ($type IS NULL OR a.type_name = $type)
        AND a.state = 'COMMITTED'
        AND h.artifact_id IS NULL
),
aged AS (
    SELECT *, (epoch(CAST($now AS TIMESTAMP)) - epoch(last_at)) / 86400 AS idle_days FROM versions
)
SELECT entity, project, type_name, collection, version, size_bytes AS bytes, created_at,
    last_used_at, idle_days, artifact_id
FROM aged
WHERE idle_days >= $days
ORDER BY idle_days DESC, entity, project, collection, version_index
