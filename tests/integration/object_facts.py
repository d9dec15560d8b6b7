"""What objects of an Api say, as a table.

Each line of FACTS is an expression over `api`, evaluated on wandb.Api() by `read_zoo.py` and on
wbsync.Api() by the test, which compares. What is one thing in two forms is brought to one form by
`plain`; everything else must be equal.
"""

from __future__ import annotations

import json
import math
from typing import Any

P = "crew/zoo"

RUN = """
name id entity project url path state tags notes group job_type created_at heartbeat_at
lastHistoryStep storage_id commit sweep_name display_name history_line_count
historyLineCount config rawconfig summary_metrics system_metrics metadata username
""".split()  # noqa: SIM905

ARTIFACT = """
id entity project name qualified_name version source_entity source_project source_name
source_qualified_name source_version is_link type url description metadata ttl tags incremental
state digest size commit_hash file_count created_at updated_at linked_at history_step
""".split()  # noqa: SIM905

SWEEP_FACTS = """
id name state config order expected_run_count path url entity project best_loss display_name
description created_at updated_at run_count method
""".split()  # noqa: SIM905

COLLECTION = """
id name type entity project project_id created_at updated_at description
""".split()  # noqa: SIM905

REGISTRY = """
id name full_name entity organization description visibility allow_all_artifact_types created_at
updated_at path
""".split()  # noqa: SIM905

REPORT = """
id name display_name description spec created_at updated_at url
""".split()  # noqa: SIM905

RUNS = ("odd", "long", "empty", "broken", "maker", "user", "bob1", "bob3")

