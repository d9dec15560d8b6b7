"""Makes and edits registries with the real wandb SDK, and prints what it then reads of them."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import wandb

steps = sys.argv[1:]
api = wandb.Api(overrides={"entity": "crew"})

if "make" in steps:
    models = api.create_registry(
        "models", visibility="organization", organization="acme", description="über ☃",
        artifact_types=["model"],
    )  # fmt: skip
    anything = api.create_registry("any thing", visibility="restricted", organization="acme")
    with wandb.init(project="train", entity="crew", id="maker") as run:
        for version in range(3):
            Path("w.bin").write_text(f"weights {version}", encoding="utf-8")
            artifact = wandb.Artifact("net", "model", metadata={"acc": version / 10})
            artifact.add_file("w.bin")
            run.log_artifact(artifact).wait()
            run.link_artifact(artifact, "wandb-registry-models/classifier", aliases=[f"a{version}"])
        artifact.link("wandb-registry-models/other", aliases=["prod", "best one"])
        data = wandb.Artifact("data", "dataset")
        data.add_file("w.bin")
        run.log_artifact(data).wait()
        data.link("wandb-registry-any thing/data set")
        try:
            data.link("wandb-registry-models/data set")
        except wandb.errors.CommError:
            pass
        else:
            raise AssertionError("a registry took a type that it does not allow")
if "alias" in steps:
    # Nothing but the alias moves: neither a count nor the collection's time.
    version = api.artifact("wandb-registry-models/classifier:v0")
    version.aliases.append("a1")
    version.save()
if "unlink" in steps:
    api.artifact("wandb-registry-models/classifier:v2").unlink()
if "relink" in steps:
    api.artifact("crew/train/net:v2").link("wandb-registry-models/classifier")
if "describe" in steps:
    collection = api.artifact_collection("model", "acme-org/wandb-registry-models/classifier")
    collection.description = "sees cats"
    collection.tags = ["t1", "tag two"]
    collection.save()
    models = api.registry("models", organization="acme")
    models.description = "ours"
    models.save()
if "delete" in steps:
    api.artifact_collection("model", "acme-org/wandb-registry-models/other").delete()
    api.registry("any thing", organization="acme").delete()
if "rename" in steps:
    models = api.registry("models", organization="acme")
    models.name = "models two"
    models.save()

api = wandb.Api(overrides={"entity": "crew"})
registries = api.registries(organization="acme", order="+name")
said = {
    "registries": [
        [r.name, r.entity, r.description, r.visibility, r.allow_all_artifact_types,
         sorted(r.artifact_types), r.created_at, r.updated_at]
        for r in registries
    ],
    "collections": [
        [c.project, c.name, c.type, c.description, sorted(c.tags), c.created_at, c.updated_at]
        for c in api.registries(organization="acme").collections(order="+name")
    ],
    "versions": [
        [v.project, v.name, sorted(v.aliases), v.id, v.linked_at, v.source_qualified_name]
        for v in api.registries(organization="acme").versions()
    ],
    # The server's own filters and orders, as the SDK writes them.
    "found": {
        "regex": [
            r.name
            for r in api.registries("acme", filter={"name": {"$regex": "^wandb-registry-mod"}})
        ],
        "tagged": [c.name for c in registries.collections(filter={"tag": "t1"})],
        "aliased": sorted(
            v.name for v in api.registries("acme").versions(
                filter={"$or": [{"alias": "a1"}, {"alias": "prod"}]}
            )
        ),
        "accurate": [
            v.name for v in api.registries("acme").collections(filter={"name": "classifier"})
            .versions(filter={"metadata.acc": {"$gte": 0.05}}, order="-linked_at")
        ],
    },
}  # fmt: skip
print(json.dumps(said))
