"""Reports. Source: wandb/apis/public/reports.py."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from wbsync.extract.values import parse_json
from wbsync.offline.listing import Held
from wbsync.offline.reader import not_held
from wbsync.offline.records import Record, frame, instant
from wbsync.offline.run_list import Runs

if TYPE_CHECKING:
    from wbsync.offline.reader import Reader

_REPORTS = """
SELECT r.*, u.email FROM reports r LEFT JOIN users u USING (username)
WHERE r.entity = $entity AND r.project = $project AND r.view_type = 'runs'
  AND ($name IS NULL OR r.name = $name)
ORDER BY r.created_at DESC, r.report_id DESC
"""

_BY_ID = """
SELECT r.*, u.email FROM reports r LEFT JOIN users u USING (username)
WHERE r.entity = $entity AND r.project = $project AND rtrim(r.report_id, '=') = rtrim($id, '=')
"""

_PREFIXES = {
    "config": "config.", "summary": "summary_metrics.", "keys_info": "keys_info.keys.", "run": "",
    "tags": "tags.",
}  # fmt: skip


class BetaReport(Record):
    """A report."""

    def __init__(self, reader: Reader, row: dict[str, Any]) -> None:
        """Takes a row of the table reports, with its author's mail address."""
        super().__init__(
            {
                "id": row["report_id"],
                "name": row["name"],
                "displayName": row["display_name"],
                "description": row["description"],
                "user": {"username": row["username"], "email": row["email"], "photoUrl": None},
                "spec": parse_json(row["spec"]) or {},
                "createdAt": instant(row["created_at"]),
                "updatedAt": instant(row["updated_at"]),
                "entity": row["entity"],
                "project": row["project"],
            }
        )
        self._reader = reader

    @property
    def sections(self) -> Any:
        """Sections of panels, in reports of an older form."""
        return self._attrs["spec"]["panelGroups"]

    @property
    def url(self) -> str | None:
        """Page of the report, None for one without a title."""
        title, report_id = self._attrs["displayName"], self._attrs["id"]
        if not title:
            return None
        words = quote(re.sub(r"-+", "-", re.sub(r"\W", "-", title)).strip("-"))
        place = f"{self._attrs['entity']}/{self._attrs['project']}"
        slug = f"{words}--{report_id.replace('=', '')}"
        return f"{self._reader.app_url}/{place}/reports/{slug}"

    def runs(self, section: dict[str, Any], per_page: int = 50, only_selected: bool = True) -> Runs:
        """Returns the runs of a section's open run set.

        Args:
            section: A section, or a panel grid's metadata.
            per_page: Taken for wandb's sake.
            only_selected: Whether only those that are ticked are taken.
        """
        del per_page
        run_set = section["runSets"][section.get("openRunSet", 0)]
        sort = run_set["sort"]
        sort = sort if "key" in sort else sort["keys"][0]
        key = sort["key"]
        order = ("+" if sort.get("ascending") else "-") + _PREFIXES[key["section"]] + key["name"]
        runs = Runs(
            self._reader, self._attrs["entity"], self._attrs["project"], run_set["filters"], order
        )
        if only_selected:
            runs.keep_only(run_set["selections"]["tree"])
        return runs

    def to_html(self, height: int = 1024, hidden: bool = False) -> str:
        """Returns a frame that shows the report's page."""
        return frame(self.url or "", height, hidden)

    def __repr__(self) -> str:
        place = f"{self._attrs['entity']}/{self._attrs['project']}"
        return f"<BetaReport {place} {self._attrs['displayName']!r}>"


class Reports(Held[BetaReport]):
    """The published reports of a project, the newest first."""

    def __init__(self, reader: Reader, entity: str, project: str, name: str | None = None) -> None:
        """Takes what is asked for.

        Raises:
            NotHeldError: The project was not synced.
        """
        reader.project(entity, project)
        self._reader = reader
        self._path = (entity, project)
        self.project = project
        self.name = name

    def _load(self) -> list[BetaReport]:
        entity, project = self._path
        rows = self._reader.rows(_REPORTS, entity=entity, project=project, name=self.name)
        if not rows:
            self._reader.check_read("reports", entity, project)
        return [BetaReport(self._reader, row) for row in rows]

    def __repr__(self) -> str:
        return f"<Reports {'/'.join(self._path)}>"


def find_report(reader: Reader, entity: str, project: str, report_id: str) -> BetaReport:
    """Returns a report by the last part of its URL.

    Raises:
        NotHeldError: The warehouse does not hold it.
    """
    rows = reader.rows(_BY_ID, entity=entity, project=project, id=report_id)
    if not rows:
        raise not_held(f"the report {report_id}", entity, project)
    return BetaReport(reader, rows[0])
