from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import msgpack
import pytest

from grip_consumers.state import ConnectionState

STATE = ConnectionState(
    consumer="chat.consumers:Chat",
    initkwargs=b"k",
    channel_name="specific.grip!abc",
    groups=["lobby", "é", "\ud800"],
    stack_runs=True,
    attributes=b"\x00a",
    scope=b"\xffs",
)


def test_a_state_comes_back_with_all_of_its_parts() -> None:
    again = ConnectionState.unpack(STATE.pack())
    assert again == STATE
    assert {field.name: type(getattr(again, field.name)) for field in fields(again)} == {
        field.name: type(getattr(STATE, field.name)) for field in fields(STATE)
    }


def test_a_state_with_nothing_in_it_is_small() -> None:
    empty = ConnectionState("a:B", b"", "n")
    assert ConnectionState.unpack(empty.pack()) == empty
    assert len(empty.pack()) < 20


def test_equal_states_give_equal_bytes_and_other_states_others() -> None:
    assert replace(STATE).pack() == STATE.pack()
    for change in [{"groups": ["lobby"]}, {"stack_runs": False}, {"scope": b""}, {"attributes": b"b"}]:
        assert replace(STATE, **change).pack() != STATE.pack()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "parts",
    [
        *([], {}, 1, None, "state", [2, *[b""] * 7], ["1"], [{}], [[1]]),
        [1],
        [1, "a:B", b"", "n", [], False, b""],
        [1, "a:B", b"", "n", [], False, b"", b"", b""],
        [1, b"a:B", b"", "n", [], False, b"", b""],
        [1, "a:B", b"", "n", None, False, b"", b""],
    ],
    ids=repr,
)
def test_a_state_of_another_format_is_refused(parts: Any) -> None:
    with pytest.raises(ValueError, match=r"expected .* format 1"):
        ConnectionState.unpack(msgpack.packb(parts))


@pytest.mark.parametrize("cut", range(len(STATE.pack())))
def test_a_state_that_was_cut_is_refused(cut: int) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - msgpack's own texts
        ConnectionState.unpack(STATE.pack()[:cut])
