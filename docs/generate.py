"""Writes the pages that only repeat what stands elsewhere: `make docs`.

docs/tables.md comes from schemas/tables/*.sql, docs/queries.md from queries/analysis/*.sql.
"""

from __future__ import annotations

from pathlib import Path

from wbsync.query.named import Parameter, example, range_words, shipped_queries
from wbsync.tables import load_table, table_names

HERE = Path(__file__).resolve().parent

QUERIES_HEAD = """\
# Named queries

Written by `make docs` from the headers of `queries/analysis/*.sql`.

```console
$ wbsync query                                 # the list
$ wbsync query leaderboard --help              # one, with its parameters and columns
$ wbsync query leaderboard --project my-team/my-project --metric loss --format csv
$ wbsync query leaderboard --project my-team/my-project --metric loss --sql
```

In Python: `wbsync.open().query("leaderboard", project="my-team/my-project", metric="loss").df()`.

Deleted runs and artifacts are left out, instants are UTC, and the answers are the same on DuckDB
and on a Spark Connect engine (`--on sc://HOST:PORT`).

## Queries of your own

Name a folder in `wbsync.toml`:

```toml
[queries]
path = "queries"
```

Each `.sql` file in it is a query of the file's name: one statement that reads, under a header.

```sql
-- Which of my runs took longest?
--
-- What else there is to know.
--
-- Parameters:
--   who VARCHAR -- A user; must be given, for it has no default.
--   state VARCHAR IN ('finished', 'failed') = 'finished' -- How they ended.
--   since TIMESTAMP = '30d' -- Only runs created then or later.
--   tag VARCHAR[] = '' -- Any of these tags.
--   project VARCHAR OF projects = NULL -- ENTITY/PROJECT, or ENTITY for all its projects.
--   hours DOUBLE IN [0, ) = 0.0 -- Least compute hours.
--
-- Columns:
--   run_id VARCHAR -- Run id.
--   hours DOUBLE -- Compute hours.
SELECT run_id, compute_seconds / 3600 AS hours
FROM runs
WHERE username = $who AND state = $state AND created_at >= $since
    AND ($project IS NULL OR $project IN (entity, concat(entity, '/', project)))
    AND coalesce(compute_seconds, 0) >= 3600 * $hours
    AND (array_length($tag) = 0 OR run_id IN (
        SELECT run_id FROM run_tags WHERE list_contains($tag, tag)
    ))
ORDER BY hours DESC, run_id
```

Types are VARCHAR, BIGINT, DOUBLE, BOOLEAN, TIMESTAMP and, for parameters, VARCHAR[]. A TIMESTAMP is
a date, an instant, `now`, or how long ago (`36h`, `30d`, `2w`). A VARCHAR[] is given as a list, or
as one text with commas between, quotes around what holds a comma. `IN` lists what a value may be,
or gives a range: the bound beside a round bracket is left out, and one that is not written is none.
`OF` says that a value names what must be held: `project` is ENTITY/PROJECT, `projects` that or
ENTITY alone, `run` and `sweep` are ids in the parameter `project`. `config`, `summary` and
`history` are keys there, of which the nearest is named where an answer is empty. NaN is no number
here. Columns may be left out of the header; where they are listed, they are checked. A query of
your own whose name wbsync has, too, takes its place, and wbsync says so.

Some rules keep a query the same on every engine: compare with `isfinite(x)` to leave out NaN, join
with ON rather than USING, write 0 rather than 0.0 where types meet, and order by columns that are
selected.
"""


def render_queries() -> str:
    """Returns the page of named queries."""
    queries = shipped_queries().values()
    lines = [QUERIES_HEAD, "## All queries", ""]
    lines += [f"* [{q.name}](#{q.name}): {q.question}" for q in queries]
    for query in queries:
        lines += ["", f"## {query.name}", "", query.question]
        lines += ["", query.about] if query.about else []
        lines += ["", "```console", f"$ {example(query)}", "```", ""]
        lines += ["| parameter | type | default | |", "|---|---|---|---|"]
        lines += [
            f"| `{p.name}` | {p.type} | {_default(p)} | {_cell(p.comment)} |"
            for p in query.parameters
        ]
        lines += ["", "| column | type | |", "|---|---|---|"]
        lines += [f"| `{c.name}` | {c.type} | {_cell(c.comment)} |" for c in query.columns]
    return "\n".join(lines) + "\n"


def _default(parameter: Parameter) -> str:
    choices = f" of {', '.join(parameter.choices)}" if parameter.choices else ""
    if parameter.range:
        choices = f", {range_words(parameter.range)}"
    if parameter.is_required:
        return f"required{choices}"
    return ("none" if parameter.default in (None, "") else f"`{parameter.default}`") + choices


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def render() -> str:
    """Returns the page of tables."""
    lines = [
        "# Tables",
        "",
        "Written by `make docs` from `schemas/tables/*.sql`. Instants are UTC. What W&B no longer",
        "has keeps its row, with `deleted_at` set, in `<table>_all`; the plain name leaves it out,",
        "and with it what belongs to it. In the published file each project has a schema of its",
        "own, too: see [published-file.md](published-file.md).",
    ]
    for name in table_names():
        table = load_table(name)
        lines += ["", f"## {name}", "", table.comment, ""]
        if table.primary_key:
            lines += [f"Key: {', '.join(f'`{c}`' for c in table.primary_key)}.", ""]
        lines += ["| column | type | |", "|---|---|---|"]
        for column in table.columns:
            kind = column.type if column.nullable else f"{column.type}, never NULL"
            comment = column.comment.replace("|", "\\|")
            lines.append(f"| `{column.name}` | {kind} | {comment} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    (HERE / "tables.md").write_text(render(), encoding="utf-8")
    (HERE / "queries.md").write_text(render_queries(), encoding="utf-8")
