"""`import grip_consumers.as_channels` makes the name `channels` stand for this package.

At the top of a project's settings it lets the project, and libraries that others wrote for Channels, run unmodified:
`channels` is a module made here, and each of its submodules is the very module object of this package, so that a class
is the same by either name. Only what Channels 4.3 has is found. Real Channels may be installed, but nothing may have
imported it before: the two would be mixed, and no class of one is a class of the other.

Nothing else is imported, read or started: a submodule is loaded when it is asked for, with those below it.
"""

from __future__ import annotations

import pkgutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder, PathEntryFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from types import FrameType, FunctionType, ModuleType
from typing import Any

from grip_consumers import DEFAULT_CHANNEL_LAYER

__all__ = ["CHANNELS_VERSION", "ChannelsFinder"]

#: The release of Channels whose names these are, and what `channels.__version__` says.
CHANNELS_VERSION = "4.3.2"

_PACKAGE = "channels"
#: The path of `channels`: below a file, so that no other finder finds our folder's modules under this name.
_ENTRY = str(Path(__file__) / _PACKAGE)
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


def _ours(name: str) -> str:
    return f"grip_consumers{name.removeprefix(_PACKAGE)}"


def _held(name: str, folders: Sequence[str]) -> Iterator[str]:
    """Names of what these folders hold, found without an import of it."""
    for info in pkgutil.iter_modules(folders):
        yield f"{name}.{info.name}"
        if info.ispkg:
            yield from _held(f"{name}.{info.name}", [str(Path(folder, info.name)) for folder in folders])


def _all_held() -> Iterator[str]:
    for name in _SHARED:
        # Those further down need no spec, for which their parents would have to be imported.
        spec = find_spec(_ours(name)) if name.count(".") == 1 else None
        yield from _held(name, (spec and spec.submodule_search_locations) or ())


#: What our packages of shared names hold. Some are modules in Channels, and some have more modules than there.
_HELD = frozenset(_all_held())
#: With `channels` in INSTALLED_APPS in place of `grip_consumers`, Django finds this package's commands by that name.
_COMMANDS = frozenset(name for name in _HELD if name.startswith(f"{_PACKAGE}.management.commands."))
_FOUND = _SHARED | _COMMANDS
#: By the path of a shared package any finder would load these a second time, as modules of Channels.
_PRIVATE = _HELD - _FOUND


class ChannelsFinder(MetaPathFinder):
    """Finds `channels` and its submodules, and nothing else.

    What Channels lacks is left to the other finders, of which none knows it: `importlib.util.find_spec` returns None,
    so that a project can ask for a module of another release, and an import fails with Python's own error.
    """

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the spec of a module of Channels. Raises ModuleNotFoundError if one of another release is imported."""
        if fullname == _PACKAGE:
            return _here(fullname, _Package(), [_ENTRY])
        if fullname == f"{_PACKAGE}.apps":
            return _here(fullname, _Apps())
        if fullname in _FOUND:
            return ModuleSpec(fullname, _Shared(), origin=__name__, is_package=_is_package(fullname))
        if fullname in _OTHER_RELEASES and _is_being_imported(fullname):
            raise ModuleNotFoundError(
                f"No module named {fullname!r}: grip_consumers.as_channels stands in for Channels {CHANNELS_VERSION}, "
                "which has none of that name. What imports it was written for an older Channels: use a release of it "
                "that supports Channels 4.",
                name=fullname,
            )
        return None


def _here(name: str, loader: Loader, path: list[str] | None = None) -> ModuleSpec:
    """The spec of a module that is made here: its `__file__` is this one."""
    spec = ModuleSpec(name, loader, origin=__file__)
    spec.submodule_search_locations = path
    spec.has_location = True
    return spec


def _is_package(name: str) -> bool:
    return any(other.startswith(f"{name}.") for other in _SHARED)


def _is_being_imported(name: str) -> bool:
    """Whether this thread imports a module, or merely asks whether there is one: finders are called alike for both."""
    frame: FrameType | None = sys._getframe()
    while frame and not (frame.f_code.co_name == "_find_and_load_unlocked" and frame.f_locals.get("name") == name):
        frame = frame.f_back
    return frame is not None


class _Entry(PathEntryFinder):
    """What `pkgutil` asks for the modules in the path of `channels`."""

    def find_spec(self, fullname: str, target: ModuleType | None = None) -> ModuleSpec | None:
        return ChannelsFinder().find_spec(fullname)

    def iter_modules(self, prefix: str = "") -> Iterator[tuple[str, bool]]:
        for name in sorted({f"{_PACKAGE}.apps", *_SHARED}):
            if name.count(".") == 1:
                yield f"{prefix}{name.rpartition('.')[2]}", _is_package(name)


def _entry(path: str) -> _Entry:
    """A hook for `sys.path_hooks`."""
    if path != _ENTRY:
        raise ImportError(path)
    return _Entry()


class _Package(Loader):
    def exec_module(self, module: ModuleType) -> None:
        module.__doc__ = __doc__
        vars(module).update(__version__=CHANNELS_VERSION, DEFAULT_CHANNEL_LAYER=DEFAULT_CHANNEL_LAYER)


class _Shared(Loader):
    def exec_module(self, module: ModuleType) -> None:
        # The import system takes what stands in sys.modules afterwards; the module made for the spec is forgotten.
        _share(module.__name__)


def _share(name: str) -> None:
    """Give one of our modules its second name, and likewise what is below it.

    Those below come at once and first: with the package goes its path, by which a finder that another put before ours
    would load them a second time.
    """
    ours = import_module(_ours(name))
    for child in sorted(_FOUND):
        if child.rpartition(".")[0] == name:
            # Whoever asks for one that cannot be loaded gets the error then.
            with suppress(ImportError):
                _share(child)
    sys.modules[name] = ours


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


def _install() -> None:
    """Put the finder first. Raises RuntimeError if real Channels is there already."""
    loaded = {name: module for name, module in list(sys.modules.items()) if _is_channels(name) and module is not None}
    if any(_is_real(module) for module in loaded.values()):
        raise RuntimeError(_refusal())
    if _PACKAGE not in loaded:
        # First, as the finder of installed packages knows real Channels.
        sys.meta_path.insert(0, ChannelsFinder())
        sys.path_hooks.insert(0, _entry)
        # To Python, None is a module that is not there, for all finders and before they are asked.
        private: dict[str, Any] = dict.fromkeys(_PRIVATE)
        sys.modules.update(private)
        import_module(_PACKAGE)


def _is_channels(name: object) -> bool:
    return str(name).partition(".")[0] == _PACKAGE


def _is_real(module: ModuleType) -> bool:
    return _is_channels(module.__name__) and getattr(module.__spec__, "origin", None) not in (__name__, __file__)


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
