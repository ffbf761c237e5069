"""A private Pushpin for the length of a with block, or in the foreground for development.

    with Pushpin(backend_port) as pushpin:
        pushpin.ws_url        # ws://127.0.0.1:…: what browsers would connect to
        pushpin.control_uri   # http://127.0.0.1:…: where items are published
        pushpin.grip_url      # the same with the verify key, for settings.GRIP_URL

Each instance has its own configuration, run directory and ports, so any number run side by side, next to one
that the system runs. In the foreground:

    python -m grip_consumers.testing.pushpin --port 8000 --backend 8001 --control-port 5561
"""

from __future__ import annotations

import argparse
import functools
import re
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from urllib.parse import urlencode

from .probe import Probe, probe
from .processes import ServerProcess, answers, free_block

__all__ = ["CONTROL_PORT", "Pushpin", "PushpinMissingError", "main", "version"]

#: The port of HTTP publishing when `port_offset` is 0. The control ports are 5560 to 5563.
CONTROL_PORT = 5561
_FIRST_PORT, _COMMAND_PORT, _CONTROL_PORTS = 5560, 5563, 4
_START_ATTEMPTS = 3
#: From this version on Pushpin makes its requests itself and needs neither condure nor zurl.
_SELF_CONTAINED = (1, 38)
#: What Debian's pushpin.conf sets; without a line some of these mean "off" (id_cache_ttl does).
_HANDLER_DEFAULTS = {
    "push_in_http_max_headers_size": 10_000,
    "push_in_http_max_body_size": 1_000_000,
    "message_hwm": 25_000,
    "message_wait": 5_000,
    "id_cache_ttl": 60,
    "connection_subscription_max": 20,
}
_INTERNAL_CONF = ("/usr/lib/pushpin/internal.conf", "/usr/local/lib/pushpin/internal.conf")
_SYSTEM_ZURL = "ipc:///var/run/zurl/"
_OWN_ZURL = "ipc://{rundir}/{ipc_prefix}"


class PushpinMissingError(RuntimeError):
    """Pushpin, or a program that it needs, is not installed."""

    def __init__(self, program: str) -> None:
        super().__init__(
            f"Expected the program {program!r} on the PATH (or in Pushpin's folder) and found none. "
            "Install the Debian package: apt-get install pushpin (it brings condure and zurl)."
        )
        self.program = program


def _program(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        raise PushpinMissingError(name)
    return path


@functools.lru_cache(maxsize=1)
def version() -> tuple[int, ...]:
    """Return the installed Pushpin's version, (1, 36, 0) for instance. Raises PushpinMissingError."""
    command = [_program("pushpin"), "--version"]
    output = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)  # noqa: S603
    found = re.search(r"(\d+)\.(\d+)(?:\.(\d+))?", output.stdout + output.stderr)
    if found is None:
        raise RuntimeError(f"Expected a version from pushpin --version, got {output.stdout!r}.")
    return tuple(int(part) for part in found.groups("0"))


def _internal_conf() -> str:
    beside = Path(_program("pushpin")).resolve().parent.parent / "lib/pushpin/internal.conf"
    for candidate in (*map(Path, _INTERNAL_CONF), beside):
        if candidate.is_file():
            return candidate.read_text().replace(_SYSTEM_ZURL, _OWN_ZURL)
    raise PushpinMissingError("internal.conf")


def _services() -> str:
    if version() >= _SELF_CONTAINED:
        return "connmgr,proxy,handler"
    for name in ("condure", "zurl"):
        _program(name)
    return "condure,zurl,pushpin-proxy,pushpin-handler"


