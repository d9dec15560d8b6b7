"""Writes docs/tables.md from schemas/tables/*.sql: `make docs`."""

from __future__ import annotations

from pathlib import Path

from wbsync.tables import load_table, table_names

TARGET = Path(__file__).resolve().parent / "tables.md"


def render() -> str:
    """Returns the page."""
    lines = [
        "# Tables",
        "",
        "Written by `make docs` from `schemas/tables/*.sql`. Instants are UTC. What W&B no longer",
        "has keeps its row, with `deleted_at` set, in `<table>_all`; the plain name leaves it out.",
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
    TARGET.write_text(render(), encoding="utf-8")
