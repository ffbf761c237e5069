from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import msgpack
import pytest
from django.core.cache import caches

from grip_consumers import conf
from grip_consumers.conf import Settings
from grip_consumers.exceptions import SealBroken
from grip_consumers.state import ConnectionState, Reference, delete, load, open_token, save, seal_state, store
from grip_consumers.state.seal import open_sealed, seal
from tests.state.redis import private_redis

SMALL = ConnectionState("chat:Chat", b"", "name", attributes=b"a")
LARGE = replace(SMALL, attributes=os.urandom(5_000))
ID = "c-1"


@pytest.fixture(scope="module")
def redis_url() -> Iterator[str]:
    with private_redis() as url:
        yield url


@pytest.fixture(params=["locmem", "redis"])
def config(request: pytest.FixtureRequest, settings: Any) -> Iterator[Settings]:
    if request.param == "redis":
        url = request.getfixturevalue("redis_url")
        cache = {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": url}
    else:
        cache = {"BACKEND": "django.core.cache.backends.locmem.LocMemCache", "LOCATION": "state"}
    settings.CACHES = {**settings.CACHES, "state": cache}
    settings.GRIP_STATE_CACHE = "state"
    settings.GRIP_STATE_TIMEOUT = 1_000
    yield conf.get()
    caches["state"].clear()
    if request.param == "redis":
        for pool in caches["state"]._cache._pools.values():
            pool.disconnect()


def referred(token: str, config: Settings) -> Reference:
    found, _ = open_token(token, ID, config)
    assert isinstance(found, Reference)
    return found


def test_a_small_state_stays_with_the_proxy(config: Settings) -> None:
    token, entries = seal_state(SMALL, ID, config)
    assert entries == {}
    assert open_token(token, ID, config) == (SMALL, False)


def test_a_large_state_goes_to_the_cache_and_leaves_a_small_token(config: Settings) -> None:
    token, entries = seal_state(LARGE, ID, config)
    assert len(token) < 300
    save(entries, config)
    assert load(referred(token, config), ID, config) == LARGE
    assert open_token(token, ID, config)[1] is False


def test_the_limit_is_that_of_the_token(config: Settings) -> None:
    size = len(seal_state(SMALL, ID, config)[0])
    assert seal_state(SMALL, ID, replace(config, state_inline_limit=size))[1] == {}
    assert seal_state(SMALL, ID, replace(config, state_inline_limit=size - 1))[1] != {}


def test_the_cache_is_not_asked_for_anything_before_it_must(config: Settings) -> None:
    token, entries = seal_state(LARGE, ID, config)
    with pytest.raises(SealBroken):
        load(referred(token, config), ID, config)
    assert len(entries) == 1


def test_neither_key_nor_entry_show_what_is_in_them(config: Settings) -> None:
    plain = replace(LARGE, attributes=b"the secret of the attribute" * 200)
    ((key, entry),) = seal_state(plain, ID, config)[1].items()
    assert ID not in key
    assert len(key) < 100
    assert open_sealed(entry, ID, config.secrets)[0].endswith(b"attribute\xc4\x00\x90")
    assert "secret" not in entry


def test_an_entry_that_was_evicted_is_told_with_the_settings_to_look_at(config: Settings) -> None:
    token, entries = seal_state(LARGE, ID, config)
    save(entries, config)
    reference = referred(token, config)
    delete(reference, config)
    with pytest.raises(SealBroken, match=r"not in the cache 'state' \(GRIP_STATE_CACHE\).*\(GRIP_STATE_TIMEOUT\)"):
        load(reference, ID, config)


def test_deleting_what_is_gone_is_no_error(config: Settings) -> None:
    reference = referred(seal_state(LARGE, ID, config)[0], config)
    delete(reference, config)
    assert caches["state"].get(reference.key) is None


def test_an_entry_of_another_step_is_noticed(config: Settings) -> None:
    before, entries = seal_state(LARGE, ID, config)
    after, newer = seal_state(replace(LARGE, channel_name="other"), ID, config)
    assert list(entries) == list(newer)
    save(newer, config)
    assert load(referred(after, config), ID, config).channel_name == "other"
    with pytest.raises(SealBroken, match="not the one that was written last"):
        load(referred(before, config), ID, config)
    save(entries, config)
    with pytest.raises(SealBroken, match="not the one that was written last"):
        load(referred(after, config), ID, config)


@pytest.mark.parametrize("entry", [b"bytes", None, 5, "", "\ud800", "x" * 100])
def test_an_entry_that_somebody_else_wrote_is_noticed(entry: Any, config: Settings) -> None:
    reference = referred(seal_state(LARGE, ID, config)[0], config)
    caches["state"].set(reference.key, entry)
    with pytest.raises(SealBroken):
        load(reference, ID, config)


def test_an_entry_is_kept_for_the_configured_time(config: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    timeouts: list[Any] = []
    monkeypatch.setattr(caches["state"], "set", lambda key, value, timeout: timeouts.append(timeout))
    save(seal_state(LARGE, ID, config)[1], config)
    assert timeouts == [1_000]


def test_an_entry_is_written_anew_when_half_of_its_time_is_over(
    config: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = store.time.time()
    token, _ = seal_state(LARGE, ID, config)
    small, _ = seal_state(SMALL, ID, config)
    for later, renew in [(0, False), (499, False), (502, True), (5_000, True)]:
        monkeypatch.setattr(store.time, "time", lambda: now + later)  # noqa: B023
        assert open_token(token, ID, config)[1] is renew
        assert open_token(small, ID, config)[1] is False


def test_a_retired_key_opens_and_asks_for_a_new_seal(config: Settings) -> None:
    rotated = replace(config, secrets=("new", *config.secrets))
    for state in (SMALL, LARGE):
        token, entries = seal_state(state, ID, config)
        save(entries, config)
        found, renew = open_token(token, ID, rotated)
        assert renew
        assert (load(found, ID, rotated) if isinstance(found, Reference) else found) == state
        with pytest.raises(SealBroken):
            open_token(token, ID, replace(config, secrets=("new",)))


def test_a_token_of_another_connection_does_not_open(config: Settings) -> None:
    for state in (SMALL, LARGE):
        with pytest.raises(SealBroken):
            open_token(seal_state(state, ID, config)[0], "c-2", config)


def test_an_entry_of_another_connection_does_not_open(config: Settings) -> None:
    ((_, entry),) = seal_state(LARGE, "c-2", config)[1].items()
    reference = referred(seal_state(LARGE, ID, config)[0], config)
    caches["state"].set(reference.key, entry)
    for digest in (reference.digest, hashlib.sha256(entry.encode()).digest()):
        with pytest.raises(SealBroken):
            load(replace(reference, digest=digest), ID, config)


def test_a_reference_to_a_reference_is_refused(config: Settings) -> None:
    token, _ = seal_state(LARGE, ID, config)
    reference = replace(referred(token, config), digest=hashlib.sha256(token.encode()).digest())
    save({reference.key: token}, config)
    with pytest.raises(SealBroken, match="is a reference, not a state"):
        load(reference, ID, config)


@pytest.mark.parametrize(
    "plaintext",
    [
        *(b"", b"x", b"i", b"i\x01", b"r", b"r\x01", b"i" + msgpack.packb([2]), b"z" + SMALL.pack()),
        b"r" + msgpack.packb(["key"]),
    ],
)
def test_a_state_of_another_release_is_told_as_such(plaintext: bytes) -> None:
    settings = Settings(secrets=("s",))
    with pytest.raises(SealBroken, match="left by another release of grip_consumers: "):
        open_token(seal(plaintext, ID, settings.secrets), ID, settings)
