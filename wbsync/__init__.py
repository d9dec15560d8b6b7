"""wbsync keeps a local analytics warehouse in step with Weights & Biases."""

from __future__ import annotations

__version__ = "0.1.0"
