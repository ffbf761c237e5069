"""A mailbox in two tables of a SQLite or PostgreSQL database.

What is appended to a group takes effect at once, as with any channel layer, whatever becomes of the transaction that
the caller happens to have open. So this has connections of its own, in autocommit.

The end of each log is a row of its own in the table of marks. An append moves it and writes the entry in one
transaction. Therefore nobody sees the entry at n+1 before the one at n, and nobody's cursor passes one that is still
to come: whoever takes n+1 has read n from that row; PostgreSQL lets the row be read for an update only after the
transaction that moved it to n has committed, SQLite lets only one transaction write at a time. The unique constraint
on log and position would turn any mistake about this into an error.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from itertools import islice
from typing import Any, TypeVar

from django.core import mail
from django.core.exceptions import ImproperlyConfigured
from django.db import DatabaseError, InterfaceError, OperationalError, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.utils import CursorWrapper
from django.utils.connection import ConnectionDoesNotExist

from grip_consumers.exceptions import ChannelFull

from .base import Clock, Log, Mailbox, microseconds
from .per_thread import PerThread

__all__ = ["DatabaseMailbox"]

logger = logging.getLogger("grip_consumers.mailbox")

T = TypeVar("T")

_ENTRIES, _MARKS = "grip_consumers_mailbox_entry", "grip_consumers_mailbox_mark"

#: Logs that one query asks for: SQLite used to take no more than 999 parameters.
_LOGS_PER_QUERY = 300
#: Seconds between two clearances of what has expired, by each process, and rows that one deletes at most.
_SWEEP_INTERVAL, _SWEEP_SIZE = 10.0, 500
#: Seconds for which a log's end outlives its entries: by as much the clocks of two hosts may differ.
_END_GRACE = 60.0
#: Seconds after which a connection is replaced if CONN_MAX_AGE is 0, which means the length of a request: a mailbox
#: is used outside of requests, too, and connecting takes longer than all it does.
_MAX_AGE = 60.0
#: PostgreSQL's codes: for a statement that could not be serialized or was the victim of a deadlock, and how often one
#: is repeated; and for a table that is not there.
_LOST, _REPETITIONS = {"40001", "40P01"}, 200
_UNDEFINED_TABLE = "42P01"


class DatabaseMailbox(Mailbox):
    """Logs in the database that `alias` names in DATABASES: SQLite, or PostgreSQL.

    Needs the app `grip_consumers.mailbox.tables`. Each thread that uses it has one connection more to that database.

    On SQLite, where one transaction writes at a time, a thread whose own transaction is open must write through it,
    or it would wait for itself: the entry is visible when that transaction commits, and gone if it is rolled back.
    So it is with a database in memory, which belongs to one connection. In asynchronous code, call it in the thread
    that the ORM is used in (`thread_sensitive`), or it cannot know of that transaction.

    Other threads' and processes' transactions are waited for, as long as the option `timeout` of the database says
    (SQLite's default is five seconds).

    `capacity` is looked at before the log is locked: several who append at once may exceed it together.
    """

    thread_sensitive = True

    def __init__(self, alias: str = "default", *, prefix: str = "", clock: Clock = time.time) -> None:
        """Raises ImproperlyConfigured when there is no such database, or none of a kind that will do."""
        super().__init__(alias, prefix=prefix, clock=clock)
        self._sqlite = _vendor(alias) == "sqlite"
        self._connections = PerThread(lambda: _connection(alias), lambda connection: connection.close())
        self._sql = _SQLITE if self._sqlite else _POSTGRESQL
        self._swept = time.monotonic()

    def append(self, log: str, entry: bytes, *, expiry: float, capacity: int | None = None) -> int:
        """See `Mailbox.append`."""
        name, now = self._key("log", log), self._clock()
        deadline = microseconds(now + expiry)
        condition = "1 = 1"
        arguments: list[Any] = []
        if capacity is not None:
            condition = self._sql["room"]
            acknowledged = self._key("acknowledged", log)
            arguments = [name, microseconds(now), acknowledged, microseconds(now), capacity, capacity]
        advance = self._sql["advance"].format(condition=condition)
        position = self._put(advance, [name, microseconds(now), deadline, *arguments], name, deadline, entry)
        if position is None:
            raise ChannelFull(log)
        return position

    def append_at(self, log: str, position: int, entry: bytes, *, expiry: float) -> bool:
        """See `Mailbox.append_at`."""
        name, now = self._key("log", log), self._clock()
        deadline = microseconds(now + expiry)
        advance = self._sql["advance_to"]
        return self._put(advance, [name, position, deadline, microseconds(now)], name, deadline, entry) is not None

    def read(self, cursors: Mapping[str, int]) -> dict[str, Log]:
        """See `Mailbox.read`."""
        names = {self._key("log", log): log for log in cursors}
        now = microseconds(self._clock())
        found: dict[str, Log] = {}
        for chunk in _chunks(names):
            places = " OR ".join(["(log = %s AND position > %s)"] * len(chunk))
            arguments = [value for name in chunk for value in (name, cursors[names[name]])]
            query = (
                f"SELECT log, position, data FROM {_ENTRIES} WHERE ({places}) AND expires > %s ORDER BY log, position"  # noqa: S608
            )
            for name, position, data in self._run(_fetch(query, [*arguments, now])):
                found.setdefault(names[name], []).append((position, bytes(data)))
        return found

    def look(self, logs: Iterable[str], flags: Iterable[str] = ()) -> tuple[dict[str, int], frozenset[str]]:
        """See `Mailbox.look`."""
        ends = {self._key("log", log): log for log in logs}
        raised = {self._key("flag", flag): flag for flag in flags}
        now = microseconds(self._clock())
        found: dict[str, int] = {}
        for chunk in _chunks([*ends, *raised]):
            places = ", ".join(["%s"] * len(chunk))
            query = f"SELECT name, position FROM {_MARKS} WHERE name IN ({places}) AND expires > %s"  # noqa: S608
            found.update(self._run(_fetch(query, [*chunk, now])))
        return (
            {log: found.get(name, 0) for name, log in ends.items()},
            frozenset(flag for name, flag in raised.items() if name in found),
        )

    def raise_flag(self, flag: str, *, expiry: float) -> None:
        """See `Mailbox.raise_flag`."""
        self._mark(self._key("flag", flag), 0, expiry)

    def acknowledge(self, log: str, position: int, *, expiry: float) -> None:
        """See `Mailbox.acknowledge`."""
        self._mark(self._key("acknowledged", log), position, expiry)

    def take(self, log: str) -> bytes | None:
        """See `Mailbox.take`. Through a transaction that the caller has open on SQLite: rolled back, it is put back."""
        arguments: list[Any] = [self._key("log", log), microseconds(self._clock())]
        if not self._sqlite:
            found = self._run(_fetch(_TAKE, arguments))
            return bytes(found[0][0]) if found else None
        # Who waits for an entry looks again and again, and should not keep others from writing.
        if not self._run(_fetch(_OLDEST, arguments)):
            return None

        def work(cursor: CursorWrapper) -> bytes | None:
            cursor.execute(_OLDEST, arguments)
            row = cursor.fetchone()
            if row is None:
                return None
            cursor.execute(_DELETE, [row[0]])
            return bytes(row[1])

        return self._run(work, writing=True)

    def _mark(self, name: str, position: int, expiry: float) -> None:
        arguments: list[Any] = [name, position, microseconds(self._clock() + expiry)]
        self._run(lambda cursor: cursor.execute(_SET_MARK, arguments))

    def _put(self, advance: str, arguments: Sequence[Any], name: str, deadline: int, entry: bytes) -> int | None:
        """Move a log's end and write the entry there. Returns its position, or None if the end was not moved."""
        values: list[Any] = [name, deadline, entry]

        def postgresql(cursor: CursorWrapper) -> int | None:
            # In one statement, which is a transaction.
            cursor.execute(f"WITH head AS ({advance} RETURNING position) {_PUT_AT_HEAD}", [*arguments, *values])
            row = cursor.fetchone()
            return None if row is None else int(row[0])

        def sqlite(cursor: CursorWrapper) -> int | None:
            cursor.execute(advance, arguments)
            if cursor.rowcount < 1:
                return None
            cursor.execute(f"SELECT position FROM {_MARKS} WHERE name = %s", [name])  # noqa: S608
            position = int(cursor.fetchone()[0])
            cursor.execute(_PUT, [name, position, deadline, entry])
            return position

        position = self._run(sqlite if self._sqlite else postgresql, writing=True)
        self._sweep()
        return position

    def when_visible(self, callback: Callable[[], None]) -> None:
        """See `Mailbox.when_visible`: on SQLite, when the caller's transaction is committed."""
        if self._sqlite and connections[self.alias].in_atomic_block:
            transaction.on_commit(callback, using=self.alias)
        else:
            callback()

    # Connections ----------------------------------------------------------------------------------------------

    def _run(self, work: Callable[[CursorWrapper], T], *, writing: bool = False) -> T:
        """Call `work` with a cursor; on SQLite in a transaction if it is `writing`."""
        with _explained(self.alias):
            if self._sqlite and _must_share(callers := connections[self.alias]):
                with _together(callers), callers.cursor() as cursor:
                    return work(cursor)
            return self._run_apart(_immediate(work) if self._sqlite and writing else work)

    def _run_apart(self, work: Callable[[CursorWrapper], T]) -> T:
        """Call `work` with a connection of this thread's own, once more if one that was left open is dead by now."""
        connection = self._connections.get()
        _replace_if_old(connection)
        reused = connection.connection is not None
        work = _patient(work)
        try:
            try:
                return _with_cursor(connection, work)
            except (InterfaceError, OperationalError):
                if not reused or connection.is_usable():
                    raise
                connection.close()
                return _with_cursor(connection, work)
        finally:
            if not _may_stay_open(connection):
                self._connections.drop()

    def _sweep(self) -> None:
        """Delete what has expired, now and then, a limited number of rows at a time."""
        now = time.monotonic()
        if now - self._swept < _SWEEP_INTERVAL or (self._sqlite and _must_share(connections[self.alias])):
            return
        self._swept = now
        clock = self._clock()
        try:
            swept = [
                self._run(_execute(self._sql["sweep_entries"], [microseconds(clock), _SWEEP_SIZE])),
                self._run(_execute(self._sql["sweep_marks"], [microseconds(clock - _END_GRACE), _SWEEP_SIZE])),
            ]
        except DatabaseError:
            # The entry that this comes after is written. There is another time.
            logger.warning("What has expired in the mailbox could not be deleted.", exc_info=True)
        else:
            if _SWEEP_SIZE in swept:
                self._swept = 0.0


def _vendor(alias: str) -> str:
    try:
        vendor = connections[alias].vendor
    except ConnectionDoesNotExist:
        known = ", ".join(map(repr, connections.settings))
        raise ImproperlyConfigured(
            f"GRIP_MAILBOX_ALIAS must be an alias in DATABASES ({known}), not {alias!r}."
        ) from None
    if vendor not in {"sqlite", "postgresql"}:
        raise ImproperlyConfigured(
            f"GRIP_MAILBOX = 'database' needs SQLite or PostgreSQL, but DATABASES[{alias!r}] is {vendor}. Set "
            "GRIP_MAILBOX_ALIAS to a database of such a kind, or GRIP_MAILBOX to 'cache' (Redis, Memcached)."
        )
    return vendor


def _connection(alias: str) -> BaseDatabaseWrapper:
    connection = connections.create_connection(alias)
    connection.settings_dict = {**connection.settings_dict, "AUTOCOMMIT": True}
    # Whoever collects garbage may be the one who closes it.
    connection.inc_thread_sharing()
    return connection


def _must_share(callers: BaseDatabaseWrapper) -> bool:
    """Whether a connection to SQLite of this thread stands in the way of another one."""
    return callers.in_atomic_block or callers.is_in_memory_db() or not _autocommits(callers)  # type: ignore[attr-defined]


def _together(callers: BaseDatabaseWrapper) -> AbstractContextManager[None]:
    """Makes several statements one through the caller's connection."""
    if _autocommits(callers) or callers.in_atomic_block:
        return transaction.atomic(using=callers.alias)
    # Who has turned autocommit off commits; atomic() would do so on SQLite, too, if it were the first to write.
    return nullcontext()


def _autocommits(connection: BaseDatabaseWrapper) -> bool:
    return connection.connection is None or connection.autocommit


def _with_cursor(connection: BaseDatabaseWrapper, work: Callable[[CursorWrapper], T]) -> T:
    with connection.cursor() as cursor:
        return work(cursor)


def _patient(work: Callable[[CursorWrapper], T]) -> Callable[[CursorWrapper], T]:
    """`work`, of one statement on PostgreSQL, once more where that lost to another.

    So it does where the project or the server has set a stricter isolation level than READ COMMITTED.
    """

    def repeated(cursor: CursorWrapper) -> T:
        for _ in range(_REPETITIONS):
            try:
                return work(cursor)
            except OperationalError as error:
                if _code(error) not in _LOST:
                    raise
        return work(cursor)

    return repeated


def _code(error: DatabaseError) -> str | None:
    """PostgreSQL's code, which psycopg and psycopg2 call differently."""
    cause = error.__cause__
    code: str | None = getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None)
    return code


