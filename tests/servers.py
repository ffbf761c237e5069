"""Backends and proxies as real processes, for the suites that test over real sockets.

A backend is started on a free port of 127.0.0.1, waited for by asking it, and ended by its own id; what it printed
is there for the message of a test that fails.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from grip_consumers.testing.processes import ServerProcess, answers, free_port

ROOT = Path(__file__).resolve().parent.parent
#: How long a server may take until it answers: the machine may be busy with other tests.
PATIENCE = 60.0
#: How long one may take to end when nothing is left for it to do.
IMPATIENCE = 0.5


class Backend:
    """One server process on a port that stays the same when it is restarted."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        folder: Path,
        port: int | None = None,
        env: Mapping[str, str] | None = None,
        cwd: Path = ROOT,
        ready_path: str = "/",
    ) -> None:
        """`command` may say PORT; `folder` takes the log; `ready_path` must answer when the server is up."""
        self.name = name
        self.port = port or free_port()
        self._command = [part.replace("PORT", str(self.port)) for part in command]
        self._log_file = folder / f"{name}.log"
        self.env = environment(env or {}, cwd)
        self._cwd = cwd
        self._ready_path = ready_path
        self._process: ServerProcess | None = None
        self._log_start = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def launch(self) -> None:
        """Start the process without waiting for it."""
        self._process = ServerProcess(self._command, log_file=self._log_file, cwd=self._cwd, env=self.env)

    def wait_ready(self) -> None:
        """Return when the server answers; RuntimeError with its output if it ends before."""
        process = self._running()
        process.wait_until(self._answers, timeout=PATIENCE, what=f"an answer from {self.url}{self._ready_path}")

    def start(self) -> Backend:
        self.launch()
        self.wait_ready()
        return self

    def stop(self, grace: float = 5.0) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.stop(grace=grace)

    def restart(self) -> None:
        """End the process, which frees the port, and start another one on the same port.

        Like `stop_all`, without waiting for a server that lets go of its clients by and by.
        """
        self.stop(grace=IMPATIENCE)
        self.start()

    def mark(self) -> None:
        """From here on `log` shows what is new."""
        self._log_start = self._log_file.stat().st_size if self._log_file.exists() else 0

    def log(self) -> str:
        if not self._log_file.exists():
            return ""
        return self._log_file.read_bytes()[self._log_start :].decode(errors="replace")

    def _answers(self) -> bool:
        return answers(self.port, path=self._ready_path, timeout=5.0) is not None

    def _running(self) -> ServerProcess:
        if self._process is None:
            raise RuntimeError(f"The server {self.name} is not running: call launch() or start() first.")
        return self._process


def environment(changes: Mapping[str, str], *paths: Path) -> dict[str, str]:
    """This process's environment with `changes`, the repository and `paths` importable, output unbuffered."""
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith(("DJANGO_", "GRIP_", "SAMPLE_SITE_"))
    }
    importable = os.pathsep.join(map(str, (*paths, ROOT)))
    return {**inherited, "PYTHONUNBUFFERED": "1", "PYTHONPATH": importable, **changes}


def uvicorn(application: str, *, factory: bool = False) -> list[str]:
    """The command that serves an ASGI application, `module:name`, on PORT."""
    command = [sys.executable, "-m", "uvicorn", "--port", "PORT", "--lifespan", "off", "--no-access-log"]
    command += ["--timeout-graceful-shutdown", "2", "--log-level", "warning"]
    return [*command, *(["--factory"] if factory else []), application]


def daphne(application: str) -> list[str]:
    """The same with Daphne, Channels' own server."""
    return [
        sys.executable,
        "-m",
        "daphne",
        "--verbosity",
        "0",
        "--bind",
        "127.0.0.1",
        "--port",
        "PORT",
        application,
    ]


def gunicorn(application: str) -> list[str]:
    """The command that serves a WSGI application, `module:name`, by threads on PORT."""
    command = [sys.executable, "-m", "gunicorn", "--bind", "127.0.0.1:PORT", "--worker-class", "gthread"]
    # Kept alive for longer than any test: a front that reuses a connection just as it is closed would lose a batch.
    options = ["--threads", "8", "--graceful-timeout", "2", "--keep-alive", "600", "--log-level", "warning"]
    return [*command, *options, application]


def start_all(backends: Iterable[Backend]) -> None:
    """Start several backends at once: on a busy machine each one takes seconds to import Django."""
    waiting = list(backends)
    for backend in waiting:
        backend.launch()
    for backend in waiting:
        backend.wait_ready()


def stop_all(backends: Iterable[Backend]) -> None:
    """Side by side, without waiting for those that take seconds to let go of their clients: nobody needs them."""
    with ThreadPoolExecutor() as stopper:
        list(stopper.map(lambda backend: backend.stop(grace=IMPATIENCE), backends))
