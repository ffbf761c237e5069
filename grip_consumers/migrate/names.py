"""Where the modules and names of Channels are in this package, found out without importing either."""

from __future__ import annotations

import ast
from functools import cache
from importlib.util import find_spec
from pathlib import Path

__all__ = ["FORMER", "OLD", "counterpart", "has_name", "is_module", "module_of"]

OLD, NEW = "channels", "grip_consumers"

#: The modules of Channels 4.3.
MODULES = frozenset(
    f"{OLD}{name}"
    for name in (
        "",
        ".apps",
        ".auth",
        ".consumer",
        ".db",
        ".exceptions",
        ".generic",
        ".generic.http",
        ".generic.websocket",
        ".layers",
        ".management",
        ".management.commands",
        ".management.commands.runworker",
        ".middleware",
        ".routing",
        ".security",
        ".security.websocket",
        ".sessions",
        ".testing",
        ".testing.application",
        ".testing.http",
        ".testing.live",
        ".testing.websocket",
        ".utils",
        ".worker",
    )
)

#: Modules of earlier releases, and what Channels 4 has instead.
FORMER = {
    "channels.asgi": "Use channel layers by get_channel_layer(), and Django's get_asgi_application().",
    "channels.binding": "Send from the model's signals by group_send().",
    "channels.http": "Use Django's get_asgi_application().",
    "channels.staticfiles": "Serve static files as for any Django project.",
    "channels.tests": "Use grip_consumers.testing.",
}


def is_module(dotted: str) -> bool:
    """Whether Channels 4.3 has this module."""
    return dotted in MODULES


def module_of(dotted: str) -> str:
    """The longest part of a dotted path that is a module of Channels 4.3; "" if there is none."""
    parts = dotted.split(".")
    candidates = (".".join(parts[:length]) for length in range(len(parts), 0, -1))
    return next((name for name in candidates if name in MODULES), "")


def counterpart(dotted: str) -> str:
    """The same path in this package."""
    return NEW + dotted.removeprefix(OLD)


def has_name(module: str, name: str) -> bool:
    """Whether this package's counterpart of a module of Channels defines a name, or has a module of that name.

    Args:
        module: of Channels: "channels.layers".
        name: "InMemoryChannelLayer"
    """
    known = _names(counterpart(module))
    return known is None or name in known or is_module(f"{module}.{name}")


@cache
def _names(module: str) -> frozenset[str] | None:
    """What a module of this package has at its top level; None if its text does not say."""
    file = _file(module)
    if file is None:
        return frozenset()
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names.update((alias.asname or alias.name).split(".")[0] for alias in node.names)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
    return None if names & {"*", "__getattr__"} and module != NEW else frozenset(names)


def _file(module: str) -> Path | None:
    parts = module.split(".")
    # Only the first two: finding what is below would import what is above it.
    spec = find_spec(".".join(parts[:2]))
    if spec is None or spec.origin is None:
        return None
    if len(parts) <= 2:
        return Path(spec.origin)
    folder = Path(spec.origin).parent.joinpath(*parts[2:])
    files = (folder.with_suffix(".py"), folder / "__init__.py")
    return next((file for file in files if file.is_file()), None)
