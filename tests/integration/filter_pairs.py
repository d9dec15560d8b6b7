"""Filters and orders, for wandb.Api() and wbsync.Api() alike."""

from __future__ import annotations

from typing import Any

P = "crew/zoo"

FILTERS: list[Any] = [
    {},
    {"state": "finished"},
    {"state": "running"},
    {"state": {"$in": ["failed", "crashed"]}},
    {"state": {"$ne": "finished"}},
    {"state": {"$nin": ["finished", "failed"]}},
    {"$or": [{"state": "failed"}, {"state": "running"}]},
    {"$and": [{"state": "finished"}, {"group": "h"}]},
    {"$nor": [{"state": "finished"}, {"state": "failed"}]},
    {"$not": {"state": "finished"}},
    {"display_name": "odd keys"},
    {"displayName": {"$regex": "^odd"}},
    {"display_name": {"$regex": "Bob's [12]$"}},
    {"displayName": {"$regex": "^BOB", "$options": "i"}},
    {"name": "odd"},
    {"name": {"$in": ["odd", "long", "nope"]}},
    {"name": {"$regex": "^bob"}},
    {"username": "bob"},
    {"username": {"$ne": "bob"}},
    {"group": "g"},
    {"group": None},
    {"group": {"$exists": True}},
    {"group": {"$exists": False}},
    {"jobType": "train"},
    {"job_type": {"$in": ["train", "eval"]}},
    {"jobType": {"$exists": False}},
    {"notes": {"$regex": "break"}},
    {"notes": "edited"},
    {"tags": "prod"},
    {"tags": {"$in": ["prod", "bob"]}},
    {"tags": {"$nin": ["bob"]}},
    {"tags": {"$ne": "bob"}},
    {"tags": "tag two"},
    {"$and": [{"tags": "prod"}, {"tags": "t1"}]},
    {"config.lr": 0.1},
    {"config.lr.value": 0.1},
    {"config.lr": {"$gt": 0.1}},
    {"config.lr": {"$gte": 0.1, "$lt": 0.5}},
    {"config.lr": {"$lte": 0}},
    {"config.lr": {"$in": [0.1, 1]}},
    {"config.lr": {"$nin": [0.1, 1]}},
    {"config.lr": {"$ne": 0.1}},
    {"config.lr": {"$exists": True}},
    {"config.lr": {"$exists": False}},
    {"config.batch": 8},
    {"config.who": "ann"},
    {"config.who": {"$regex": "^(ann|bob)$"}},
    {"config.nested.model.depth": 3},
    {"config.nested.value.model.name": "a.b/c"},
    {"config.Loss": "upper"},
    {"config.loss": "lower"},
    {"config.a b": 3},
    {"config.a/b": 1},
    {"config.größe": {"$regex": "☃"}},
    {"config.flag": True},
    {"config.text": "10"},
    {"config.big": 2**60},
    {"summary_metrics.loss": {"$lt": 1}},
    {"summary_metrics.acc": {"$gte": 0.5}},
    {"summary_metrics.acc": {"$exists": True}},
    {"summary_metrics.acc": None},
    {"summary_metrics.best": {"$exists": True}},
    {"summary_metrics.deep": {"$exists": True}},
    {"summary_metrics.deep.x": 2},
    {"summary_metrics.Loss": 29},
    {"summary_metrics.best.acc": {"$gt": 0.8}},
    {"created_at": {"$gt": "2026-01-01T00:05:30Z"}},
    {"createdAt": {"$gte": "2026-01-01T00:03:00Z", "$lt": "2026-01-01T00:07:00Z"}},
    {"created_at": {"$lte": "2026-01-01T00:04:00Z"}},
    {"heartbeatAt": {"$gt": "2020-01-01T00:00:00Z"}},
    {"sweep": {"$exists": True}},
    {"sweep": "nope"},
    {"$and": [{"$or": [{"tags": "prod"}, {"group": "h"}]}, {"config.lr": {"$exists": True}}]},
    {"$or": [{"$and": [{"state": "running"}, {"summary_metrics.loss": {"$lte": 1}}]},
             {"config.batch": {"$gte": 32}}]},
    {"state": "finished", "jobType": "train"},
]  # fmt: skip

ORDERS = [
    "+created_at", "-created_at", "created_at", "+display_name",
    "+summary_metrics.loss", "-summary_metrics.loss", "+summary_metrics.acc",
    "-summary_metrics.acc", "+config.lr", "-config.lr.value", "-config.lr", "+name", "-name",
    "+state", "-summary_metrics.deep.x", "-summary_metrics.deep", "+summary_metrics.best",
    "-config.nested", "+config.wrap", "-summary_metrics.val/loss",
]  # fmt: skip

PAIRS: list[tuple[Any, str]] = [
    *((f, "+created_at") for f in FILTERS),
    *(({}, order) for order in ORDERS),
    *(({"state": "finished"}, order) for order in ("-created_at", "-summary_metrics.loss")),
    *(({"tags": "bob"}, order) for order in ("-summary_metrics.acc", "+config.lr")),
    *(({"config.lr": {"$exists": True}}, o) for o in ("+config.lr", "-summary_metrics.loss")),
]


def found(api: Any, filters: Any, order: str) -> Any:
    """Returns the ids of the runs that are found, and how many the list says there are."""
    runs = api.runs(P, filters=filters, order=order)
    return [len(runs), [run.id for run in runs]]


def find_all(api: Any) -> list[Any]:
    """Returns what all of PAIRS find."""
    return [found(api, filters, order) for filters, order in PAIRS]
