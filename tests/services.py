"""Stores as real processes, private to the tests: Redis, Memcached and PostgreSQL.

Each is started when a test first asks for it, used by all that ask later, and ended by its own id when the tests end.
Where the program is missing the test is skipped, or fails where CI is set, with what to install.
"""

from __future__ import annotations

import atexit
import os
import pwd
import shutil
import socket
import tempfile
from collections.abc import Callable
from contextlib import ExitStack, closing
from functools import lru_cache
from pathlib import Path
from typing import Any, NoReturn

import pytest

from grip_consumers.testing.processes import ServerProcess, free_port

__all__ = ["memcached", "postgresql", "redis"]

#: Seconds that a server may take until it answers: the machine may be busy with other tests.
_PATIENCE = 60.0
#: How often a port may turn out to have been taken meanwhile.
_ATTEMPTS = 5


def redis() -> str:
    """The URL of a Redis on a Unix socket, for LOCATION or `redis.Redis.from_url`. Its data are shared by all tests."""
    _needs("redis-server", "redis-server", "redis")
    return _redis()


def memcached() -> str:
    """The address of a Memcached, host and port, for LOCATION. Its data are shared by all tests."""
    _needs("memcached", "memcached", "pymemcache")
    return _memcached()


def postgresql() -> dict[str, Any]:
    """An entry for DATABASES: PostgreSQL's database "postgres", to be used as it is.

    Whoever wants a database of its own makes one there (CREATE DATABASE).
    """
    if not _postgresql_folders():
        _miss("postgresql")
    _needs("", "", "psycopg")
    return dict(_postgresql())


def _needs(program: str, package: str, module: str) -> None:
    if program and shutil.which(program) is None:
        _miss(package)
    pytest.importorskip(module, reason=f"pip install {'psycopg[binary]' if module == 'psycopg' else module}")


def _miss(package: str) -> NoReturn:
    reason = f"There is no {package}: apt-get install {package}, or sh tests/system-packages.sh"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


def _folder() -> Path:
    # The path of a Unix socket must fit 108 bytes, which pytest's own folders may not leave.
    folder = Path(tempfile.mkdtemp(prefix="grip-", dir="/tmp"))
    _at_the_end(lambda: shutil.rmtree(folder, ignore_errors=True))
    return folder


@lru_cache(maxsize=1)
def _stack() -> ExitStack:
    stack, pid = ExitStack(), os.getpid()
    # Not in a child that a test has forked: its parent goes on.
    atexit.register(lambda: stack.close() if os.getpid() == pid else None)
    return stack


def _at_the_end(callback: Callable[[], object]) -> None:
    _stack().callback(callback)


def _started(command: list[str], folder: Path, ready: Callable[[], object], what: str) -> None:
    process = ServerProcess(command, log_file=folder / "log", cwd=folder)
    try:
        process.wait_until(ready, timeout=_PATIENCE, what=what)
    except BaseException:
        process.stop()
        raise
    _at_the_end(process.stop)


@lru_cache(maxsize=1)
def _redis() -> str:
    import redis as client_library

    folder = _folder()
    path = str(folder / "socket")

    def answers() -> bool:
        with closing(client_library.Redis(unix_socket_path=path)) as client:
            try:
                return bool(client.ping())
            except client_library.ConnectionError:
                return False

    command = ["redis-server", "--port", "0", "--unixsocket", path, "--save", "", "--dir", str(folder)]
    _started(command, folder, answers, "an answer to PING")
    return f"unix://{path}"


@lru_cache(maxsize=1)
def _memcached() -> str:
    folder = _folder()
    for attempt in range(_ATTEMPTS):
        port = free_port()
        command = ["memcached", "--listen=127.0.0.1", f"--port={port}", "--udp-port=0", "--threads=2"]
        # It refuses to run as root.
        command += [f"--user={_unprivileged()}"] if os.getuid() == 0 else []
        try:
            _started(command, folder, lambda port=port: _version(port), "an answer to version")
        except RuntimeError:
            # Somebody took the port.
            if attempt == _ATTEMPTS - 1:
                raise
        else:
            return f"127.0.0.1:{port}"
    raise AssertionError("unreachable")


def _version(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as connection:
            connection.sendall(b"version\r\n")
            return connection.recv(64).startswith(b"VERSION")
    except OSError:
        return False


@lru_cache(maxsize=1)
def _postgresql() -> dict[str, Any]:
    import psycopg

    folder, programs = _folder(), _postgresql_folders()[-1]
    as_user: list[str] = []
    if os.getuid() == 0:
        # It refuses to run as root.
        user = _unprivileged("postgres")
        shutil.chown(folder, user)
        as_user = ["setpriv", f"--reuid={user}", f"--regid={pwd.getpwnam(user).pw_gid}", "--clear-groups"]
    data = folder / "data"
    initdb = [str(programs / "initdb"), "--pgdata", str(data), "--username=tests", "--auth=trust", "--no-sync"]
    making = ServerProcess(
        [*as_user, *initdb, "--encoding=UTF8", "--locale=C"], log_file=folder / "initdb.log", cwd=folder
    )
    if making.wait(timeout=_PATIENCE) != 0:
        raise RuntimeError(f"initdb failed: {making.log()}")
    settings = {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": "postgres",
        "USER": "tests",
        "PASSWORD": "",
        "HOST": str(folder),
        # No port is bound: this is the number in the name of the socket.
        "PORT": "5432",
    }

    def answers() -> bool:
        try:
            psycopg.connect(host=str(folder), port=5432, user="tests", dbname="postgres", connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    options = {"listen_addresses": "", "unix_socket_directories": folder, "fsync": "off", "max_connections": 200}
    server = [str(programs / "postgres"), "-D", str(data)]
    server += [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
    _started([*as_user, *server], folder, answers, "a connection")
    return settings


def _postgresql_folders() -> list[Path]:
    """Where the server's programs are, the newest version last: Debian keeps them off PATH."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    on_path = shutil.which("initdb")
    return [path.parent for path in ([Path(on_path).resolve()] if on_path else []) + found]


def _unprivileged(preferred: str = "nobody") -> str:
    try:
        return pwd.getpwnam(preferred).pw_name
    except KeyError:
        return "nobody"
