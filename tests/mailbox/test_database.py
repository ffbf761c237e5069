from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import pytest
from django.apps import apps
from django.core.exceptions import ImproperlyConfigured
from django.db import IntegrityError, OperationalError, connections, transaction
from django.db.migrations.autodetector import MigrationAutodetector
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.state import ProjectState
from django.test import modify_settings
from django.test.utils import CaptureQueriesContext
from pytest_django import DjangoDbBlocker

from grip_consumers.mailbox import database as module
from grip_consumers.mailbox.database import DatabaseMailbox

from .conftest import ALIAS, TABLES, Store, database, migrate

MINUTE = 60.0
#: Before the stores put another one in its place.
IS_TEST_ENVIRONMENT = module._is_test_environment


def made(store: Store, prefix: str | None = None) -> DatabaseMailbox:
    mailbox = store.mailbox(prefix=prefix)
    assert isinstance(mailbox, DatabaseMailbox)
    return mailbox


def read(mailbox: DatabaseMailbox, cursor: int = 0) -> list[bytes]:
    return [entry for _, entry in mailbox.read({"log": cursor}).get("log", [])]


def rows(store: Store, table: str, mailbox: DatabaseMailbox, kind: str) -> int:
    column = "log" if table == module._ENTRIES else "name"
    with connections[ALIAS].cursor() as cursor:
        cursor.execute(f"SELECT COUNT(*) FROM {table} WHERE {column} = %s", [mailbox._key(kind, "log")])
        return int(cursor.fetchone()[0])


@contextmanager
def rolled_back() -> Iterator[None]:
    with transaction.atomic(using=ALIAS):
        yield
        transaction.set_rollback(True, using=ALIAS)


def in_thread(work: Any) -> Any:
    result: list[Any] = []
    thread = threading.Thread(target=lambda: result.append(work()))
    thread.start()
    thread.join(timeout=60)
    return result[0]


# The tables -----------------------------------------------------------------------------------------------------


def test_the_migrations_say_what_the_models_say() -> None:
    with modify_settings(INSTALLED_APPS={"append": TABLES}):
        loader = MigrationLoader(None)
        written = loader.project_state()
        changes = MigrationAutodetector(written, ProjectState.from_apps(apps)).changes(loader.graph)
    assert ("grip_consumers_mailbox", "entry") in written.models
    assert changes.get("grip_consumers_mailbox") is None


@pytest.mark.parametrize("call", ["append", "append_at", "read", "look", "raise_flag", "acknowledge"])
def test_missing_tables_are_told_with_what_to_do(
    sqlite_path: dict[str, Any], django_db_blocker: DjangoDbBlocker, call: str
) -> None:
    with database(sqlite_path, django_db_blocker):
        check_missing_tables(DatabaseMailbox(ALIAS), call)


def check_missing_tables(mailbox: DatabaseMailbox, call: str) -> None:
    calls = {
        "append": lambda: mailbox.append("log", b"", expiry=1, capacity=1),
        "append_at": lambda: mailbox.append_at("log", 1, b"", expiry=1),
        "read": lambda: mailbox.read({"log": 0}),
        "look": lambda: mailbox.look(["log"]),
        "raise_flag": lambda: mailbox.raise_flag("flag", expiry=1),
        "acknowledge": lambda: mailbox.acknowledge("log", 1, expiry=1),
    }
    message = "add 'grip_consumers.mailbox.tables' to INSTALLED_APPS and run migrate --database=mailbox"
    with pytest.raises(ImproperlyConfigured, match=message):
        calls[call]()


def test_missing_tables_are_told_on_postgresql_too(
    postgresql_entry: dict[str, Any], django_db_blocker: DjangoDbBlocker
) -> None:
    with database({**postgresql_entry, "NAME": "postgres"}, django_db_blocker):
        check_missing_tables(DatabaseMailbox(ALIAS), "append")


