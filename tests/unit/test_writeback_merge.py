"""The merge without a server: what is decided of chains, groups, limits and cut pushes."""

from __future__ import annotations

import itertools
import json
import time
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from wbsync.writeback import MISSING, Edit, Entry, Operation, Target
from wbsync.writeback.merge import Merged, Policy, merge
from wbsync.writeback.present import Present
from wbsync.writeback.sending import build_calls

RUN = Target("run", "e", "p", "r", "id")
V0, V1, V2 = (Target("artifact", "e", "p", f"m:v{n}", f"v{n}") for n in range(3))
EDIT = Edit("me")


def entries(*operations: Operation, state: str = "pending", **facts: Any) -> list[Entry]:
    """Returns operations as the queue holds them."""
    known: dict[str, Any] = {
        "before": MISSING, "after": MISSING, "theirs": MISSING, "error": None, "replaced": None,
        "made_from": None, "push_id": None,
    }  # fmt: skip
    return [
        Entry(n, EDIT, op, state, 0, EDIT.made_at, **{**known, **facts})
        for n, op in enumerate(operations, 1)
    ]


def present(config: dict[str, Any] | None = None, **values: Any) -> dict[Any, Present]:
    """Returns a run as W&B holds it."""
    held = {
        "tags": [], "notes": None, "display_name": "d", "group": None, "job_type": None,
        "state": "finished", "stop": False,
    }  # fmt: skip
    wrapped = {key: {"value": value} for key, value in (config or {}).items()}
    texts = {"config": json.dumps(wrapped), "summary": "", "metadata": ""}
    return {RUN.key: Present(RUN, None, "id", state="finished", values=held | values, texts=texts)}


def leaf(path: str, value: Any, base: Any = MISSING) -> Operation:
    """Returns a change of a leaf of config."""
    action = "unset" if value is MISSING else "set"
    return Operation(RUN, "config", action, value, base, tuple(path.split(".")))


def outcomes(merged: Merged) -> list[str]:
    """Returns what became of each operation."""
    return [verdict.outcome for verdict in merged.verdicts]


def test_a_chain_is_taken_up_wherever_wandb_stands_in_it() -> None:
    """Before it, in its midst, or at its end; elsewhere all of it is a conflict."""
    chain = entries(leaf("lr", 2, 1), leaf("lr", 3, 2), leaf("lr", 4, 3))
    for held, wanted in [
        (1, ["send", "send", "send"]), (2, ["held", "send", "send"]), (3, ["held", "held", "send"]),
        (4, ["held"] * 3), (9, ["conflict"] * 3),
    ]:  # fmt: skip
        merged = merge(chain, present({"lr": held}))
        assert outcomes(merged) == wanted
        written = merged.texts.get(RUN.key, {}).get("config")
        assert written == ('{"lr": {"value": 4}}' if "send" in wanted else None)
    there_and_back = merge(entries(leaf("lr", 2, 1), leaf("lr", 1, 2)), present({"lr": 1}))
    assert outcomes(there_and_back) == ["held", "held"]
    assert build_calls(there_and_back, present()) == []


def test_groups_and_their_leaves_are_changed_in_order() -> None:
    """A leaf, then its group, then the leaf again."""
    ops = [leaf("o.a", 2, 1), leaf("o", MISSING, {"a": 2, "b": 1}), leaf("o.a", 3)]
    merged = merge(entries(*ops), present({"o": {"a": 1, "b": 1}}))
    assert outcomes(merged) == ["send"] * 3
    assert merged.texts[RUN.key]["config"] == '{"o": {"value": {"a": 3}, "desc": null}}'
    theirs = merge(entries(*ops), present({"o": {"a": 1, "b": 7}}))
    assert outcomes(theirs)[:2] == ["send", "conflict"]
    through = merge(entries(leaf("o.a", 1)), present({"o": 5}))
    assert outcomes(through) == ["conflict"]


def test_what_wandb_would_not_take_as_a_whole_is_refused_and_not_written() -> None:
    """100 keys of metadata, 10 MB of config."""
    metadata = json.dumps({str(n): n for n in range(99)})
    version = Present(V0, None, "v0", values={"tags": []}, texts={"metadata": metadata})
    ops = [Operation(V0, "metadata", "set", 1, path=(name,)) for name in ("a", "b")]
    merged = merge(entries(*ops), {V0.key: version})
    assert outcomes(merged) == ["send", "refused"]
    assert len(json.loads(merged.texts[V0.key]["metadata"])) == 100
    big = merge(entries(leaf("a", "x" * 6_000_000), leaf("b", "x" * 6_000_000)), present())
    assert outcomes(big) == ["send", "refused"]


