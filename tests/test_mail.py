from __future__ import annotations

import datetime
import decimal
import time
import uuid
from dataclasses import fields, replace
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grip_consumers.exceptions import MailboxError
from grip_consumers.mail import Discard, Entry, Event, Frames, Join, Outcome, Settled, Shut, pack, unpack

ENTRIES: list[Entry] = [
    Event({"type": "chat.message", "text": "x"}),
    Event({"type": "x", "n": None}, ["a:B", "a:C"], ["user1", "user2"], "lobby", "copied"),
    Event({}, [], []),
    Event({"text": "\ud800"}, group="\ud800"),
    Frames(["text", b"bytes", "", b""]),
    Frames([], Outcome.STOPPED),
    Frames(["x"], Outcome.FAILED, ["a:B"], ["user"], (4000, "why")),
    Join("lobby", 2**53),
    Discard("lobby"),
    Shut(4000, "why"),
    Shut(1000),
    Settled(["lobby", "\ud800"]),
    Settled([]),
]
ALL = pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: type(entry).__name__)


def as_plain(entry: Any) -> list[Any]:
    """Its values; sequences of one kind, as nobody asks which."""
    values = [getattr(entry, field.name) for field in fields(entry)]
    return [list(value) if isinstance(value, (list, tuple)) else value for value in values]


@ALL
def test_an_entry_comes_back_as_it_was(entry: Entry) -> None:
    again = unpack(pack(entry))
    assert type(again) is type(entry)
    assert as_plain(again) == as_plain(entry)


def test_the_outcome_of_a_handler_comes_back() -> None:
    for outcome in Outcome:
        again = unpack(pack(Frames([], outcome)))
        assert isinstance(again, Frames)
        assert again.outcome == outcome


def test_an_entry_is_stamped_with_the_senders_time_and_keeps_it() -> None:
    before = time.time()
    entry = Shut(1000)
    assert before <= entry.sent <= time.time()
    assert unpack(pack(replace(entry, sent=1.5))).sent == 1.5


def test_values_of_an_event_come_back_equal_and_of_the_same_type() -> None:
    values = [
        *(1, 2**70, -1.5, True, None, "é", b"\xff", (1, 2), {3, 4}, [5, {"a": (6,)}]),
        datetime.datetime(2030, 1, 2, tzinfo=datetime.timezone.utc),
        decimal.Decimal("1.10"),
        uuid.UUID(int=7),
    ]
    again = unpack(pack(Event({"type": "x", "values": values})))
    assert isinstance(again, Event)
    assert again.message["values"] == values
    assert [type(value) for value in again.message["values"]] == [type(value) for value in values]


@pytest.mark.parametrize(
    "value",
    [object(), (item for item in "x"), [lambda: None], {"deep": object()}],
    ids=lambda value: type(value).__name__,
)
def test_an_event_that_cannot_be_kept_is_a_type_error_that_says_why(value: Any) -> None:
    with pytest.raises(TypeError, match=r"An event of type 'note' has to reach .* other processes, but .*Send plain"):
        pack(Event({"type": "note", "value": value}))


def test_an_event_without_a_type_that_cannot_be_kept_is_one_too() -> None:
    with pytest.raises(TypeError, match="An event of type None"):
        pack(Event({"value": object()}))


@pytest.mark.parametrize("entry", [Event({"type": "x"}), Frames([])], ids=["event", "frames"])
def test_an_entry_is_for_the_classes_it_names_and_not_for_those_it_skips(entry: Event | Frames) -> None:
    assert entry.is_for("a:B", "user")
    named = replace(entry, classes=["a:B"])
    assert named.is_for("a:B", "user")
    assert not named.is_for("a:C", "user")
    assert not named.is_for("a:BC", "user")
    assert not replace(entry, classes=[]).is_for("a:B", "user")
    skipping = replace(entry, skip=["user", "other"])
    assert not skipping.is_for("a:B", "user")
    assert skipping.is_for("a:B", "us")
    again = unpack(pack(replace(skipping, classes=["a:B"])))
    assert isinstance(again, (Event, Frames))
    assert not again.is_for("a:B", "other")
    assert again.is_for("a:B", "third")
    assert not again.is_for("a:C", "third")


@ALL
def test_an_entry_that_was_cut_is_a_mailbox_error(entry: Entry) -> None:
    data = pack(entry)
    for cut in range(len(data)):
        with pytest.raises(MailboxError, match="cannot be read"):
            unpack(data[:cut])


@pytest.mark.parametrize(
    "content",
    [
        *(None, 1, [], [1], "x", {}, [1, 2.0], [99, 2.0], [True], ["1", 2.0, "x"]),
        [3, 2.0, "group"],
        [3, 2.0, "group", 1, 2],
        [4, 2.0],
        [1, 2.0, b"\xc1", None, [], None, None],
        [1, 2.0, "text", None, [], None, None],
        [None, 2.0, "x"],
    ],
    ids=repr,
)
def test_what_another_release_may_have_left_is_a_mailbox_error(content: Any) -> None:
    with pytest.raises(MailboxError, match="left by another release of grip_consumers"):
        unpack(msgpack.packb(content))


@given(st.binary(max_size=60))
def test_any_bytes_are_an_entry_or_a_mailbox_error(data: bytes) -> None:
    try:
        entry = unpack(data)
    except MailboxError:
        return
    assert isinstance(entry, (Event, Frames, Join, Discard, Shut, Settled))


def test_an_event_of_a_class_that_is_gone_is_a_mailbox_error(monkeypatch: pytest.MonkeyPatch) -> None:
    from tests import test_mail
    from tests.batches import importable

    kind = importable(type("Kind", (Exception,), {}))
    assert test_mail  # imported by its own name, as a project's modules are
    with pytest.raises((TypeError, MailboxError)):
        unpack(pack(Event({"type": "x", "value": kind("gone")})))


def test_no_two_kinds_share_a_number() -> None:
    kinds = {type(entry): entry.kind for entry in ENTRIES}
    assert len(kinds) == 6
    assert len(set(kinds.values())) == 6