class Pushpin:
    """A real Pushpin in front of `127.0.0.1:backend_port`, private to this process.

    Args:
        backend_port: where batches and ordinary requests go; change it later with `route_to`.
        sig_key: signs Grip-Sig (HS256); a text without the prefix `base64:`. Random unless given.
        message_rate: deliveries per second, 0 for no limit. Pushpin's own default is 2,500.
        log_level: 2 says little, 3 shows each request.
        http_port, control_port: fixed ports for development; free ones are chosen otherwise.
        handler_settings: more lines for the configuration's `[handler]` section.

    Raises PushpinMissingError on entering the with block if it is not installed, RuntimeError if it does not
    start.
    """

    def __init__(
        self,
        backend_port: int,
        *,
        sig_key: str | None = None,
        message_rate: int = 0,
        log_level: int = 2,
        http_port: int | None = None,
        control_port: int | None = None,
        handler_settings: Mapping[str, str | int] | None = None,
    ) -> None:
        self.backend_port = backend_port
        self.sig_key = sig_key if sig_key is not None else secrets.token_hex(16)
        self.message_rate = message_rate
        self.log_level = log_level
        self._wanted = (http_port, control_port)
        self._handler_settings = dict(handler_settings or {})
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._process: ServerProcess | None = None
        self._probe_route = ""
        self.port = http_port or 0
        self.control_port = control_port or 0

    @property
    def url(self) -> str:
        """http://127.0.0.1:PORT, where clients connect."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def ws_url(self) -> str:
        """ws://127.0.0.1:PORT, where clients connect."""
        return f"ws://127.0.0.1:{self.port}"

    @property
    def control_uri(self) -> str:
        """http://127.0.0.1:PORT of the publishing side; items are posted to /publish/ under it."""
        return f"http://127.0.0.1:{self.control_port}"

    @property
    def command_uri(self) -> str:
        """tcp://127.0.0.1:PORT of the command socket (ZeroMQ), which takes refreshes."""
        return f"tcp://127.0.0.1:{self.control_port + _COMMAND_PORT - CONTROL_PORT}"

    @property
    def grip_url(self) -> str:
        """The control URI with the key that verifies Grip-Sig, as settings.GRIP_URL takes it."""
        return f"{self.control_uri}?{urlencode({'verify-key': self.sig_key})}"

    def start(self) -> Pushpin:
        """Start Pushpin and wait until both its ports answer; if some are taken, other ones are tried."""
        attempts = 1 if all(self._wanted) else _START_ATTEMPTS
        while True:
            attempts -= 1
            try:
                self._start_once()
            except (RuntimeError, TimeoutError):
                self.stop()
                if not attempts:
                    raise
            except BaseException:
                self.stop()
                raise
            else:
                return self

    def stop(self) -> None:
        """End Pushpin and its children, remove everything it wrote. Does nothing when it is not running."""
        process, self._process = self._process, None
        folder, self._folder = self._folder, None
        if process is not None:
            process.stop()
        if folder is not None:
            folder.cleanup()

    def log(self) -> str:
        """Return what all of Pushpin's processes have logged so far."""
        return self._running().log()

    def route_to(self, backend_port: int) -> None:
        """Send everything to another port from now on; returns when Pushpin has read the new route."""
        process = self._running()
        seen = process.log().count("routes loaded")
        self.backend_port = backend_port
        self._write_routes()
        process.wait_until(lambda: process.log().count("routes loaded") > seen, what="the new route")

    def __enter__(self) -> Pushpin:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def _running(self) -> ServerProcess:
        if self._process is None:
            raise RuntimeError("Pushpin is not running: use it inside its with block, or call start() first.")
        return self._process

    def _start_once(self) -> None:
        self._choose_ports()
        # The default temp directory may be long, and the path of a Unix socket must fit 108 bytes.
        short = "/tmp" if Path("/tmp").is_dir() else None  # noqa: S108
        self._folder = tempfile.TemporaryDirectory(prefix="pp-", dir=short)
        folder = Path(self._folder.name)
        (folder / "internal.conf").write_text(_internal_conf())
        (folder / "pushpin.conf").write_text(self._configuration(folder))
        command = [_program("pushpin"), "-m", f"--config={folder / 'pushpin.conf'}"]
        with probe() as asked:
            # Stays when nobody answers there any more: reading a new route takes Pushpin a second.
            self._probe_route = f"*,path_beg={asked.path} 127.0.0.1:{asked.port},over_http\n"
            self._write_routes()
            self._process = ServerProcess(command, log_file=folder / "output.log", cwd=folder)
            self._process.wait_until(lambda: self._is_ready(asked), what="an answer on both of its ports")

    def _choose_ports(self) -> None:
        http_port, control_port = self._wanted
        block = free_block(_CONTROL_PORTS + 1)
        self.control_port = control_port or block + CONTROL_PORT - _FIRST_PORT
        self.port = http_port or block + _CONTROL_PORTS

    def _configuration(self, folder: Path) -> str:
        handler = {
            "push_in_spec": "tcp://127.0.0.1:5560",
            "push_in_http_addr": "127.0.0.1",
            "push_in_http_port": CONTROL_PORT,
            "push_in_sub_specs": "tcp://127.0.0.1:5562",
            "command_spec": f"tcp://127.0.0.1:{_COMMAND_PORT}",
            "message_rate": self.message_rate,
            **_HANDLER_DEFAULTS,
            **self._handler_settings,
        }
        sections: dict[str, dict[str, object]] = {
            "global": {
                "include": folder / "internal.conf",
                "rundir": folder,
                "ipc_prefix": "p-",
                "port_offset": self.control_port - CONTROL_PORT,
            },
            "runner": {
                "services": _services(),
                "http_port": f"127.0.0.1:{self.port}",
                "logdir": folder,
                "log_level": self.log_level,
            },
            "proxy": {"routesfile": "routes", "sig_iss": "pushpin", "sig_key": self.sig_key},
            "handler": {**handler},
        }
        return "\n".join(_section(name, lines) for name, lines in sections.items())

    def _write_routes(self) -> None:
        if self._folder is not None:
            routes = Path(self._folder.name) / "routes"
            routes.write_text(f"* 127.0.0.1:{self.backend_port},over_http\n{self._probe_route}")

    def _is_ready(self, asked: Probe) -> bool:
        if not asked.comes_through(self.port):
            return False
        body = b'{"items": []}'
        return answers(self.control_port, method="POST", path="/publish/", body=body) == 200