FACTS: dict[str, str] = {
    **{f"run {r}": f"each(api.run('{P}/{r}'), RUN)" for r in RUNS},
    "listed runs": f"[each(r, RUN) for r in api.runs('{P}')]",
    "run.json_config": f"[json.loads(r.json_config) for r in api.runs('{P}')]",
    "run.repr": f"[repr(r) for r in api.runs('{P}')]",
    "run.user": f"[(r.user.username, r.user.name) for r in api.runs('{P}')]",
    "run.user.repr": f"repr(api.run('{P}/bob1').user)",
    "run.summary": f"[dict(r.summary._json_dict) for r in api.runs('{P}')]",
    "run.summary keys": f"sorted(api.run('{P}/odd').summary.keys())",
    "run.summary nested": f"api.run('{P}/odd').summary['best']['acc']",
    "run.summary attribute": f"api.run('{P}/odd').summary.best.at",
    "run.summary get": f"(api.run('{P}/odd').summary.get('nope', 7),"
                       f" 'loss' in api.run('{P}/odd').summary)",
    "run.summary items": f"{{k: v for k, v in api.run('{P}/bob2').summary.items()}}",
    "run.summary repr": f"sorted(repr(api.run('{P}/user').summary))",
    "run.summary not finite": f"str(float(api.run('{P}/bob0').summary['nan']))",
    "run.history": f"api.run('{P}/odd').history(pandas=False)",
    "run.history of a sweep": "api.sweep(SWEEP).best_run().history(pandas=False)",
    "run.history empty": f"api.run('{P}/empty').history(pandas=False)",
    "run.history samples": f"api.run('{P}/long').history(samples=100, pandas=False)",
    "run.history 500": f"len(api.run('{P}/long').history())",
    "run.history keys": f"api.run('{P}/odd').history(keys=['loss', 'Loss'], pandas=False)",
    "run.history rare": f"api.run('{P}/long').history(keys=['loss', 'rare'], pandas=False)",
    "run.history nested key": f"api.run('{P}/odd').history(keys=['nested.x.y'], pandas=False)",
    "run.history dictionary": f"api.run('{P}/odd').history(keys=['nested'], pandas=False)",
    "run.history dictionary and key": f"api.run('{P}/odd').history(keys=['nested', 'loss'],"
    " samples=7, pandas=False)",
    "run.history part of it": f"api.run('{P}/odd').history(keys=['nested.x', 'nested.z'],"
    " pandas=False)",
    "run.history not finite": f"api.run('{P}/odd').history(keys=['nan', 'inf'], pandas=False)",
    "run.history odd keys": f"api.run('{P}/odd').history(keys=['a/b', 'a b', 'größe'],"
                            " pandas=False)",
    "run.history x_axis": f"api.run('{P}/long').history(keys=['loss'], x_axis='_timestamp',"
                          " samples=7, pandas=False)",
    "run.history nothing": f"api.run('{P}/odd').history(keys=['loss', 'nope'], pandas=False)",
    "run.history frame": f"sorted(api.run('{P}/long').history().columns)",
    "run.history frame values": f"api.run('{P}/long').history(keys=['loss'],"
                                " samples=9).values.tolist()",
    "run.history kinds": f"[dtypes(api.run('{P}/' + r).history(samples=s)) for s in (1, 3, 500)"
                         " for r in ('long', 'user', 'bob1', 'empty')]",
    "run.history kinds of keys": f"[dtypes(api.run('{P}/odd').history(keys=k, x_axis=x)) for k in"
                                 " (['big'], ['flag', 'mixed'], ['list', 'loss'], ['nested'])"
                                 " for x in ('_step', '_timestamp', '_runtime')]",
    "run.history kinds of system metrics": f"dtypes(api.run('{P}/long').history(stream='system'))",
    "run.history places": f"[d.index.tolist() == list(range(len(d))) for d in"
                          f" [api.run('{P}/long').history(keys=['rare'])]]",
    "run.history system": f"api.run('{P}/long').history(stream='system', pandas=False)",
    "run.scan_history": f"list(api.run('{P}/odd').scan_history())",
    "run.scan_history all": f"len(list(api.run('{P}/long').scan_history()))",
    "run.scan_history keys": f"list(api.run('{P}/long').scan_history(keys=['loss']))",
    "run.scan_history steps": f"list(api.run('{P}/odd').scan_history(keys=['loss'], min_step=3,"
                              " max_step=7))",
    "run.scan_history pages": f"list(api.run('{P}/long').scan_history(keys=['loss'],"
                              " page_size=7, min_step=1190))",
    "run.scan_history over the end": f"[r for r in api.run('{P}/odd').scan_history(keys=['loss'],"
                                     " min_step=28, max_step=99) if r['loss'] is not None]",
    "run.scan_history max_step": f"api.run('{P}/odd').scan_history(max_step=99).max_step",
    "run.scan_history empty": f"list(api.run('{P}/empty').scan_history())",
    "run.scan_history twice": f"[len(list(s)) for s in [api.run('{P}/user').scan_history()] * 2]",
    "run.files": f"[(f.name, f.size, f.mimetype, f.md5, f.updated_at, f.id)"
                 f" for f in api.run('{P}/odd').files()]",
    "run.files repr": f"[repr(f) for f in api.run('{P}/odd').files()]",
    "run.files len": f"(len(api.run('{P}/odd').files()), repr(api.run('{P}/odd').files()))",
    "run.files names": f"[f.name for f in api.run('{P}/odd').files(names=['config.yaml'])]",
    "run.files pattern": f"[f.name for f in api.run('{P}/odd').files(pattern='%.json')]",
    "run.file": f"api.run('{P}/odd').file('config.yaml').size",
    "run.console_logs": f"[(l.number, l.timestamp, l.level, l.label, l.content)"
                        f" for l in api.run('{P}/long').console_logs()]",
    "run.console_logs none": f"list(api.run('{P}/bob1').console_logs())",
    "run.console_logs last": f"[l.content for l in api.run('{P}/long').console_logs(last=1)]",
    **{f"run.logged_artifacts {r}": f"sorted(a.name for a in api.run('{P}/{r}').logged_artifacts())"
       for r in RUNS},
    **{f"run.used_artifacts {r}": f"sorted((a.name, sorted(a.aliases))"
       f" for a in api.run('{P}/{r}').used_artifacts())" for r in (*RUNS, "second")},
    "run.logged_artifacts len": f"len(api.run('{P}/maker').logged_artifacts())",
    "run.history_keys": f"{{k: sorted((t['type'], t['count']) for t in v['typeCounts'])"
                        f" for k, v in api.run('{P}/odd').history_keys['keys'].items()}}",
    "run.sweep": f"[r.sweep and r.sweep.id for r in api.runs('{P}')]",
    "run.to_html": f"api.run('{P}/odd').to_html()",
    "runs len": f"len(api.runs('{P}'))",
    "runs repr": f"repr(api.runs('{P}'))",
    "runs index": f"(api.runs('{P}')[0].id, api.runs('{P}')[5].id)",
    "runs slice": f"[r.id for r in api.runs('{P}')[2:6]]",
    "runs twice": f"[[r.id for r in runs] for runs in [api.runs('{P}')] * 2]",
    "runs next": f"next(api.runs('{P}', {{'state': 'finished'}})).id",
    "runs attributes": "(lambda r: (r.entity, r.project, r.filters, r.order, r.per_page))"
                       f"(api.runs('{P}', {{'state': 'failed'}}, '-created_at', 7))",
    "runs.histories": f"api.runs('{P}', {{'jobType': {{'$exists': True}}}}).histories(samples=3)",
    "runs.histories keys": f"api.runs('{P}').histories(samples=2, keys=['loss'])",
    "runs.histories pandas": f"(lambda d: (list(d.columns), d.astype(str).values.tolist()))"
                             f"(api.runs('{P}', {{'group': 'h'}}).histories(keys=['loss'],"
                             " format='pandas'))",
    "runs.histories polars": f"api.runs('{P}', {{'group': 'h'}}).histories(keys=['loss'],"
                             " format='polars').rows()",
    "sweep": "[each(s, SWEEP_FACTS) for s in api.project('zoo', 'crew').sweeps()]",
    "sweep.repr": "[repr(s) for s in api.project('zoo', 'crew').sweeps()]",
    "sweeps": "(lambda s: (len(s), repr(s), [x.id for x in s]))"
              "(api.project('zoo', 'crew').sweeps())",
    "sweep.best_run": "api.sweep(SWEEP).best_run().id",
    "sweep.best_run order": "[api.sweep(SWEEP).best_run(o).id for o in ('loss', '+loss',"
                            " '-config.lr', '+createdAt', 'summary_metrics.acc',"
                            " '+some', '-some')]",
    "sweep.best_run without": "'some' in api.sweep(SWEEP).best_run('+some').summary",
    "sweep.best_run none": "[s.best_run() for s in api.project('zoo', 'crew').sweeps()"
                           " if s.id != SWEEP.split('/')[-1]]",
    "sweep.runs": "(len(api.sweep(SWEEP).runs), [r.id for r in api.sweep(SWEEP).runs])",
    "sweep.runs config": "[r.config for r in api.sweep(SWEEP).runs]",
    "project": "(lambda p: (p.name, p.entity, p.id, p.path, p.url, p.created_at, repr(p)))"
               "(api.project('zoo', 'crew'))",
    "projects": "[(p.name, p.entity, p.id, p.path, p.url) for p in api.projects('crew')]",
    "projects repr": "repr(api.projects('crew'))",
    "project.collections": "sorted(c.name for c in api.project('zoo', 'crew').collections())",
    "project.artifacts_types": "[t.name for t in api.project('zoo', 'crew').artifacts_types()]",
    "artifact_types": f"[(t.name, t.id, t.type, t.entity, t.project, repr(t))"
                      f" for t in api.artifact_types('{P}')]",
    "artifact_type": f"(lambda t: (t.id, sorted(c.name for c in t.collections()),"
                     f" t.collection('data').id))(api.artifact_type('dataset', '{P}'))",
    "collection": f"[each(c, COLLECTION) for c in"
                  f" sorted(api.artifact_collections('{P}', 'dataset'), key=lambda c: c.name)]",
    "collection.aliases": f"[sorted(c.aliases) for c in"
                          f" sorted(api.artifact_collections('{P}', 'dataset'),"
                          " key=lambda c: c.name)]",
    "collection.tags": f"[sorted(c.tags) for c in api.artifact_collections('{P}', 'model')]",
    "collection.is_sequence": f"api.artifact_collection('dataset', '{P}/data').is_sequence()",
    "collection.artifacts": f"[a.name for a in"
                            f" api.artifact_collection('dataset', '{P}/data').artifacts()]",
    "collection.repr": f"repr(api.artifact_collection('dataset', '{P}/data'))",
    "collections len": f"len(api.artifact_collections('{P}', 'dataset'))",
    "artifacts": f"(lambda a: (len(a), [x.name for x in a]))"
                 f"(api.artifacts('dataset', '{P}/data'))",
    "artifacts order": f"[[a.name for a in api.artifacts('dataset', '{P}/data', order=o)]"
                       " for o in ('+created_at', '-created_at')]",
    "artifacts tags": f"[a.name for a in api.artifacts('dataset', '{P}/data', tags=['gold'])]",
    "artifacts slice": f"[a.name for a in api.artifacts('dataset', '{P}/data')[1:3]]",
    **{f"artifact {n}": f"each(api.artifact('{P}/{n}'), ARTIFACT)"
       for n in ("data:best", "data:latest", "data:v0", "data", "net:prod", "empty:v0")},
    "artifact.aliases": f"[sorted(a.aliases) for a in api.artifacts('dataset', '{P}/data')]",
    "artifact.collection": f"(api.artifact('{P}/data:v1').collection.name,"
                           f" api.artifact('{P}/data:v1').source_collection.id)",
    "artifact.source_artifact": f"api.artifact('{P}/data:v1').source_artifact.id",
    "artifact.linked_artifacts": f"api.artifact('{P}/data:v1').linked_artifacts",
    "artifact.logged_by": f"[api.artifact('{P}/' + n).logged_by().id for n in"
                          " ('data:v0', 'data:best', 'net:prod', 'run-odd-table:v0')]",
    "artifact.used_by": f"[sorted(r.id for r in api.artifact('{P}/' + n).used_by()) for n in"
                        " ('data:v0', 'data:best', 'data:v2', 'net:prod')]",
    "artifact.manifest": f"{{p: (e.path, e.digest, e.size, e.ref, e.birth_artifact_id) for p, e in"
                         f" api.artifact('{P}/data:best').manifest.entries.items()}}",
    "artifact.manifest folder": "(lambda m: ([e.path for e in"
                                " m.get_entries_in_directory('nested')], m.size(), len(m)))"
                                f"(api.artifact('{P}/data:best').manifest)",
    "artifact.files": f"[(f.name, f.size, f.mimetype, f.digest) for f in"
                      f" api.artifact('{P}/data:best').files()]",
    "artifact.files names": f"[f.name for f in"
                            f" api.artifact('{P}/data:best').files(names=['plain.txt'])]",
    "artifact.files repr": f"repr(api.artifact('{P}/data:best').files())",
    "artifact.get_entry": f"api.artifact('{P}/data:best').get_entry('plain.txt').digest",
    "artifact.is_draft": f"api.artifact('{P}/data:best').is_draft()",
    "artifact.repr": f"repr(api.artifact('{P}/data:best'))",
    "artifact type given": f"api.artifact('{P}/data:best', type='dataset').name",
    "artifact_exists": f"[api.artifact_exists('{P}/' + n) for n in"
                       " ('data:best', 'data:nope', 'nope:v0', 'data:v9')]",
    "artifact_collection_exists": f"(api.artifact_collection_exists('{P}/net', 'model'),"
                                  f" api.artifact_collection_exists('{P}/nope', 'model'))",
    "report": f"[each(r, REPORT) for r in sorted(api.reports('{P}'), key=lambda r: r.id)]",
    "report.user": f"[(r.user['username'], r.user['email']) for r in api.reports('{P}')]",
    "report.runs": f"[len(r.runs(r.spec['blocks'][2]['metadata'] | {{'runSets': ["
                   "{'sort': {'key': {'section': 'run', 'name': 'createdAt'}, 'ascending': True},"
                   " 'filters': {'op': 'OR', 'filters': [{'op': 'AND', 'filters': [{'key':"
                   " {'section': 'run', 'name': 'group'}, 'op': '=', 'value': 'h'}]}]},"
                   " 'selections': {'tree': ['user', 'long']}}]}))"
                   f" for r in api.reports('{P}') if 'First' in r.display_name]",
    "reports len": f"len(list(api.reports('{P}')))",
    "registries": "[each(r, REGISTRY) for r in api.registries('acme', order='+name')]",
    "registries artifact_types": "[sorted(r.artifact_types) for r in"
                                 " api.registries('acme', order='+name')]",
    "registries filter": "[[r.name for r in api.registries('acme', f)] for f in ({'name':"
                         " 'models'}, {'name': {'$regex': 'model'}}, {'description': 'nope'})]",
    "registry": "[each(api.registry(n, 'acme'), REGISTRY) for n in ('models', 'any thing')]",
    "registry collections": "[each(c, COLLECTION) | {'tags': sorted(c.tags), 'aliases':"
                            " sorted(c.aliases), 'in': c.organization, 's': c.is_sequence()} for c"
                            " in api.registries('acme').collections(order='+name')]",
    "registry collections filter": "[[c.name for c in api.registries('acme').collections(f)]"
                                   " for f in ({'tag': 't1'}, {'name': 'rows'},"
                                   " {'name': {'$regex': 'e'}, 'description': 'sees cats'})]",
    "registry versions": "sorted([v.qualified_name, sorted(v.aliases), v.version, v.is_link,"
                         " v.linked_at, v.source_qualified_name, v.id, v.url]"
                         " for v in api.registries('acme').versions())",
    "registry versions filter": "[sorted(v.name for v in api.registries('acme').versions(f)) for f"
                                " in ({'alias': 'best'}, {'metadata.acc': {'$gt': 0.1}})]",
    "registry chain": "[v.name for v in api.registries('acme', {'name': 'models'}).collections("
                      "{'name': 'classifier'}).versions({'alias': 'in use'})]",
    "registry own": "(lambda r: (sorted(c.name for c in r.collections()),"
                    " sorted(v.name for v in r.versions())))(api.registry('models', 'acme'))",
    "registry artifact": "[each(api.artifact(n), ARTIFACT) for n in"
                         " ('wandb-registry-models/classifier:best',"
                         " 'acme-org/wandb-registry-models/classifier:v0',"
                         " 'acme/wandb-registry-any thing/rows:v1',"
                         " 'wandb-registry-any thing/rows:latest')]",
    "registry artifact source": "(lambda a: (a.source_artifact.qualified_name, a.logged_by().id,"
                                " a.collection.name, a.source_collection.name,"
                                " a.linked_artifacts))"
                                "(api.artifact('wandb-registry-models/classifier:best'))",
    "registry artifact exists": "(api.artifact_exists('wandb-registry-models/classifier:best'),"
                                " api.artifact_exists('wandb-registry-models/classifier:v7'))",
    "registry collection": "each(api.artifact_collection('model',"
                           " 'acme-org/wandb-registry-models/classifier'), COLLECTION)",
    "linked_artifacts": f"sorted(a.qualified_name for a in"
                        f" api.artifact('{P}/net:prod').linked_artifacts)",
    "viewer": "(api.viewer.username, api.viewer.email, api.viewer.entity, api.viewer.id,"
              " api.viewer.teams, repr(api.viewer))",
    "default_entity": "api.default_entity",
    "user": "(api.user('bob').username, api.user('bob').email, len(api.users('bob')))",
    "user none": "api.user('nobody')",
    "team": "(api.team('crew').name, api.team('crew').id, sorted(m.name for m in"
            " api.team('crew').members), repr(api.team('crew')))",
    "from_path": f"[repr(api.from_path(p)) for p in ('{P}', '{P}/odd', '{P}/runs/odd',"
                 " SWEEP.replace('zoo/', 'zoo/sweeps/'))]",
    "paths": f"[api.run(p).id for p in ('{P}/odd', 'zoo/odd', '{P}:odd', 'zoo:odd', '/{P}/odd/',"
             f" '{P}/runs/odd')]",
    "run.server's spelling": f"[(r.summaryMetrics, r.systemMetrics, r.createdAt, r.jobType)"
                             f" for r in api.runs('{P}')]",
    "run.display": f"api.run('{P}/odd').display()",
    "sweeps order": "[[s.id for s in api.project('zoo', 'crew').sweeps(order=o)]"
                    " for o in ('+created_at', '-created_at')]",
    "file.run": f"[f.run.id for f in api.run('{P}/odd').files()]",
    "artifacts.filters": f"api.artifacts('dataset', '{P}/data').filters",
    "integrations": "[list(api.integrations('crew')), list(api.slack_integrations(entity='crew')),"
                    " list(api.webhook_integrations('crew'))]",
    "automations": "list(api.automations('crew'))",
    "run.attribute missing": f"hasattr(api.run('{P}/odd'), 'nope')",
}  # fmt: skip


