"""Database access from asynchronous code, and the care of connections that live longer than a request.

Mirrors `channels.db`, and adds :func:`close_old_connections_if_used`, which does before a batch what Channels
does before each message, at no cost while there is nothing to do.
"""

from __future__ import annotations

import weakref
from typing import Any, ParamSpec, TypeVar

from asgiref.sync import SyncToAsync, sync_to_async
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created

__all__ = [
    "DatabaseSyncToAsync",
    "aclose_old_connections",
    "close_old_connections_here",
    "close_old_connections_if_used",
    "database_sync_to_async",
    "watch_connections",
]

P = ParamSpec("P")
R = TypeVar("R")


def close_old_connections() -> None:
    """As Django's `close_old_connections`, but for those in a transaction: to close one would roll it back unseen.

    A view sends to a group within its transaction, and a handler that runs for all members does so in its thread.
    """
    for connection in connections.all(initialized_only=True):
        if not connection.in_atomic_block:
            connection.close_if_unusable_or_obsolete()


class DatabaseSyncToAsync(SyncToAsync[P, R]):
    """A ``sync_to_async`` for code that uses the ORM.

    Closes database connections that have broken or outlived ``CONN_MAX_AGE`` before and after each call, in
    the thread that makes the call; not one that is in a transaction, whose caller would lose it.
    """

    def thread_handler(self, loop: Any, *args: Any, **kwargs: Any) -> Any:
        """Run the call in the thread this is called in (asgiref's hook)."""
        close_old_connections()
        try:
            return super().thread_handler(loop, *args, **kwargs)  # type: ignore[no-untyped-call]
        finally:
            close_old_connections()


#: The name to call or decorate with: ``await database_sync_to_async(Room.objects.get)(pk=1)``.
database_sync_to_async = DatabaseSyncToAsync


async def aclose_old_connections() -> None:
    """Close broken and expired database connections in the thread that thread-sensitive calls run in."""
    await sync_to_async(close_old_connections)()


# Channels hops into a thread before every message, so that a handler never meets a database connection that
# broke or expired while its socket was quiet. Here a batch is a request, but one that Django's request
# signals need not surround, so the need remains. The hop costs more than all the rest of a small batch,
# though, and in a process that opens no connection (or, with CONN_MAX_AGE at its default of 0, keeps none
# open) it never finds anything to close. So the connections of this process are known from the signal that
# announces each, and asked first.
class _Opened:
    """The database connections that this process has opened.

    Holds weak references only: Django's per-thread storage alone decides how long a connection lives, and one
    whose thread has ended is of no concern. Every access is a single operation on a dictionary, so there is
    no lock that a fork could copy in its locked state; a child goes on with what it has inherited.
    """

    def __init__(self) -> None:
        #: Whether the connections that are older than the signal's receiver have been looked for.
        self.looked = False
        self._references: dict[int, weakref.ref[BaseDatabaseWrapper]] = {}

    def add(self, connection: BaseDatabaseWrapper) -> None:
        """Know of a connection from now on, as long as it lives."""
        key = id(connection)
        self._references[key] = weakref.ref(connection, lambda _: self._references.pop(key, None))

    def any_open(self) -> bool:
        """Whether one of them may still hold a database session."""
        # The copy is one step of the interpreter: references may come and go while it is gone through.
        found = (reference() for reference in self._references.copy().values())
        return any(connection is not None and connection.connection is not None for connection in found)


_opened = _Opened()


def _connection_created(connection: BaseDatabaseWrapper, **kwargs: object) -> None:
    _opened.add(connection)


def watch_connections() -> None:
    """Take note of each database connection that Django opens from now on; calling it again is harmless."""
    connection_created.connect(_connection_created, dispatch_uid="grip_consumers.db.watch_connections")


async def close_old_connections_if_used() -> None:
    """Do what :func:`aclose_old_connections` does, unless no database connection is open in this process.

    Then it returns at once, without changing threads. The first call in a process always changes threads: it
    looks for connections that were opened before :func:`watch_connections` was called, and watches if nobody
    does yet.
    """
    if not _opened.looked or _opened.any_open():
        await sync_to_async(_close_and_look)()


def close_old_connections_here() -> None:
    """As :func:`close_old_connections_if_used`, for the thread that calls it."""
    if not _opened.looked or _opened.any_open():
        _close_and_look()


def _close_and_look() -> None:
    watch_connections()
    close_old_connections()
    for connection in connections.all(initialized_only=True):
        _opened.add(connection)
    _opened.looked = True
