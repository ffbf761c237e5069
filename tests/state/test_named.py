"""Loggers, layers, methods and partial calls are kept by name."""

from __future__ import annotations

import functools
import logging
import types
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from channels.layers import InMemoryChannelLayer as GenuineLayer
from channels.layers import get_channel_layer as get_genuine_layer

from grip_consumers.db import database_sync_to_async
from grip_consumers.layers import GripChannelLayer, InMemoryChannelLayer, channel_layers, get_channel_layer
from grip_consumers.state import capture_attributes, codec, restore_attributes
from grip_consumers.state.table import CannotEncode


def loud(function: Callable[..., str]) -> Callable[..., str]:
    @functools.wraps(function)
    def louder(*args: Any) -> str:
        return function(*args).upper()

    return louder


class Owner:
    kind = "owner"

    def __init__(self, name: str) -> None:
        self.name = name

    def hello(self, *words: str) -> str:
        return " ".join([*words, self.name])

    def __secret(self) -> str:
        return f"secret {self.name}"

    @loud
    def shout(self) -> str:
        return self.name

    renamed = hello

    @database_sync_to_async
    def in_a_thread(self, word: str) -> str:
        return f"{word} {self.name}"

    @classmethod
    def of_class(cls) -> str:
        return cls.kind

    def secret(self) -> Callable[[], str]:
        return self.__secret


class Heir(Owner):
    def shout(self) -> str:
        return "heir"

    def inherited(self) -> Callable[..., str]:
        return super().shout


@dataclass
class Game:
    owner: Any = None
    moves: list[str] = field(default_factory=list)

    def move(self, name: str) -> None:
        self.moves.append(name)


def again(value: Any, owner: Any = None, other: Any = None) -> Any:
    return codec.decode(codec.encode(value, owner), other)


@pytest.mark.parametrize("name", ["tests.some", "root", "django.request", "a b"])
def test_a_logger_is_the_logger_of_its_name(name: str) -> None:
    logger = logging.getLogger(name)
    assert again({"log": logger})["log"] is logger


def test_the_root_logger_is_found_again() -> None:
    assert again(logging.getLogger()) is logging.getLogger()


def test_a_logger_that_no_name_leads_to_is_refused_with_the_cure() -> None:
    with pytest.raises(CannotEncode, match=r"logging\.Logger cannot be kept: use logging\.getLogger\(name\)"):
        codec.encode(logging.Logger("tests.some"))


def test_methods_of_a_logger_are_kept() -> None:
    assert again(logging.getLogger("tests.some").info) == logging.getLogger("tests.some").info


@pytest.mark.parametrize(
    ("pick", "result"),
    [
        (lambda owner: owner.hello, "x"),
        (lambda owner: owner.renamed, "x"),
        (lambda owner: owner.shout, "X"),
        (lambda owner: owner.secret(), "secret x"),
        (lambda owner: owner.of_class, "owner"),
    ],
    ids=["plain", "renamed", "decorated", "private", "of-class"],
)
def test_a_method_of_the_owner_is_that_of_the_next_one(pick: Callable[[Owner], Any], result: str) -> None:
    first, second = Owner("first"), Owner("x")
    back = again({"call": pick(first)}, first, second)["call"]
    assert back == pick(second)
    assert back() == result


def test_a_method_that_the_class_has_overridden_is_refused() -> None:
    heir = Heir("x")
    with pytest.raises(CannotEncode, match="Heir has no method shout that is this one"):
        codec.encode(heir.inherited(), heir)


def test_a_method_that_lies_on_the_instance_is_refused() -> None:
    """The next instance has none of that name, or that of its class."""
    for name in ("hello", "unheard_of"):
        owner = Owner("x")
        method = types.MethodType(lambda self: "own", owner)
        setattr(owner, name, method)
        with pytest.raises(CannotEncode, match="Owner has no method <lambda> that is this one"):
            codec.encode(method, owner)


