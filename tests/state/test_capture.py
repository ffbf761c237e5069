from __future__ import annotations

import functools
import threading
from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser

from grip_consumers.auth import UserLazyObject
from grip_consumers.exceptions import UnkeepableState
from grip_consumers.state import (
    FRAMEWORK_ATTRIBUTES,
    capture_attributes,
    capture_initkwargs,
    capture_scope,
    decode,
    restore_attributes,
    restore_scope,
)
from tests.state.kept import Point

NAME = "tests.state.test_capture"


class Consumer:
    transient: Any = ()

    def __init__(self, **attributes: Any) -> None:
        vars(self).update(attributes)


class Picky(Consumer):
    transient = ("lock", "scope.redis")


class Caching(Consumer):
    @functools.cached_property
    def client(self) -> Any:
        return object()

    @functools.cached_property
    def colour(self) -> str:
        return "red"


def base_scope() -> dict[str, Any]:
    return {
        "type": "websocket",
        "path": "/chat/",
        "headers": [(b"host", b"x"), (b"cookie", b"a=1; b=\xe9")],
        "client": ("127.0.0.1", 1),
        "extensions": {"batch": object()},
    }


def test_attributes_are_kept_and_those_of_the_framework_are_not() -> None:
    consumer = Consumer(room="lobby", place=Point(1), **{name: object() for name in FRAMEWORK_ATTRIBUTES})
    assert decode(capture_attributes(consumer)) == {"room": "lobby", "place": Point(1)}


def test_a_consumer_without_attributes_takes_no_room() -> None:
    assert capture_attributes(Consumer(scope={}, base_send=print)) == b""
    assert capture_initkwargs(Consumer(), {}) == b""
    assert capture_scope(Consumer(), base := base_scope(), base) == b""
    assert restore_scope(b"", base) == base


def test_a_transient_attribute_is_left_out() -> None:
    assert decode(capture_attributes(Picky(lock=threading.Lock(), room="x"))) == {"room": "x"}


def test_the_scope_under_another_name_is_the_scope_again() -> None:
    scope = {**base_scope(), "seat": {"row": 1}}
    consumer = Consumer(scope=scope, request=scope, seat=scope["seat"], room="x")
    new = {"seat": {"row": 1}}
    again = restore_attributes(stored := capture_attributes(consumer), Consumer(), lambda: new)
    assert again["request"] is new
    assert again["seat"] is new["seat"]
    assert len(stored) < 60


def test_a_cached_property_is_kept_if_it_can_be() -> None:
    consumer = Caching(room="x")
    assert (consumer.colour, consumer.client) == ("red", consumer.client)
    assert decode(capture_attributes(consumer)) == {"room": "x", "colour": "red"}


def test_a_cached_property_hides_no_other_attribute_that_cannot_be_kept() -> None:
    consumer = Caching(lock=threading.Lock())
    assert consumer.client
    with pytest.raises(UnkeepableState) as caught:
        capture_attributes(consumer)
    assert caught.value.attribute == "lock"


def test_an_unchanged_consumer_gives_the_same_bytes() -> None:
    consumer = Consumer(b=1, a={"x", "y", "z"}, point=Point(1, {(1,), 2}), user=AnonymousUser())
    first = capture_attributes(consumer)
    assert capture_attributes(consumer) == first
    assert capture_attributes(Consumer(**decode(first))) == first


def test_an_attribute_that_cannot_be_kept_is_named_with_consumer_and_type() -> None:
    with pytest.raises(UnkeepableState) as caught:
        capture_attributes(Consumer(fine=1, players={"ann": [threading.Lock()]}))
    error = caught.value
    assert (error.consumer, error.attribute, error.type_name) == (f"{NAME}.Consumer", "players", "_thread.lock")
    assert str(error).startswith(f"{NAME}.Consumer cannot keep self.players: a value of type _thread.lock does not")
    assert 'name it in `transient = ("players",)`' in str(error)


