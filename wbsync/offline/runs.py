"""Runs. Source: wandb/apis/public/runs.py.

A list of runs is one query for the columns that are small. Config and summary come when first
looked at, for as many runs at once as are likely to be asked for next; their JSON is read run by
run.
"""

from __future__ import annotations

import json
from copy import deepcopy
from datetime import UTC
from typing import TYPE_CHECKING, Any, ClassVar, Literal
from urllib.parse import quote

from wbsync.extract.values import INTERNAL_CONFIG_KEYS, parse_json
from wbsync.model import NON_FINITE
from wbsync.offline.documents import Documents
from wbsync.offline.history import History, HistoryScan
from wbsync.offline.reader import not_held
from wbsync.offline.records import Record, frame, instant, refuse
from wbsync.offline.summary import Summary
from wbsync.offline.users import User
from wbsync.writeback.assignments import check_state, texts
from wbsync.writeback.objects import (
    changes_of_leaves,
    changes_of_tags,
    changes_of_text,
)
from wbsync.writeback.operations import ENDED_STATES, Operation, Target

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import pandas as pd

    from wbsync.offline.artifacts import RunArtifacts
    from wbsync.offline.files import ConsoleLogs, File, Files
    from wbsync.offline.reader import Reader
    from wbsync.offline.sweeps import Sweep

    Stream = Literal["default", "system"]

COLUMNS = (
    "run_id", "storage_id", "display_name", "state", "notes", "tags", "group_name", "job_type",
    "username", "user_name", "sweep_id", "created_at", "heartbeat_at", "updated_at",
    "compute_seconds", "git_commit", "host", "history_line_count", "last_step",
    "event_line_count", "log_line_count",
)  # fmt: skip
"""Columns of the table runs that are small."""

TEXTS = (
    ("display_name", "display_name", "displayName"), ("notes", "notes", "notes"),
    ("group", "group_name", "group"), ("job_type", "job_type", "jobType"),
)  # fmt: skip
"""Texts that may be edited: field of an operation, column, and W&B's name."""

_KEYS = """
SELECT key, types FROM history_keys
WHERE entity = $entity AND project = $project AND run_id = $run ORDER BY key
"""