def test_another_kind_of_database_is_refused_with_what_to_do() -> None:
    with patch.object(connections["default"], "vendor", "mysql"), pytest.raises(ImproperlyConfigured) as caught:
        DatabaseMailbox()
    assert "needs SQLite or PostgreSQL, but DATABASES['default'] is mysql" in str(caught.value)


# Transactions ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("database_store", ["postgresql"], indirect=True)
def test_an_entry_is_visible_at_once_whatever_becomes_of_the_callers_transaction(database_store: Store) -> None:
    mailbox = made(database_store)
    with rolled_back():
        with connections[ALIAS].cursor() as cursor:
            cursor.execute("SELECT 1")
        position = mailbox.append("log", b"a", expiry=MINUTE)
        assert mailbox.append_at("log", position + 1, b"b", expiry=MINUTE)
        assert in_thread(lambda: read(mailbox)) == [b"a", b"b"]
    assert read(mailbox) == [b"a", b"b"]


@pytest.mark.parametrize("database_store", ["postgresql"], indirect=True)
def test_a_transaction_of_the_caller_that_is_broken_does_not_matter(database_store: Store) -> None:
    mailbox = made(database_store)
    with rolled_back():
        with pytest.raises(IntegrityError), connections[ALIAS].cursor() as cursor:
            cursor.execute(f"INSERT INTO {module._MARKS} (name, position, expires) VALUES (NULL, 1, 1)")
        mailbox.append("log", b"a", expiry=MINUTE)
    assert read(mailbox) == [b"a"]


@pytest.mark.parametrize("database_store", ["postgresql"], indirect=True)
@pytest.mark.parametrize("level", ["repeatable read", "serializable"])
def test_a_strict_isolation_level_does_not_make_appends_fail(
    database_store: Store, django_db_blocker: DjangoDbBlocker, level: str
) -> None:
    options = {"options": "-c default_transaction_isolation=" + level.replace(" ", "\\ ")}
    entry = {**(database_store.database or {}), "OPTIONS": options}
    with database(entry, django_db_blocker, "strict"):
        mailbox = DatabaseMailbox("strict", prefix=level)

        def write() -> None:
            for _ in range(20):
                mailbox.append("log", b"", expiry=MINUTE)

        threads = [threading.Thread(target=write) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=60)
        assert len(read(mailbox)) == 80


@pytest.mark.parametrize("database_store", ["sqlite"], indirect=True)
def test_on_sqlite_an_entry_belongs_to_the_transaction_that_the_caller_has_open(database_store: Store) -> None:
    """As another connection would wait for this one, which waits for it."""
    mailbox = made(database_store)
    with rolled_back():
        mailbox.raise_flag("written to already", expiry=MINUTE)
        mailbox.append("log", b"gone", expiry=MINUTE)
        assert read(mailbox) == [b"gone"]
        assert in_thread(lambda: read(mailbox)) == []
    assert read(mailbox) == []
    with transaction.atomic(using=ALIAS):
        mailbox.append("log", b"kept", expiry=MINUTE)
    assert in_thread(lambda: read(mailbox)) == [b"kept"]


@pytest.mark.parametrize("database_store", ["sqlite"], indirect=True)
def test_on_sqlite_a_caller_without_autocommit_is_not_waited_for_either(database_store: Store) -> None:
    mailbox = made(database_store)
    transaction.set_autocommit(False, using=ALIAS)
    try:
        mailbox.append("log", b"gone", expiry=MINUTE)
        transaction.rollback(using=ALIAS)
        mailbox.append("log", b"kept", expiry=MINUTE)
        transaction.commit(using=ALIAS)
    finally:
        transaction.set_autocommit(True, using=ALIAS)
    assert in_thread(lambda: read(mailbox)) == [b"kept"]


