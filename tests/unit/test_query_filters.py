"""Reading filters: every spelling, and errors that name the place and the nearest that is right."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import sqlglot
from wandb.apis.public.query_generator import QueryGenerator
from wandb.apis.public.reports import PythonMongoishQueryGenerator

from wbsync.errors import (
    FilterError,
    FilterSyntaxError,
    UnknownFieldError,
    UnsupportedOperatorError,
    WbsyncError,
)
from wbsync.query.filters import (
    KINDS,
    Question,
    build_select,
    parse_filter,
    parse_order,
    question_sql,
)
from wbsync.query.filters.dialects import DIALECTS, words_of
from wbsync.query.filters.explain import explain
from wbsync.query.filters.fields import Bridge, Column, Flag, Json, Keys, Leaves, Version
from wbsync.query.filters.names import split_names
from wbsync.query.filters.parse import parse_tree
from wbsync.query.filters.push import push_down
from wbsync.query.filters.pythonic import parse_pythonic
from wbsync.query.filters.runsets import run_set_filter
from wbsync.query.filters.tree import And, Compare, Equal, In, Not, Or, Regex, Where, iter_tests
from wbsync.tables import load_table, table_names

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)

BAD = [
    ({"$or": [{}, {"config.lr": {"$gtt": 1}}]}, "$or[1].config.lr.$gtt", "did you mean $gt?"),
    ({"config.lr": {"$where": "1"}}, "config.lr.$where", "wbsync sql"),
    ({"$expr": {}}, "$expr", "wbsync sql"),
    ({"$jsonSchema": {}}, "$jsonSchema", "wbsync sql"),
    ({"$text": {}}, "$text", "wbsync sql"),
    ({"config.at": {"$geoWithin": {}}}, "config.at.$geoWithin", "wbsync sql"),
    ({"$orr": []}, "$orr", "did you mean $or?"),
    ({"$gt": 1}, "$gt", "below a field"),
    ({"$and": {}}, "$and", "a list"),
    ({"$and": [1]}, "$and[0]", "objects"),
    ({"$or": []}, "$or", "at least one"),
    ({"state": {"$in": "x"}}, "state.$in", "a list"),
    ({"config.a": {"$in": [{"$gt": 1}]}}, "config.a.$in[0].$gt", "below a field"),
    ({"config.a": {"$gt": [1]}}, "config.a.$gt", "no order"),
    ({"config.a": {"$regex": "(?=x)"}}, "config.a.$regex", "lookaround"),
    ({"config.a": {"$regex": r"(a)\1"}}, "config.a.$regex", "backreferences"),
    ({"config.a": {"$regex": "a("}}, "config.a.$regex", "missing )"),
    ({"config.a": {"$regex": "a", "$options": "g"}}, "config.a.$regex", "i, m, s and x"),
    ({"config.a": {"$options": "i"}}, "config.a.$options", "$regex"),
    ({"config.a": {"$regex": 1}}, "config.a.$regex", "texts"),
    ({"config.a": {"$size": 1.5}}, "config.a.$size", "whole number"),
    ({"config.a": {"$mod": [0, 1]}}, "config.a.$mod", "not 0"),
    ({"config.a": {"$mod": [2]}}, "config.a.$mod", "remainder"),
    ({"config.a": {"$type": "strin"}}, "config.a.$type", "did you mean 'string'?"),
    ({"config.a": {"$exists": "yes"}}, "config.a.$exists", "true or false"),
    ({"config.a": {"$not": 1}}, "config.a.$not", "$ne"),
    ({"config.a": {"$not": {}}}, "config.a.$not", "operators"),
    ({"config.a": {"$all": 1}}, "config.a.$all", "a list"),
    ({"config.a": {"$elemMatch": 1}}, "config.a.$elemMatch", "an object"),
    ({"config.a": {"$contains": 1}}, "config.a.$contains", "a text"),
    ({"config.a": {"$gt": 1, "b": 2}}, "config.a.b", "either operators"),
    ({"config.a": {"b": {"$gt": 1}}}, "config.a.b.$gt", "below a field"),
    ({"config.a": "\ud800"}, "config.a", "surrogate"),
    ({"config.a": object()}, "config.a", "no value"),
    ({"config.a": {"$date": "soon"}}, "config.a", "$date"),
    ({"$not": {"state": "x"}}, "$not", "$nor"),
    ({"displyName": "x"}, "displyName", "did you mean displayName"),
    ({"lr": 1}, "lr", "config.lr or summary_metrics.lr"),
    ({"config": 1}, "config", "a whole document"),
    ({"keys_info": 1}, "keys_info", "keys_info.keys.loss"),
    ({"createdAt": {"$gt": "soon"}}, "createdAt.$gt", "an instant"),
    ({"createdAt": {"$regex": "x"}}, "createdAt.$regex", "an instant"),
    ({"config.a": NOW}, "config.a", "no instants"),
    ({"config." + ".".join("a" * 41): 1}, "config." + ".".join("a" * 41), "at most 40 keys"),
    ({"config.x": {"$elemMatch": {".".join("b" * 41): 1}}}, "config.x.$elemMatch."
     + ".".join("b" * 41), "at most 40 keys"),
    ({"config.a": {"$mod": [10**400, 0]}}, "config.a.$mod", "not 0"),
    ({"config.a": {"$type": 10**5000}}, "config.a.$type", "an integer of 16610 bits is unknown"),
    ({"config.a": {"$date": 10**5000}}, "config.a", "an integer of 16610 bits"),
    ({"createdAt": {"$gt": 10**5000}}, "createdAt.$gt", "an integer of 16610 bits is none"),
]  # fmt: skip


@pytest.mark.parametrize(("query", "at", "says"), BAD, ids=[b[1][:40] for b in BAD])
def test_errors_name_the_place_and_the_way_out(query: Any, at: str, says: str) -> None:
    """What cannot be used is named by its place in the filter, with what would be right."""
    with pytest.raises(FilterError) as caught:
        parse_filter(query)
    assert caught.value.at == at
    assert says in str(caught.value)
    assert isinstance(caught.value, WbsyncError)


BAD_TEXTS = [
    ("{", "not JSON"), ("{'a': 1}", "double quotes"), ('{"a": 1, "a": 2}', "given twice"),
    ("[1]", "JSON object"), ("a +", "nor a comparison"), ("loss", "no comparison"),
    ("loss < acc.x()", "no value"), ("1 < 2", "on one side"), ("Metric() < 1", "no field"),
    ("Metric(x=1) < 1", "no value"), ("__import__('os').system('x') == 1", "no field"),
    ("loss < (lambda: 1)()", "no value"), ("loss within_last 5 fortnights", "within_last"),
    ('Metric("CreatedTimestamp") within_last x days', "within_last"), ("a == ...", "no value"),
    ('config["lr"] == 0.1', 'Config("lr")'), ("a == " + "9" * 5000, "4,300 digits"),
    ("[" * 500 + "]" * 500 + " == a", "not JSON"), ("(" * 500 + "a == 1" + ")" * 500, "too deep"),
    ("[a for a in b] == 1", "not JSON"), ("a := 1", "nor a comparison"), ("a; b", "nor a"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "says"), BAD_TEXTS, ids=[t[0][:30] for t in BAD_TEXTS])
def test_bad_texts(text: str, says: str) -> None:
    """A text that is no filter gets one line that says why; none of it is ever evaluated."""
    with pytest.raises(FilterError, match=re.escape(says)):
        parse_filter(text)


def test_error_types_carry_what_callers_need() -> None:
    """Callers can tell the errors apart, and find the operator and the proposals."""
    with pytest.raises(UnsupportedOperatorError) as operator:
        parse_filter({"state": {"$eqq": 1}})
    assert operator.value.operator == "$eqq"
    with pytest.raises(UnknownFieldError) as field:
        parse_filter({"stat": 1})
    assert (field.value.field, field.value.suggestions[0]) == ("stat", "state")
    with pytest.raises(FilterSyntaxError):
        parse_filter({"config.a": {"$all": 1}}, meaning="wandb")


def test_values_of_python_are_read() -> None:
    """Dictionaries from Python may hold regexes, instants, tuples, sets and NumPy scalars."""

    def test_of(query: Any) -> Any:
        return next(iter_tests(parse_tree(query))).test

    assert test_of({"a": re.compile("x", re.IGNORECASE)}) == Regex("(?i)x")
    assert test_of({"a": {"$gt": datetime(2026, 1, 1)}}) == Compare(  # noqa: DTZ001
        ">", datetime(2026, 1, 1, tzinfo=UTC)
    )
    assert test_of({"a": date(2026, 1, 1)}) == Equal(datetime(2026, 1, 1, tzinfo=UTC))
    assert test_of({"a": np.float64(0.5)}) == Equal(0.5)
    assert test_of({"a": {"$in": (1, 2)}}) == In((1, 2))
    either = parse_tree({"a": {"$in": ["x", re.compile("^y")]}})
    assert isinstance(either, Or)
    assert parse_tree({"a": {"$not": re.compile("x")}}) == Not(
        Where("a", Regex("x"), "$regex", "a.$not")
    )
    assert parse_tree({"$comment": "why", "a": 1}).children[-1].test == Equal(1)  # type: ignore[union-attr]
    for value in ({"$date": 0}, {"$date": {"$numberLong": "0"}}, {"$date": "1970-01-01T00:00:00Z"}):
        assert test_of({"a": value}) == Equal(datetime(1970, 1, 1, tzinfo=UTC))
    assert test_of({"a": {"$numberLong": "9007199254740993"}}) == Equal(9007199254740993)


@pytest.mark.parametrize("text", [
    "State == 'finished' and loss < 0.1",
    "loss >= 1 or acc <= .5 or Name != 'x'",
    "Tags in ['a', 'b']",
    "User not in ('a', 'b')",
    "Runtime > 60",
    "JobType is None",
])  # fmt: skip
def test_report_filters_mean_what_the_sdk_makes_of_them(text: str) -> None:
    """A report's text becomes the filter that the SDK's own parser makes of it."""
    generator = PythonMongoishQueryGenerator(SimpleNamespace(_runs_config={}))
    theirs = generator.python_to_mongo(text)
    ours = parse_pythonic(text)
    assert _leaves(parse_tree(ours)) == _leaves(parse_tree(theirs))


def _leaves(tree: Any) -> list[Any]:
    found = [(w.path, w.test) for w in iter_tests(tree)]
    return [type(tree).__name__ if isinstance(tree, Or) else "", *found]


def test_workspace_filters() -> None:
    """The workspace's functions, `=`, chains, lists to the left, and times to now are read."""
    assert parse_pythonic('Config("a b") = 1 and SummaryMetric("x/y") > -1') == {
        "$and": [{"config.a b": 1}, {"summary_metrics.x/y": {"$gt": -1}}]
    }
    assert parse_pythonic("nested.acc == 1") == {"summary_metrics.nested.acc": 1}
    assert parse_pythonic("0 < loss <= 1") == {
        "$and": [{"summary_metrics.loss": {"$gt": 0}}, {"summary_metrics.loss": {"$lte": 1}}]
    }
    assert parse_pythonic('KeysInfo("loss") != None') == {"keys_info.keys.loss": {"$ne": None}}
    assert parse_pythonic('"a" in Tags and "b" not in Tags()') == {
        "$and": [{"tags": "a"}, {"tags": {"$ne": "b"}}]
    }
    assert parse_pythonic('not State == "Crashed"') == {"$nor": [{"state": "crashed"}]}
    assert parse_pythonic('Name == "a = b within_last 5 days"') == {
        "displayName": "a = b within_last 5 days"
    }
    within = parse_pythonic('Metric("CreatedTimestamp") within_last 12 hours', now=NOW)
    assert within == {"createdAt": {"$gte": datetime(2026, 1, 31, tzinfo=UTC)}}
    called = parse_pythonic('WithinLast(Metric("CreatedTimestamp"), 12, "hours")', now=NOW)
    assert called == within