def test_an_alias_goes_from_version_to_version() -> None:
    """Operations on one alias are one chain, whichever versions they name."""
    presents = {
        t.key: Present(t, storage_id=t.storage_id or "", holders={("m", "best"): "v0"})
        for t in (V1, V2)
    }
    ops = [
        Operation(V1, "aliases", "add", "best", "v0", ("best",)),
        Operation(V2, "aliases", "add", "best", "v1", ("best",)),
    ]
    merged = merge(entries(*ops), presents)
    assert outcomes(merged) == ["send", "send"]
    (call,) = build_calls(merged, presents)
    assert (call.template, call.variables["input"]["artifactID"]) == ("add_aliases", "v2")
    assert call.op_ids == (1, 2)


SENT = {"before": "n", "after": "n x", "state": "sending"}


@pytest.mark.parametrize(
    ("held", "outcome"),
    [("n x", "held"), ("n", "send"), ("theirs", "conflict"), ("n x y", "held"), ("see n x", "held"),
     ("m x", "conflict"), ("x n x", "held"), ("theirs x, and x", "conflict")],
)  # fmt: skip
def test_appended_text_that_was_being_sent(held: str, outcome: str) -> None:
    """Is not appended twice, and not lost."""
    sent = entries(Operation(RUN, "notes", "append", " x", "n"), **SENT)
    merged = merge(sent, present(notes=held))
    assert outcomes(merged) == [outcome]
    assert merged.values.get(RUN.key, {}).get("notes") == ("n x" if outcome == "send" else None)


@pytest.mark.parametrize(
    ("held", "outcome"),
    [
        (["a", "t"], "held"), (["a"], "send"), (["t"], "held"), (["t", "y"], "held"),
        (["a", "y"], "conflict"), ([], "conflict"),
    ],
)  # fmt: skip
def test_a_tag_that_was_being_sent(held: list[str], outcome: str) -> None:
    """Is not given again where someone may have taken it away."""
    sent = entries(
        Operation(RUN, "tags", "add", "t", ["a"]), before=["a"], after=["a", "t"], state="sending"
    )
    assert outcomes(merge(sent, present(tags=held))) == [outcome]
    assert outcomes(merge(sent, present(tags=held), acknowledged=[1])) == [
        "send" if held == ["a"] else "held"
    ]


def test_one_field_of_a_mutation_tells_of_the_others() -> None:
    """A mutation arrives whole: where its group is there, so were its notes."""
    sent = [
        *entries(Operation(RUN, "notes", "append", " x", "n"), **SENT),
        *entries(
            Operation(RUN, "group", "set", "g", None), before=None, after="g", state="sending"
        ),
    ]
    sent[1] = replace(sent[1], op_id=2)
    assert outcomes(merge(sent, present(notes="theirs", group="g"))) == ["held", "held"]
    assert outcomes(merge(sent, present(notes="theirs", group="h"))) == ["conflict", "conflict"]
    unsent = merge(sent, present(notes="theirs", group=None))
    assert outcomes(unsent) == ["send", "send"]
    assert unsent.values[RUN.key] == {"notes": "theirs x", "group": "g"}
    # Its notes are as before: either never sent, or taken back by someone; nobody can know.
    assert outcomes(merge(sent, present(notes="n", group="g"))) == ["conflict", "held"]
    answered = merge(sent, present(notes="n", group="g"), acknowledged=[1, 2])
    assert outcomes(answered) == ["send", "held"]


def test_a_mutation_tells_nothing_of_another_one() -> None:
    """A tag that was sent later is there: that does not make the leaf that was sent before."""
    lr, tag = (
        *entries(leaf("lr", 1, 0), before=0, after=1, state="sending"),
        *entries(
            Operation(RUN, "tags", "add", "t", []), before=[], after=["t"], state="sending"
        ),
    )  # fmt: skip
    tag = replace(tag, op_id=2)
    theirs = present({"lr": 5}, tags=["t"])
    assert outcomes(merge([lr, tag], theirs)) == ["held", "held"]
    tag = replace(tag, changed_at=tag.changed_at + timedelta(seconds=1))
    assert outcomes(merge([lr, tag], theirs)) == ["conflict", "held"]


@pytest.mark.parametrize(
    "void",
    [
        [Operation(RUN, "tags", "add", "t", []), Operation(RUN, "tags", "remove", "t", ["t"])],
        [leaf("o.a", 1), leaf("o", MISSING, {"a": 1})],
    ],
)
def test_what_came_to_nothing_tells_of_nothing(void: list[Operation]) -> None:
    """A tag that was given and taken away at once is as before, whether or not that arrived."""
    ops = [*void, leaf("lr", 1, 0)]
    first = merge(entries(*ops), present({"lr": 0}))
    assert outcomes(first) == ["send"] * 3
    sent = [
        replace(
            v.entry, state="sending", before=v.before, after=v.after, replaced=v.replaced,
            made_from=v.made_from,
        )
        for v in first.verdicts
    ]  # fmt: skip
    for held, outcome in ((0, "send"), (1, "held"), (5, "conflict")):
        assert outcomes(merge(sent, present({"lr": held}))) == ["held", "held", outcome]


