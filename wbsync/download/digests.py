"""What proves that a file is the one that was logged.

Source: wandb/sdk/lib/hashutil.py; wandb/sdk/artifacts/artifact_manifest_entry.py.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

CHUNK_BYTES = 1 << 20
ALGORITHMS = frozenset({"md5", "xxh128"})


@dataclass(frozen=True, slots=True)
class Digest:
    """A digest of a file's content."""

    algorithm: str
    """md5 or xxh128."""
    hex: str

    @classmethod
    def parse(cls, text: str | None, algorithm: str = "md5") -> Digest | None:
        """Returns a digest written in base64, as W&B does; None where it is no such thing."""
        if algorithm not in ALGORITHMS:
            return None
        try:
            raw = base64.b64decode(text or "", validate=True)
        except (binascii.Error, ValueError):
            return None
        return cls(algorithm, raw.hex()) if len(raw) == 16 else None

    def matches(self, path: Path) -> bool:
        """Says whether a file has this content."""
        state: Any
        if self.algorithm == "xxh128":
            import xxhash

            state = xxhash.xxh128()
        else:
            state = hashlib.md5(usedforsecurity=False)
        with path.open("rb") as file:
            while chunk := file.read(CHUNK_BYTES):
                state.update(chunk)
        return bool(state.hexdigest() == self.hex)
