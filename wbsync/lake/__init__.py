"""What is stored: Delta tables, and the marker of the warehouse's format."""

from wbsync.lake.delta import Lake
from wbsync.lake.format import check_warehouse, open_warehouse

__all__ = ["Lake", "check_warehouse", "open_warehouse"]
