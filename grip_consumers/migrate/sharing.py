"""Which files have to keep their name `channels`, because other files reach it.

By ``from .compat import channels``, ``compat.channels.layers``, ``mock.patch("app.compat.channels.layers.…")``,
``patch.object(compat, "channels")``, or ``from .compat import *``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath

import libcst as cst

from . import imports
from .names import OLD
from .source import Source, dotted_name, text_of

__all__ = ["shared"]

_PATH = re.compile(rf"[A-Za-z_][\w.]*\.{OLD}(\.[\w.]*)?")


def shared(sources: Sequence[Source]) -> frozenset[str]:
    """The paths of the files whose name `channels` another one reaches, as far as the source says."""
    binding = {source.path for source in sources if imports.binds_package(source)}
    if not binding:
        return frozenset()
    stars = {source.path: list(_stars(source)) for source in sources}
    paths = [path for path in stars if path in binding or stars[path]]
    waiting = [module for source in sources for module in _reached(source)]
    found: set[str] = set()
    while waiting:
        module = waiting.pop()
        for path in paths:
            if path not in found and _is_same(_module(path), module):
                found.add(path)
                waiting += stars[path]
    return frozenset(found & binding)


def _reached(source: Source) -> Iterator[str]:
    """The modules of whose name `channels` a file makes use."""
    modules = _modules(source)
    for statement, names in _imported(source):
        if OLD in names:
            yield _absolute(source, statement)
    for attribute in source.find(cst.Attribute):
        if attribute.attr.value == OLD:
            yield from _named(attribute.value, modules)
    for call in source.find(cst.Call):
        if len(call.args) > 1 and text_of(call.args[1].value) == OLD:
            yield from _named(call.args[0].value, modules)
    yield from _patched(source)
    if any(name.value == OLD for name in source.find(cst.Name)):
        yield from _stars(source)


def _imported(source: Source) -> Iterator[tuple[cst.ImportFrom, dict[str, str]]]:
    """Each ``from … import …`` of names, with what they are called here."""
    for statement in source.find(cst.ImportFrom):
        if not isinstance(statement.names, cst.ImportStar):
            names = {dotted_name(alias.name): alias.evaluated_alias for alias in statement.names}
            yield statement, {name: alias or name for name, alias in names.items()}


def _patched(source: Source) -> Iterator[str]:
    """Modules in dotted strings, ``"app.views.channels.layers"``"""
    for string in source.find(cst.SimpleString):
        text = text_of(string)
        if text is not None and _PATH.fullmatch(text):
            parts = text.split(".")
            yield from (".".join(parts[:index]) for index, part in enumerate(parts) if index and part == OLD)


def _stars(source: Source) -> Iterator[str]:
    """The modules all of whose names a file has."""
    for statement in source.find(cst.ImportFrom):
        if isinstance(statement.names, cst.ImportStar):
            yield _absolute(source, statement)


def _modules(source: Source) -> dict[str, str]:
    """What may be a module, by the name that a file has for it."""
    modules: dict[str, str] = {}
    for plain in source.find(cst.Import):
        for alias in plain.names:
            name = dotted_name(alias.name)
            root = name.split(".")[0]
            modules[alias.evaluated_alias or root] = name if alias.asname else root
    for statement, names in _imported(source):
        package = _absolute(source, statement)
        modules.update((alias, f"{package}.{name}".lstrip(".")) for name, alias in names.items())
    return modules


def _named(node: cst.CSTNode, modules: dict[str, str]) -> Iterator[str]:
    root, dot, rest = dotted_name(node).partition(".")
    if root in modules:
        yield f"{modules[root]}{dot}{rest}"


def _absolute(source: Source, statement: cst.ImportFrom) -> str:
    module = dotted_name(statement.module)
    if not statement.relative:
        return module
    package = PurePosixPath(source.path).parts[:-1]
    above = package[: len(package) - len(statement.relative) + 1]
    return ".".join([*above, *([module] if module else [])])


def _module(path: str) -> str:
    parts = PurePosixPath(path).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _is_same(one: str, other: str) -> bool:
    """Whether two paths may name one module: each may be seen from another folder."""
    short, long = sorted((one, other), key=len)
    return short == long or (bool(short) and long.endswith(f".{short}"))