def test_a_leaf_of_a_group_that_was_made_anew_on_the_way_is_found_out() -> None:
    """Where W&B holds the new group, all of it had arrived; where it holds the old one, none."""
    ops = [leaf("o", MISSING, 1), leaf("o.a", 2), leaf("o.b", 3)]
    first = merge(entries(*ops), present({"o": 1}))
    sent = [
        replace(
            v.entry, state="sending", before=v.before, after=v.after, replaced=v.replaced,
            made_from=v.made_from,
        )
        for v in first.verdicts
    ]  # fmt: skip
    assert outcomes(merge(sent, present({"o": {"a": 2, "b": 3}}))) == ["held"] * 3
    assert outcomes(merge(sent, present({"o": 1}))) == ["send"] * 3


def test_leaves_that_were_written_over_on_the_way_say_nothing() -> None:
    """Only the last of a leaf, its group and the leaf again is there to be seen."""
    ops = [leaf("o.a", 2, 1), leaf("o", MISSING, {"a": 2}), leaf("o.a", 1)]
    first = merge(entries(*ops), present({"o": {"a": 1}}))
    assert outcomes(first) == ["send"] * 3
    sent = [
        replace(v.entry, state="sending", before=v.before, after=v.after) for v in first.verdicts
    ]
    assert outcomes(merge(sent, present({"o": {"a": 1}}))) == ["held"] * 3


def test_a_side_can_be_taken_for_all() -> None:
    """`mine` writes over what others changed, `theirs` drops the edit; what merges is merged."""
    ops = entries(leaf("lr", 2, 1), Operation(RUN, "tags", "add", "t", []))
    held = present({"lr": 9}, tags=["a"])
    mine = merge(ops, held, Policy("mine"))
    assert outcomes(mine) == ["send", "send"]
    assert mine.texts[RUN.key]["config"] == '{"lr": {"value": 2}}'
    theirs = merge(ops, held, Policy("theirs"))
    assert outcomes(theirs) == ["dropped", "send"]
    assert theirs.verdicts[0].theirs == 9
    assert RUN.key not in theirs.texts


def test_an_answer_that_does_not_come_decides_nothing() -> None:
    """What was being sent stays so where W&B cannot say what it holds."""
    ill = {RUN.key: Present(RUN, "the server answered 500", is_ill=True)}
    op = Operation(RUN, "group", "set", "g", None)
    assert outcomes(merge(entries(op), ill)) == ["wait"]
    assert outcomes(merge(entries(op, state="sending"), ill)) == ["unknown"]


def test_a_broken_config_is_left_alone() -> None:
    """Nothing could be put into it; the run's other fields can be edited."""
    held = present()
    held[RUN.key].texts["config"], held[RUN.key].broken = "[1", frozenset({"config"})
    merged = merge(entries(leaf("lr", 1), Operation(RUN, "tags", "add", "t", [])), held)
    assert outcomes(merged) == ["refused", "send"]
    assert merged.texts == {}


def test_what_would_be_read_as_something_else_is_not_written() -> None:
    """A value in a bare key that looks like W&B's wrapping would be taken for it."""
    held = present()
    held[RUN.key].texts["config"] = '{"bare": 1}'
    merged = merge(entries(leaf("bare", {"value": 2}, 1)), held)
    assert outcomes(merged) == ["conflict"]
    assert merged.texts == {}
    assert outcomes(merge(entries(leaf("lr", {"value": 2}, 1)), present({"lr": 1}))) == ["send"]


def test_ten_thousand_edits_of_what_ten_thousand_wait_on_take_no_longer() -> None:
    """Merging is linear in them, also where each place has several."""
    runs = [Target("run", "e", "p", f"r{n}", f"id{n}") for n in range(6000)]
    entries = [
        Entry(
            number, EDIT, Operation(run, "config", "set", value, value - 1, ("lr",)), "pending", 0,
            EDIT.made_at, None, MISSING, MISSING, MISSING, None, None, None,
        )
        for number, (value, run) in enumerate(itertools.product((1, 2, 3), runs))
    ]  # fmt: skip
    presents = {
        run.key: Present(run, storage_id=f"id{n}", state="finished",
                         texts={"config": '{"lr": {"value": 0}}'})
        for n, run in enumerate(runs)
    }  # fmt: skip
    began = time.process_time()
    merged = merge(entries, presents)
    assert time.process_time() - began < 5
    assert merged.texts[runs[0].key]["config"] == '{"lr": {"value": 3}}'
