"""Every public name of Channels exists here under the same module path, with the same kind and signature.

What a module of Channels merely imports from Django, asgiref or the standard library is not its own, so nobody need
find it here. Annotations and docstrings are not compared.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from typing import Any

import channels
import channels.layers
import channels.routing
import grip_consumers.routing
import pytest

import grip_consumers.dispatcher
import grip_consumers.layers

PACKAGE, OURS = "channels", "grip_consumers"

#: What differs, by its path below the package, and why. One that differs no more fails, too.
DIFFERENCES = {
    "apps.ChannelsConfig.name": "it configures the app `grip_consumers`; see `as_channels` for an app named `channels`",
    "apps.ChannelsConfig.verbose_name": "the same",
    "consumer.aclose_old_connections": "imported there for the module's own use; it is `db.aclose_old_connections`",
    "generic.websocket.aclose_old_connections": "imported there for the module's own use; it is in `db`",
    "sessions.database_sync_to_async": "imported there for the module's own use; it is in `db`",
}


def modules() -> list[str]:
    """The paths of the reference's modules below its package."""
    found = pkgutil.walk_packages(channels.__path__, f"{PACKAGE}.")
    return sorted(info.name.removeprefix(f"{PACKAGE}.") for info in found)


def differences(path: str) -> Iterator[tuple[str, str]]:
    theirs = importlib.import_module(f"{PACKAGE}.{path}")
    try:
        ours = importlib.import_module(f"{OURS}.{path}")
    except ModuleNotFoundError:
        yield path, "no such module"
        return
    for name, value in vars(theirs).items():
        if is_own(name, value):
            yield from compare(f"{path}.{name}", value, getattr(ours, name, MISSING))


MISSING = object()


def is_own(name: str, value: object) -> bool:
    """Whether a name in a module is one of the package's public ones."""
    if name.startswith("_") or inspect.ismodule(value):
        return False
    module = getattr(value, "__module__", None)
    return module is None or module.split(".")[0] == PACKAGE


def compare(path: str, theirs: Any, ours: Any) -> Iterator[tuple[str, str]]:
    if ours is MISSING:
        yield path, "missing"
    elif inspect.isclass(theirs):
        if not inspect.isclass(ours):
            yield path, f"expected a class, got {ours!r}"
            return
        if lost := [name for name in bases(theirs) if name not in bases(ours)]:
            yield path, f"is no subclass of {lost}"
        for name in members(theirs):
            yield from compare_member(f"{path}.{name}", theirs, ours, name)
    elif callable(theirs) or isinstance(theirs, BARE):
        yield from compare_kind(path, theirs, ours)


def bases(cls: type) -> list[str]:
    return [base.__name__ for base in cls.__mro__[1:]]


BARE = (bool, int, float, str, bytes, list, tuple, dict, type(None))


def members(cls: type) -> list[str]:
    return [
        name
        for name in dir(cls)
        if (not name.startswith("_") or name in {"__init__", "__call__", "_sync"})
        and any(name in vars(base) for base in cls.__mro__ if base.__module__.split(".")[0] == PACKAGE)
    ]


def compare_member(path: str, theirs: type, ours: type, name: str) -> Iterator[tuple[str, str]]:
    expected = inspect.getattr_static(theirs, name)
    found = inspect.getattr_static(ours, name, MISSING)
    if found is MISSING:
        yield path, "missing"
    else:
        yield from compare_kind(path, expected, found)


def compare_kind(path: str, theirs: Any, ours: Any) -> Iterator[tuple[str, str]]:
    expected, found = described(theirs), described(ours)
    if expected != found:
        yield path, f"expected {expected}, got {found}"


def described(value: Any) -> str:
    """What a caller relies on: the kind, and the parameters or the value."""
    if isinstance(value, (staticmethod, classmethod)):
        return f"{type(value).__name__} {described(value.__func__)}"
    if isinstance(value, property):
        return "property"
    if isinstance(value, BARE):
        return f"value {value!r}"
    if callable(value):
        kind = "async def" if inspect.iscoroutinefunction(value) or hasattr(value, "func") else "def"
        return f"{kind} {signature(value)}"
    return type(value).__name__


def signature(function: Any) -> str:
    found = inspect.signature(function)
    plain = [parameter.replace(annotation=parameter.empty) for parameter in found.parameters.values()]
    return str(found.replace(parameters=plain, return_annotation=found.empty))


@pytest.mark.parametrize("path", modules())
def test_a_module_has_every_public_name_of_the_reference(path: str) -> None:
    unexpected = {name: what for name, what in differences(path) if name not in DIFFERENCES}
    assert unexpected == {}


def test_each_documented_difference_still_exists() -> None:
    found = {name for path in modules() for name, _ in differences(path)}
    assert set(DIFFERENCES) == found


# What the comparison of names and signatures cannot see, and why it is meant.


def test_capacities_by_pattern_are_ready_for_use_where_the_reference_keeps_them_as_given() -> None:
    """There the base class compiles none, so that a layer with any fails as soon as it looks one up."""
    theirs, ours = (module.InMemoryChannelLayer for module in (channels.layers, grip_consumers.layers))
    assert (theirs().channel_capacity, ours().channel_capacity) == ({}, [])
    assert ours(channel_capacity={"a*": 3}).get_capacity("abc") == 3
    with pytest.raises(AttributeError):
        theirs(channel_capacity={"a*": 3}).get_capacity("abc")


async def test_a_path_without_a_route_is_a_value_error_of_a_kind_of_its_own() -> None:
    """By it the dispatcher tells such a path, which is answered with 404, from a ValueError in a consumer."""
    kinds = []
    for router in (channels.routing.URLRouter, grip_consumers.routing.URLRouter):
        with pytest.raises(ValueError, match=r"^No route found for path 'nowhere'\.$") as caught:
            await router([])({"type": "websocket", "path": "/nowhere"}, None, None)
        kinds.append(caught.type)
    assert kinds == [ValueError, grip_consumers.dispatcher.NoRoute]
