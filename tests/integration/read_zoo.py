"""Prints what wandb.Api() says of the project that log_zoo.py made."""

from __future__ import annotations

import json

import filter_pairs
import guide_scripts
import object_facts
import wandb

print(
    json.dumps(
        {
            "facts": object_facts.say_all(wandb.Api(overrides={"entity": "crew"})),
            "names": object_facts.names_of(wandb.Api(overrides={"entity": "crew"})),
            "found": filter_pairs.find_all(wandb.Api()),
            "printed": {n: guide_scripts.printed(n, wandb.Api) for n in guide_scripts.SCRIPTS},
        }
    )
)