def leaf(section: str, name: str, op: str, value: Any, **more: Any) -> dict[str, Any]:
    """Returns a leaf of a run set's filter."""
    return {"key": {"section": section, "name": name}, "op": op, "value": value, **more}


LEAVES = [
    leaf("run", "state", "=", "finished"), leaf("run", "displayName", "!=", "x"),
    leaf("config", "lr.value", ">=", 0.1), leaf("summary", "loss", "<", 1),
    leaf("keys_info", "acc", "!=", None), leaf("tags", "prod", "=", True),
    leaf("tags", "prod", "=", False), leaf("tags", "", "IN", ["a"]),
    leaf("run", "username", "IN", ["a", "b"]), leaf("run", "username", "NIN", ["a"]),
    leaf("run", "name", "REGEX", "^a"),
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(LEAVES)))
def test_run_sets_mean_what_the_sdk_makes_of_them(number: int) -> None:
    """Each kind of leaf becomes the filter that the SDK's QueryGenerator makes of it."""
    one = LEAVES[number]
    if one["key"]["name"]:
        tree = {"op": "OR", "filters": [{"op": "AND", "filters": [one, LEAVES[0]]}]}
        theirs = QueryGenerator().filter_to_mongo(tree)
        assert parse_tree(tree) == parse_tree(theirs) or _leaves(parse_tree(tree)) == _leaves(
            parse_tree(theirs)
        )


