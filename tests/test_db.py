from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import channels.db
import pytest
from asgiref.sync import SyncToAsync, ThreadSensitiveContext, async_to_sync
from django.db.backends.signals import connection_created

import grip_consumers.db

both = pytest.mark.parametrize("module", [channels.db, grip_consumers.db], ids=["channels", "grip"])


@both
async def test_a_call_closes_old_connections_before_and_after_in_its_own_thread(
    module: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[tuple[str, int]] = []

    def note(step: str) -> None:
        steps.append((step, threading.get_ident()))

    monkeypatch.setattr(module, "close_old_connections", lambda: note("closed"))
    await module.database_sync_to_async(note)("called")
    assert [step for step, _ in steps] == ["closed", "called", "closed"]
    assert len({thread for _, thread in steps} - {threading.get_ident()}) == 1


@both
async def test_old_connections_are_closed_after_an_exception_too(module: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[None] = []

    def fail() -> None:
        raise LookupError("nothing there")

    monkeypatch.setattr(module, "close_old_connections", lambda: closed.append(None))
    with pytest.raises(LookupError, match="nothing there"):
        await module.database_sync_to_async(fail)()
    assert len(closed) == 2


@both
async def test_it_decorates_functions_and_methods(module: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "close_old_connections", lambda: None)

    class Counter:
        @module.database_sync_to_async  # type: ignore[untyped-decorator]
        def add(self, first: int, *, second: int) -> int:
            return first + second

    assert module.database_sync_to_async is module.DatabaseSyncToAsync
    assert issubclass(module.DatabaseSyncToAsync, SyncToAsync)
    assert await Counter().add(1, second=2) == 3


@both
async def test_aclose_old_connections_runs_where_thread_sensitive_calls_run(
    module: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[int] = []
    monkeypatch.setattr(module, "close_old_connections", lambda: threads.append(threading.get_ident()))
    async with ThreadSensitiveContext():
        await module.aclose_old_connections()
        threads.append(await module.database_sync_to_async(threading.get_ident)())
    assert len(threads) == 4  # the call's own two besides
    assert len(set(threads) - {threading.get_ident()}) == 1


class FakeConnection:
    """As much of a database connection as is asked."""

    def __init__(self) -> None:
        self.connection: object | None = object()


@pytest.fixture
def hops(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Each change of threads; nothing has been opened yet, and the receiver is disconnected in the end."""
    found: list[str] = []
    handler = SimpleNamespace(all=lambda initialized_only: [])
    monkeypatch.setattr(grip_consumers.db, "_opened", grip_consumers.db._Opened())
    monkeypatch.setattr(grip_consumers.db, "connections", handler)
    monkeypatch.setattr(
        grip_consumers.db, "close_old_connections", lambda: found.append(threading.current_thread().name)
    )
    receivers = list(connection_created.receivers)
    yield found
    connection_created.receivers[:] = receivers
    connection_created.sender_receivers_cache.clear()


def open_one() -> FakeConnection:
    connection = FakeConnection()
    connection_created.send(sender=FakeConnection, connection=connection)
    return connection


async def use(times: int = 1) -> None:
    for _ in range(times):
        await grip_consumers.db.close_old_connections_if_used()


async def test_without_a_connection_only_the_first_batch_changes_threads(hops: list[str]) -> None:
    grip_consumers.db.watch_connections()
    await use(times=5)
    assert len(hops) == 1
    assert hops[0] != threading.current_thread().name


async def test_an_open_connection_is_looked_after_before_each_batch(hops: list[str]) -> None:
    grip_consumers.db.watch_connections()
    await use()
    connection = open_one()
    await use(times=3)
    assert len(hops) == 1 + 3
    assert connection.connection is not None


async def test_a_connection_that_was_closed_costs_nothing_any_more(hops: list[str]) -> None:
    grip_consumers.db.watch_connections()
    first, second = open_one(), open_one()
    await use()
    first.connection = None
    await use()
    second.connection = None
    await use(times=3)
    assert len(hops) == 2


async def test_a_connection_that_is_opened_again_is_looked_after_again(hops: list[str]) -> None:
    await use()
    connection = open_one()
    connection.connection = None
    await use()
    connection.connection = object()
    await use()
    assert len(hops) == 2


async def test_a_connection_that_is_gone_costs_nothing_and_is_forgotten(hops: list[str]) -> None:
    await use()
    connections = [open_one() for _ in range(10)]
    await use()
    connections.clear()
    gc.collect()
    await use(times=3)
    assert len(hops) == 2
    assert grip_consumers.db._opened._references == {}


async def test_a_connection_older_than_the_watch_is_found_by_the_first_batch(
    hops: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    old = FakeConnection()
    monkeypatch.setattr(grip_consumers.db, "connections", SimpleNamespace(all=lambda initialized_only: [old]))
    grip_consumers.db.watch_connections()
    await use(times=3)
    assert len(hops) == 3
    old.connection = None
    await use(times=3)
    assert len(hops) == 3


async def test_the_first_batch_watches_if_nobody_does(hops: list[str]) -> None:
    await use(times=2)
    connection = open_one()
    await use()
    assert len(hops) == 2
    del connection


def test_watching_twice_watches_once(hops: list[str]) -> None:
    connection_created.disconnect(dispatch_uid="grip_consumers.db.watch_connections")
    before = len(connection_created.receivers)
    for _ in range(3):
        grip_consumers.db.watch_connections()
    assert len(connection_created.receivers) == before + 1


def test_importing_the_module_watches_nothing() -> None:
    code = (
        "from django.db.backends.signals import connection_created as signal; import grip_consumers.db;"
        "print(len(signal.receivers))"
    )
    assert run_python(code) == "0"


def test_many_threads_may_open_while_others_look(hops: list[str]) -> None:
    """A dictionary that changes while it is gone through would raise."""
    stop = threading.Event()
    errors: list[BaseException] = []

    def keep_opening() -> None:
        while not stop.is_set():
            open_one()

    def look() -> None:
        try:
            for _ in range(3_000):
                grip_consumers.db._opened.any_open()
        except BaseException as error:
            errors.append(error)

    grip_consumers.db.watch_connections()
    kept = [open_one() for _ in range(50)]
    for connection in kept:
        connection.connection = None
    openers = [threading.Thread(target=keep_opening) for _ in range(2)]
    lookers = [threading.Thread(target=look) for _ in range(2)]
    for thread in openers + lookers:
        thread.start()
    for thread in lookers:
        thread.join()
    stop.set()
    for thread in openers:
        thread.join()
    assert errors == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_forked_child_still_knows_the_open_connection(hops: list[str]) -> None:
    code = """
import os, warnings
from types import SimpleNamespace
from django.db.backends.signals import connection_created
import grip_consumers.db as db
class Fake: connection = object()
db.watch_connections()
fake = Fake()
connection_created.send(sender=Fake, connection=fake)
pid = os.fork()
if pid == 0:
    inherited = db._opened.any_open()
    Fake.connection = None
    os._exit(0 if inherited and not db._opened.any_open() else 1)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""
    assert run_python(code) == "0"


SCRIPT = """
import asyncio, sys, django
from django.conf import settings
settings.configure(
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": sys.argv[1], "CONN_MAX_AGE": 0}})
django.setup()
from django.db import connection
import grip_consumers.db as db
from asgiref.sync import sync_to_async

hops = []
original = db.close_old_connections
def counted():
    hops.append(connection.connection is not None)
    original()
db.close_old_connections = counted

def query():
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")

async def main():
    db.watch_connections()
    await db.close_old_connections_if_used()
    await db.close_old_connections_if_used()
    await sync_to_async(query)()                 # as the asynchronous ORM does, which closes nothing
    await db.close_old_connections_if_used()
    still_open = await sync_to_async(lambda: connection.connection is not None)()
    await db.close_old_connections_if_used()
    await db.close_old_connections_if_used()
    print(hops, still_open)

asyncio.run(main())
"""


def test_with_a_real_database_one_hop_closes_what_a_query_left_open(tmp_path: Path) -> None:
    assert run_python(SCRIPT, str(tmp_path / "db.sqlite3")) == "[False, True] False"


IN_A_TRANSACTION = """
import sys, types, django
from django.conf import settings
urls = sys.modules["no_urls"] = types.ModuleType("no_urls")
urls.urlpatterns = []
settings.configure(
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": sys.argv[1]}},
    GRIP_MAILBOX="memory", GRIP_PROXIES=[], ROOT_URLCONF="no_urls", SECRET_KEY="s")
django.setup()
from asgiref.sync import async_to_sync
from django.db import connection, transaction
from grip_consumers.db import database_sync_to_async
from grip_consumers.generic.websocket import AsyncWebsocketConsumer, WebsocketConsumer
from grip_consumers.layers import get_channel_layer

class Chat(WebsocketConsumer):
    def by_thread(self, event):
        self.send(text_data="x")

class AsyncChat(AsyncWebsocketConsumer):
    async def by_loop(self, event):
        await self.send(text_data="x")

Chat.as_asgi(), AsyncChat.as_asgi()

def count():
    with connection.cursor() as cursor:
        return cursor.execute("SELECT count(*) FROM note").fetchone()[0]

def send(kind):
    if kind == "query":
        async_to_sync(database_sync_to_async(count))()
    else:
        async_to_sync(get_channel_layer().group_send)("g", {"type": kind})

connection.cursor().execute("CREATE TABLE note (x)")
committed = []
for kind in ("query", "by.thread", "by.loop"):
    with transaction.atomic():
        connection.cursor().execute("INSERT INTO note VALUES (1)")
        transaction.on_commit(lambda: committed.append(kind))
        send(kind)
print(count(), committed)
"""


def test_a_transaction_outlives_what_is_done_and_sent_within_it(tmp_path: Path) -> None:
    assert run_python(IN_A_TRANSACTION, str(tmp_path / "db.sqlite3")) == "3 ['query', 'by.thread', 'by.loop']"


def run_python(code: str, *arguments: str) -> str:
    environment = {key: value for key, value in os.environ.items() if key != "DJANGO_SETTINGS_MODULE"}
    command = [sys.executable, "-W", "error", "-c", code, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=30)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_hygiene_reaches_the_thread_of_the_synchronous_caller(hops: list[str]) -> None:
    async_to_sync(use)()
    assert hops == [threading.current_thread().name]