class Run(Record):
    """A run."""

    _refused = frozenset({
        "delete", "upload_file", "use_artifact",
        "log_artifact", "create", "download_history_exports",
    })  # fmt: skip
    _unheld = frozenset({"description", "dir", "project_id"})
    _editable: ClassVar[Mapping[str, str]] = {
        "tags": "tags", "notes": "notes", "name": "displayName", "display_name": "displayName",
        "displayName": "displayName", "group": "group", "job_type": "jobType",
        "jobType": "jobType",
    }  # fmt: skip
    _reader: Reader
    _entity: str
    _project: str
    _row: dict[str, Any]
    _documents: Documents
    _place: int
    _config: dict[str, Any] | None
    _rawconfig: dict[str, Any] | None
    _summary: dict[str, Any] | None
    _queued: dict[str, dict[str, Any]]
    """Config and summary as they were last queued."""

    def __init__(
        self,
        reader: Reader,
        entity: str,
        project: str,
        row: dict[str, Any],
        documents: Documents,
        place: int = 0,
    ) -> None:
        """Takes a run.

        Args:
            reader: Asks the warehouse.
            entity: Entity that owns the project.
            project: Project.
            row: What COLUMNS name.
            documents: Has what is big.
            place: Which of its runs this is.
        """
        user = {"name": row["user_name"], "username": row["username"]}
        super().__init__(
            {
                "id": row["storage_id"],
                "name": row["run_id"],
                "displayName": row["display_name"],
                "state": row["state"],
                "notes": row["notes"],
                "tags": parse_json(row["tags"]) or [],
                "group": row["group_name"],
                "jobType": row["job_type"],
                "sweepName": row["sweep_id"],
                "commit": row["git_commit"],
                "readOnly": True,
                "createdAt": instant(row["created_at"]),
                "heartbeatAt": instant(row["heartbeat_at"]),
                "updatedAt": instant(row["updated_at"]),
                "computeSeconds": row["compute_seconds"],
                "host": row["host"],
                "historyLineCount": row["history_line_count"],
                "logLineCount": row["log_line_count"],
                "user": user if row["username"] or row["user_name"] else None,
            }
        )
        # Not one by one: a list makes ten thousand of these.
        self.__dict__.update(
            _reader=reader, _entity=entity, _project=project, _row=row, _documents=documents,
            _place=place, _config=None, _summary=None, _rawconfig=None, _queued={},
        )  # fmt: skip

    @property
    def id(self) -> str:
        """Run id, as in the run's URL."""
        run_id: str = self._row["run_id"]
        return run_id

    @property
    def name(self) -> str | None:
        """Name shown in W&B."""
        name: str | None = self._attrs["displayName"]
        return name

    @property
    def storage_id(self) -> str | None:
        """W&B's storage id."""
        storage_id: str | None = self._row["storage_id"]
        return storage_id

    @property
    def entity(self) -> str:
        """Entity that owns the project."""
        return self._entity

    username = entity

    @property
    def project(self) -> str:
        """Project."""
        return self._project

    @property
    def user(self) -> User | None:
        """User who made it."""
        user = self._attrs["user"]
        return None if user is None else User(user, self._reader)

    @property
    def path(self) -> list[str]:
        """Entity, project and run id, as in a URL."""
        return [quote(part, safe="") for part in (self._entity, self._project, self.id)]

    @property
    def url(self) -> str:
        """Page of the run."""
        entity, project, run_id = self.path
        return f"{self._reader.app_url}/{entity}/{project}/runs/{run_id}"

    @property
    def config(self) -> dict[str, Any]:
        """Config, without W&B's own keys."""
        config = self._config
        if config is None:
            config = self._config = _values(self._text("config"))
        return config

    @property
    def rawconfig(self) -> dict[str, Any]:
        """Config with W&B's own keys."""
        raw = self._rawconfig
        if raw is None:
            whole = parse_json(self._text("config_raw")) or {}
            own = {k: unwrap(v) for k, v in whole.items() if k in INTERNAL_CONFIG_KEYS}
            raw = self._rawconfig = own | self.config
        return raw

    @property
    def json_config(self) -> str:
        """Config as the server keeps it."""
        raw = {k: v for k, v in self.rawconfig.items() if k == "_wandb"}
        wrapped = {k: {"value": v, "desc": None} for k, v in (raw | self.config).items()}
        return json.dumps(wrapped)

    @property
    def summary(self) -> Summary:
        """Last values, as a mapping that takes keys as attributes, too."""
        return Summary(self.summary_metrics, self._queue_summary)

    @property
    def summary_metrics(self) -> dict[str, Any]:
        """Last values."""
        summary = self._summary
        if summary is None:
            summary = self._summary = _values(self._text("summary"))
        return summary

    summaryMetrics = summary_metrics  # noqa: N815

    @property
    def system_metrics(self) -> dict[str, Any]:
        """Last value of each system metric."""
        return _values(self._text("system_summary"))

    systemMetrics = system_metrics  # noqa: N815

    @property
    def metadata(self) -> dict[str, Any] | None:
        """Environment of the run, as W&B also writes it to wandb-metadata.json."""
        internal = self.rawconfig.get("_wandb")
        records = internal.get("e") if isinstance(internal, dict) else None
        found = [r for r in records.values() if isinstance(r, dict)] if records else []
        return min(found, key=lambda r: str(r.get("startedAt", ""))) if found else None

    @property
    def lastHistoryStep(self) -> int:  # noqa: N802
        """Last step, -1 for an empty history."""
        step = self._row["last_step"]
        return -1 if step is None else int(step)

    @property
    def history_keys(self) -> dict[str, Any] | None:
        """Key to what was logged under it, type by type."""
        rows = self._reader.rows(_KEYS, **self._where)
        counts = {row["key"]: parse_json(row["types"]) or {} for row in rows}
        if not rows:
            self._check_held("default")
            return None
        counts["_step"] = {"number": self._row["history_line_count"]}
        return {
            "sets": [],
            "keys": {
                key: {"typeCounts": [{"type": t, "count": n} for t, n in types.items()]}
                for key, types in counts.items()
            },
            "lastStep": self.lastHistoryStep,
        }

    historyKeys = history_keys  # noqa: N815

    @property
    def sweep(self) -> Sweep | None:
        """Sweep that started it."""
        from wbsync.offline.sweeps import find_sweep

        sweep_id = self._row["sweep_id"]
        return sweep_id and find_sweep(self._reader, self._entity, self._project, sweep_id)

    def history(
        self,
        samples: int = 500,
        keys: list[str] | None = None,
        x_axis: str = "_step",
        pandas: bool = True,
        stream: Stream = "default",
    ) -> list[dict[str, Any]] | pd.DataFrame:
        """Returns at most so many rows of history, evenly spread.

        Args:
            samples: Most rows.
            keys: Only rows that hold all of these, and only these; None takes all.
            x_axis: Key that stands first beside `keys`.
            pandas: Whether a data frame is returned, where pandas is installed.
            stream: `default`, or `system` for system metrics.

        Raises:
            NotHeldError: The history was not synced.
            ValueError: `keys` is no list of texts, or comes with system metrics.
        """
        _check_keys(keys)
        if keys and stream != "default":
            raise ValueError("system metrics cannot be chosen by key")
        history = self._history
        if stream != "default":
            rows = history.system(samples)
        elif keys:
            rows = history.sampled_keys([x_axis, *keys], samples, lambda: self.summary_metrics)
        else:
            rows = history.sampled(samples, self.summary_metrics)
        if not rows:
            self._check_held(stream)
        return _framed(rows) if pandas else rows

    def scan_history(
        self,
        keys: list[str] | None = None,
        page_size: int = 1000,
        min_step: int = 0,
        max_step: int | None = None,
        use_cache: bool = True,
    ) -> HistoryScan:
        """Returns all rows of history.

        Args:
            keys: Only rows that hold all of these, and only these; None takes all.
            page_size: Taken for wandb's sake.
            min_step: First step.
            max_step: Step before which it ends; None goes to the end.
            use_cache: Taken for wandb's sake.

        Raises:
            NotHeldError: The history was not synced.
            ValueError: `keys` is no list of texts.
        """
        del page_size, use_cache
        _check_keys(keys)
        stop = self.lastHistoryStep + 1
        stop = stop if max_step is None else min(max_step, stop)
        if stop > min_step:
            self._check_held("default")
        return HistoryScan(self._history, keys, min_step, stop)

    beta_scan_history = scan_history

    def files(
        self, names: list[str] | None = None, pattern: str | None = None, per_page: int = 50
    ) -> Files:
        """Returns the files of the run.

        Args:
            names: Only these.
            pattern: Only those that match, with `%` and `_` as in SQL's LIKE.
            per_page: Taken for wandb's sake.
        """
        from wbsync.offline.files import Files

        del per_page
        return Files(self._reader, self, names or [], pattern)

    def file(self, name: str) -> File:
        """Returns the file of this name.

        Raises:
            NotHeldError: The warehouse knows none.
        """
        from wbsync.offline.files import Files

        return Files(self._reader, self, [name]).only(name)

    def console_logs(self, *, per_page: int = 1000, last: int | None = None) -> ConsoleLogs:
        """Returns the lines of console output; with `last`, so many of the last."""
        from wbsync.offline.files import ConsoleLogs

        del per_page
        return ConsoleLogs(self._reader, self, last)

    def logged_artifacts(self, per_page: int = 100) -> RunArtifacts:
        """Returns the artifact versions that the run logged."""
        from wbsync.offline.artifacts import RunArtifacts

        del per_page
        return RunArtifacts(self._reader, self, "logged")

    def used_artifacts(self, per_page: int = 100) -> RunArtifacts:
        """Returns the artifact versions that the run used."""
        from wbsync.offline.artifacts import RunArtifacts

        del per_page
        return RunArtifacts(self._reader, self, "used")

    def load(self, force: bool = False) -> dict[str, Any]:
        """Returns all fields."""
        del force
        return {
            **self._attrs,
            "config": self.config,
            "rawconfig": self.rawconfig,
            "summaryMetrics": self.summary_metrics,
            "systemMetrics": self.system_metrics,
        }

    load_full_data = load

    def update(self) -> None:
        """Queues what was changed in tags, notes, name, group, job type, config and summary.

        `wbsync push` brings it to W&B; the warehouse shows it at once.

        Raises:
            EditError: W&B would not take it; nothing is queued.
        """
        row, attrs, target = self._row, self._attrs, self._target
        tags = texts("tags", attrs["tags"])
        operations = [
            *changes_of_tags(target, parse_json(row["tags"]) or [], tags),
            *(
                operation
                for field, column, name in TEXTS
                for operation in changes_of_text(target, field, row[column], attrs[name])
            ),
            *self._changes("config", self._config),
            *self._changes("summary", self._summary),
        ]
        self._reader.queue(operations)
        self._row = {
            **row,
            "tags": json.dumps(tags),
            **{column: attrs[name] for _, column, name in TEXTS},
        }
        self._keep("config", self._config)
        self._keep("summary", self._summary)

    save = update

    def wait_until_finished(self) -> None:
        """Returns at once of a run that has ended.

        Raises:
            ReadOnlyError: It had not when it was read; only a sync would learn of its end.
        """
        if self.state not in ENDED_STATES:
            refuse("Run.wait_until_finished() of a run that is not known to have ended")

    def stop(self) -> None:
        """Queues that the run's process be asked to stop; `wbsync push` asks it.

        Of a run that has ended, there is nothing to do.
        """
        self._reader.queue(
            [Operation(self._target, "stop", "set", True, self.state in ENDED_STATES)]
        )

    def update_state(self, state: str) -> bool:
        """Queues that the run be set to `pending` or `failed`; says whether that changes it.

        Raises:
            EditError: It is another state, or W&B lets no run go there from the one it is in.
        """
        held = self._attrs["state"]
        check_state(held, state)
        self._reader.queue([Operation(self._target, "state", "set", state, held)])
        self._attrs["state"] = state
        return bool(held != state)

    def _queue_summary(self) -> None:
        self._reader.queue(list(self._changes("summary", self._summary)))
        self._keep("summary", self._summary)

    @property
    def _target(self) -> Target:
        created = self._row["created_at"]
        at = None if created is None else created.replace(tzinfo=UTC).isoformat()
        return Target("run", self._entity, self._project, self.id, self.storage_id, at)

    def _changes(self, field: str, now: dict[str, Any] | None) -> Iterator[Operation]:
        """Yields what was changed of config or summary, if it was looked at."""
        if now is None:
            return
        was = self._queued.get(field)
        if was is None:
            was = _values(self._text(field))
        yield from changes_of_leaves(self._target, field, was, now)

    def _keep(self, field: str, now: dict[str, Any] | None) -> None:
        if now is not None:
            self._queued = {**self._queued, field: deepcopy(now)}

    def to_html(self, height: int = 420, hidden: bool = False) -> str:
        """Returns a frame that shows the run's page."""
        return frame(self.url, height, hidden)

    def __repr__(self) -> str:
        return f"<Run {'/'.join(self.path)} ({self.state})>"

    @property
    def _where(self) -> dict[str, str]:
        return {"entity": self._entity, "project": self._project, "run": self.id}

    @property
    def _history(self) -> History:
        return History(self._reader, self._entity, self._project, self.id)

    def _text(self, column: str) -> str | None:
        return self._documents.text(self._place, column)

    def _check_held(self, stream: Stream) -> None:
        """Raises NotHeldError where W&B claims rows and the warehouse has none."""
        table = "history" if stream == "default" else "system_metrics"
        claimed = self._row["history_line_count" if stream == "default" else "event_line_count"]
        if not claimed:
            return
        found = self._reader.rows(
            "SELECT 1 FROM history WHERE entity = $entity AND project = $project"
            " AND run_id = $run LIMIT 1"
            if table == "history"
            else "SELECT 1 FROM system_metrics WHERE entity = $entity AND project = $project"
            " AND run_id = $run LIMIT 1",
            **self._where,
        )
        if not found:
            what = f"the {table.replace('_', ' ')} of {'/'.join(self.path)}"
            raise not_held(what, self._entity, self._project)


