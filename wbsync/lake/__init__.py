"""What is stored: Delta tables, and the marker of the warehouse's format."""

from wbsync.lake.delta import Lake
from wbsync.lake.format import FORMAT, check_warehouse, open_warehouse, write_format

__all__ = ["FORMAT", "Lake", "check_warehouse", "open_warehouse", "write_format"]
