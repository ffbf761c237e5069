"""One connection for each thread of each process, for clients that neither threads nor processes may share."""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
import threading
from collections.abc import Callable
from typing import Any, Generic, TypeVar

__all__ = ["PerThread"]

T = TypeVar("T")

#: What was open in the parent when it forked. Closing it would say goodbye on the parent's behalf (PostgreSQL) or
#: drop its locks (SQLite), and so might collecting it.
_inherited: list[Any] = []
#: What is open, with how to close it, by its holder's id: not to be collected together with its holder, before that
#: has closed it.
_open: dict[int, tuple[int, Any, Callable[[Any], None]]] = {}


class _Holder(Generic[T]):
    """Closes what it holds when its thread ends, and with it the thread's local storage."""

    def __init__(self, held: T, close: Callable[[T], None]) -> None:
        self.held = held
        self.pid = os.getpid()
        self._close = close
        if not _open:
            # Once will do; twice does no harm.
            atexit.unregister(_close_all)
            atexit.register(_close_all)
        _open[id(self)] = (self.pid, held, close)

    def __del__(self, is_finalizing: Callable[[], bool] = sys.is_finalizing) -> None:
        if is_finalizing():
            # `_close_all` has been there, and this module's names may be gone.
            return
        _open.pop(id(self), None)
        if self.pid != os.getpid():
            _inherited.append(self.held)
            return
        # Whoever collects garbage can do nothing about a connection that fails to close.
        with contextlib.suppress(Exception):
            self._close(self.held)


def _close_all() -> None:
    """What the threads that are left hold, when the process ends."""
    while _open:
        _, (pid, held, close) = _open.popitem()
        if pid == os.getpid():
            with contextlib.suppress(Exception):
                close(held)


class PerThread(Generic[T]):
    """What `make` returns, once for each thread and process, and closed when the thread ends."""

    def __init__(self, make: Callable[[], T], close: Callable[[T], None]) -> None:
        self._make = make
        self._close = close
        self._local = threading.local()

    def get(self) -> T:
        """This thread's own."""
        holder: _Holder[T] | None = getattr(self._local, "holder", None)
        if holder is None or holder.pid != os.getpid():
            holder = self._local.holder = _Holder(self._make(), self._close)
        return holder.held

    def drop(self) -> None:
        """Close this thread's own, if it has one; `get` makes another."""
        self._local.__dict__.pop("holder", None)