def _immediate(work: Callable[[CursorWrapper], T]) -> Callable[[CursorWrapper], T]:
    """`work` in a transaction that waits for its turn to write before it reads."""

    def transacted(cursor: CursorWrapper) -> T:
        cursor.execute("BEGIN IMMEDIATE")
        try:
            result = work(cursor)
            cursor.execute("COMMIT")
        except BaseException:
            cursor.execute("ROLLBACK")
            raise
        return result

    return transacted


def _replace_if_old(connection: BaseDatabaseWrapper) -> None:
    if connection.connection is not None and connection.close_at is not None:
        max_age = connection.settings_dict["CONN_MAX_AGE"] or 0
        if time.monotonic() >= connection.close_at + max(0, _MAX_AGE - max_age):
            connection.close()


def _may_stay_open(connection: BaseDatabaseWrapper) -> bool:
    """Not one from a pool, nor one that would keep a test's database from being dropped."""
    return not connection.settings_dict["OPTIONS"].get("pool") and not _is_test_environment()


def _is_test_environment() -> bool:
    # What Django's test runners set up, and others with its help.
    return hasattr(mail, "outbox")


@contextmanager
def _explained(alias: str) -> Iterator[None]:
    try:
        yield
    except DatabaseError as error:
        # SQLite has no codes.
        if _code(error) != _UNDEFINED_TABLE and "no such table" not in str(error):
            raise
        raise ImproperlyConfigured(
            "The tables of GRIP_MAILBOX = 'database' are missing: add 'grip_consumers.mailbox.tables' to "
            f"INSTALLED_APPS and run migrate{'' if alias == 'default' else f' --database={alias}'}."
        ) from error


