"""Serves recorded GraphQL answers from memory: a server that costs next to nothing.

`python benchmarks/replay.py FOLDER` prints its address, and stops when its standard input closes.
The folder holds one file an answer, named for the hash of the request's body.
"""

from __future__ import annotations

import asyncio
import hashlib
import sys
from pathlib import Path


def name_of(body: bytes) -> str:
    """Returns the name of the file that answers a request."""
    return hashlib.blake2b(body, digest_size=16).hexdigest()


async def main(answers: dict[str, bytes]) -> None:
    """Serves answers, by name, until standard input closes."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = next(
                    int(line.split(b":")[1])
                    for line in head.split(b"\r\n")
                    if line.lower().startswith(b"content-length:")
                )
                answer = answers[name_of(await reader.readexactly(length))]
                writer.write(
                    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
                    b"Content-Length: %d\r\n\r\n" % len(answer)
                )
                writer.write(answer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()[:2]
    print(f"http://{host}:{port}", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    server.close()


if __name__ == "__main__":
    asyncio.run(main({path.name: path.read_bytes() for path in Path(sys.argv[1]).iterdir()}))
