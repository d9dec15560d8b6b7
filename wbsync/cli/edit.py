"""`wbsync edit`: queue changes of runs, artifacts and collections."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from wbsync.cli.edits import ask, counted, value_texts
from wbsync.cli.options import Globals  # noqa: TC001
from wbsync.plain import plain

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from wbsync.query import Engine
    from wbsync.writeback.accepting import Edited
    from wbsync.writeback.plan import Plan, Sample
    from wbsync.writeback.undo import Undoing

F = TypeVar("F", bound="Callable[..., Any]")

_VERBS = {
    "add": "add",
    "remove": "take away",
    "set": "set",
    "append": "append to",
    "unset": "unset",
}


@click.group()
def command() -> None:
    """Queue changes of runs, artifacts and collections; nothing is sent before `wbsync push`.

    Each command shows what it would change, and asks. What is queued shows at once in the published
    tables: runs and the like are as they will be, runs_remote is what W&B holds, edits the queue.

    \b
    Examples:
      wbsync edit runs my-team/my-project --filter '{"state": "crashed"}' --add-tag broken
      wbsync edit sql "UPDATE runs SET notes = notes || ' checked' WHERE project = 'my-project'"
      wbsync edit import labels.csv --project my-team/my-project
    """


def accepting_options(function: F) -> F:
    """Adds what every edit takes: why, and how it is accepted."""
    for option in (
        click.option("--json", "as_json", is_flag=True, help="Print what was done as JSON."),
        click.option("--dry-run", is_flag=True, help="Show what would change; queue nothing."),
        click.option("-y", "--yes", is_flag=True, help="Do not ask."),
        click.option("--reason", default="", metavar="TEXT", help="Why, for the audit trail."),
    ):
        function = option(function)
    return function


def choosing_options(function: F) -> F:
    """Adds what says which things of a project are meant."""
    for option in (
        click.option("--filter", "filter_text", metavar="JSON|@FILE|-",
                     help="Only what passes this filter, in W&B's language."),
        click.argument("path", metavar="ENTITY/PROJECT"),
    ):  # fmt: skip
        function = option(function)
    return function


def tag_options(function: F) -> F:
    """Adds the changes of tags, which all kinds have."""
    for option in (
        click.option("--set-tags", metavar="T,…", help="Have these tags, in the place of all."),
        click.option("--remove-tag", "remove_tags", multiple=True, metavar="T",
                     help="Take a tag away; repeatable."),
        click.option("--add-tag", "add_tags", multiple=True, metavar="T",
                     help="Add a tag; repeatable."),
    ):  # fmt: skip
        function = option(function)
    return function


def leaf_options(example: str) -> Callable[[F], F]:
    """Adds the changes of leaves, for example of config."""

    def add(function: F) -> F:
        for option in (
            click.option("--unset", multiple=True, metavar="KEY",
                         help="Take a leaf away; repeatable."),
            click.option("--set", "sets", multiple=True, metavar="KEY=VALUE",
                         help=f"Set a leaf, for example {example}; a value that is no JSON is"
                         " text; repeatable."),
        ):  # fmt: skip
            function = option(function)
        return function

    return add


@command.command("runs")
@choosing_options
@click.option("--runs", "names", metavar="ID,…", help="Only these runs.")
@tag_options
@click.option("--set-notes", metavar="TEXT", help="Have these notes; '' for none.")
@click.option("--append-notes", metavar="TEXT", help="Append to the notes, as it is.")
@leaf_options("config.lr=0.1")
@click.option("--name", metavar="TEXT", help="Have this display name.")
@click.option("--group", metavar="TEXT", help="Be in this group; '' for none.")
@click.option("--job-type", metavar="TEXT", help="Be of this job type; '' for none.")
@click.option("--state", type=click.Choice(["pending", "failed"]), help="Be in this state.")
@click.option("--stop", is_flag=True, help="Ask live runs to stop.")
@accepting_options
@click.pass_obj
def edit_runs(
    shared: Globals, /, *, set_notes: str | None, name: str | None, group: str | None,
    job_type: str | None, state: str | None, **given: Any,
) -> None:  # fmt: skip
    """Change tags, notes, names, config and summary of runs of a project.

    \b
    Examples:
      wbsync edit runs my-team/my-project --filter '{"state": "crashed"}' --add-tag broken
      wbsync edit runs my-team/my-project --runs a1b2c3d4,e5f6a7b8 --set config.optimizer.lr=0.1
      wbsync edit runs my-team/my-project --filter @best.json --append-notes ' checked' --yes
    """
    texts = {
        "notes": set_notes, "display_name": name, "group": group, "job_type": job_type,
        "state": state,
    }  # fmt: skip
    _edit(shared, "runs", texts, **given)


@command.command("artifacts")
@choosing_options
@click.option("--names", metavar="NAME,…", help="Only these, as COLLECTION:v3 or COLLECTION:ALIAS.")
@tag_options
@click.option("--add-alias", "add_aliases", multiple=True, metavar="A",
              help="Give an alias, which leaves the version that had it; repeatable.")  # fmt: skip
@click.option("--remove-alias", "remove_aliases", multiple=True, metavar="A",
              help="Take an alias away; repeatable.")  # fmt: skip
@click.option("--set-description", metavar="TEXT", help="Have this description; '' for none.")
@leaf_options("metadata.accuracy=0.9")
@accepting_options
@click.pass_obj
def edit_artifacts(shared: Globals, /, *, set_description: str | None, **given: Any) -> None:
    """Change aliases, tags, description and metadata of artifact versions of a project.

    \b
    Examples:
      wbsync edit artifacts my-team/my-project --names model:v3 --add-alias production
      wbsync edit artifacts my-team/my-project --filter '{"type": "model"}' --add-tag reviewed
    """
    _edit(shared, "artifacts", {"description": set_description}, **given)


@command.command("collections")
@choosing_options
@click.option("--names", metavar="NAME,…", help="Only these collections.")
@tag_options
@click.option("--set-description", metavar="TEXT", help="Have this description; '' for none.")
@accepting_options
@click.pass_obj
def edit_collections(shared: Globals, /, *, set_description: str | None, **given: Any) -> None:
    """Change tags and description of artifact collections of a project.

    \b
    Example:
      wbsync edit collections my-team/my-project --names model --set-description 'The best so far.'
    """
    _edit(shared, "collections", {"description": set_description}, **given)


@command.command("sql")
@click.argument("statement", required=False)
@click.option("-f", "--file", "file", type=click.Path(exists=True, dir_okay=False, path_type=Path),
              help="Read the statement from a file.")  # fmt: skip
@click.option("--all", "every", is_flag=True, help="Allow an edit of every run of every project.")
@accepting_options
@click.pass_obj
def edit_sql(
    shared: Globals, /, *, statement: str | None, file: Path | None, every: bool, **how: Any
) -> None:
    """Change runs or artifacts by an UPDATE, which is worked out here and sent nowhere.

    It may set tags (a list), notes, display_name, group_name, job_type and leaves of config and
    summary of runs; tags, description and leaves of metadata of artifacts. Leaves are written
    config.lr or config['optimizer.lr']; NULL takes a leaf away.

    \b
    Examples:
      wbsync edit sql "UPDATE runs SET tags = list_append(tags, 'best'),
                       notes = notes || ' checked' WHERE summary.acc > 0.9"
      wbsync edit sql "UPDATE runs SET config['optimizer.lr'] = 0.1 WHERE run_id = 'a1b2c3d4'"
    """
    from wbsync.writeback.update_sql import plan_update

    if (statement is None) == (file is None):
        raise click.UsageError("give the statement as an argument or with -f")
    text = statement if file is None else file.read_text(encoding="utf-8")
    assert text is not None
    _accept(shared, lambda engine: plan_update(engine, text, every=every), "sql", text, **how)


@command.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--project", metavar="ENTITY/PROJECT",
              help="Project of the runs, where the file does not name it.")  # fmt: skip
@accepting_options
@click.pass_obj
def edit_import(shared: Globals, /, *, file: Path, project: str | None, **how: Any) -> None:
    """Change runs as a file says: CSV, JSON lines or Parquet, one run a row.

    Its columns are run_id (with entity and project, or --project) or path (entity/project/run_id),
    and what to set: tags, notes, display_name, group_name, job_type, config.KEY, summary.KEY,
    add_tags, remove_tags, append_notes. Empty cells leave things as they are.

    \b
    Examples:
      wbsync edit import labels.csv --project my-team/my-project
      wbsync runs my-team/my-project --columns run_id,notes,config.lr -o runs.csv   # to start from
    """
    from wbsync.writeback.importing import plan_import

    words = ["import", str(file), *(() if project is None else ("--project", project))]
    _accept(
        shared,
        lambda engine: plan_import(engine, file, project),
        "import",
        shlex.join(words),
        **how,
    )


def _edit(
    shared: Globals,
    kind: str,
    texts: dict[str, str | None],
    *,
    path: str,
    filter_text: str | None,
    names: str | None,
    set_tags: str | None,
    sets: tuple[str, ...] = (),
    reason: str,
    yes: bool,
    dry_run: bool,
    as_json: bool,
    **changes: Any,
) -> None:
    from wbsync.cli.translate import read_text
    from wbsync.writeback.assignments import build_assignments, parse_value
    from wbsync.writeback.editing import plan_edit

    if filter_text is not None and names is not None:
        raise click.UsageError("name things, or filter them, not both")
    values: dict[str, Any] = {field: text for field, text in texts.items() if text is not None}
    for item in sets:
        place, equals, value = item.partition("=")
        if not equals:
            raise click.UsageError(f"--set takes KEY=VALUE, not {plain(item)}")
        if place in values:
            raise click.UsageError(f"{plain(place)} is set twice")
        values[place] = parse_value(value)
    assignments = build_assignments(
        kind, values=values, tags=None if set_tags is None else _listed(set_tags), **changes
    )
    source = None if filter_text is None else read_text(filter_text)
    chosen = None if names is None else _listed(names)

    def plan(engine: Engine) -> Plan:
        return plan_edit(engine, kind, path, assignments, filters=source, names=chosen)

    typed = shlex.join(["wbsync", *sys.argv[1:]])
    _accept(
        shared, plan, "cli", typed, reason=reason, yes=yes, dry_run=dry_run, as_json=as_json
    )  # fmt: skip


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _accept(
    shared: Globals,
    make: Callable[[Engine], Plan],
    origin: str,
    typed: str,
    *,
    reason: str,
    yes: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Shows what an edit would do, asks, and queues it."""
    from wbsync.sync.publication import open_published
    from wbsync.writeback.accepting import Edited, accept, face_conflicts

    root = shared.root()
    with open_published(root) as engine:
        plan = make(engine)
    face_conflicts(root, plan)

    def tell(edited: Edited) -> None:
        _tell(edited, as_json=as_json)

    if not as_json:
        print_plan(plan)
    if not (plan.steps or plan.settling) or dry_run:
        tell(Edited(plan))
        return
    if not yes:
        ask(
            f"Queue {counted(len(plan.steps), 'operation')} on"
            f" {counted(plan.changed, plan.kind[:-1])}?"
            if plan.steps
            else f"Settle {counted(len(plan.settling), 'conflict')} as W&B holds it?",
            "--yes accepts the edit, --dry-run only shows it",
        )
    accept(root, plan, origin=origin, why=reason, command=typed, tell=tell)