# Queries ----------------------------------------------------------------------------------------------------------


def _fetch(query: str, arguments: Sequence[Any]) -> Callable[[CursorWrapper], list[Any]]:
    def fetch(cursor: CursorWrapper) -> list[Any]:
        cursor.execute(query, arguments)
        rows: list[Any] = cursor.fetchall()
        return rows

    return fetch


def _execute(statement: str, arguments: Sequence[Any]) -> Callable[[CursorWrapper], int]:
    def execute(cursor: CursorWrapper) -> int:
        cursor.execute(statement, arguments)
        return int(cursor.rowcount)

    return execute


def _chunks(names: Iterable[str]) -> Iterator[list[str]]:
    remaining = iter(names)
    while chunk := list(islice(remaining, _LOGS_PER_QUERY)):
        yield chunk


_PUT = f"INSERT INTO {_ENTRIES} (log, position, expires, data) VALUES (%s, %s, %s, %s)"  # noqa: S608
_PUT_AT_HEAD = (
    f"INSERT INTO {_ENTRIES} (log, position, expires, data) "  # noqa: S608
    "SELECT CAST(%s AS varchar), position, CAST(%s AS bigint), CAST(%s AS bytea) FROM head RETURNING position"
)
_OLDEST = f"SELECT id, data FROM {_ENTRIES} WHERE log = %s AND expires > %s ORDER BY position LIMIT 1"  # noqa: S608
_DELETE = f"DELETE FROM {_ENTRIES} WHERE id = %s"  # noqa: S608
#: Each of several at once takes another one. A transaction that has just put an entry there has its row locked.
_TAKE = (
    f"DELETE FROM {_ENTRIES} WHERE id = (SELECT id FROM {_ENTRIES} WHERE log = %s AND expires > %s "  # noqa: S608
    "ORDER BY position LIMIT 1 FOR UPDATE SKIP LOCKED) RETURNING data"
)
_SET_MARK = (
    f"INSERT INTO {_MARKS} (name, position, expires) VALUES (%s, %s, %s) "  # noqa: S608
    "ON CONFLICT (name) DO UPDATE SET position = excluded.position, expires = excluded.expires"
)