def test_run_sets_old_and_new() -> None:
    """Rows that are disabled or unfinished ask nothing; in the new form AND binds tighter."""
    a, b, c = (leaf("run", "name", "=", n) for n in "abc")
    assert run_set_filter({"op": "OR", "filters": [{"op": "AND", "filters": []}]}) == {}
    off = {**a, "disabled": True}
    unfinished = leaf("summary", "", "<", None)
    assert run_set_filter({"op": "AND", "filters": [off, unfinished, b]}) == {"name": "b"}
    flat = {
        "filterFormat": "filterV2",
        "filters": [a, {**b, "connector": "OR"}, {**c, "connector": "AND"}, {**off}],
    }
    assert run_set_filter(flat) == {
        "$or": [{"name": "a"}, {"$and": [{"name": "b"}, {"name": "c"}]}]
    }
    grouped = {
        "filterFormat": "filterV2",
        "filters": [{"filters": [a, {**b, "connector": "OR"}]}, {**c, "connector": "AND"}],
    }
    assert run_set_filter({"filters": grouped, "name": "Run set"}) == {
        "$and": [{"$or": [{"name": "a"}, {"name": "b"}]}, {"name": "c"}]
    }
    within = run_set_filter(leaf("run", "createdAt", "WITHINSECONDS", 60), now=NOW)
    assert within == {"createdAt": {"$gte": datetime(2026, 1, 31, 11, 59, tzinfo=UTC)}}
    for bad in (
        {"op": "XOR", "filters": []},
        leaf("nowhere", "a", "=", 1),
        leaf("run", "a", "~", 1),
    ):
        with pytest.raises(FilterError):
            parse_tree(bad)


