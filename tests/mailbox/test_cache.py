from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from django.core.cache import caches
from django.core.cache.backends.base import BaseCache
from django.core.cache.backends.locmem import LocMemCache
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings

from grip_consumers.exceptions import MailboxError
from grip_consumers.mailbox.cache import CacheMailbox, configured, is_process_local, why_unfit

from .conftest import ALIAS, Store

MINUTE = 60.0


def keys(mailbox: CacheMailbox, log: str) -> Any:
    return mailbox._keys(log)


def filled(store: Store, count: int = 10) -> tuple[CacheMailbox, list[int]]:
    """A mailbox whose log "log" holds b"0", b"1", …, and their positions."""
    mailbox = store.mailbox()
    assert isinstance(mailbox, CacheMailbox)
    return mailbox, [mailbox.append("log", b"%d" % number, expiry=MINUTE) for number in range(count)]


def read(mailbox: CacheMailbox, cursor: int) -> list[bytes]:
    return [entry for _, entry in mailbox.read({"log": cursor}).get("log", [])]


class Counting:
    """Counts the requests of the caches of a kind, by method."""

    def __init__(self, kind: type[BaseCache]) -> None:
        self.counts: dict[str, int] = {}
        self.patches = [patch.object(kind, name, self._counted(kind, name)) for name in self.METHODS]

    METHODS = ("get", "get_many", "set", "add", "touch")

    def _counted(self, kind: type[BaseCache], name: str) -> Callable[..., Any]:
        original = getattr(kind, name)

        def call(cache: BaseCache, *args: Any, **kwargs: Any) -> Any:
            self.counts[name] = self.counts.get(name, 0) + 1
            return original(cache, *args, **kwargs)

        return call

    def __enter__(self) -> dict[str, int]:
        for patched in self.patches:
            patched.start()
        return self.counts

    def __exit__(self, *error: object) -> None:
        for patched in self.patches:
            patched.stop()


# Round trips ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cache_store", ["redis"], indirect=True)
def test_one_round_trip_tells_that_nothing_is_new_in_any_log(cache_store: Store) -> None:
    mailbox, positions = filled(cache_store)
    cursors = {"log": positions[-1], "other": 5, "empty": 0}
    with Counting(type(caches[ALIAS])) as counts:
        assert mailbox.read(cursors) == {}
        assert counts == {"get_many": 1}
        mailbox.look(cursors, ["flag"])
        assert counts == {"get_many": 2}
        assert mailbox.read({"log": positions[-3]}) != {}
        assert counts == {"get_many": 3}
        mailbox.read({})
        assert counts == {"get_many": 3}


@pytest.mark.parametrize("cache_store", ["redis"], indirect=True)
def test_an_entry_that_nobody_contends_for_costs_four_round_trips(cache_store: Store) -> None:
    mailbox, _ = filled(cache_store)
    with Counting(type(caches[ALIAS])) as counts:
        mailbox.append("log", b"", expiry=MINUTE)
        assert counts == {"get": 1, "add": 1, "set": 1, "get_many": 1}


# Eviction -------------------------------------------------------------------------------------------------------


def test_without_the_hint_readers_go_on_and_the_log_starts_anew_further_on(cache_store: Store) -> None:
    mailbox, positions = filled(cache_store)
    caches[ALIAS].delete(keys(mailbox, "log").end)
    assert read(mailbox, positions[3]) == [b"%d" % number for number in range(4, 10)]
    assert mailbox.look(["log"])[0] == {"log": 0}
    cache_store.clock.moved += 1
    fresh = mailbox.append("log", b"new", expiry=MINUTE)
    assert fresh > positions[-1] + 1
    assert read(mailbox, positions[3]) == [b"%d" % number for number in range(4, 10)] + [b"new"]
    assert read(mailbox, positions[-1]) == read(mailbox, 0) == [b"new"]


def test_without_the_oldest_entries_the_rest_is_read(cache_store: Store) -> None:
    mailbox, positions = filled(cache_store, 40)
    caches[ALIAS].delete_many(keys(mailbox, "log").slots(positions[0], positions[29]))
    for cursor in (0, positions[0], positions[15], positions[28]):
        assert read(mailbox, cursor) == [b"%d" % number for number in range(30, 40)]


