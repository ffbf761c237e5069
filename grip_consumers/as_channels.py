"""`import grip_consumers.as_channels` makes the name `channels` stand for this package.

At the top of a project's settings it lets the project, and libraries that others wrote for Channels, run unmodified:
`channels` is a module made here, and each of its submodules is the very module object of this package, so that a class
is the same by either name. Only what Channels 4.3 has is found. Real Channels may be installed, but nothing may have
imported it before: the two would be mixed, and no class of one is a class of the other.

Nothing else is imported, read or started: a submodule is loaded when it is asked for.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import FunctionType, ModuleType

from grip_consumers import DEFAULT_CHANNEL_LAYER

__all__ = ["CHANNELS_VERSION", "ChannelsFinder"]

#: The release of Channels whose names these are, and what `channels.__version__` says.
CHANNELS_VERSION = "4.3.2"

_PACKAGE = "channels"
#: Modules of Channels 4.3 that are those of this package. `channels` and `channels.apps` are made here: a Django
#: application has its name and its path from them, and `grip_consumers` may be installed beside it.
_SHARED = frozenset(
    f"{_PACKAGE}.{name}"
    for name in (
        "auth",
        "consumer",
        "db",
        "exceptions",
        "generic",
        "generic.http",
        "generic.websocket",
        "layers",
        "management",
        "management.commands",
        "management.commands.runworker",
        "middleware",
        "routing",
        "security",
        "security.websocket",
        "sessions",
        "testing",
        "testing.application",
        "testing.http",
        "testing.live",
        "testing.websocket",
        "utils",
        "worker",
    )
)
#: With `channels` in INSTALLED_APPS in place of `grip_consumers`, Django finds this package's commands by that name.
_COMMANDS = f"{_PACKAGE}.management.commands."
#: Modules that other releases of Channels had: what imports them needs to be told.
_OTHER_RELEASES = frozenset(
    f"{_PACKAGE}.{name}"
    for name in (
        "asgi",
        "binding",
        "channel",
        "delay",
        "generic.base",
        "generic.websockets",
        "handler",
        "hacks",
        "http",
        "log",
        "message",
        "staticfiles",
        "test",
    )
)


class ChannelsFinder(MetaPathFinder):
    """Finds `channels` and its submodules, and nothing else.

    A name that neither this nor another release of Channels has is left to the other finders, of which none knows it:
    Python's own error says so, and `importlib.util.find_spec` returns None.
    """

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the spec of a module of Channels. Raises ModuleNotFoundError for one of another release."""
        if fullname == _PACKAGE:
            return ModuleSpec(fullname, _Package(), origin=__name__, is_package=True)
        if fullname == f"{_PACKAGE}.apps":
            return ModuleSpec(fullname, _Apps(), origin=__name__)
        if fullname in _SHARED or fullname.startswith(_COMMANDS):
            is_package = any(name.startswith(f"{fullname}.") for name in _SHARED)
            return ModuleSpec(fullname, _Shared(), origin=__name__, is_package=is_package)
        if fullname in _OTHER_RELEASES:
            raise ModuleNotFoundError(
                f"No module named {fullname!r}: grip_consumers.as_channels stands in for Channels {CHANNELS_VERSION}, "
                "which has none of that name. What imports it was written for an older Channels: use a release of it "
                "that supports Channels 4.",
                name=fullname,
            )
        return None


class _Package(Loader):
    def exec_module(self, module: ModuleType) -> None:
        module.__doc__ = __doc__
        vars(module).update(__version__=CHANNELS_VERSION, DEFAULT_CHANNEL_LAYER=DEFAULT_CHANNEL_LAYER)


class _Shared(Loader):
    def exec_module(self, module: ModuleType) -> None:
        # The import system takes what stands in sys.modules afterwards; the module made for the spec is forgotten.
        sys.modules[module.__name__] = import_module(_ours(module.__name__))


class _Apps(Loader):
    def exec_module(self, module: ModuleType) -> None:
        apps = import_module("grip_consumers.apps")
        config = {
            "__module__": module.__name__,
            "__doc__": "`channels` in INSTALLED_APPS, beside `grip_consumers` or in its place.",
            "name": _PACKAGE,
            "verbose_name": "Channels",
            "default": True,
            # Where Django looks for the commands.
            "path": str(Path(__file__).parent),
        }
        vars(module)["ChannelsConfig"] = type("ChannelsConfig", (apps.GripConsumersConfig,), config)


def _ours(name: str) -> str:
    return f"grip_consumers{name.removeprefix(_PACKAGE)}"


def _install() -> None:
    """Put the finder first. Raises RuntimeError if real Channels is there already."""
    loaded = {name: module for name, module in list(sys.modules.items()) if _is_channels(name) and module is not None}
    if any(_is_real(module) for module in loaded.values()):
        raise RuntimeError(_refusal())
    if _PACKAGE not in loaded:
        # First, as the finder of installed packages knows real Channels.
        sys.meta_path.insert(0, ChannelsFinder())
        import_module(_PACKAGE)


def _is_channels(name: object) -> bool:
    return str(name).partition(".")[0] == _PACKAGE


def _is_real(module: ModuleType) -> bool:
    return _is_channels(module.__name__) and getattr(module.__spec__, "origin", None) != __name__


def _refusal() -> str:
    found = ", ".join(_importers()) or "none that is still loaded"
    return (
        "grip_consumers.as_channels was imported too late: real Channels is loaded already, and classes of the two "
        f"packages do not mix. Modules that hold something of it: {found}. Import grip_consumers.as_channels before "
        "they are: on top of the settings and, if a program starts with another file (asgi.py, celery.py), on top of "
        "that one, too."
    )


def _importers() -> Iterator[str]:
    """Names of loaded modules, other than Channels' own, that hold something of it."""
    for name, module in sorted(sys.modules.items()):
        # vars() and type() only: lazy objects, Django's settings among them, must not wake up for this.
        if type(module) is not ModuleType or _is_channels(name):
            continue
        if any(_is_of_channels(value) for value in list(vars(module).values())):
            yield name


def _is_of_channels(value: object) -> bool:
    if issubclass(type(value), ModuleType):
        return _is_channels(vars(value).get("__name__"))
    return issubclass(type(value), (type, FunctionType)) and _is_channels(getattr(value, "__module__", None))


_install()