def test_orders() -> None:
    """Signs, several keys, keys with commas in a list; an empty key is refused."""
    keys = parse_order(" -a.b , +c,d")
    assert [(k.path, k.is_descending) for k in keys] == [("a.b", True), ("c", False), ("d", False)]
    assert parse_order(["-config.a,b"])[0].path == "config.a,b"
    assert parse_order(None) == parse_order("") == ()
    for bad in ("-", "a,", "+,b"):
        with pytest.raises(FilterError):
            parse_order(bad)


def test_fields_name_columns_that_there_are() -> None:
    """Each field of each kind is in the schema of the table that it names."""
    for kind in KINDS.values():
        if kind.table not in table_names():
            continue
        own = {c.name: c.type for c in load_table(kind.table).columns}
        assert {*kind.key, *kind.scope, *kind.columns, kind.created} <= {*own, None}
        for name in kind.aliases.values():
            assert name in kind.fields, name
        for name, source in kind.fields.items():
            if isinstance(source, Column):
                columns = own if source.via is None else {
                    c.name: c.type for c in load_table(source.via).columns
                }  # fmt: skip
                wanted = {"time": {"TIMESTAMP"}, "number": {"BIGINT", "DOUBLE"}}
                assert columns[source.column] in wanted.get(source.type, {"VARCHAR"}), name
            elif isinstance(source, (Leaves, Json)):
                via = getattr(source, "via", None)
                assert source.column in {c.name for c in load_table(via or kind.table).columns}
            elif isinstance(source, Bridge):
                columns = {c.name for c in load_table(source.table).columns}
                assert {source.column, *source.on, *(c for c, _ in source.where)} <= columns
            elif isinstance(source, Version):
                assert {source.text, source.number} <= set(own)
            else:
                assert not isinstance(source, (Flag, Keys)) or source is kind.fields["keys_info"]


