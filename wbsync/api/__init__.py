"""Talking to W&B: documents, one client for all requests, pages."""

from wbsync.api.budget import Budget
from wbsync.api.capabilities import Capabilities
from wbsync.api.client import Client
from wbsync.api.documents import (
    Document,
    batch_document,
    load_document,
    run_batch_document,
    runs_by_name_document,
)
from wbsync.api.pagination import Page, Pager, iter_pages
from wbsync.api.transport import Meter

__all__ = [
    "Budget",
    "Capabilities",
    "Client",
    "Document",
    "Meter",
    "Page",
    "Pager",
    "batch_document",
    "iter_pages",
    "load_document",
    "run_batch_document",
    "runs_by_name_document",
]
