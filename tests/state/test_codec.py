from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import threading
from collections import Counter, OrderedDict, defaultdict, deque
from pathlib import Path
from typing import Any

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grip_consumers.exceptions import StateError
from grip_consumers.state import CannotDecode, CannotEncode, decode, encode
from tests.state.kept import Colour, Level, Pair, Player, Point, Slim
from tests.state.strategies import hashables, values


def same(left: Any, right: Any) -> bool:
    """Equal and of the same types, all the way down; a NaN equals itself."""
    if type(left) is not type(right):
        return False
    if isinstance(left, dict):
        return len(left) == len(right) and all(
            same(pair, other) for pair, other in zip(left.items(), right.items(), strict=True)
        )
    if isinstance(left, (list, tuple, deque)):
        return len(left) == len(right) and all(map(same, left, right))
    return left == right or (left != left and right != right)


@settings(max_examples=150, deadline=None)
@given(values)
def test_every_value_comes_back_equal_and_of_the_same_type(value: Any) -> None:
    assert same(decode(encode(value)), value)


@settings(max_examples=100, deadline=None)
@given(values)
def test_a_value_that_came_back_gives_the_same_bytes(value: Any) -> None:
    encoded = encode(value)
    assert encode(decode(encoded)) == encoded
    assert encode(value) == encoded


@settings(max_examples=60, deadline=None)
@given(st.sets(hashables, max_size=6), st.randoms(use_true_random=False))
def test_a_set_is_written_in_an_order_of_its_own(value: set[Any], random: Any) -> None:
    items = list(value)
    random.shuffle(items)
    again: set[Any] = set()
    for item in items:
        again.add(item)
    assert encode(again) == encode(value)


def test_a_set_gives_the_same_bytes_in_a_process_with_other_hashes() -> None:
    code = "from grip_consumers.state import encode; print(encode([set('abcdef'), {'a', ('e', 1), 2.5}]).hex())"
    written = {
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, env={"PYTHONHASHSEED": seed}, check=True
        ).stdout
        for seed in ("1", "2")
    }
    assert len(written) == 1


def test_the_order_of_a_dict_is_kept() -> None:
    assert list(decode(encode({"b": 1, "a": 2}))) == ["b", "a"]
    assert encode({"b": 1, "a": 2}) != encode({"a": 2, "b": 1})


