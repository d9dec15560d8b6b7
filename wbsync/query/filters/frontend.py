"""What W&B's web page calls a run's fields, and the sections in which its specs file them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from wbsync.errors import FilterSyntaxError
from wbsync.query.filters.operands import shown_value

FRONTEND_NAMES = {
    "ID": "name",
    "Name": "displayName",
    "Tags": "tags",
    "State": "state",
    "CreatedTimestamp": "createdAt",
    "Created Timestamp": "createdAt",
    "Latest Timestamp": "heartbeatAt",
    "Runtime": "duration",
    "User": "username",
    "Sweep": "sweep",
    "Group": "group",
    "JobType": "jobType",
    "Hostname": "host",
    "UsingArtifact": "inputArtifacts",
    "OutputtingArtifact": "outputArtifacts",
    "Step": "_step",
    "Relative Time (Process)": "_runtime",
    "RelativeTime(Process)": "_runtime",
    "Wall Time": "_timestamp",
    "WallTime": "_timestamp",
}
"""Name on the page to name on the server. Source: wandb/apis/public/reports.py."""

SECTIONS = {
    "run": "",
    "runs": "",
    "config": "config.",
    "summary": "summary_metrics.",
    "keys_info": "keys_info.keys.",
    "tags": "tags.",
}
"""Section of a spec's key to the prefix of the server's path."""

_SERVER_NAMES = frozenset(FRONTEND_NAMES.values())


def server_name(name: str) -> str | None:
    """Returns the server's name of a run column that the page or the server calls so.

    >>> server_name("CreatedTimestamp"), server_name("state"), server_name("loss")
    ('createdAt', 'state', None)
    """
    if name in FRONTEND_NAMES:
        return FRONTEND_NAMES[name]
    return name if name in _SERVER_NAMES else None


def clause(path: str, op: str, value: Any) -> dict[str, Any]:
    """Returns a test in MongoDB's form.

    Args:
        path: Field; one that starts with `tags.` names a single tag.
        op: MongoDB's operator; empty for a bare value.
        value: Operand.

    >>> clause("state", "", "Finished")
    {'state': 'finished'}
    >>> clause("tags.prod", "", False)
    {'$or': [{'tags': None}, {'tags': {'$ne': 'prod'}}]}
    """
    if path.startswith("tags."):
        tag = path.removeprefix("tags.")
        if op == "$in":
            return {"tags": {"$in": value}}
        if (value is False) == (op != "$ne"):
            return {"$or": [{"tags": None}, {"tags": {"$ne": tag}}]}
        return {"tags": tag}
    if path == "state":
        # The page shows states with a capital, the server keeps them without.
        value = _lowered(value)
    return {path: {op: value} if op else value}


def _lowered(value: Any) -> Any:
    if isinstance(value, list):
        return [_lowered(v) for v in value]
    return value.lower() if isinstance(value, str) else value


def within(path: str, seconds: Any, now: datetime | None) -> dict[str, Any]:
    """Returns the test that an instant lies within the last seconds.

    Raises:
        FilterSyntaxError: The seconds are no number.
    """
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)):
        raise FilterSyntaxError(
            f"within_last takes a number of seconds, not {shown_value(seconds)}", at=path
        )
    try:
        start = (now or datetime.now(UTC)) - timedelta(seconds=seconds)
    except OverflowError:
        raise FilterSyntaxError("within_last reaches back too far", at=path) from None
    return {path: {"$gte": start}}