def dtypes(frame: Any) -> dict[str, str]:
    """Returns the types of a frame's columns; in which order W&B names them is chance."""
    return {name: str(kind) for name, kind in sorted(frame.dtypes.items())}


OBJECTS: dict[str, str] = {
    "Api": "api",
    "Runs": f"api.runs('{P}')",
    "Run": f"api.run('{P}/odd')",
    "Summary": f"api.run('{P}/odd').summary",
    "HistoryScan": f"api.run('{P}/odd').scan_history()",
    "ConsoleLogs": f"api.run('{P}/long').console_logs()",
    "ConsoleLogLine": f"api.run('{P}/long').console_logs()[0]",
    "Files": f"api.run('{P}/odd').files()",
    "File": f"api.run('{P}/odd').file('config.yaml')",
    "Sweeps": "api.project('zoo', 'crew').sweeps()",
    "Sweep": "api.sweep(SWEEP)",
    "Projects": "api.projects('crew')",
    "Project": "api.project('zoo', 'crew')",
    "ArtifactTypes": f"api.artifact_types('{P}')",
    "ArtifactType": f"api.artifact_type('dataset', '{P}')",
    "ArtifactCollections": f"api.artifact_collections('{P}', 'dataset')",
    "ArtifactCollection": f"api.artifact_collection('dataset', '{P}/data')",
    "Artifacts": f"api.artifacts('dataset', '{P}/data')",
    "Artifact": f"api.artifact('{P}/data:best')",
    "RunArtifacts": f"api.run('{P}/maker').logged_artifacts()",
    "Manifest": f"api.artifact('{P}/data:best').manifest",
    "Entry": f"api.artifact('{P}/data:best').get_entry('plain.txt')",
    "ArtifactFiles": f"api.artifact('{P}/data:best').files()",
    "Reports": f"api.reports('{P}')",
    "Report": f"api.reports('{P}')[0]",
    "Registries": "api.registries('acme')",
    "Registry": "api.registry('models', 'acme')",
    "Collections": "api.registries('acme').collections()",
    "LinkedVersions": "api.registries('acme').versions()",
    "User": "api.viewer",
    "Team": "api.team('crew')",
    "Member": "api.team('crew').members[0]",
}
"""One object of each kind."""


