"""`python -m wbsync` is the command."""

from __future__ import annotations

from wbsync.cli import main

if __name__ == "__main__":
    main()