def test_without_some_entries_in_between_the_rest_is_read(cache_store: Store) -> None:
    mailbox, positions = filled(cache_store)
    for lost in (2, 3, 7):
        caches[ALIAS].delete(keys(mailbox, "log").slot(positions[lost]))
    assert read(mailbox, positions[0]) == read(mailbox, 0)[1:] == [b"1", b"4", b"5", b"6", b"8", b"9"]


def test_without_the_last_entry_nothing_else_is_lost(cache_store: Store) -> None:
    mailbox, positions = filled(cache_store)
    caches[ALIAS].delete(keys(mailbox, "log").slot(positions[-1]))
    assert mailbox.append("log", b"new", expiry=MINUTE) == positions[-1] + 1
    assert read(mailbox, positions[-3]) == [b"8", b"new"]


# Races ----------------------------------------------------------------------------------------------------------


def set_back(mailbox: CacheMailbox, position: int) -> None:
    """Make the hint what a process that was slow has left."""
    from grip_consumers.mailbox import cache

    caches[ALIAS].set(keys(mailbox, "log").end, cache._END.pack(position, mailbox._clock() + MINUTE), MINUTE)


@pytest.mark.parametrize("behind", [1, 5, 29])
def test_a_log_far_longer_than_its_hint_says_is_appended_to_at_its_end(cache_store: Store, behind: int) -> None:
    mailbox, positions = filled(cache_store, 30)
    set_back(mailbox, positions[-1] - behind)
    assert read(mailbox, 0) == read(mailbox, positions[0] - 1) == [b"%d" % number for number in range(30)]
    assert mailbox.append("log", b"new", expiry=MINUTE) == positions[-1] + 1
    assert mailbox.look(["log"])[0] == {"log": positions[-1] + 1}


def test_who_asks_for_a_place_behind_a_hint_that_was_left_behind_is_told_the_end_next(cache_store: Store) -> None:
    mailbox, positions = filled(cache_store)
    set_back(mailbox, positions[-4])
    position = mailbox.look(["log"])[0]["log"] + 1
    assert not mailbox.append_at("log", position, b"x", expiry=MINUTE)
    position = mailbox.look(["log"])[0]["log"] + 1
    assert position == positions[-1] + 1
    assert mailbox.append_at("log", position, b"x", expiry=MINUTE)


@pytest.mark.parametrize("cache_store", ["locmem"], indirect=True)
def test_a_hint_written_late_does_not_hide_what_was_appended_meanwhile(cache_store: Store) -> None:
    """One is stopped between its entry and its hint, while another appends."""
    mailbox, positions = filled(cache_store, 1)
    other = cache_store.mailbox(prefix=mailbox.prefix)
    original, meanwhile = mailbox._tell_end, iter([True])

    def late(*args: Any) -> None:
        if next(meanwhile, False):
            other.append("log", b"other", expiry=MINUTE)
        original(*args)

    with patch.object(mailbox, "_tell_end", late):
        assert mailbox.append("log", b"mine", expiry=MINUTE) == positions[0] + 1
    assert mailbox.look(["log"])[0] == {"log": positions[0] + 2}
    assert read(mailbox, positions[0]) == [b"mine", b"other"]


@pytest.mark.parametrize("cache_store", ["locmem"], indirect=True)
def test_an_entry_seen_before_its_predecessor_waits_for_it(cache_store: Store) -> None:
    """Memcached is asked for one key after the other, while others write."""
    mailbox, positions = filled(cache_store, 4)
    hidden = [keys(mailbox, "log").slot(positions[2])]
    original = LocMemCache.get_many

    def partly(cache: BaseCache, asked: Iterable[str], version: Any = None) -> dict[str, Any]:
        found = original(cache, asked, version)
        # The predecessor is written just after it was asked for, and so is the hint.
        if hidden:
            found.pop(hidden.pop(), None)
            found.pop(keys(mailbox, "log").end, None)
        return found

    with patch.object(LocMemCache, "get_many", partly):
        assert read(mailbox, positions[0]) == [b"1"]
        assert read(mailbox, positions[1]) == [b"2", b"3"]


