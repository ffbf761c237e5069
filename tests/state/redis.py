"""A real Redis, private to the tests, on a socket in a folder of its own."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis

from grip_consumers.testing.processes import ServerProcess


@contextmanager
def private_redis() -> Iterator[str]:
    """The URL of a Redis that ends with the block. Skips, or fails where CI is set, without a redis-server."""
    program = shutil.which("redis-server")
    if program is None:
        reason = "There is no redis-server: apt-get install redis-server"
        pytest.fail(reason) if os.environ.get("CI") == "true" else pytest.skip(reason)
    # The path of a Unix socket must fit 108 bytes, which pytest's own folders may not leave.
    with tempfile.TemporaryDirectory(prefix="redis-", dir="/tmp") as folder:
        path = Path(folder) / "socket"
        command = [program, "--port", "0", "--unixsocket", str(path), "--save", "", "--dir", folder]
        process = ServerProcess(command, log_file=Path(folder) / "log")
        try:
            process.wait_until(lambda: _answers(path), what="an answer to PING")
            yield f"unix://{path}"
        finally:
            process.stop()


def _answers(path: Path) -> bool:
    client = redis.Redis(unix_socket_path=str(path))
    try:
        return bool(client.ping())
    except redis.ConnectionError:
        return False
    finally:
        client.close()
