"""Splicing JSON: one leaf changes, every other byte stays."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wbsync.errors import SpliceError
from wbsync.extract.values import parse_json, unwrap_config
from wbsync.writeback import MISSING
from wbsync.writeback.leaves import json_text, leaf_at, with_leaf
from wbsync.writeback.operations import same
from wbsync.writeback.splice import set_leaf, text_at
from wbsync.writeback.splice import splice as spliced

RAW = (
    '{ "_wandb":{"value":{"t":{"1":[1,2 ,3]},"e":1e-3}} ,"lr":{"desc":"rate","value":1E-4},'
    '"big": {"value": 1152921504606846977, "desc": null}, "nan": {"value": NaN},'
    '"odd": {"value": 1, "extra": "kept"}, "bare": 0.10, "a.b": {"value": {"c d": [1.0]}},'
    '"\\u00e9": {"value": "\\u2603"}, "opt": {"value": {"lr": 1.50, "name": "adam"}} }'
)


@pytest.mark.parametrize(
    ("path", "value", "old", "new"),
    [
        (("lr",), "2", '"value":1E-4', '"value":2'),
        (("big",), "[]", "1152921504606846977", "[]"),
        (("bare",), "null", "0.10", "null"),
        (("odd", "extra"), '"x"', '"kept"', '"x"'),
        (("a.b", "c d"), '"y"', "[1.0]", '"y"'),
        (("é",), "1", '"\\u2603"', "1"),
        (("opt", "lr"), "7", "1.50", "7"),
        (("opt", "new"), "7", '"name": "adam"', '"name": "adam", "new": 7'),
        (("opt", "name"), None, ', "name": "adam"', ""),
        (("lr",), None, ' ,"lr":{"desc":"rate","value":1E-4}', ""),
        (("new",), "1", '"adam"}} }', '"adam"}}, "new": {"value": 1, "desc": null} }'),
        (("n", "m"), "1", '"adam"}} }', '"adam"}}, "n": {"value": {"m": 1}, "desc": null} }'),
    ],
)  # fmt: skip
def test_nothing_but_the_leaf_changes(
    path: tuple[str, ...], value: str | None, old: str, new: str
) -> None:
    """Whatever its neighbours look like: exponents, NaN, 2^60, escapes, spaces, `desc`."""
    assert RAW.count(old) == 1
    assert set_leaf(RAW, path, value, is_config=True).text == RAW.replace(old, new)


def test_what_was_replaced_is_kept_to_be_put_back() -> None:
    """To the byte: also a key that was taken away with its `desc`."""
    for path in [("lr",), ("big",), ("opt", "lr"), ("nan",), ("é",)]:
        changed = set_leaf(RAW, path, "0", is_config=True)
        back = set_leaf(changed.text, path, changed.replaced, is_config=True, restores=True)
        assert back.text == RAW
    gone = set_leaf(RAW, ("opt",), None, is_config=True)
    back = set_leaf(gone.text, ("opt",), gone.replaced, is_config=True, restores=True)
    assert json.loads(back.text, parse_float=str) == json.loads(RAW, parse_float=str)
    assert text_at(back.text, ("opt",)) == text_at(RAW, ("opt",))


@pytest.mark.parametrize(
    ("text", "path"),
    [("[]", ("a",)), ('{"a": 1}', ("a", "b")), ('{"a"', ("a",)), ("{'a': 1}", ("a",)),
     ("x", ("a",)), ('{"a": {"value": 3}}', ("a", "b", "c"))],
)  # fmt: skip
def test_what_is_no_object_is_refused(text: str, path: tuple[str, ...]) -> None:
    """Rather than broken."""
    with pytest.raises(SpliceError):
        set_leaf(text, path, "1", is_config=True)


def test_of_a_key_that_stands_twice_the_one_that_counts_is_changed() -> None:
    """Parsers take the last; taking the key away takes all."""
    twice = '{"a": 1, "b": 2, "a": 3}'
    assert spliced(twice, ("a",), "4") == '{"a": 1, "b": 2, "a": 4}'
    assert spliced(twice, ("a",), None) == '{"b": 2}'
    assert spliced('{"a": 1, "a": 2, "b": 3, "a": 4}', ("a",), None) == '{"b": 3}'


KEYS = st.sampled_from(["a", "a.b", "value", "desc", "é ☃", '"', "\\", ""])
LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(), st.text(max_size=4),
    st.lists(st.integers(), max_size=2),
)  # fmt: skip
TREES = st.recursive(
    st.dictionaries(KEYS, LEAVES, max_size=4),
    lambda inner: st.dictionaries(KEYS, st.one_of(LEAVES, inner), max_size=4),
    max_leaves=12,
)


@given(TREES, st.lists(KEYS, min_size=1, max_size=3), LEAVES, st.booleans(), st.booleans())
def test_splicing_is_what_changing_the_parsed_value_is(
    tree: dict[str, Any], path: list[str], value: Any, is_config: bool, compact: bool
) -> None:
    """For any object and any path: a parser sees the change and no other."""
    text = json.dumps(tree, separators=(",", ":") if compact else None)

    def held(raw: str) -> dict[str, Any]:
        parsed = parse_json(raw)
        return unwrap_config(parsed) if is_config else parsed

    before = held(text)
    wanted = value if not isinstance(value, float) or math.isfinite(value) else str(value)
    try:
        after = with_leaf(before, path, wanted)
        changed = set_leaf(text, path, json_text(wanted), is_config=is_config)
    except Exception as error:  # noqa: BLE001
        assert type(error).__name__ in {"EditError", "SpliceError"}  # noqa: PT017
        return
    if is_config and (path[0] in {"_wandb", "wandb_version"}):
        return
    assert same(held(changed.text), after)
    if leaf_at(before, path) is MISSING:
        taken = set_leaf(changed.text, path[: changed.made_from], None, is_config=is_config)
        assert same(held(taken.text), before)
    else:
        back = set_leaf(
            changed.text, path, changed.replaced, is_config=is_config, restores=True
        ).text
        assert back == text
