"""Where processes leave what a connection has to handle by itself: logs of entries, in a store that all share.

No process owns a connection, so an event for its handlers waits in a log until the proxy calls back and whichever
worker gets that batch reads it from the cursor in the connection's state. A log belongs to a group, to a connection,
or to a group's joiners; what its entries say is not the mailbox's business.

:func:`get` gives the mailbox of the settings `GRIP_MAILBOX` and `GRIP_MAILBOX_ALIAS`, one of

* :class:`~grip_consumers.mailbox.cache.CacheMailbox`: a Django cache on Redis or Memcached (the default);
* :class:`~grip_consumers.mailbox.database.DatabaseMailbox`: tables in SQLite or PostgreSQL, brought by the app
  `grip_consumers.mailbox.tables`;
* :class:`~grip_consumers.mailbox.memory.MemoryMailbox`: this process's memory, for one process alone.
"""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed
from django.utils.module_loading import import_string

from grip_consumers import conf

from .base import Mailbox

__all__ = ["Mailbox", "forget", "get"]

_BACKENDS = {
    "cache": "grip_consumers.mailbox.cache.CacheMailbox",
    "database": "grip_consumers.mailbox.database.DatabaseMailbox",
    "memory": "grip_consumers.mailbox.memory.MemoryMailbox",
}

#: By what they were made from: the values of GRIP_MAILBOX, GRIP_MAILBOX_ALIAS and GRIP_PREFIX.
_mailboxes: dict[tuple[str, str, str], Mailbox] = {}


def get() -> Mailbox:
    """The mailbox of this project: always the same until a setting is overridden, which starts it anew.

    Raises ImproperlyConfigured for a backend or an alias that does not exist.
    """
    settings = conf.get()
    key = (settings.mailbox, settings.mailbox_alias, settings.prefix)
    # setdefault() lets threads that ask at once go on with the same one, without a lock that a fork might copy.
    return _mailboxes.get(key) or _mailboxes.setdefault(key, _made(*key))


def _made(name: str, alias: str, prefix: str) -> Mailbox:
    setting_changed.connect(_forget, dispatch_uid="grip_consumers.mailbox")
    backend = _class(_BACKENDS.get(name, name) if name else _automatic(alias))
    return backend(alias, prefix=prefix)


def _class(path: str) -> type[Mailbox]:
    known = ", ".join(map(repr, _BACKENDS))
    try:
        backend = import_string(path)
    except ImportError as error:
        raise ImproperlyConfigured(
            f"GRIP_MAILBOX must be {known}, or the dotted path of a class, not {path!r}: {error}."
        ) from error
    if not (isinstance(backend, type) and issubclass(backend, Mailbox)):
        raise ImproperlyConfigured(
            f"GRIP_MAILBOX must be {known}, or the dotted path of a subclass of grip_consumers.mailbox.Mailbox, not "
            f"{path!r}."
        )
    return backend


def _automatic(alias: str) -> str:
    """The cache, unless it keeps things in this process (or nowhere), which plain memory does better."""
    # Here, as a project that says what it wants needs no cache.
    from .cache import configured, is_process_local

    return _BACKENDS["memory" if is_process_local(configured(alias)) else "cache"]


def forget(alias: str) -> None:
    """Let go of the mailboxes of an alias: for tests, which use a new one each."""
    for key in [key for key in _mailboxes if key[1] == alias]:
        _mailboxes.pop(key, None)


def _forget(*, setting: str, **kwargs: Any) -> None:
    if setting in {"GRIP_MAILBOX", "GRIP_MAILBOX_ALIAS", "GRIP_PREFIX", "CACHES", "DATABASES"}:
        _mailboxes.clear()
