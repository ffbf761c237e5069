"""One project behind both proxies (embedded, Pushpin) on both kinds of server (uvicorn, gunicorn).

embedded-uvicorn    one process: the embedded proxy around the ASGI application
pushpin-uvicorn     Pushpin → uvicorn
pushpin-gunicorn    Pushpin → gunicorn (WSGI, threads) ← one backend, two proxies
embedded-gunicorn   the embedded proxy by HTTP     ↗
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from grip_consumers.discovery import ISSUER
from grip_consumers.testing.processes import free_port
from grip_consumers.testing.pushpin import Pushpin

from .servers import ROOT, Backend, gunicorn, start_all, stop_all, uvicorn

TARGETS = ("embedded-uvicorn", "embedded-gunicorn", "pushpin-uvicorn", "pushpin-gunicorn")
#: Signs for the embedded proxies, which the fleet's backends know by configuration.
FRONT_KEY = "signs and publishes, for tests on this machine only"


@dataclass(frozen=True)
class Project:
    """What the fleet serves: `module:name` of the applications, and where they are imported from.

    With `shared` every backend publishes to every proxy, as the workers of one site do; without, the targets know
    nothing of each other.
    """

    asgi: str
    wsgi: str
    ready_path: str
    code: Path = ROOT
    shared: bool = False


@dataclass(frozen=True)
class Target:
    """One way in: clients connect to `url`, `backend` runs the project, `proxy` tells what it logged."""

    name: str
    url: str
    backend: Backend
    proxy: Backend | Pushpin

    def mark(self) -> None:
        self.backend.mark()

    def log(self) -> str:
        """What the backend printed since `mark`."""
        return self.backend.log()


#: Environment of one backend, by its name and the JSON for GRIP_PROXIES.
Environment = Callable[[str, str], Mapping[str, str]]


class Fleet:
    """The servers of all targets, for the length of a with block."""

    def __init__(self, project: Project, folder: Path, environment: Environment) -> None:
        self._project = project
        self._folder = folder
        self._environment = environment
        self._ports = {name: free_port() for name in ("embedded-uvicorn", "uvicorn", "gunicorn", "front")}
        self._pushpins = [Pushpin(self._ports["uvicorn"]), Pushpin(self._ports["gunicorn"])]
        self._backends: dict[str, Backend] = {}
        self.targets: dict[str, Target] = {}

    def __enter__(self) -> Fleet:
        try:
            with ThreadPoolExecutor(2) as starter:
                list(starter.map(Pushpin.start, self._pushpins))
            self._backends = {backend.name: backend for backend in self._make_backends()}
            start_all(self._backends.values())
        except BaseException:
            self._stop()
            raise
        self.targets = {target.name: target for target in self._make_targets()}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stop()

    def _stop(self) -> None:
        stop_all(self._backends.values())
        for pushpin in self._pushpins:
            pushpin.stop()

    def _make_backends(self) -> list[Backend]:
        project, (first, second) = self._project, self._pushpins
        front = {"FRONT_KEY": FRONT_KEY, "FRONT_APPLICATION": project.asgi}
        front["FRONT_BACKEND"] = f"http://127.0.0.1:{self._ports['gunicorn']}"
        around = uvicorn("tests.fronts:around_application", factory=True)
        before = uvicorn("tests.fronts:before_backend", factory=True)
        own, other = embedded(self._ports["embedded-uvicorn"]), embedded(self._ports["front"])
        everywhere = [own, other, by_pushpin(first), by_pushpin(second)] if project.shared else []
        return [
            self._backend("embedded-uvicorn", around, everywhere or [own], front),
            self._backend("uvicorn", uvicorn(project.asgi), everywhere or [by_pushpin(first)]),
            self._backend("gunicorn", gunicorn(project.wsgi), everywhere or [other, by_pushpin(second)]),
            self._backend("front", before, [], front),
        ]

    def _backend(
        self,
        name: str,
        command: list[str],
        grip_proxies: list[dict[str, str]],
        env: Mapping[str, str] | None = None,
    ) -> Backend:
        return Backend(
            name,
            command,
            folder=self._folder,
            port=self._ports[name],
            env={**self._environment(name, json.dumps(grip_proxies)), **(env or {})},
            cwd=self._project.code,
            ready_path=self._project.ready_path,
        )

    def _make_targets(self) -> list[Target]:
        backends, (first, second) = self._backends, self._pushpins
        own, front = backends["embedded-uvicorn"], backends["front"]
        return [
            Target("embedded-uvicorn", own.url, own, own),
            Target("embedded-gunicorn", front.url, backends["gunicorn"], front),
            Target("pushpin-uvicorn", first.url, backends["uvicorn"], first),
            Target("pushpin-gunicorn", second.url, backends["gunicorn"], second),
        ]


def embedded(port: int) -> dict[str, str]:
    """The entry of GRIP_PROXIES for an embedded proxy with FRONT_KEY."""
    return {
        "control_uri": f"http://127.0.0.1:{port}/.grip",
        "control_iss": ISSUER,
        "key": FRONT_KEY,
        "verify_key": FRONT_KEY,
        "verify_iss": ISSUER,
    }


def by_pushpin(pushpin: Pushpin) -> dict[str, str]:
    """The entry of GRIP_PROXIES for a private Pushpin."""
    return {"control_uri": pushpin.control_uri, "verify_key": pushpin.sig_key, "verify_iss": "pushpin"}