def _section(name: str, lines: Mapping[str, object]) -> str:
    return f"[{name}]\n" + "".join(f"{key}={value}\n" for key, value in lines.items())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one Pushpin until Ctrl-C or SIGTERM, printing its address and the GRIP_URL to set."""
    parser = argparse.ArgumentParser(
        prog="python -m grip_consumers.testing.pushpin", description="Run a private Pushpin for development."
    )
    parser.add_argument("--port", type=int, default=8000, help="where browsers connect (default 8000)")
    parser.add_argument("--backend", type=int, default=8001, help="the project's port (default 8001)")
    parser.add_argument("--control-port", type=int, default=CONTROL_PORT, help="where items are published")
    parser.add_argument("--sig-key", help="signs what goes to the project (default: a random one)")
    parser.add_argument("--log-level", type=int, default=2, help="3 shows every request")
    options = parser.parse_args(arguments)
    pushpin = Pushpin(
        options.backend,
        http_port=options.port,
        control_port=options.control_port,
        sig_key=options.sig_key,
        log_level=options.log_level,
    )
    # The default would end this process and leave Pushpin's behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        with pushpin:
            _follow(pushpin)
    except KeyboardInterrupt:
        return 0
    except (PushpinMissingError, RuntimeError, TimeoutError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def _follow(pushpin: Pushpin) -> None:
    sys.stdout.write(
        f"Pushpin {'.'.join(map(str, version()))} at {pushpin.url}/ in front of port {pushpin.backend_port}\n"
        f'GRIP_URL = "{pushpin.grip_url}"\nCtrl-C ends it.\n'
    )
    shown = 0
    while True:
        text = pushpin.log()
        sys.stdout.write(text[shown:])
        sys.stdout.flush()
        shown = len(text)
        time.sleep(0.25)


if __name__ == "__main__":
    sys.exit(main())
