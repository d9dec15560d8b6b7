"""Brings `warehouse.duckdb` up to date with the lake.

The published file is a product: made beside the old one and put in its place by an atomic rename,
so a reader is never locked out and never sees a half-made state. Where the last build can be
patched, it is; else the file is made anew. A kill at any moment leaves the old file in place, and
the next publication finds what is missing.
"""

from __future__ import annotations

import hashlib
import json
import time
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import duckdb

from wbsync.catalog.build import build, discard, is_lake_view
from wbsync.catalog.patch import can_patch, find_change, patch
from wbsync.catalog.record import Names, read_names, read_record
from wbsync.catalog.shape import lake_tables, shape_of
from wbsync.catalog.swap import Builds
from wbsync.catalog.writing import Form, check_storage_version, with_enough_memory
from wbsync.errors import WarehouseError, write_problem
from wbsync.lake.disk import clone
from wbsync.model import PublishOptions
from wbsync.tables import table_names

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    import pyarrow as pa

    from wbsync.catalog.overlay import Overlay
    from wbsync.catalog.record import Record
    from wbsync.lake import Lake

LAYOUT = 2
"""Counted up when what is made of the same rows changes: older builds are then made anew."""

GROWTH_BYTES = 64 * 1024 * 1024
"""A patched file is made anew once it is twice as large as when it was new, and by this much."""


@dataclass(frozen=True, slots=True)
class Published:
    """What a publication did."""

    path: Path
    how: str
    """unchanged, patched or rebuilt."""
    changed: tuple[str, ...]
    """Tables whose rows are not those of the last publication."""
    seconds: float


def publish(
    root: Path,
    lake: Lake,
    *,
    sync_log: pa.Table | None = None,
    options: PublishOptions | None = None,
    rebuild: bool = False,
    overlay: Overlay | None = None,
) -> Published:
    """Publishes the lake's newest version; where it is published already, touches nothing.

    Args:
        root: Folder of the warehouse.
        lake: Its lake.
        sync_log: Rows of the table sync_log, which is not in the lake and alone is no reason to
            publish.
        options: What kind of file; None leaves it as it is.
        rebuild: Whether the file is made anew in any case.
        overlay: Edits to lay over it; None leaves those that are there, and a file that is made
            anew without any.

    Raises:
        WarehouseError: The file cannot be made.
        ConfigError: DuckDB does not know the storage version.
    """
    started = time.monotonic()
    builds = Builds(root)
    options = options or PublishOptions()
    if options.storage_version is not None:
        check_storage_version(options.storage_version)
    with _publishing(builds):
        how, changed = _publish(builds, lake, sync_log, options, rebuild, overlay)
    return Published(builds.target, how, changed, time.monotonic() - started)


def publish_edits(root: Path, overlay: Overlay) -> Published | None:
    """Lays edits over what is published; whatever the lake holds by now is left to a sync.

    It does not wait for a sync that is under way, but for its publication.

    Args:
        root: Folder of the warehouse.
        overlay: The edits.

    Returns:
        What was done; None where nothing is published yet, or by another version of wbsync: then
        the next publication lays them over.

    Raises:
        WarehouseError: The file cannot be made.
    """
    started = time.monotonic()
    builds = Builds(root)
    if builds.newest() is None:
        return None
    with _publishing(builds):
        newest = builds.newest()
        record = None if newest is None else read_record(newest)
        if newest is None or record is None or record.facts.get("layout") != _layout():
            return None
        version = overlay.version()
        if record.facts.get("edits", "") == version:
            return Published(builds.target, "unchanged", (), time.monotonic() - started)
        note = builds.read_note()
        facts = {**(note.get("facts") or {}), "edits": version}
        _lay_over(builds, newest, record, overlay, version)
        builds.put_in_place(builds.accept(), {**note, "facts": facts})
        builds.drop_old()
    return Published(builds.target, "patched", ("edits",), time.monotonic() - started)


def _lay_over(builds: Builds, newest: Path, record: Record, overlay: Overlay, version: str) -> None:
    """Makes the next build from the newest one and edits."""

    def make(memory: str | None) -> None:
        discard(builds.temporary)
        clone(newest, builds.temporary)
        patch(
            builds.temporary, None, (), form=form_of(record.facts), sync_log=None,
            facts={"edits": version}, overlay=overlay, record=record, memory=memory,
            since=overlay.since(record.facts.get("edits", "")),
        )  # fmt: skip

    with_enough_memory(make)


@contextmanager
def _publishing(builds: Builds) -> Iterator[None]:
    """Lets one publication at a time be made.

    Raises:
        WarehouseError: It cannot be.
    """
    from filelock import FileLock

    try:
        builds.folder.mkdir(exist_ok=True)
        with FileLock(builds.root / ".publish-lock"):
            builds.drop_foreign_wal()
            yield
    except (duckdb.Error, OSError) as error:
        reason = (
            write_problem(error).split("\nLINE ", 1)[0].strip()
        )  # where DuckDB begins to show our SQL
        raise WarehouseError(f"cannot publish {builds.target}: {reason}") from error