@pytest.mark.parametrize("database_store", ["sqlite"], indirect=True)
def test_on_sqlite_another_threads_transaction_is_waited_for(database_store: Store) -> None:
    mailbox = made(database_store)
    written, release = threading.Event(), threading.Event()

    def hold() -> None:
        with transaction.atomic(using=ALIAS):
            made(database_store).raise_flag("flag", expiry=MINUTE)
            written.set()
            release.wait(timeout=30)
        connections[ALIAS].close()

    holder = threading.Thread(target=hold)
    holder.start()
    assert written.wait(timeout=30)
    threading.Timer(0.05, release.set).start()
    mailbox.append("log", b"a", expiry=MINUTE)
    assert release.is_set()
    holder.join(timeout=30)
    assert read(mailbox) == [b"a"]


def test_a_database_in_memory_is_used_through_the_callers_connection(django_db_blocker: DjangoDbBlocker) -> None:
    with database({"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}, django_db_blocker):
        migrate()
        mailbox = DatabaseMailbox(ALIAS)
        position = mailbox.append("log", b"a", expiry=MINUTE)
        assert mailbox.append_at("log", position + 1, b"b", expiry=MINUTE)
        assert read(mailbox) == [b"a", b"b"]
        # Django never does: closing is forgetting.
        connections[ALIAS].inc_thread_sharing()
        super(type(connections[ALIAS]), connections[ALIAS]).close()


# Connections ----------------------------------------------------------------------------------------------------


def test_a_connection_is_used_again_and_apart_from_the_callers(database_store: Store) -> None:
    mailbox = made(database_store)
    mailbox.append("log", b"a", expiry=MINUTE)
    own = mailbox._connections.get()
    inner = own.connection
    mailbox.append("log", b"b", expiry=MINUTE)
    assert (mailbox._connections.get(), own.connection) == (own, inner)
    assert own is not connections[ALIAS]
    assert own.get_autocommit()


def test_a_connection_is_closed_when_its_thread_ends(database_store: Store) -> None:
    mailbox = made(database_store)

    def use() -> Any:
        mailbox.append("log", b"a", expiry=MINUTE)
        own = mailbox._connections.get()
        assert own.connection is not None
        return own

    assert in_thread(use).connection is None


def test_a_connection_that_is_too_old_is_replaced(database_store: Store) -> None:
    mailbox = made(database_store)
    mailbox.append("log", b"a", expiry=MINUTE)
    own = mailbox._connections.get()
    inner = own.connection
    with patch.object(module.time, "monotonic", lambda: own.close_at + 59):
        read(mailbox)
        assert own.connection is inner
    with patch.object(module.time, "monotonic", lambda: own.close_at + 61):
        read(mailbox)
        assert own.connection is not inner


@pytest.mark.parametrize("database_store", ["postgresql"], indirect=True)
def test_a_connection_that_the_server_has_closed_is_replaced(database_store: Store) -> None:
    mailbox = made(database_store)
    mailbox.append("log", b"a", expiry=MINUTE)
    with connections[ALIAS].cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s)", [mailbox._connections.get().connection.info.backend_pid])
    mailbox.append("log", b"b", expiry=MINUTE)
    assert read(mailbox) == [b"a", b"b"]


def test_a_server_that_is_not_there_is_not_asked_twice(django_db_blocker: DjangoDbBlocker) -> None:
    entry = {"ENGINE": "django.db.backends.postgresql", "NAME": "x", "HOST": "/nowhere", "PORT": "1"}
    pytest.importorskip("psycopg", reason="pip install psycopg[binary]")
    with database(entry, django_db_blocker):
        mailbox = DatabaseMailbox(ALIAS)
        for _ in range(2):
            with pytest.raises(OperationalError):
                mailbox.append("log", b"a", expiry=MINUTE)


@pytest.mark.parametrize("database_store", ["postgresql"], indirect=True)
def test_in_a_test_environment_no_connection_keeps_the_database_from_being_dropped(database_store: Store) -> None:
    mailbox = made(database_store)
    own = mailbox._connections.get()
    with patch.object(module, "_is_test_environment", IS_TEST_ENVIRONMENT):
        mailbox.append("log", b"a", expiry=MINUTE)
    assert (own.connection, hasattr(mailbox._connections._local, "holder")) == (None, False)


def test_one_query_reads_all_logs_and_one_looks(database_store: Store) -> None:
    mailbox = made(database_store)
    mailbox.append("log", b"a", expiry=MINUTE)
    with CaptureQueriesContext(mailbox._connections.get()) as queries:
        assert len(mailbox.read({"log": 0, "other": 5})) == 1
        mailbox.look(["log", "other"], ["flag"])
        assert len(queries) == 2


def test_more_logs_than_one_query_may_name_are_read(database_store: Store) -> None:
    mailbox = made(database_store)
    mailbox.append("log", b"a", expiry=MINUTE)
    names = [f"{number}" for number in range(700)]
    assert list(mailbox.read(dict.fromkeys([*names, "log"], 0))) == ["log"]
    ends, flags = mailbox.look([*names, "log"], names)
    assert ([name for name, end in ends.items() if end], flags) == (["log"], frozenset())


# Clearing -------------------------------------------------------------------------------------------------------


def test_what_has_expired_is_deleted_now_and_then(database_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    # Whatever other tests have left behind.
    monkeypatch.setattr(module, "_SWEEP_SIZE", 1_000_000)
    mailbox = made(database_store)
    first = mailbox.append("log", b"a", expiry=5)
    mailbox.append("log", b"b", expiry=50)
    database_store.clock.moved += 10
    mailbox._swept -= 20
    mailbox.append("other", b"c", expiry=50)
    assert rows(database_store, module._ENTRIES, mailbox, "log") == 1
    assert read(mailbox, first - 1) == [b"b"]
    database_store.clock.moved += 90
    # The log's end stays a while longer, for hosts whose clocks differ.
    mailbox._swept -= 20
    mailbox.append("other", b"c", expiry=500)
    assert rows(database_store, module._MARKS, mailbox, "log") == 1
    database_store.clock.moved += 20
    mailbox._swept -= 20
    mailbox.append("other", b"c", expiry=50)
    assert rows(database_store, module._MARKS, mailbox, "log") == 0
    assert mailbox.append("log", b"d", expiry=5) > first + 1_000_000


def test_a_log_goes_on_after_its_last_entry_though_that_was_deleted(
    database_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Whatever other tests have left behind.
    monkeypatch.setattr(module, "_SWEEP_SIZE", 1_000_000)
    mailbox = made(database_store)
    first = mailbox.append("log", b"a", expiry=50)
    mailbox.append("log", b"b", expiry=5)
    database_store.clock.moved += 10
    mailbox._swept -= 20
    mailbox.append("other", b"c", expiry=50)
    assert rows(database_store, module._ENTRIES, mailbox, "log") == 1
    assert mailbox.append("log", b"d", expiry=5) == first + 2


def test_a_failure_to_delete_does_not_hide_that_the_entry_is_written(database_store: Store) -> None:
    mailbox = made(database_store)
    mailbox._swept -= 20
    broken = {"sweep_entries": f"DELETE FROM {module._ENTRIES} WHERE nothing = %s OR nothing = %s"}
    with patch.dict(mailbox._sql, broken), patch.object(module.logger, "warning") as warning:
        mailbox.append("log", b"a", expiry=MINUTE)
    assert read(mailbox) == [b"a"]
    assert warning.call_count == 1


def test_importing_the_package_needs_no_table() -> None:
    """The app is for users of this backend alone: without it, nothing touches its models."""
    code = (
        "import sys, django\n"
        "from django.conf import settings\n"
        "settings.configure(INSTALLED_APPS=['grip_consumers'], GRIP_MAILBOX='memory', SECRET_KEY='s')\n"
        "django.setup()\n"
        "from grip_consumers import mailbox\n"
        "mailbox.get()\n"
        "print('grip_consumers.mailbox.tables.models' in sys.modules)\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.stdout.strip() == "False", run.stderr
