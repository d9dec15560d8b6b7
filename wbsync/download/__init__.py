"""Bringing files of artifacts and runs to disk, each checked against its digest."""

from wbsync.download.artifacts import get_artifact
from wbsync.download.fetch import Fetched
from wbsync.download.names import ArtifactName
from wbsync.download.run_files import get_run_files

__all__ = ["ArtifactName", "Fetched", "get_artifact", "get_run_files"]