def names_of(api: Any) -> dict[str, list[str]]:
    """Returns the public names of each object, those of its fields included."""
    sweep = sweep_path(api)
    names = {}
    for kind, expression in OBJECTS.items():
        found = eval(expression, {"api": api, "SWEEP": sweep})
        fields = found.__dict__.get("_attrs") if hasattr(found, "__dict__") else None
        fields = fields if isinstance(fields, dict) else {}
        names[kind] = sorted({n for n in {*dir(found), *fields} if not n.startswith("_")})
    return names


def plain(value: Any) -> Any:
    """Returns a value as JSON has it; whole numbers and what is not finite in one form each."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    if isinstance(value, float) and not math.isfinite(value):
        return {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}[str(value)]
    if isinstance(value, dict) and value and all(k.startswith("_type_") for k in value):
        # An export's shape for a key of several types: one of them holds the value.
        return next((plain(v) for v in value.values() if v is not None), None)
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if hasattr(value, "_json_dict"):
        return plain(dict(value.items()))
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)


def sweep_path(api: Any) -> str:
    """Returns the path of the sweep that has runs."""
    found = [s for s in api.project("zoo", "crew").sweeps() if s.name == "first sweep"]
    return f"{P}/{found[0].id}"


def each(thing: Any, names: list[str]) -> dict[str, Any]:
    """Returns the attributes of a thing."""
    return {name: getattr(thing, name) for name in names}


def say(api: Any, expression: str, sweep: str) -> Any:
    """Returns what an expression gives; `SWEEP` in it is the path of the sweep that has runs."""
    return plain(eval(expression, {**globals(), "json": json, "api": api, "SWEEP": sweep}))


def say_all(api: Any) -> dict[str, Any]:
    """Returns what all of FACTS give; an error as its name and words."""
    sweep = sweep_path(api)
    said = {}
    for name, expression in FACTS.items():
        try:
            said[name] = say(api, expression, sweep)
        except Exception as error:  # noqa: BLE001
            said[name] = f"{type(error).__name__}: {error}"
    return said
