"""The tasks of W&B's Public API guide as small scripts.

Each takes the class `Api` of either package, and prints; nothing may tell which one it was.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

P = "crew/zoo"


def read_metrics(api_class: Any) -> None:
    """Reads the metrics of one run: config, summary, every logged row, and a frame of a sample."""
    api = api_class()
    run = api.run(f"{P}/long")
    print(run.name, run.state, run.config["batch"], run.summary["loss"])
    losses = [row["loss"] for row in run.scan_history(keys=["loss"])]
    print(len(losses), sum(losses))
    frame = run.history(samples=50)
    print(len(frame), frame["loss"].max(), frame["_step"].tolist()[:5])
    if run.state == "finished":
        for index, row in run.history(keys=["rare"]).iterrows():
            print(index, row["_step"], row["rare"])


def compare_runs(api_class: Any) -> None:
    """Compares the configs of two runs, key by key, and shows what differs."""
    import pandas as pd

    api = api_class()
    first, second = api.run(f"{P}/long"), api.run(f"{P}/odd")
    frame = pd.DataFrame([first.config, second.config]).transpose()
    frame.columns = [first.name, second.name]
    # Dictionaries inside have no order of their own.
    texts = frame.map(lambda value: json.dumps(value, sort_keys=True))
    differing = texts[texts[first.name] != texts[second.name]]
    print(differing.sort_index().to_string())


def filter_runs(api_class: Any) -> None:
    """Finds runs by what they are, how they were set up and how well they did."""
    api = api_class()
    good = api.runs(
        P, {"$and": [{"config.lr": {"$lte": 0.3}}, {"summary_metrics.acc": {"$gt": 0.2}}]},
        order="-summary_metrics.acc",
    )  # fmt: skip
    print(len(good), good)
    for run in good:
        print(run.id, run.config["lr"], run.summary.get("acc"), run.tags)
    failed = api.runs(P, filters={"$or": [{"state": "failed"}, {"tags": "empty"}]})
    print([(run.id, run.state, run.created_at) for run in failed])
    print([run.id for run in api.runs(P, filters={"display_name": {"$regex": "^Bob.*"}})[:2]])


def export_project(api_class: Any) -> None:
    """Writes a project's runs to CSV: name, config and summary of each."""
    api = api_class()
    summaries, configs, names = [], [], []
    for run in api.runs(P):
        summaries.append(run.summary._json_dict)
        configs.append({k: v for k, v in run.config.items() if not k.startswith("_")})
        names.append(run.name)
    out = io.StringIO()
    writer = csv.writer(out)
    for name, config, summary in zip(names, configs, summaries, strict=True):
        kept = {k: v for k, v in summary.items() if not k.startswith("_")}
        writer.writerow([name, json.dumps(config, sort_keys=True), sorted(kept)])
    print(out.getvalue())


def best_of_sweep(api_class: Any) -> None:
    """Finds the best run of a sweep, and lists the others by another measure."""
    api = api_class(overrides={"entity": "crew", "project": "zoo"})
    sweeps = {sweep.name: sweep for sweep in api.project("zoo", "crew").sweeps()}
    sweep = api.sweep(sweeps["first sweep"].id)
    best = sweep.best_run()
    print(sweep.config["parameters"], sweep.state, best.config["lr"], best.summary.get("acc"))
    ordered = sorted(sweep.runs, key=lambda run: run.summary.get("loss", 0))
    print([(run.summary["loss"], run.sweep.name) for run in ordered])


def system_metrics(api_class: Any) -> None:
    """Reads what the machine did during a run."""
    api = api_class()
    run = api.run(f"{P}/long")
    frame = run.history(stream="system")
    columns = sorted(c for c in frame.columns if c.startswith("system."))
    print(len(frame), columns)
    print(frame["system.memory_percent"].mean(), sorted(run.system_metrics))


def artifact_lineage(api_class: Any) -> None:
    """Walks from a model back to its data, and from the data to all that used it."""
    api = api_class()
    model = api.artifact(f"{P}/net:prod", type="model")
    producer = model.logged_by()
    print(model.name, model.metadata, producer.name, producer.job_type)
    for data in sorted(producer.used_artifacts(), key=lambda a: a.name):
        maker = data.logged_by()
        print(" ", data.name, data.type, data.metadata["rows"], sorted(data.aliases), maker.id)
        print("   ", sorted(run.id for run in data.used_by()))
    for version in api.artifacts("dataset", f"{P}/data"):
        print(version.version, version.digest, version.size, version.created_at, version.tags)


SCRIPTS: dict[str, Callable[[Any], None]] = {
    function.__name__: function
    for function in (
        read_metrics, compare_runs, filter_runs, export_project, best_of_sweep, system_metrics,
        artifact_lineage,
    )
}  # fmt: skip


def printed(script: str, api_class: Any) -> str:
    """Returns what a script prints."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        SCRIPTS[script](api_class)
    return out.getvalue()
