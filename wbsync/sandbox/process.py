"""A sandbox in a process of its own, for tests, benchmarks and the demo."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from wbsync.sandbox.server import REQUEST_LOG

if TYPE_CHECKING:
    from collections.abc import Sequence

DEFAULT_KEY = "local-" + "sandbox0" * 5
API_KEY_VARIABLE = "WBSYNC_SANDBOX_API_KEY"
DEFAULT_USER = "sandbox"


class Sandbox:
    """Starts a server on free ports, and stops it; use it in a `with` statement.

    The server ends with the process that started it, however that ends.
    """

    def __init__(
        self,
        data: Path | None = None,
        *,
        api_key: str = DEFAULT_KEY,
        options: Sequence[str] = (),
        port: int = 0,
    ) -> None:
        """Prepares a server.

        Args:
            data: Folder to serve; None makes one that goes when the server stops.
            api_key: Key of its administrator.
            options: Further options of `wbsync sandbox serve`.
            port: Port of the API; 0 takes a free one.
        """
        self._temporary = tempfile.TemporaryDirectory() if data is None else None
        self.data = Path(self._temporary.name) if self._temporary else Path(data or ".")
        self.api_key = api_key
        self._options = list(options)
        self._port = port
        self._process: subprocess.Popen[str] | None = None
        self.base_url = ""
        self.storage_url = ""

    def start(self) -> Self:
        """Starts the server, and waits until it answers.

        Raises:
            RuntimeError: It did not start.
        """
        self._process = subprocess.Popen(  # noqa: S603
            [
                sys.executable, "-m", "wbsync", "sandbox", "serve", "--data", str(self.data),
                "--port", str(self._port), "--json", "--until-stdin-closes", *self._options,
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, API_KEY_VARIABLE: self.api_key},
            text=True,
        )  # fmt: skip
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the sandbox did not start (exit code {self._process.wait()})")
        ready = json.loads(line)
        self.base_url, self.storage_url = ready["base_url"], ready["storage_url"]
        return self

    def stop(self) -> None:
        """Stops the server."""
        if self._process is None:
            return
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(timeout=15)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._process = None

    def requests(self) -> list[dict[str, Any]]:
        """Returns the request log so far."""
        path = self.data / REQUEST_LOG
        if not path.exists():
            return []
        lines = path.read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines if line.endswith("}")]

    def env(self, **more: str) -> dict[str, str]:
        """Returns an environment in which the wandb SDK and wbsync use this server."""
        return {
            **os.environ,
            "WANDB_BASE_URL": self.base_url,
            "WANDB_API_KEY": self.api_key,
            "WANDB_ENTITY": DEFAULT_USER,
            "WANDB_SILENT": "true",
            **more,
        }

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()
        if self._temporary is not None:
            self._temporary.cleanup()