def test_nothing_of_the_owner_is_run_to_find_a_method() -> None:
    class Touchy:
        def __eq__(self, other: object) -> bool:
            raise AssertionError

        __hash__ = None  # type: ignore[assignment]

    class Asked(Owner):
        touchy = Touchy()

        @property
        def part(self) -> str:
            raise AssertionError

        def __getattr__(self, name: str) -> Any:
            raise AssertionError

    asked = Asked("x")
    for function in (functools.partial(print), lambda self: None):
        with pytest.raises(CannotEncode, match="that is this one"):
            codec.encode(types.MethodType(function, asked), asked)


def test_a_method_that_a_decorator_has_moved_to_a_thread_is_that_of_the_next_one() -> None:
    first, second = Owner("first"), Owner("x")
    back = again({"call": first.in_a_thread}, first, second)["call"]
    assert async_to_sync(back)("a") == "a x"


def test_a_method_of_another_object_needs_that_one_to_be_kept() -> None:
    with pytest.raises(CannotEncode, match=r"test_named\.Owner"):
        codec.encode(Owner("x").hello, Owner("y"))


def test_a_method_of_a_kept_object_is_one_of_the_same_object() -> None:
    game = Game()
    back = again([game, game.move])
    back[1]("e4")
    assert back[0].moves == ["e4"]


def test_an_object_leads_back_to_its_owner() -> None:
    first, second = Owner("first"), Owner("second")
    back = again([Game(first), {first.hello, first.shout}, first], first, second)
    assert back == [Game(second), {second.hello, second.shout}, second]


def test_what_refers_to_an_owner_needs_one() -> None:
    first = Owner("first")
    with pytest.raises(codec.CannotDecode, match="there is none"):
        codec.decode(codec.encode([first], first))


def test_a_table_of_actions_calls_the_consumer_that_it_is_restored_to() -> None:
    first, second = Owner("first"), Owner("first")
    first.actions = {"hello": first.hello, "twice": functools.partial(first.hello, "a", "b")}  # type: ignore[attr-defined]
    stored = capture_attributes(first)
    vars(second).update(restore_attributes(stored, second, dict))
    second.name = "second"
    assert [second.actions[name]() for name in ("hello", "twice")] == ["second", "a b second"]  # type: ignore[attr-defined]
    assert capture_attributes(first) == stored


def test_a_partial_call_keeps_its_arguments() -> None:
    back = again(functools.partial(sorted, [3, 1], reverse=True))
    assert back() == [3, 1]
    assert (back.func, back.args, back.keywords) == (sorted, ([3, 1],), {"reverse": True})


def test_a_partial_call_with_attributes_is_refused() -> None:
    call = functools.partial(sorted)
    call.note = "x"  # type: ignore[attr-defined]
    with pytest.raises(CannotEncode, match="attributes of its own"):
        codec.encode(call)


def test_a_layer_is_the_one_of_its_alias(settings: Any) -> None:
    settings.CHANNEL_LAYERS = {
        "default": {"BACKEND": "grip_consumers.layers.GripChannelLayer"},
        "other": {"BACKEND": "channels.layers.InMemoryChannelLayer"},
    }
    default, other, genuine = get_channel_layer(), get_channel_layer("other"), get_genuine_layer("other")
    assert (type(default), type(other), type(genuine)) == (GripChannelLayer, GenuineLayer, GenuineLayer)
    assert again([default.group_send]) == [default.group_send]
    for layer in (default, other, genuine):
        assert again([layer])[0] is layer


def test_a_layer_that_is_made_later_is_the_one_of_its_alias_in_that_process(settings: Any) -> None:
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "grip_consumers.layers.GripChannelLayer"}}
    stored = codec.encode(get_channel_layer())
    channel_layers.backends.clear()
    assert codec.decode(stored) is get_channel_layer()


def test_a_layer_without_an_alias_is_refused_with_the_cure(settings: Any) -> None:
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "grip_consumers.layers.InMemoryChannelLayer"}}
    get_channel_layer()
    with pytest.raises(CannotEncode, match=r"InMemoryChannelLayer cannot be kept: use get_channel_layer\(alias\)"):
        codec.encode(InMemoryChannelLayer())
