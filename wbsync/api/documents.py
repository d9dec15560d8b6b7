"""The GraphQL documents, one operation a file in `queries/wandb/`.

A fragment that several operations use is a file in `queries/wandb/fragments/`.

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
    """Returns the document of `queries/wandb/<name>.graphql`, with the fragments it shares."""
    text = read_resource(f"queries/wandb/{name}.graphql")
    match = re.search(r"^(?:query|mutation) (\w+)", text, re.MULTILINE)
    if match is None:
        raise ValueError(f"queries/wandb/{name}.graphql holds no named operation")
    spread = dict.fromkeys(re.findall(r"\.\.\.(\w+)", text))
    shared = [f for f in spread if not re.search(rf"^fragment {f} ", text, re.MULTILINE)]
    files = [f"queries/wandb/fragments/{snake_case(f)}.graphql" for f in shared]
    text = "\n".join([text, *(read_resource(file) for file in files)])
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    return Document(match[1], "\n".join(lines))


def snake_case(name: str) -> str:
    """Returns the name of the file that holds a fragment.

    >>> snake_case("RegistryState")
    'registry_state'
    """
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()


@cache
def batch_document(template: str, count: int) -> Document:
    """Returns a document that asks, or does, the same of several objects.

    Args:
        template: `queries/wandb/<template>.graphql`: an operation on one object aliased `r0`,
            whose own variables end in 0 and come last.
        count: Number of objects; their variables are the template's with 0 to count - 1 at the
            end.
    """
    one = load_document(template)
    match = re.fullmatch(
        r"\s*(?P<kind>query|mutation) (?P<name>\w+)"
        r"\((?P<shared>[^)]*?)(?P<own>(?:(?:, )?\$\w+0: [\w!\[\]]+)+)\) \{"
        r"(?P<head>.*?)(?P<object>(?<=\n)(?P<indent> +)r0: .*?\n(?P=indent)\})(?P<tail>.*)",
        one.text,
        re.DOTALL,
    )
    if match is None:
        raise ValueError(f"queries/wandb/{template}.graphql is no template")

    def numbered(text: str, index: int) -> str:
        return re.sub(r"\br0\b", f"r{index}", re.sub(r"(\$\w*?)0\b", rf"\g<1>{index}", text))

    own = ", ".join(numbered(match["own"].removeprefix(", "), i) for i in range(count))
    shared = f"{match['shared']}, " if match["shared"] else ""
    objects = "\n".join(numbered(match["object"], i) for i in range(count))
    head = f"{match['kind']} {one.name}({shared}{own}) {{{match['head']}"
    text = f"{head}{objects}{match['tail']}"
    return Document(one.name, text)


def run_batch_document(kind: str, count: int) -> Document:
    """Returns a document that asks the same of several runs of one project.

    Args:
        kind: Template `queries/wandb/run_<kind>.graphql`.
        count: Number of runs.
    """
    return batch_document(f"run_{kind}", count)


@cache
def runs_by_name_document(count: int) -> Document:
    """Returns a document that asks of several runs, by their names, what project_runs asks.

    Args:
        count: Number of runs; their variables are n0 to n{count - 1}, their keys r0 and so on.
    """
    page = load_document("project_runs")
    match = re.search(r"^( +)node \{\n(?P<fields>.*?)^\1\}", page.text, re.DOTALL | re.MULTILINE)
    assert match is not None
    names = "".join(f", $n{i}: String!" for i in range(count))
    runs = "\n".join(f"r{i}: run(name: $n{i}) {{\n{match['fields']}}}" for i in range(count))
    return Document(
        "RunsByName",
        f"query RunsByName($entity: String!, $project: String!{names}) {{\n"
        f"project(name: $project, entityName: $entity) {{\n{runs}\n}}\n}}",
    )