def find_run(reader: Reader, entity: str, project: str, run_id: str) -> Run:
    """Returns a run.

    Raises:
        NotHeldError: The warehouse does not hold it.
    """
    columns = ", ".join(COLUMNS)
    rows = reader.rows(
        f"SELECT {columns} FROM runs"  # noqa: S608
        " WHERE entity = $entity AND project = $project AND run_id = $run",
        entity=entity, project=project, run=run_id,
    )  # fmt: skip
    if not rows:
        raise not_held(f"the run {entity}/{project}/{run_id}", entity, project)
    return Run(reader, entity, project, rows[0], Documents(reader, entity, project, [run_id]))


def unwrap(value: Any) -> Any:
    """Returns a value of a config as W&B holds it without what is around it."""
    return value["value"] if isinstance(value, dict) and "value" in value else value


def _values(text: str | None) -> dict[str, Any]:
    """Returns an object of JSON, with what is not finite as floats."""
    values: dict[str, Any] = parse_json(text) or {}
    if text and ("NaN" in text or "Infinity" in text):
        values = _numbers(values)
    return values


def _numbers(value: Any) -> Any:
    """Returns a value with W&B's texts for what is not finite as floats."""
    if isinstance(value, str):
        return NON_FINITE.get(value, value)
    if isinstance(value, dict):
        return {k: _numbers(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_numbers(v) for v in value]
    return value


def _check_keys(keys: Any) -> None:
    if keys is not None and not (isinstance(keys, list) and all(isinstance(k, str) for k in keys)):
        raise ValueError("keys must be specified in a list of strings")


def _framed(rows: list[dict[str, Any]]) -> Any:
    try:
        import pandas as pd
    except ImportError:
        return rows
    return pd.DataFrame.from_records(rows)
