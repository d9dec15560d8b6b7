"""The GraphQL documents, one operation a file in `queries/wandb/`.

Documents for many objects at once are built from a template that holds one's selection: only
aliases (r0, r1, ...) and variable names (n0, n1, ...) are made here, never text of a server's.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

from wbsync.resources import read_resource


@dataclass(frozen=True, slots=True)
class Document:
    """A GraphQL operation."""

    name: str
    """Operation name, as sent."""
    text: str


@cache
def load_document(name: str) -> Document:
    """Returns the document of `queries/wandb/<name>.graphql`."""
    text = read_resource(f"queries/wandb/{name}.graphql")
    match = re.search(r"^query (\w+)", text, re.MULTILINE)
    if match is None:
        raise ValueError(f"queries/wandb/{name}.graphql holds no named query")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    return Document(match[1], "\n".join(lines))


@cache
def batch_document(template: str, count: int) -> Document:
    """Returns a document that asks the same of several objects.

    Args:
        template: `queries/wandb/<template>.graphql`: a query of one object aliased `r0`, whose
            own variables end in 0.
        count: Number of objects; their variables are the template's with 0 to count - 1 at the
            end. For none, what the template asks beside them is left.
    """
    one = load_document(template)
    match = re.fullmatch(
        r"\s*query \w+\((?P<variables>[^)]*)\) \{(?P<head>.*?)"
        r"(?P<object>(?<=\n)(?P<indent> +)r0: .*?\n(?P=indent)\})(?P<tail>.*)",
        one.text,
        re.DOTALL,
    )
    if match is None:
        raise ValueError(f"queries/wandb/{template}.graphql is no template")

    def numbered(text: str, index: int) -> str:
        return re.sub(r"\br0\b", f"r{index}", re.sub(r"(\$\w*?)0\b", rf"\g<1>{index}", text))

    declared = match["variables"].split(", ")
    own = [v for v in declared if v.partition(":")[0].endswith("0")]
    variables = [v for v in declared if v not in own]
    variables += [numbered(v, i) for i in range(count) for v in own]
    objects = "\n".join(numbered(match["object"], i) for i in range(count))
    body = f"{match['head']}{objects}{match['tail']}"
    used = set(re.findall(r"\$\w+", body))
    head = ", ".join(v for v in variables if v.partition(":")[0] in used)
    text = f"query {one.name}({head}) {{{body}"
    return Document(one.name, text)


def run_batch_document(kind: str, count: int) -> Document:
    """Returns a document that asks the same of several runs of one project.

    Args:
        kind: Template `queries/wandb/run_<kind>.graphql`.
        count: Number of runs.
    """
    return batch_document(f"run_{kind}", count)