def _publish(
    builds: Builds,
    lake: Lake,
    sync_log: pa.Table | None,
    options: PublishOptions,
    rebuild: bool,
    overlay: Overlay | None,
) -> tuple[str, tuple[str, ...]]:
    def wanted(form: Form) -> tuple[Form, dict[str, str]]:
        if options.storage_version is not None:
            form = replace(form, storage_version=options.storage_version)
        if options.materialize is not None:
            form = replace(form, materialize=options.materialize)
        facts = facts_of(lake, form, versions)
        return form, facts if overlay is None else {**facts, "edits": edits}

    versions = {name: lake.version(name) for name in lake_tables()}
    edits = "" if overlay is None else overlay.version()
    note = builds.read_note()
    if not rebuild and builds.is_in_place(note):
        held = note["facts"]
        if held.items() >= wanted(form_of(held))[1].items():
            return "unchanged", ()

    newest = builds.newest()
    record = None if newest is None else read_record(newest)
    form, facts = wanted(form_of(record.facts) if record else Form())
    if record is not None and not rebuild and (lost := went_back(versions, record)):
        raise WarehouseError(
            f"{', '.join(lost)}: the lake holds less of it than was published; run `wbsync verify"
            " --repair`, which reads it again"
        )
    if newest is None or record is None:
        record = None
    elif not rebuild and record.facts.items() >= facts.items():
        # A publication was killed before the swap, or somebody wrote to the published file.
        builds.put_in_place(newest, {**note, "facts": facts})
        return "unchanged", ()

    discard(builds.temporary)
    changed = _changed(versions, record)
    built_bytes = note.get("built_bytes") or (newest.stat().st_size if newest else 0)
    is_patched = (
        record is not None
        and newest is not None
        and not rebuild
        and newest.stat().st_size <= 2 * built_bytes + GROWTH_BYTES
        and all(record.facts.get(name) == facts[name] for name in UNPATCHABLE)
        and _patch(builds, newest, lake, record, changed, form, sync_log, facts, overlay)
    )
    if not is_patched:
        names = read_names(newest) if newest else Names()
        parts = {name: lake.parts(name) for name in versions}
        build(
            builds.temporary, parts, form=form, sync_log=sync_log, facts=facts, names=names,
            overlay=overlay,
        )  # fmt: skip
        built_bytes = builds.temporary.stat().st_size
    made = builds.accept()
    builds.put_in_place(made, {"facts": facts, "built_bytes": built_bytes})
    builds.drop_old()
    return "patched" if is_patched else "rebuilt", changed


def _patch(
    builds: Builds,
    newest: Path,
    lake: Lake,
    record: Record,
    changed: tuple[str, ...],
    form: Form,
    sync_log: pa.Table | None,
    facts: Mapping[str, str],
    overlay: Overlay | None,
) -> bool:
    """Makes the next build from the newest one; False where it cannot be, or is not worth it."""
    moved = record.facts["place"] != facts["place"]
    names = [n for n in lake_tables() if n in changed or (moved and is_lake_view(n, form))]
    changes = [find_change(lake, name, record) for name in names]
    if not can_patch(changes, form):
        return False

    def make(memory: str | None) -> None:
        discard(builds.temporary)
        clone(newest, builds.temporary)
        patch(
            builds.temporary, lake, changes, form=form, sync_log=sync_log, facts=facts,
            overlay=overlay, record=record, memory=memory,
        )  # fmt: skip

    with_enough_memory(make)
    return True


UNPATCHABLE = ("layout", "storage_version", "materialize")
"""Facts that a patch cannot change."""


def facts_of(lake: Lake, form: Form, versions: Mapping[str, int | None]) -> dict[str, str]:
    """Returns what a published file depends on, and records about itself."""
    return {
        "layout": _layout(),
        "storage_version": form.storage_version,
        "materialize": str(form.materialize),
        "place": str(lake.root),
        "versions": json.dumps(versions, sort_keys=True),
    }


def _layout() -> str:
    """Returns a hash of what is made of the same rows by this wbsync."""
    layout = repr((LAYOUT, [shape_of(name) for name in table_names()]))
    return hashlib.blake2b(layout.encode(), digest_size=12).hexdigest()


def form_of(facts: Mapping[str, str]) -> Form:
    """Returns what kind of file the facts are of that a file records about itself."""
    return Form(facts["storage_version"], facts["materialize"] == str(True))


def went_back(versions: Mapping[str, int | None], record: Record) -> list[str]:
    """Returns the tables that are gone from the lake, or older there than in a published file."""
    held = json.loads(record.facts.get("versions") or "{}")

    def order(version: int | None) -> int:
        return -1 if version is None else version

    return [name for name in versions if order(versions[name]) < order(held.get(name))]


def _changed(versions: Mapping[str, int | None], record: Record | None) -> tuple[str, ...]:
    held = json.loads(record.facts["versions"]) if record else {}
    return tuple(name for name, version in versions.items() if held.get(name) != version)
