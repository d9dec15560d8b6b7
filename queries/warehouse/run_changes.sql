-- The change log of runs, with the names that the runs have now.
SELECT
    c.synced_at AS seen_at,
    c.entity || '/' || c.project AS project,
    c.run_id,
    r.display_name,
    c.field,
    c.old,
    c.new
FROM run_changes AS c
LEFT JOIN runs_all AS r
    ON r.entity = c.entity AND r.project = c.project AND r.run_id = c.run_id
WHERE ($since IS NULL OR c.synced_at >= $since)
  AND (len($projects) = 0 OR list_contains($projects, c.entity || '/' || c.project))
  AND (len($runs) = 0 OR list_contains($runs, c.run_id))
  AND (
      len($fields) = 0
      OR len(list_filter($fields, lambda f: c.field = f OR starts_with(c.field, f || '.'))) > 0
  )
ORDER BY c.synced_at, c.entity, c.project, c.run_id, c.field
