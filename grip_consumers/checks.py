"""System checks: what of a project's set-up or code will not do what it seems to, and what to do about it.

All are tagged `grip`. Asked for by that tag, `manage.py check --tag grip` also lists how each group handler's events
reach its members, and how each proxy is asked for callbacks.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from contextvars import ContextVar
from importlib import import_module
from pathlib import Path
from typing import Any

from django.apps import apps
from django.conf import settings as django_settings
from django.core.cache import caches
from django.core.checks import CheckMessage, Error, Info, Warning, register  # noqa: A004 - Django's name
from django.core.exceptions import ImproperlyConfigured
from django.core.management import find_commands

from grip_consumers import command_socket, conf, inspection, refresher
from grip_consumers.delivery import Delivery, delivery, group_handlers
from grip_consumers.exceptions import PublishError
from grip_consumers.mailbox.cache import is_process_local, why_unfit
from grip_consumers.registry import ROUTE_IT, routed_application, routed_consumers, stream_classes
from grip_consumers.scan import Finding

__all__ = [
    "TAG",
    "check_consumers",
    "check_handlers",
    "check_mailbox",
    "check_refreshes",
    "check_routing",
    "check_runserver",
    "check_state_cache",
    "check_websocket_views",
    "listing",
    "register_all",
]

TAG = "grip"

#: Whether somebody wants to see what is in order, too.
listing: ContextVar[bool] = ContextVar("grip_consumers.checks.listing", default=False)

_TABLES = "grip_consumers.mailbox.tables"


def register_all() -> None:
    """Register the checks with Django; doing so again changes nothing."""
    of_settings = (check_mailbox, check_state_cache, check_refreshes, check_runserver)
    for check in (*of_settings, check_routing, check_handlers, check_consumers, check_websocket_views):
        register(TAG)(check)


def check_mailbox(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """W001, E001, E002: the mailbox reaches all processes."""
    settings = conf.get()
    if settings.mailbox == "database":
        return [] if apps.is_installed(_TABLES) else [_NO_TABLES]
    if settings.mailbox == "memory":
        return [_unshared("GRIP_MAILBOX is 'memory', which no other process sees")] if _has_processes() else []
    if settings.mailbox not in {"", "cache"}:
        # The project's own class.
        return []
    alias = settings.mailbox_alias
    if alias not in caches.settings:
        return [Error(f"GRIP_MAILBOX_ALIAS is {alias!r}, which is not in CACHES.", id="grip_consumers.E002")]
    reason = why_unfit(caches.create_connection(alias))
    return [_unshared(f"the cache {alias!r} is unfit: {reason}")] if reason and _has_processes() else []


def _unshared(reason: str) -> CheckMessage:
    return Warning(
        f"The mailbox is not shared by the processes of this project: {reason}.",
        hint="Events for handlers that run once for each member, direct messages, and events sent while somebody joins "
        "a group get lost between processes. Name a cache on Redis or Memcached in GRIP_MAILBOX_ALIAS, or set "
        "GRIP_MAILBOX = 'database'.",
        id="grip_consumers.W001",
    )


_NO_TABLES = Error(
    f"GRIP_MAILBOX is 'database', but {_TABLES!r} is not in INSTALLED_APPS, so there is no table for it.",
    hint=f"Add {_TABLES!r} to INSTALLED_APPS and run `manage.py migrate`.",
    id="grip_consumers.E001",
)


def check_state_cache(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """W002, E003: the cache for large states reaches all processes."""
    alias = conf.get().state_cache
    if alias not in caches.settings:
        return [Error(f"GRIP_STATE_CACHE is {alias!r}, which is not in CACHES.", id="grip_consumers.E003")]
    cache = caches.create_connection(alias)
    if not (is_process_local(cache) and _has_processes()):
        return []
    return [
        Warning(
            f"The cache {alias!r} (GRIP_STATE_CACHE) cannot keep the state of connections: {why_unfit(cache)}.",
            hint="A connection whose attributes make more than GRIP_STATE_INLINE_LIMIT bytes ends with 1012 as soon as "
            "another process gets its messages. Name a cache that all processes share.",
            id="grip_consumers.W002",
        )
    ]


def check_refreshes(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """W003: the proxies can be asked for callbacks. I002: how they are."""
    proxies = conf.get().proxies
    if not proxies:
        return []
    if listing.get():
        return list(_ways())
    if command_socket.is_installed() or all(found.shared for _, _, found in _handlers()):
        return []
    return [_LATE]


_LATE = Warning(
    "There are group handlers that run once for each member, but the libraries for Pushpin's command socket are not "
    "installed.",
    hint="Pushpin before 1.38 can be asked for callbacks in no other way: the events of these handlers would arrive up "
    "to 20 seconds late. A later one cuts connections off when more than about 100 members call back at once. Install "
    "grip-consumers[zmq]. `manage.py check --tag grip` lists the handlers.",
    id="grip_consumers.W003",
)


def _ways() -> Iterator[CheckMessage]:
    try:
        ways = refresher.ways()
    except PublishError as error:
        yield Warning(f"A proxy does not answer: {error}", id="grip_consumers.W004")
        return
    for name, way in ways.items():
        if way == refresher.NONE:
            yield Warning(
                f"{name} can be asked for callbacks in no way: events that each member handles itself arrive up to 20 "
                "seconds late.",
                hint="Install grip-consumers[zmq] and make its command socket reachable, or use Pushpin 1.38 or later.",
                id="grip_consumers.W003",
            )
        else:
            yield Info(f"{name} is asked for callbacks by {way}.", id="grip_consumers.I002")


def check_runserver(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """W005: `manage.py runserver` is ours, which brings a proxy."""
    own = next((config for config in apps.get_app_configs() if Path(config.path) == _PACKAGE), None)
    first = next((config for config in apps.get_app_configs() if _brings_runserver(config)), None)
    if own is None or first is None or first is own or _extends_ours(first) or _serves_both_ways(first):
        return []
    return [
        Warning(
            f"`manage.py runserver` is that of {first.name!r}, behind which no WebSocket reaches a consumer without a "
            f"proxy of its own: {first.name!r} stands before {own.name!r} in INSTALLED_APPS.",
            hint=f"Put {own.name!r} before {first.name!r}: its runserver holds WebSockets, and does what the next one "
            "does besides. 'daphne' is not needed any more.",
            id="grip_consumers.W005",
        )
    ]


_PACKAGE = Path(__file__).parent


def _brings_runserver(config: Any) -> bool:
    return "runserver" in find_commands(str(Path(config.path) / "management"))


def _extends_ours(config: Any) -> bool:
    """Whether the command of an app is made from ours. Not that of Daphne: its import would have side effects."""
    if config.name in {"daphne", "django.contrib.staticfiles"}:
        return False
    module = f"{config.name}.management.commands.runserver"
    try:
        command = import_module(module).Command
    except (ImportError, AttributeError):
        # Whoever runs it will see.
        return False
    return any(base.__module__ == "grip_consumers.management.commands.runserver" for base in command.__mro__)


def _serves_both_ways(config: Any) -> bool:
    """Whether it is Daphne's, for a project that keeps Channels itself beside this package."""
    genuine = (other for other in apps.get_app_configs() if other.name == "channels" and Path(other.path) != _PACKAGE)
    return config.name == "daphne" and any(genuine)


