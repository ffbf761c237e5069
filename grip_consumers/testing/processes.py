"""Server processes for tests: started, waited for by asking, ended by their own ids.

Nothing here sleeps for a fixed time: every wait polls a condition until a deadline, and the error at the
deadline carries what the process printed.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import random
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

__all__ = [
    "POLL_INTERVAL",
    "ServerProcess",
    "answers",
    "free_block",
    "free_port",
    "running",
    "wait_until",
]

#: Seconds between two looks at a condition.
POLL_INTERVAL = 0.02
#: Ports that are handed out lie below Linux's ephemeral range, so that no outgoing connection takes one
#: meanwhile.
_LOWEST_PORT, _HIGHEST_PORT = 10_000, 32_000
_BLOCK_ATTEMPTS = 200


def wait_until(
    condition: Callable[[], object], *, timeout: float = 10.0, message: str | Callable[[], str] = ""
) -> None:
    """Poll `condition` until it returns something true.

    Raises TimeoutError after `timeout` seconds, saying `message` (or what it returns at that time).
    """
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            text = message() if callable(message) else message
            raise TimeoutError(f"Waited {timeout:g} s in vain. {text}".rstrip())
        time.sleep(POLL_INTERVAL)


def _is_free(port: int, host: str = "127.0.0.1") -> bool:
    with contextlib.closing(socket.socket()) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def free_block(size: int) -> int:
    """Return the first of `size` consecutive TCP ports that are free on 127.0.0.1.

    Free means free a moment ago: whoever binds them must be ready to try another block. Raises OSError when
    no such block is found.
    """
    chance = random.SystemRandom()
    for _ in range(_BLOCK_ATTEMPTS):
        first = chance.randrange(_LOWEST_PORT, _HIGHEST_PORT - size)
        if all(_is_free(port) for port in range(first, first + size)):
            return first
    raise OSError(f"Found no {size} consecutive free ports between {_LOWEST_PORT} and {_HIGHEST_PORT}.")


def free_port() -> int:
    """Return a TCP port that is free on 127.0.0.1 (see `free_block`); prefer binding port 0 where you can."""
    return free_block(1)


def answers(
    port: int,
    *,
    method: str = "GET",
    path: str = "/",
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    timeout: float = 2.0,
) -> int | None:
    """Send one HTTP request to 127.0.0.1; return the status, or None if nobody answered in `timeout`."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request(method, path, body, dict(headers or {}))
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


class ServerProcess:
    """A child process in a process group of its own, whose output goes to a file.

    `stop` ends the whole group: servers such as Pushpin are several processes. Only this group is ever
    signalled.
    """

    def __init__(
        self,
        command: Sequence[str | os.PathLike[str]],
        *,
        log_file: Path,
        cwd: str | os.PathLike[str] | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.command = [os.fspath(part) for part in command]
        self.log_file = log_file
        with log_file.open("ab") as output:
            self._process = subprocess.Popen(  # noqa: S603 (the caller's own command, no shell)
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=cwd,
                env=None if env is None else dict(env),
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """The id of the process, which is also its group's."""
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """The exit code, or None while the process runs."""
        return self._process.poll()

    def log(self) -> str:
        """Return everything that the process has printed so far."""
        return self.log_file.read_text(errors="replace")

    def wait_until(self, condition: Callable[[], object], *, timeout: float = 15.0, what: str = "") -> None:
        """Poll `condition`; raise RuntimeError as soon as the process ends, TimeoutError at the deadline."""

        def alive_and_true() -> object:
            if self.returncode is not None:
                raise RuntimeError(self._report(f"ended with code {self.returncode}", what))
            return condition()

        wait_until(alive_and_true, timeout=timeout, message=lambda: self._report("still runs", what))

    def wait(self, *, timeout: float = 10.0) -> int:
        """Wait for the process to end by itself and return its exit code; TimeoutError at the deadline."""
        wait_until(
            lambda: self.returncode is not None,
            timeout=timeout,
            message=lambda: self._report("still runs", "its end"),
        )
        return self._process.wait()

    def interrupt(self) -> None:
        """Send SIGINT to the process, as Ctrl-C in a terminal does."""
        self._signal(signal.SIGINT)

    def stop(self, *, timeout: float = 5.0, grace: float = 5.0) -> None:
        """End the process group: SIGTERM to the process, after `grace` seconds SIGKILL to what is left of the group."""
        if self.returncode is None:
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(grace)
        self._signal(signal.SIGKILL)
        self._process.wait(timeout)
        wait_until(lambda: not self._group_exists(), timeout=timeout, message=self._report("left children", ""))

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)

    def _group_exists(self) -> bool:
        try:
            os.killpg(self.pid, 0)
        except (ProcessLookupError, PermissionError):
            return False
        return _any_runs(self.pid)

    def _report(self, state: str, awaited: str) -> str:
        reason = f" while waiting for {awaited}" if awaited else ""
        return f"{self.command[0]} (pid {self.pid}) {state}{reason}. It printed:\n{self.log()}"


def _any_runs(group: int) -> bool:
    """Whether a process of the group is more than an entry that its new parent, often a lazy init, has yet to clear."""
    if not Path("/proc/self/stat").exists():
        return True
    for file in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            # The name in parentheses may hold anything; state, parent and group follow it.
            state, _, found = file.read_text(errors="replace").rpartition(")")[2].split()[:3]
            if int(found) == group and state not in "ZX":
                return True
    return False


@contextlib.contextmanager
def running(
    command: Sequence[str | os.PathLike[str]],
    *,
    ready: Callable[[ServerProcess], object],
    timeout: float = 15.0,
    cwd: str | os.PathLike[str] | None = None,
    env: Mapping[str, str] | None = None,
) -> Iterator[ServerProcess]:
    """Run `command` as a server for the length of a with block.

    `ready` is polled with the process until it returns something true. The group is ended on the way out,
    whatever happened. Raises RuntimeError if the process ends before it is ready, TimeoutError if it never
    is.
    """
    with tempfile.TemporaryDirectory(prefix="grip-server-") as folder:
        process = ServerProcess(command, log_file=Path(folder) / "output.log", cwd=cwd, env=env)
        try:
            process.wait_until(lambda: ready(process), timeout=timeout, what="readiness")
            yield process
        finally:
            process.stop()