EACH_KIND: dict[str, list[dict[str, Any]]] = {
    "runs": [{"config.a.b": {"$gt": 1}}, {"tags": "x", "keys_info.keys.k": {"$exists": True}},
             {"config.l.0": 1, "systemMetrics.g": {"$lt": 1}}, {"inputArtifacts": {"$ne": "x"}},
             {"config.a": {"$elemMatch": {"b": 1}}}, {"config.a": {"b": [1, "x"]}},
             {"displayName": {"$regex": "^a", "$options": "i"}}, {"duration": {"$mod": [2, 1]}},
             {"createdAt": {"$gt": "2026-01-01"}}, {"config.n": 2**60}, {"config.n": float("nan")}],
    "sweeps": [{"config.method": "grid", "state": "FINISHED"}, {"bestLoss": {"$lt": 1}}],
    "artifacts": [{"metadata.rows": {"$gt": 1}, "alias": "best"}, {"version": 3, "size": 1}],
    "collections": [{"tag": "x", "name": {"$regex": "^a"}}],
    "registries": [{"name": "model"}, {"name": {"$in": ["wandb-registry-model", "x"]}}],
    "registry_collections": [{"tag": "x"}, {"collection_name": "c"}],
    "registry_versions": [{"alias": "production", "metadata.rows": 1}, {"version": "v1"}],
    "reports": [{"displayName": "x", "createdAt": {"$gt": 0}}],
}  # fmt: skip


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("kind", EACH_KIND)
def test_each_kind_is_said_in_each_dialect(kind: str, dialect: str) -> None:
    """What is printed for a dialect is of its grammar, or refused for want of words."""
    if KINDS[kind].table not in table_names():
        pytest.skip(f"the table {KINDS[kind].table} is not synced by this version")
    said = 0
    for query in EACH_KIND[kind]:
        found = parse_filter(query, kind)
        assert explain(found, push_down(found))
        question = Question(found, order=parse_order("-createdAt" if kind != "x" else ""))
        try:
            text = build_select(question, words_of(dialect)).sql(dialect)
        except UnsupportedOperatorError:
            continue
        assert sqlglot.parse_one(text, read=dialect) is not None
        said += 1
    assert said or dialect == "spark"


def test_registry_names_have_their_prefix_or_not() -> None:
    """A registry is meant with and without the prefix that its project has."""
    bare, whole = (parse_filter({"name": n}, "registries") for n in ("m", "wandb-registry-m"))
    assert build_select(Question(bare)).sql("duckdb") == build_select(Question(whole)).sql("duckdb")


def test_trees_are_frozen_values() -> None:
    """A tree can be hashed and compared, so that it can be a key."""
    one, other = (parse_tree({"a": {"$in": [1, {"b": [2]}]}, "c": 1}) for _ in range(2))
    assert one == other
    assert len({one, other}) == 1
    assert isinstance(one, And)


