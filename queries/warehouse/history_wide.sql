-- History of a project, wide: one row per run, step and row, one column for each of up to six keys.
CREATE OR REPLACE MACRO main.history_wide(
    of_entity, of_project, key1,
    key2 := NULL, key3 := NULL, key4 := NULL, key5 := NULL, key6 := NULL
) AS TABLE
SELECT
    run_id,
    step,
    "row",
    max(CASE WHEN "key" = key1 THEN "value" END) AS value1,
    max(CASE WHEN "key" = key2 THEN "value" END) AS value2,
    max(CASE WHEN "key" = key3 THEN "value" END) AS value3,
    max(CASE WHEN "key" = key4 THEN "value" END) AS value4,
    max(CASE WHEN "key" = key5 THEN "value" END) AS value5,
    max(CASE WHEN "key" = key6 THEN "value" END) AS value6
FROM main.history
WHERE entity = of_entity
  AND project = of_project
  AND "key" IN (
      key1, coalesce(key2, key1), coalesce(key3, key1),
      coalesce(key4, key1), coalesce(key5, key1), coalesce(key6, key1)
  )
GROUP BY run_id, step, "row";
