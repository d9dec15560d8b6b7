"""Sweeps. Source: wandb/apis/public/sweeps.py."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote_plus

from wbsync.offline.listing import Held
from wbsync.offline.reader import not_held
from wbsync.offline.records import Record, frame, instant
from wbsync.offline.run_list import Runs

if TYPE_CHECKING:
    from wbsync.offline.reader import Reader
    from wbsync.offline.runs import Run

RUN_COLUMNS = frozenset({"createdAt", "updatedAt", "name", "sweep"})
"""Names that an order may use bare; others are taken for keys of the summary."""


class Sweep(Record):
    """A sweep."""

    _refused = frozenset({"get", "enqueue_run"})
    _unheld = frozenset({"agents", "agent"})

    def __init__(self, reader: Reader, row: dict[str, Any]) -> None:
        """Takes a row of the table sweeps."""
        super().__init__(
            {
                "id": row["storage_id"],
                "name": row["sweep_id"],
                "displayName": row["display_name"],
                "method": row["method"],
                "state": row["state"],
                "description": row["description"],
                "bestLoss": row["best_loss"],
                "config": row["config_yaml"],
                "createdAt": instant(row["created_at"]),
                "updatedAt": instant(row["updated_at"]),
                "runCount": row["run_count"],
                "runCountExpected": row["run_count_expected"],
            }
        )
        self._reader = reader
        self._row = row

    @property
    def id(self) -> str:
        """Sweep id, as in its URL."""
        sweep_id: str = self._row["sweep_id"]
        return sweep_id

    @property
    def entity(self) -> str:
        """Entity that owns the project."""
        entity: str = self._row["entity"]
        return entity

    username = entity

    @property
    def project(self) -> str:
        """Project."""
        project: str = self._row["project"]
        return project

    @property
    def name(self) -> str:
        """Name shown in W&B, else the one in the configuration, else the id."""
        name: str = self._row["display_name"] or self.config.get("name") or self.id
        return name

    @property
    def config(self) -> dict[str, Any]:
        """Configuration."""
        import yaml

        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        config: dict[str, Any] = yaml.load(self._row["config_yaml"] or "{}", loader)  # noqa: S506
        return config

    @property
    def order(self) -> str | None:
        """Order in which the best run stands first, None where no metric is configured."""
        metric = self.config.get("metric")
        if not metric:
            return None
        sign = "+" if metric.get("goal", "minimize") == "minimize" else "-"
        return format_order(sign + metric["name"])

    @property
    def expected_run_count(self) -> int | None:
        """Runs that W&B expects, None for no end."""
        count: int | None = self._row["run_count_expected"]
        return count

    @property
    def runs(self) -> Runs:
        """Runs of the sweep."""
        return self._runs("+created_at")

    def best_run(self, order: str | None = None) -> Run | None:
        """Returns the first run by the sweep's metric, or by another order; None for no runs."""
        chosen = self.order if order is None else format_order(order)
        return next(iter(self._runs(chosen, limit=1)), None)

    @property
    def path(self) -> list[str]:
        """Entity, project and sweep id, as in a URL."""
        return [quote_plus(part) for part in (self.entity, self.project, self.id)]

    @property
    def url(self) -> str:
        """Page of the sweep."""
        entity, project, sweep_id = self.path
        return f"{self._reader.app_url}/{entity}/{project}/sweeps/{sweep_id}"

    def load(self, force: bool = False) -> dict[str, Any]:
        """Returns all fields."""
        del force
        return dict(self._attrs)

    def to_html(self, height: int = 420, hidden: bool = False) -> str:
        """Returns a frame that shows the sweep's page."""
        return frame(self.url, height, hidden)

    def __repr__(self) -> str:
        return f"<Sweep {'/'.join(self.path)} ({self._row['state']})>"

    def _runs(self, order: str | None, limit: int | None = None) -> Runs:
        filters = {"$and": [{"sweep": self.id}]}
        return Runs(self._reader, self.entity, self.project, filters, order, limit=limit)


def format_order(key: str) -> str:
    """Returns an order string as the server takes it; without a sign it is descending.

    >>> format_order("loss"), format_order("+config.lr"), format_order("val.acc")
    ('-summary_metrics.loss', '+config.lr', '-summary_metrics.val.acc')
    """
    sign, name = (key[0], key[1:]) if key[:1] in {"+", "-"} else ("-", key)
    head, dot, _ = name.partition(".")
    known = {"config", "summary_metrics", "tags"} if dot else RUN_COLUMNS
    return sign + (name if head in known else f"summary_metrics.{name}")


class Sweeps(Held[Sweep]):
    """The sweeps of a project, the newest first."""

    def __init__(self, reader: Reader, entity: str, project: str, filters: Any = None) -> None:
        """Takes what is asked for.

        Raises:
            NotHeldError: The project was not synced.
        """
        reader.project(entity, project)
        self._reader = reader
        self.entity = entity
        self.project = project
        self._filters = filters

    def _load(self) -> list[Sweep]:
        scope = {"entity": self.entity, "project": self.project}
        rows = self._reader.select("sweeps", scope, self._filters, "-created_at").to_pylist()
        if not rows:
            self._reader.check_read("sweeps", self.entity, self.project)
        return [Sweep(self._reader, row) for row in rows]

    def __repr__(self) -> str:
        return f"<Sweeps {self.entity}/{self.project}>"


def find_sweep(reader: Reader, entity: str, project: str, sweep_id: str) -> Sweep:
    """Returns a sweep.

    Raises:
        NotHeldError: The warehouse does not hold it.
    """
    rows = reader.rows(
        "SELECT * FROM sweeps WHERE entity = $entity AND project = $project AND sweep_id = $id",
        entity=entity, project=project, id=sweep_id,
    )  # fmt: skip
    if not rows:
        raise not_held(f"the sweep {entity}/{project}/{sweep_id}", entity, project)
    return Sweep(reader, rows[0])