def test_a_deep_path_costs_what_its_keys_cost() -> None:
    """SQL grows with the number of keys, not its square, in both meanings and in every dialect."""
    for dialect in DIALECTS:
        for meaning in ("mongo", "wandb"):
            sizes = {}
            for count in (6, 12, 24):
                path = "config." + ".".join(f"k{i % 10}" for i in range(count))
                found = parse_filter({path: {"$gt": 1}}, meaning=meaning)  # type: ignore[arg-type]
                sizes[count] = len(question_sql(Question(found), words_of(dialect)))
            steps = (sizes[12] - sizes[6]) / 6, (sizes[24] - sizes[12]) / 12
            assert steps[1] < 2 * steps[0] + 50, (dialect, meaning, sizes)


def test_what_is_too_deep_for_sql_is_refused() -> None:
    """A filter that passes the limits of its parts, and cannot be printed, is an error of ours."""
    deep: Any = {"config." + ".".join("k" * 40): 1}
    for _ in range(95):
        deep = {"$nor": [deep, {"state": "x"}]}
    with pytest.raises(FilterSyntaxError, match="nested too deep"):
        question_sql(Question(parse_filter(deep)))
    for _ in range(10):
        deep = {"$nor": [deep]}
    with pytest.raises(FilterSyntaxError, match="deeper than 100") as caught:
        parse_filter(deep)
    assert len(str(caught.value)) < 300


def test_integers_of_any_size_are_read() -> None:
    """JSON's integers are exact beyond what Python reads by itself."""
    found = parse_filter('{"config.lr": {"$gt": ' + "9" * 5000 + "}}").root
    assert isinstance(found, Where)
    assert found.test == Compare(">", 10**5000 - 1)
    assert "9" * 400 in question_sql(Question(parse_filter(f"config.lr == {'9' * 400}")))


def test_names_hold_commas_in_quotes() -> None:
    """A comma in quotes is part of a name; any other quote is a letter like others."""
    text = 'run_id, config."a,b".c ,config."","x ""y"",z", config.quote"]'
    assert split_names(text) == ["run_id", "config.a,b.c", "config.", 'x "y",z', 'config.quote"]']
    assert [(k.path, k.is_descending) for k in parse_order('-config."a,b",+"c,d"')] == [
        ("config.a,b", True), ("c,d", False),
    ]  # fmt: skip
    for odd in ("", ",", '"', '"a', 'a"b,c"', '"a"b'):
        assert ",".join(split_names(odd)) == odd


def test_long_python_like_texts_are_read() -> None:
    """10,000 terms are as good in a Python-like text as in JSON."""
    text = " or ".join(f'Config("some.longer.key.{i}") == {i}' for i in range(10_000))
    assert len(parse_pythonic(text)["$or"]) == 10_000


def test_a_flat_run_set_may_stand_alone() -> None:
    """`filterV2` is read as a run set has it, beside its format or below its own name."""
    leaf = {"key": {"section": "config", "name": "lr.value"}, "op": "=", "value": 0.01}
    bare = run_set_filter({"filterFormat": "filterV2", "filters": [leaf]})
    for source in ({"filterV2": {"filters": [leaf]}}, {"filterV2": [leaf]}):
        assert run_set_filter(source) == bare
        assert parse_filter(source) == parse_filter(bare)


def test_snowflake_casts_texts_alone() -> None:
    """Snowflake tries casts of texts only: what lists hold there is made one first."""
    found = parse_filter({"config.x": {"$in": ["a", 1]}, "config.y": {"$mod": [2, 1]}})
    tree = sqlglot.parse_one(question_sql(Question(found), words_of("snowflake")), read="snowflake")
    casts = [c for c in tree.find_all(sqlglot.exp.Cast) if isinstance(c, sqlglot.exp.TryCast)]
    assert casts
    assert all(c.this.is_type("varchar") for c in casts)
    plain = [c for c in tree.find_all(sqlglot.exp.Cast) if type(c) is sqlglot.exp.Cast]
    doubles = [c for c in plain if c.to.is_type("double")]
    assert all(isinstance(c.this, sqlglot.exp.Literal) for c in doubles)
