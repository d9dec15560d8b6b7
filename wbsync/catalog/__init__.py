"""What is published: one DuckDB file that every BI tool can read."""

from wbsync.catalog.publish import Published, publish

__all__ = ["Published", "publish"]