def check_routing(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """W006: importing ASGI_APPLICATION leads to the consumers."""
    path = getattr(django_settings, "ASGI_APPLICATION", None)
    try:
        known = bool(routed_consumers() or stream_classes())
    except ImproperlyConfigured:
        return []
    if known or not path or not inspection.takes_websockets(routed_application()):
        return []
    return [
        Warning(
            f"Importing ASGI_APPLICATION ({path!r}) leads to no consumer. Those that are made when a connection comes "
            "are unknown to other processes, and what these send to groups does not reach them.",
            hint=ROUTE_IT,
            id="grip_consumers.W006",
        )
    ]


def check_handlers(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """I001, if asked for: how the events of each group handler reach the members.

    Those of an installed library are counted: which of its methods are for events is its own business.
    """
    if not listing.get():
        return []
    own, counts = [], Counter[tuple[str, str, str]]()
    for cls, handler, found in _handlers():
        name, mode = f"{cls.__module__}.{cls.__qualname__}", "shared" if found.shared else "per connection"
        if library := _library_of_method(cls, handler):
            counts[name, library, mode] += 1
        else:
            own.append(f"{name}.{handler}: {mode}: {found.reason}.")
    of_libraries = [
        f"{name}: {mode}: {count} of the methods that it has from the library {library}, if events name them."
        for (name, library, mode), count in counts.items()
    ]
    return [Info(text, id="grip_consumers.I001") for text in (*own, *of_libraries)]


def _library_of_method(cls: type[Any], method: str) -> str:
    owner = next((base for base in cls.__mro__ if method in vars(base)), cls)
    return inspection.library_of(getattr(sys.modules.get(owner.__module__), "__file__", None) or "")


def _handlers() -> Iterator[tuple[type[Any], str, Delivery]]:
    """Each group handler of a routed class, and how its events reach the members."""
    try:
        classes = routed_consumers()
    except ImproperlyConfigured:
        # Nothing is routed: a project that only uses views.
        return
    for cls in classes:
        for handler in group_handlers(cls):
            yield cls, handler, delivery(cls, handler)


def check_consumers(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """W021 to W031: no consumer counts on a process that owns its connection. See `compatibility`."""
    try:
        found = inspection.findings(routed_consumers(), conf.get().subscription_limit, routed_application())
    except ImproperlyConfigured:
        # Nothing is routed.
        return []
    return [
        Warning(
            f"{finding.file}:{finding.line}: {finding.where} {finding.detail}.",
            hint=f"{finding.rule.why} {_cure(finding)}",
            id=finding.rule.check_id,
        )
        for finding in found
    ]


def _cure(finding: Finding) -> str:
    """What to do: who uses a library cannot change what is in its code."""
    library = inspection.library_of(finding.file)
    if not library or finding.rule.name in _OF_THE_SETUP:
        return finding.rule.cure
    return (
        f"This is in the code of the library {library}: its WebSockets need a server that holds connections, such as "
        'Daphne. One can serve them beside the proxy: see "Both ways at once" in docs/migration.md.'
    )


#: Rules that a project can keep whatever its libraries do.
_OF_THE_SETUP = frozenset({"ordinary-layer", "too-many-groups"})


def check_websocket_views(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """W010: no WebSocket view counts on living from one message to the next."""
    # Imported here: whoever is told of the checks need not load the views.
    from grip_consumers.views.local_state import findings

    return [_lost(finding) for finding in findings()]


def _lost(finding: Any) -> CheckMessage:
    text, hint = _LOST[finding.kind]
    names = ", ".join(finding.names)
    place = f"{finding.file}:{finding.line}: {finding.view}"
    return Warning(f"{place} {text.format(names=names)}", hint=f"{hint} {_ANEW}", id="grip_consumers.W010")


_ANEW = "A WebSocket view runs anew for each batch of messages."

#: By the kind of a finding: what the view does, and what it should do.
_LOST = {
    "carried": (
        "carries local variables from one message of its WebSocket to the next: {names}.",
        "Keep them in request.websocket.state, which lives as long as the connection.",
    ),
    "waits": (
        "waits for a WebSocket message though it has waited before: the next batch begins with the first wait().",
        "Wait in one place, and keep in request.websocket.state how far the conversation has come.",
    ),
    "polls": (
        "reads from its WebSocket in a loop that never waits: no message can come before the view is left.",
        "Use wait() in place of read(), or iterate over request.websocket.",
    ),
    "resets": (
        "sets request.websocket.state[{names}] before the loop that changes it: each batch begins there.",
        "Use request.websocket.state.setdefault().",
    ),
    "atomic": (
        "waits for a WebSocket message inside a transaction: leaving the view would roll it back, so it is an error.",
        "Put `with transaction.atomic()` into the loop, around what one message does.",
    ),
    "swallows": (
        "catches everything around a wait for a WebSocket message, also the exception by which the view is left.",
        "Use `except Exception:`.",
    ),
    "cleans": (
        "uses its WebSocket in `finally`, a bare `except:` or closing() around a wait: ignored when the view is left.",
        "Do it behind the loop, which ends with the connection; returning closes it.",
    ),
    "misplaced": (
        "has the WebSocket decorator on a method, which no WebSocket reaches.",
        'Put @method_decorator(accept_websocket, name="dispatch") on the class.',
    ),
}


def _has_processes() -> bool:
    """Whether more than one process may serve the project: under `runserver` alone there is but one."""
    return bool(conf.get().proxies) or not django_settings.DEBUG