def _statements(*, greatest: str, skip_locked: str) -> dict[str, str]:
    """The statements that SQLite and PostgreSQL word differently."""
    expires = f"expires = {greatest}(mark.expires, excluded.expires)"
    mark = f"INSERT INTO {_MARKS} AS mark (name, position, expires)"
    marks_of_one = f"SELECT position FROM {_MARKS} WHERE name = %s AND expires > %s"  # noqa: S608
    waiting = (
        f"SELECT 1 FROM {_ENTRIES} WHERE log = %s AND expires > %s AND position > COALESCE(({marks_of_one}), 0) "  # noqa: S608
        "LIMIT %s"
    )
    return {
        # To the next position, or to where a log begins.
        "advance": (
            f"{mark} SELECT CAST(%s AS varchar), CAST(%s AS bigint), CAST(%s AS bigint) WHERE {{condition}} "
            f"ON CONFLICT (name) DO UPDATE SET position = mark.position + 1, {expires}"
        ),
        # To a certain position, if that is the next one or nothing unexpired lies before it.
        "advance_to": (
            f"{mark} VALUES (%s, %s, %s) ON CONFLICT (name) DO UPDATE SET position = excluded.position, {expires} "
            "WHERE mark.position = excluded.position - 1 "
            "OR (mark.expires <= %s AND mark.position < excluded.position)"
        ),
        "room": f"(SELECT COUNT(*) FROM ({waiting}) AS waiting) < %s",  # noqa: S608
        "sweep_entries": (
            f"DELETE FROM {_ENTRIES} WHERE id IN "  # noqa: S608
            f"(SELECT id FROM {_ENTRIES} WHERE expires <= %s LIMIT %s{skip_locked})"
        ),
        "sweep_marks": (
            f"DELETE FROM {_MARKS} WHERE name IN "  # noqa: S608
            f"(SELECT name FROM {_MARKS} WHERE expires <= %s LIMIT %s{skip_locked})"
        ),
    }


_SQLITE = _statements(greatest="MAX", skip_locked="")
# Rows that another process has locked are its to delete, or are no longer expired.
_POSTGRESQL = _statements(greatest="GREATEST", skip_locked=" FOR UPDATE SKIP LOCKED")
