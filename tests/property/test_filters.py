"""Random filters over random documents mean in DuckDB what they mean by the rules.

2,000 filters are tried, over six documents each; `make test-long` tries 100,000.
"""

from __future__ import annotations

import os
from typing import Any

import pytest
from filter_strategies import DOCUMENTS, FILTERS, SERVER_FILTERS
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from reference import matches, normal
from warehouses import Documents, prefixed

from wbsync.sandbox import filters as sandbox

IS_LONG = bool(os.environ.get("WBSYNC_LONG"))
CASES = int(os.environ.get("WBSYNC_PROPERTY_CASES", "100000" if IS_LONG else "2000"))
FILTERS_A_TURN = 20
TIMEOUT_S = 6 * 3600 if IS_LONG else 600
SETTINGS = {
    "deadline": None,
    "suppress_health_check": [HealthCheck.too_slow, HealthCheck.data_too_large],
    "database": None,
}


@pytest.mark.timeout(TIMEOUT_S)
@settings(max_examples=max(1, CASES // FILTERS_A_TURN), **SETTINGS)
@given(
    configs=st.lists(DOCUMENTS, min_size=6, max_size=6),
    queries=st.lists(FILTERS, min_size=FILTERS_A_TURN, max_size=FILTERS_A_TURN),
)
def test_random_filters_mean_what_mongodb_says(
    configs: list[dict[str, Any]], queries: list[dict[str, Any]]
) -> None:
    """No filter differs from the reference evaluator, read leaf by leaf or from JSON in turns."""
    documents = Documents.of_configs(configs)
    decoded = [normal(c) for c in configs]
    for turn, query in enumerate(queries):
        wanted = {i for i, document in enumerate(decoded) if matches(query, document)}
        found = documents.matching(prefixed(query, "config"), from_leaves=turn % 2 == 0)
        assert found == wanted, (query, turn)


@pytest.mark.timeout(TIMEOUT_S)
@settings(max_examples=max(1, CASES // FILTERS_A_TURN // 10), **SETTINGS)
@given(
    configs=st.lists(DOCUMENTS, min_size=6, max_size=6),
    queries=st.lists(SERVER_FILTERS, min_size=FILTERS_A_TURN, max_size=FILTERS_A_TURN),
)
def test_random_filters_mean_what_the_server_is_believed_to_answer(
    configs: list[dict[str, Any]], queries: list[dict[str, Any]]
) -> None:
    """In meaning wandb no filter differs from the stand-in server, which shares no code."""
    documents = Documents.of_configs(configs)
    for turn, plain in enumerate(queries):
        query = prefixed(plain, "config")
        wanted = {
            i
            for i, config in enumerate(configs)
            if sandbox.matches(query, lambda path, c=config: sandbox.nested(c, path.split(".")[1:]))
        }
        found = documents.matching(query, "wandb", from_leaves=turn % 2 == 0)
        assert found == wanted, (query, turn)