def test_a_list_that_contains_itself_is_named_as_a_list() -> None:
    ring: list[Any] = []
    ring.append(ring)
    with pytest.raises(UnkeepableState, match=r"cannot keep self\.ring: a value of type list .* contains itself"):
        capture_attributes(Consumer(ring=ring))


def test_a_key_of_the_scope_that_cannot_be_kept_is_named() -> None:
    base = base_scope()
    with pytest.raises(UnkeepableState) as caught:
        capture_scope(Consumer(), {**base, "redis": threading.Lock()}, base)
    assert caught.value.attribute == "scope['redis']"
    assert str(caught.value).startswith(f"{NAME}.Consumer cannot keep self.scope['redis']: a value of type _thread")
    assert 'name it in `transient = ("scope.redis",)`' in str(caught.value)


def test_a_transient_key_of_the_scope_is_left_out() -> None:
    base = base_scope()
    stored = capture_scope(Picky(), {**base, "redis": threading.Lock(), "lock": 1}, base)
    assert restore_scope(stored, base) == {**base, "lock": 1}


def test_an_argument_of_as_asgi_that_cannot_be_kept_is_named() -> None:
    with pytest.raises(UnkeepableState) as caught:
        capture_initkwargs(Consumer(), {"name": "x", "lock": threading.Lock()})
    assert caught.value.attribute == "as_asgi(lock=…)"
    assert str(caught.value).startswith(f"{NAME}.Consumer cannot keep as_asgi(lock=…): a value of type _thread.lock")
    assert "transient" not in str(caught.value)


def test_arguments_of_as_asgi_are_kept() -> None:
    assert decode(capture_initkwargs(Consumer(), {"point": Point(1)})) == {"point": Point(1)}


def test_what_was_added_to_the_scope_is_added_again() -> None:
    base = base_scope()
    scope = {**base, "url_route": {"args": (), "kwargs": {"room": "x"}}, "path": "/other/", "state": {}}
    again = restore_scope(capture_scope(Consumer(), scope, base), fresh := base_scope())
    assert again == {**scope, "extensions": fresh["extensions"]}
    assert again["extensions"] is fresh["extensions"]
    assert base["path"] == "/chat/"


def test_what_was_taken_from_the_scope_is_taken_again() -> None:
    base = base_scope()
    scope = {key: value for key, value in base.items() if key != "client"}
    assert "client" not in restore_scope(capture_scope(Consumer(), scope, base), base_scope())


def test_cookies_that_the_proxy_repeats_are_not_kept_twice() -> None:
    base = base_scope()
    cookies = {"a": "1", "b": "é"}
    stored = capture_scope(Consumer(), {**base, "cookies": dict(cookies)}, base)
    assert len(stored) < 12
    assert restore_scope(stored, base_scope())["cookies"] == cookies
    changed = capture_scope(Consumer(), {**base, "cookies": {"a": "2"}}, base)
    assert restore_scope(changed, base_scope())["cookies"] == {"a": "2"}


def test_the_user_of_the_scope_comes_back_undecoded_and_gives_the_same_bytes() -> None:
    base = base_scope()
    user = UserLazyObject()
    user._wrapped = AnonymousUser()
    stored = capture_scope(Consumer(), {**base, "user": user}, base)
    fresh = base_scope()
    again = restore_scope(stored, fresh)
    assert type(again["user"]) is UserLazyObject
    assert capture_scope(Consumer(), again, fresh) == stored
    assert again["user"].is_anonymous
    assert capture_scope(Consumer(), again, fresh) == stored


@pytest.mark.parametrize("capture", [capture_attributes, lambda c: capture_scope(c, {}, {})])
def test_a_transient_that_is_a_str_is_refused_with_what_to_write(capture: Any) -> None:
    consumer = Consumer(lock=1)
    consumer.transient = "lock"
    with pytest.raises(TypeError, match=r'Consumer\.transient must be a tuple.*transient = \("lock",\)'):
        capture(consumer)


def test_a_transient_may_be_a_list() -> None:
    consumer = Consumer(lock=threading.Lock(), transient=["lock", "transient"])
    assert capture_attributes(consumer) == b""