@pytest.mark.parametrize("cache_store", ["locmem"], indirect=True)
def test_a_hint_about_to_expire_is_prolonged_before_it_is_relied_on(cache_store: Store) -> None:
    mailbox, positions = filled(cache_store, 1)
    cache_store.clock.moved += MINUTE
    with Counting(LocMemCache) as counts:
        assert mailbox.append("log", b"a", expiry=MINUTE) == positions[0] + 1
    assert counts["touch"] == 1


@pytest.mark.parametrize("cache_store", ["locmem"], indirect=True)
def test_a_hint_that_expires_when_it_was_just_read_gives_way_to_a_new_start(cache_store: Store) -> None:
    mailbox, positions = filled(cache_store, 1)
    cache_store.clock.moved += MINUTE

    def touch(cache: BaseCache, key: str, **kwargs: Any) -> bool:
        cache.delete(key)
        return False

    with patch.object(LocMemCache, "touch", touch):
        position = mailbox.append("log", b"b", expiry=MINUTE)
    assert position > positions[0] + 1_000_000
    assert mailbox.read({"log": positions[0]}) == {"log": [(position, b"b")]}


# The cache ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cache_store", ["redis"], indirect=True)
def test_the_cache_forgets_everything_by_itself(cache_store: Store) -> None:
    mailbox = cache_store.mailbox()
    mailbox.append("log", b"a", expiry=5)
    mailbox.append("log", b"b", expiry=0.5)
    mailbox.raise_flag("flag", expiry=5)
    mailbox.acknowledge("log", 1, expiry=5)
    client: Any = caches[ALIAS]
    redis = client._cache.get_client()
    found = [redis.ttl(key) for key in redis.scan_iter("*grip_consumers.mailbox*")]
    assert len(found) >= 5
    assert all(0 < seconds <= MINUTE + 3 for seconds in found)
    # As long as the entry that lasts longest.
    assert 4 <= redis.ttl(client.make_key(keys(mailbox, "log").end)) <= 7


@pytest.mark.parametrize("cache_store", ["locmem"], indirect=True)
def test_a_cache_that_takes_nothing_is_named_instead_of_trying_for_ever(cache_store: Store) -> None:
    mailbox = cache_store.mailbox()
    with patch.object(LocMemCache, "add", return_value=False), pytest.raises(MailboxError, match="refuses to add keys"):
        mailbox.append("log", b"", expiry=MINUTE)


def test_an_alias_that_does_not_exist_is_named_with_those_that_do() -> None:
    with pytest.raises(ImproperlyConfigured, match=r"GRIP_MAILBOX_ALIAS must be .* \('default'\), not 'x'"):
        CacheMailbox("x")


BACKENDS = {
    "locmem.LocMemCache": "one process",
    "filebased.FileBasedCache": "both succeed",
    "dummy.DummyCache": "keeps nothing",
    "db.DatabaseCache": "GRIP_MAILBOX = 'database'",
    "redis.RedisCache": None,
    "memcached.PyMemcacheCache": None,
}


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_makes_a_cache_unfit_is_said(backend: str, tmp_path: Path) -> None:
    expected = BACKENDS[backend]
    # A folder is made where it is.
    location = str(tmp_path) if backend.startswith("filebased") else "127.0.0.1:1"
    entry = {"BACKEND": f"django.core.cache.backends.{backend}", "LOCATION": location}
    with override_settings(CACHES={"default": entry}):
        cache = configured("default")
        reason = why_unfit(cache)
        assert is_process_local(cache) == (backend.split(".")[0] in {"locmem", "dummy"})
    assert reason is None if expected is None else re.search(expected, reason or "")


def test_a_redis_with_replicas_is_unfit() -> None:
    entry = {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": ["redis://a", "redis://b"]}
    with override_settings(CACHES={"default": entry}):
        assert why_unfit(configured("default")) == "it is read from replicas, which lag behind what was written"
