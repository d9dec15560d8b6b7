"""The filter language: W&B's way of asking, answered by SQL over the warehouse.

    parse_filter      text or dictionary -> checked, frozen tree
    build_select      tree, order, columns -> one SELECT, as sqlglot's nodes
    push_down         tree -> what a W&B server may be asked, which never loses a run

docs/filters.md says what each operator means. All of sqlglot's use for filters is in here.
"""

from wbsync.query.filters.check import MEANINGS, Meaning
from wbsync.query.filters.fields import KINDS, Kind, kind_of
from wbsync.query.filters.order import parse_order
from wbsync.query.filters.push import Pushed, push_down
from wbsync.query.filters.select import Filter, Question, build_select, parse_filter, question_sql

__all__ = [
    "KINDS", "MEANINGS", "Filter", "Kind", "Meaning", "Pushed", "Question", "build_select",
    "kind_of", "parse_filter", "parse_order", "push_down", "question_sql",
]  # fmt: skip