@pytest.mark.parametrize(
    "value",
    [
        *(bytearray(b"x"), [bytearray(b"x")], {"a": {"b": [bytearray(b"x"), 1]}}, (bytearray(b"x"),)),
        *(memoryview(b"x"), {memoryview(b"x"): 1}, defaultdict(list, a=[bytearray(b"y")])),
        {"rows": [{"cell": 1}, {"cell": bytearray(b"z")}]},
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_msgpack_takes_for_bytes_keeps_its_type(value: Any) -> None:
    assert same(decode(encode(value)), value)


@pytest.mark.parametrize("code", [0, 1, 32, 33, 40, 127])
def test_an_extension_that_somebody_unpacked_does_not_pass_for_one_of_ours(code: int) -> None:
    foreign = msgpack.ExtType(code, b"\x92\xa9os:getcwd\xc4\x00")
    for value in (foreign, [foreign], {"a": [foreign]}, {foreign: 1}, (foreign,), Point(1, foreign)):
        assert same(decode(encode(value)), value)


def test_a_lone_surrogate_is_kept() -> None:
    assert decode(encode({"\ud800": "\udfff"})) == {"\ud800": "\udfff"}


def test_two_names_for_one_object_are_two_names_for_one_object_afterwards() -> None:
    player = Player("ann")
    value = decode(encode({"current": player, "all": [player, Player("ann")]}))
    assert value["current"] is value["all"][0]
    assert value["current"] is not value["all"][1]


def test_a_cycle_of_objects_is_kept() -> None:
    ann, bob = Player("ann"), Player("bob")
    ann.opponent, bob.opponent = bob, ann
    ann.hand = [ann, (bob, {"x": ann})]
    again = decode(encode(ann))
    assert again.opponent.opponent is again
    assert again.hand[0] is again
    assert again.hand[1][1]["x"] is again
    assert again.hand[1][0] is again.opponent
    assert encode(again) == encode(ann)


def test_an_object_that_is_only_tried_does_not_shift_the_others() -> None:
    holder = Player("ann")
    holder.__dict__["client"] = [Player("gone"), threading.Lock()]
    value = decode(encode([holder, holder.hand, (bob := Player("bob")), bob]))
    assert "client" not in vars(value[0])
    assert value[2] is value[3]
    assert value[2] == Player("bob")


def test_an_object_in_a_cached_property_is_written_once_though_it_is_tried_first() -> None:
    holder = Player("ann")
    holder.__dict__["client"] = bob = Player("bob")
    again, client, other = decode(encode([holder, bob, Player("bob")]))
    assert vars(again)["client"] is client
    assert client is not other


def self_containing() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


async def coroutine() -> None:
    pass


def unkeepable() -> list[tuple[Any, str]]:
    """Values with the names of their types; made in a test, which ends them."""
    closed_over = None
    return [
        (threading.Lock(), "_thread.lock"),
        (asyncio.Lock(), "asyncio.locks.Lock"),
        (asyncio.get_running_loop().create_future(), "_asyncio.Future"),
        ((number for number in ()), "generator"),
        (self_containing(), "list"),
        (object(), "object"),
        ({"deep": [({"er": object()},)]}, "object"),
        (lambda: closed_over, "function"),
        ([].append, "builtin_function_or_method"),
        (iter([]), "list_iterator"),
    ]


async def test_what_cannot_be_kept_is_refused_with_its_type() -> None:
    for value, name in unkeepable():
        with pytest.raises(CannotEncode) as caught:
            encode(value)
        assert caught.value.value_type == name


async def test_a_task_a_socket_and_a_file_are_refused() -> None:
    task = asyncio.ensure_future(coroutine())
    with socket.socket() as sock, Path(__file__).open() as file:
        for value, name in [(task, "_asyncio.Task"), (sock, "socket.socket"), (file, "_io.TextIOWrapper")]:
            with pytest.raises(CannotEncode) as caught:
                encode([value])
            assert caught.value.value_type == name
    await task


def test_a_value_that_contains_itself_is_told_so() -> None:
    ring: dict[str, Any] = {}
    ring["me"] = (ring,)
    for value in (self_containing(), ring):
        with pytest.raises(CannotEncode, match="contains itself or is nested too deeply"):
            encode(value)


def nested(depth: int, wrap: Any) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = wrap(value)
    return value


@pytest.mark.parametrize("wrap", [lambda v: (v,), Point, lambda v: {"a": [v]}, lambda v: OrderedDict(a=v)])
def test_what_is_not_too_deep_to_write_is_not_too_deep_to_read(wrap: Any) -> None:
    value = nested(90, wrap)
    assert decode(encode(value)) == value


def test_depth_is_refused_before_it_would_be_too_much_to_read() -> None:
    with pytest.raises(CannotEncode, match="nested too deeply"):
        encode(nested(101, Slim))
    assert decode(encode(nested(100, Slim))) == nested(100, Slim)


@pytest.mark.parametrize(
    "data",
    [
        *(b"", b"\xc1", b"\x92\x01", b"\x01\x01", b"\xd4\x7f\x00", b"\xd4\x00\x31"),
        encode(Colour.RED).replace(b"RED", b"RAD"),
        encode(Point(1)).replace(b"Point", b"Paint"),
        encode(Point(1)).replace(b"kept", b"kapt"),
        encode(Level).replace(b"Level", b"Lovel"),
    ],
)
def test_bytes_that_mean_nothing_here_are_refused(data: bytes) -> None:
    with pytest.raises(CannotDecode) as caught:
        decode(data)
    assert isinstance(caught.value, StateError)
    assert isinstance(caught.value, ValueError)


def test_a_class_that_is_gone_is_named() -> None:
    with pytest.raises(CannotDecode, match="has no attribute 'Paint'"):
        decode(encode(Point(1)).replace(b"Point", b"Paint"))


def test_no_state_of_one_call_is_left_for_the_next() -> None:
    value = [Point(1), Counter("aab"), Pair(1, 2)]
    with pytest.raises(CannotEncode):
        encode([value[0], object()])
    assert decode(encode(value)) == value