def _tell(edited: Edited, *, as_json: bool) -> None:
    """Says what was queued."""
    if as_json:
        click.echo(json.dumps(edited.to_json()))
    elif edited.edit_id is not None:
        click.echo(
            f"{counted(edited.queued, 'operation')} queued as {edited.edit_id}: to W&B with"
            f" `wbsync push`, back with `wbsync undo {edited.edit_id}`"
        )
    elif edited.settled:
        click.echo("nothing is queued: W&B holds it, and the conflict is settled")
    elif edited.plan.steps or edited.plan.settling:
        click.echo("a dry run: nothing is queued")
    else:
        click.echo("nothing is queued: nothing would change")


def print_plan(plan: Plan) -> None:
    """Prints what an edit would do, for people."""
    unchanged = plan.matched - plan.changed
    rest = f", {counted(unchanged, 'stays as it is', 'stay as they are')}" if unchanged else ""
    changes = "changes" if plan.changed == 1 else "change"
    matched = counted(plan.matched, plan.kind[:-1])
    click.echo(f"{plan.changed:,} of {matched} {changes}{rest}")
    print_changes(plan)
    if plan.settling:
        settle = counted(len(plan.settling), "conflict is", "conflicts are")
        click.echo(f"{settle} settled: W&B holds just that")
    if plan.replacing:
        replace = counted(len(plan.replacing), "of these replaces", "of these replace")
        words = f"{replace} a conflict: what W&B holds → yours"
        _print_samples(words, plan.replaced())


def print_changes(plan: Plan | Undoing) -> None:
    """Prints what is changed how often, with examples."""
    for label, action, count in plan.counts():
        click.echo(f"  {_VERBS[action]} {plain(label)}: {count:,}")
    _print_samples("for example:", plan.samples())


def _print_samples(heading: str, samples: Sequence[Sample]) -> None:
    if samples:
        click.echo(heading)
    for sample in samples:
        change = value_texts(sample.before, sample.after)
        click.echo(f"  {plain(sample.target)} {plain(sample.label)}: {change}")
