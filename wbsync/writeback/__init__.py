"""Changing W&B: edits as operations on fields, the queue that keeps them, merge and push."""

from wbsync.writeback.entries import Edit, Entry
from wbsync.writeback.operations import MISSING, Operation, Target
from wbsync.writeback.queue import Queue, who_am_i

__all__ = ["MISSING", "Edit", "Entry", "Operation", "Queue", "Target", "who_am_i"]
