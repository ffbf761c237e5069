from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import msgpack
import pytest

from grip_consumers.state import ConnectionState, Inbox

STATE = ConnectionState(
    consumer="chat.consumers:Chat",
    initkwargs=b"k",
    channel_name="specific.grip!abc",
    groups={"lobby": 1_700_000_000_000_001, "é": 0, "\ud800": 2**62},
    stack_runs=True,
    attributes=b"\x00a",
    scope=b"\xffs",
    inbox=Inbox(
        1_700_000_000_000_002,
        {"é": 7},
        {"ü": 6},
        unproven=8,
        published=9,
        pinged=10,
        expecting=True,
        closing=True,
        tick=11,
        prompted=True,
    ),
)


def test_a_state_comes_back_with_all_of_its_parts() -> None:
    again = ConnectionState.unpack(STATE.pack())
    assert again == STATE
    assert {field.name: type(getattr(again, field.name)) for field in fields(again)} == {
        field.name: type(getattr(STATE, field.name)) for field in fields(STATE)
    }


def test_the_order_of_the_groups_is_kept() -> None:
    assert list(ConnectionState.unpack(STATE.pack()).groups) == list(STATE.groups)


def test_a_copy_of_an_inbox_changes_by_itself() -> None:
    copied = STATE.inbox.copy()
    assert copied == STATE.inbox
    copied.joined["lobby"] = 1
    assert STATE.inbox.joined == {"é": 7}


def test_a_state_with_nothing_in_it_is_small() -> None:
    empty = ConnectionState("a:B", b"", "n")
    assert ConnectionState.unpack(empty.pack()) == empty
    assert len(empty.pack()) < 20


def test_equal_states_give_equal_bytes_and_other_states_others() -> None:
    assert replace(STATE).pack() == STATE.pack()
    changes = [
        {"groups": {"lobby": 1_700_000_000_000_001}},
        {"groups": {**STATE.groups, "é": 1}},
        {"groups": dict(reversed(STATE.groups.items()))},
        {"stack_runs": False},
        {"scope": b""},
        {"attributes": b"b"},
        *({"inbox": replace(STATE.inbox, **{field.name: {}})} for field in fields(Inbox)),
    ]
    for change in changes:
        assert replace(STATE, **change).pack() != STATE.pack()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "parts",
    [
        *([], {}, 1, None, "state", [3, *[b""] * 8], ["4"], [{}], [[4]]),
        [4],
        [1, "a:B", b"", "n", [], False, b"", b""],
        [4, "a:B", b"", "n", {}, False, b"", b""],
        [4, "a:B", b"", "n", {}, False, b"", b"", [], b""],
        [4, b"a:B", b"", "n", {}, False, b"", b"", []],
        [4, "a:B", b"", "n", [], False, b"", b"", []],
        [4, "a:B", b"", "n", None, False, b"", b"", []],
        [4, "a:B", b"", "n", {}, False, b"", b"", None],
        [4, "a:B", b"", "n", {}, False, b"", b"", [0, {}, {}, 0, 0, 0, False, 0, False, 0]],
    ],
    ids=repr,
)
def test_a_state_of_another_format_is_refused(parts: Any) -> None:
    with pytest.raises(ValueError, match=r"expected .* format 4"):
        ConnectionState.unpack(msgpack.packb(parts))


@pytest.mark.parametrize("cut", range(len(STATE.pack())))
def test_a_state_that_was_cut_is_refused(cut: int) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - msgpack's own texts
        ConnectionState.unpack(STATE.pack()[:cut])
