"""What is published: one DuckDB file that every BI tool can read.

The file is a product of the lake. `publish` brings it up to date, `build` makes one anywhere from
files that are named: the warehouse as it was, a copy to compare with.
"""

from wbsync.catalog.build import build
from wbsync.catalog.overlay import Overlay
from wbsync.catalog.publish import Published, publish, publish_edits
from wbsync.catalog.writing import Form, check_storage_version

__all__ = [
    "Form", "Overlay", "Published", "build", "check_storage_version", "publish", "publish_edits",
]  # fmt: skip
