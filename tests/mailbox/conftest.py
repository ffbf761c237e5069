"""The stores that mailboxes are tested in: as Django settings, and as mailboxes with a clock that tests can move."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch
from uuid import uuid4

import pytest
from django.core.management import call_command
from django.db import connections
from django.test import modify_settings, override_settings
from pytest_django import DjangoDbBlocker

from grip_consumers.mailbox import Mailbox, per_thread
from grip_consumers.mailbox import database as database_module
from grip_consumers.mailbox.cache import CacheMailbox
from grip_consumers.mailbox.database import DatabaseMailbox
from grip_consumers.mailbox.memory import MemoryMailbox
from tests import services

ALIAS = "mailbox"
TABLES = "grip_consumers.mailbox.tables"
LOCAL = ["memory", "locmem"]
SHARED = ["redis", "memcached", "sqlite", "postgresql"]


class Clock:
    """The real time, moved."""

    def __init__(self) -> None:
        self.moved = 0.0

    def __call__(self) -> float:
        return time.time() + self.moved


@dataclass
class Store:
    """Where mailboxes are kept, and how GRIP_MAILBOX names that."""

    kind: str
    make: Callable[..., Mailbox]
    #: The entries of CACHES and DATABASES.
    cache: dict[str, Any] | None = None
    database: dict[str, Any] | None = None
    clock: Clock = field(default_factory=Clock)

    def mailbox(self, *, prefix: str | None = None) -> Mailbox:
        """A mailbox that shares nothing with other tests, unless they are given one prefix."""
        return self.make(ALIAS, prefix=uuid4().hex if prefix is None else prefix, clock=self.clock)


@contextmanager
def database(entry: dict[str, Any], blocker: DjangoDbBlocker, alias: str = ALIAS) -> Iterator[None]:
    """The entry as an alias of DATABASES, which may be used without a test database of pytest-django's."""
    known = connections.settings
    known[alias] = connections.configure_settings({"default": {}, alias: dict(entry)})[alias]
    try:
        with blocker.unblock():
            yield
            _close(connections[alias])
            # A mailbox closes its own when it is collected, which may be in the middle of another test.
            per_thread._close_all()
    finally:
        del connections[alias]
        del known[alias]


def _close(wrapper: Any) -> None:
    raw = wrapper.connection
    wrapper.close()
    # In a broken transaction Django leaves it open.
    if raw is not None:
        raw.close()


def migrate(alias: str = ALIAS) -> None:
    with modify_settings(INSTALLED_APPS={"append": TABLES}):
        call_command("migrate", "grip_consumers_mailbox", database=alias, verbosity=0)


@pytest.fixture(scope="session")
def sqlite_entry(tmp_path_factory: pytest.TempPathFactory, django_db_blocker: DjangoDbBlocker) -> dict[str, Any]:
    path = tmp_path_factory.mktemp("mailbox") / "mailbox.sqlite3"
    # It is not the disk that is tested.
    options = {"timeout": 60, "init_command": "PRAGMA synchronous = OFF"}
    entry = {"ENGINE": "django.db.backends.sqlite3", "NAME": str(path), "OPTIONS": options}
    with database(entry, django_db_blocker):
        migrate()
    return entry


@pytest.fixture(scope="session")
def postgresql_entry(django_db_blocker: DjangoDbBlocker) -> dict[str, Any]:
    entry = services.postgresql()
    name = f"mailbox_{uuid4().hex}"
    with database(entry, django_db_blocker), connections[ALIAS].cursor() as cursor:
        cursor.execute(f"CREATE DATABASE {name}")
    entry["NAME"] = name
    with database(entry, django_db_blocker):
        migrate()
    return entry


def cache_entry(kind: str) -> dict[str, Any]:
    if kind == "redis":
        return {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": services.redis()}
    if kind == "memcached":
        return {"BACKEND": "django.core.cache.backends.memcached.PyMemcacheCache", "LOCATION": services.memcached()}
    # The default of 300 would have it forget what the tests are about.
    options = {"MAX_ENTRIES": 1_000_000}
    return {"BACKEND": "django.core.cache.backends.locmem.LocMemCache", "LOCATION": uuid4().hex, "OPTIONS": options}


@contextmanager
def opened(kind: str, request: pytest.FixtureRequest) -> Iterator[Store]:
    if kind == "memory":
        yield Store(kind, MemoryMailbox)
    elif kind in {"sqlite", "postgresql"}:
        entry = request.getfixturevalue(f"{kind}_entry")
        # As outside of tests, where connections stay open.
        apart = patch.object(database_module, "_is_test_environment", return_value=False)
        with database(entry, request.getfixturevalue("django_db_blocker")), apart:
            yield Store(kind, DatabaseMailbox, database=entry)
    else:
        entry = cache_entry(kind)
        with override_settings(CACHES={ALIAS: entry}):
            yield Store(kind, CacheMailbox, cache=entry)


@pytest.fixture(params=[*LOCAL, *SHARED])
def store(request: pytest.FixtureRequest) -> Iterator[Store]:
    """Each kind of store in turn."""
    with opened(request.param, request) as store:
        yield store


@pytest.fixture
def mailbox(store: Store) -> Mailbox:
    return store.mailbox()


@pytest.fixture(params=SHARED)
def shared_store(request: pytest.FixtureRequest) -> Iterator[Store]:
    """Each kind of store that several processes can share."""
    with opened(request.param, request) as store:
        yield store


@pytest.fixture(params=["locmem", "redis", "memcached"])
def cache_store(request: pytest.FixtureRequest) -> Iterator[Store]:
    with opened(request.param, request) as store:
        yield store


@pytest.fixture(params=["sqlite", "postgresql"])
def database_store(request: pytest.FixtureRequest) -> Iterator[Store]:
    with opened(request.param, request) as store:
        yield store


@pytest.fixture
def sqlite_path(tmp_path: Path) -> dict[str, Any]:
    """An entry for a SQLite database without any tables."""
    return {"ENGINE": "django.db.backends.sqlite3", "NAME": str(tmp_path / "empty.sqlite3")}
