"""The drawing in docs/architecture.md, held against the code: imports point down, or sideways without cycles."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

#: The level of each module of the package, by the first part of its name.
LEVELS = {
    "protocol": 0,
    "advice": 1,
    "analysis": 1,
    "bytecode": 1,
    "command_socket": 1,
    "compatibility": 1,
    "complaints": 1,
    "conf": 1,
    "db": 1,
    "delivery": 1,
    "discovery": 1,
    "exceptions": 1,
    "followup": 1,
    "handshake": 1,
    "identity": 1,
    "in_process": 1,
    "joining": 1,
    "mail": 1,
    "mailbox": 1,
    "messages": 1,
    "naming": 1,
    "outside": 1,
    "publisher": 1,
    "readings": 1,
    "refresher": 1,
    "registry": 1,
    "scan": 1,
    "scan_calls": 1,
    "scan_values": 1,
    "standin": 1,
    "state": 1,
    "syntax": 1,
    "types": 1,
    "utils": 1,
    "verification": 1,
    "batch": 2,
    "dispatcher": 2,
    "genuine": 2,
    "groups": 2,
    "inbox": 2,
    "local_channels": 2,
    "running": 2,
    "streams": 2,
    "watch": 2,
    "ticking": 2,
    "auth": 3,
    "consumer": 3,
    "generic": 3,
    "layers": 3,
    "middleware": 3,
    "routing": 3,
    "security": 3,
    "sessions": 3,
    "apps": 4,
    "as_channels": 4,
    "checks": 4,
    "decorators": 4,
    "embedded": 4,
    "inspection": 4,
    "management": 4,
    "migrate": 4,
    "testing": 4,
    "views": 4,
    "worker": 3,
    "wsgi": 4,
}


def modules() -> Iterator[tuple[str, Path]]:
    for path in sorted((ROOT / "grip_consumers").rglob("*.py")):
        yield ".".join(("grip_consumers", *_parts(path.relative_to(ROOT / "grip_consumers")))), path
    for path in sorted((ROOT / "routing").rglob("*.py")):
        yield ".".join(("grip_consumers", "routing", *_parts(path.relative_to(ROOT / "routing")))), path


def _parts(path: Path) -> list[str]:
    parts = list(path.with_suffix("").parts)
    return parts[:-1] if parts[-1] == "__init__" else parts


def imports(name: str, path: Path) -> Iterator[str]:
    """The modules of the package that a module imports, wherever in its text."""
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.startswith("grip_consumers."))
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                prefix = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*prefix, *([base] if base else [])])
            if base == "grip_consumers":
                yield from (f"grip_consumers.{alias.name}" for alias in node.names if alias.name in LEVELS)
            elif base.startswith("grip_consumers."):
                yield base


def room(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else ""


ALL = [(name, path) for name, path in modules() if room(name)]


def test_every_module_has_a_level() -> None:
    assert {room(name) for name, _ in ALL} == set(LEVELS)


@pytest.mark.parametrize(("name", "path"), ALL, ids=[name for name, _ in ALL])
def test_a_module_imports_nothing_above_it(name: str, path: Path) -> None:
    above = {imported for imported in imports(name, path) if LEVELS[room(imported)] > LEVELS[room(name)]}
    assert above == set()


def test_rooms_do_not_import_each_other_in_a_circle() -> None:
    graph = {name: set[str]() for name in LEVELS}
    for name, path in ALL:
        graph[room(name)] |= {room(imported) for imported in imports(name, path)} - {room(name)}
    done: set[str] = set()
    while len(done) < len(graph):
        free = {name for name in graph.keys() - done if graph[name] <= done}
        assert free, f"a circle among {sorted(graph.keys() - done)}: {graph}"
        done |= free


def test_the_protocol_imports_without_django() -> None:
    code = "import sys; sys.modules['django'] = None; import grip_consumers.protocol as p; print(p.CONTENT_TYPE)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.stdout.strip() == "application/websocket-events", run.stderr


def test_importing_the_package_reads_no_setting_and_starts_nothing() -> None:
    code = (
        "import threading, pkgutil, importlib, grip_consumers, django.conf\n"
        "skip = ('management', 'auth', 'apps')\n"
        "names = [m.name for m in pkgutil.walk_packages(grip_consumers.__path__, 'grip_consumers.')]\n"
        "names = [n for n in names if n.split('.')[1] not in skip and not n.endswith(('__main__', 'tables.models'))]\n"
        "[importlib.import_module(n) for n in names + ['grip_consumers.routing']]\n"
        "print(len(names) > 40, django.conf.settings.configured, threading.active_count())"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env={})
    assert run.stdout.split() == ["True", "False", "1"], run.stderr
