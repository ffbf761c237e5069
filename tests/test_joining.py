"""Who is joining: each event comes by copy or by publish, whichever of sender and joiner is first."""

from __future__ import annotations

import time
from typing import Any

import pytest

from grip_consumers import joining, mailbox
from grip_consumers.joining import Listing, Scene, announce, leave_copies, look
from grip_consumers.mail import Discard, Event, Frames, Settled, pack, unpack
from grip_consumers.mailbox.memory import MemoryMailbox
from grip_consumers.naming import private_log

ANN, BOB = "specific.grip!ann", "specific.grip!bob"
COPY = Event({"type": "x"}, ["a:B"], copy_of="g")


class Box(MemoryMailbox):
    """With a clock that can be moved, and with somebody who writes at the worst moment."""

    offset = 0.0

    def __init__(self) -> None:
        super().__init__(clock=lambda: time.time() + self.offset)
        #: Called once, before the next call of the method named.
        self.meanwhile: dict[str, Any] = {}
        self.calls: list[str] = []

    def __getattribute__(self, name: str) -> Any:
        if name in {"append_at", "read", "look"}:
            self.calls.append(name)
            assert len(self.calls) < 100, "a sender that goes round for ever"
            act = self.meanwhile.pop(name, None)
            if act is not None:
                act()
        return super().__getattribute__(name)


@pytest.fixture
def box(monkeypatch: pytest.MonkeyPatch) -> Box:
    made = Box()
    monkeypatch.setattr(mailbox, "get", lambda: made)
    return made


def write(channel: str, entry: Any, expiry: float = 60.0) -> int:
    return mailbox.get().append(private_log(channel), pack(entry), expiry=expiry)


def settle(channel: str, cursor: int, *groups: str) -> bool:
    """What a connection does that has read its log up to `cursor`."""
    box = mailbox.get()
    position = cursor + 1 if cursor else box.start_position()
    return box.append_at(private_log(channel), position, pack(Settled(groups or ["g"])), expiry=60.0)


def letters(channel: str, cursor: int = 0) -> list[Any]:
    log = private_log(channel)
    return [unpack(data) for _, data in mailbox.get().read({log: cursor}).get(log, [])]


def copies(channel: str) -> int:
    return sum(isinstance(entry, Event) for entry in letters(channel))


def send(*listings: Listing) -> tuple[list[str], list[str]]:
    return leave_copies(listings, "g", COPY, 60.0)


def late() -> float:
    """When somebody began to join for whom there is too little time left to settle."""
    return time.time() - joining._LATEST - 1


def test_there_is_time_to_settle_between_the_last_first_copy_and_the_end_of_a_listing() -> None:
    assert 5 <= joining._LATEST <= joining.EXPIRY - 2 <= 58


# Listings


def test_nobody_is_listed_at_first(box: Box) -> None:
    assert look("g", ["a:B"]) == Scene()
    # One look, and nothing to read.
    assert box.calls == ["look"]


def test_who_joins_is_listed_with_its_position_in_its_group_alone(box: Box) -> None:
    announce("g", Listing(ANN, 5))
    announce("h", Listing(BOB))
    (found,) = look("g", []).joiners
    assert (found.channel_name, found.position, found.leaving) == (ANN, 5, False)
    assert abs(found.since - time.time()) < 5
    assert look("g", []).leavers == []


def test_the_last_word_on_somebody_counts(box: Box) -> None:
    announce("g", Listing(ANN, 5))
    announce("g", Listing(ANN, leaving=True))
    scene = look("g", [])
    assert (scene.joiners, scene.leavers) == ([], [ANN])
    announce("g", Listing(ANN, 6))
    scene = look("g", [])
    assert ([listing.position for listing in scene.joiners], scene.leavers) == ([6], [])


def test_listings_end_by_themselves(box: Box) -> None:
    announce("g", Listing(ANN))
    announce("g", Listing(BOB, leaving=True))
    box.offset = joining.EXPIRY - 1
    assert len(look("g", []).listings) == 2
    box.offset = joining.EXPIRY + 0.5
    assert look("g", []) == Scene()


def test_an_announcement_tells_how_far_the_groups_log_is_written(box: Box) -> None:
    assert announce("g", Listing(ANN)) == 0
    position = box.append("group:g", b"x", expiry=60.0)
    assert announce("g", Listing(ANN)) == position


def test_whoever_appends_after_the_announcement_is_read(box: Box) -> None:
    """The listing comes first: a sender that does not see it has written before."""
    box.meanwhile["look"] = lambda: box.append("group:g", b"seen", expiry=60.0)
    cursor = announce("g", Listing(ANN))
    assert cursor == box.look(["group:g"])[0]["group:g"]
    assert look("g", []).joiners


def test_flags_are_looked_up_with_the_listings(box: Box) -> None:
    box.raise_flag("mine", expiry=60.0)
    box.raise_flag("not asked for", expiry=60.0)
    assert look("g", [], ["mine", "lowered"]).flags == {"mine"}


def test_a_mark_on_a_class_is_for_that_class(box: Box) -> None:
    joining.mark_whole_class("a:B")
    scene = look("g", ["a:B", "a:C"])
    assert scene.wants_all("a:B")
    assert not scene.wants_all("a:C")
    assert not scene.without_filters


def test_a_mark_on_a_proxy_is_for_every_group(box: Box) -> None:
    joining.mark_without_filters()
    for group in "gh":
        assert look(group, []).without_filters
        assert not look(group, ["a:B"]).wants_all("a:B")


def test_marks_last_a_day(box: Box) -> None:
    joining.mark_without_filters()
    joining.mark_whole_class("a:B")
    box.offset = 86_000.0
    assert look("g", ["a:B"]).without_filters
    assert look("g", ["a:B"]).wants_all("a:B")
    box.offset = 87_000.0
    assert look("g", ["a:B"]) == Scene()


# Copies


def test_each_joiner_gets_a_copy(box: Box) -> None:
    assert send(Listing(ANN), Listing(BOB)) == ([ANN, BOB], [])
    assert [entry.message for entry in letters(ANN)] == [{"type": "x"}]
    assert [entry.copy_of for entry in letters(BOB)] == ["g"]


def test_copies_expire(box: Box) -> None:
    leave_copies([Listing(ANN)], "g", COPY, 5.0)
    box.offset = 6.0
    assert letters(ANN) == []


def test_nobody_to_copy_for_costs_nothing(box: Box) -> None:
    assert send() == ([], [])
    assert box.calls == []


def test_copies_come_behind_what_is_there(box: Box) -> None:
    write(ANN, Discard("h"))
    position = write(ANN, Frames(["x"]))
    assert send(Listing(ANN, position)) == ([ANN], [])
    assert send(Listing(ANN, position)) == ([ANN], [])
    assert [type(entry) for entry in letters(ANN)] == [Discard, Frames, Event, Event]


def test_who_settled_before_the_sender_looked_gets_none(box: Box) -> None:
    assert settle(ANN, 0)
    assert send(Listing(ANN), Listing(BOB)) == ([BOB], [ANN])
    assert copies(ANN) == 0


def test_who_settled_for_another_group_gets_one(box: Box) -> None:
    assert settle(ANN, 0, "h")
    assert send(Listing(ANN)) == ([ANN], [])


def test_who_settles_between_the_senders_look_and_its_copy_gets_none(box: Box) -> None:
    done = []
    box.meanwhile["append_at"] = lambda: done.append(settle(ANN, 0))
    assert send(Listing(ANN)) == ([], [ANN])
    assert done == [True]
    assert copies(ANN) == 0


def test_a_copy_that_comes_first_keeps_its_reader_from_settling(box: Box) -> None:
    cursor = write(ANN, Discard("h"))
    assert send(Listing(ANN)) == ([ANN], [])
    assert not settle(ANN, cursor)
    assert settle(ANN, cursor + 1)


def test_a_copy_into_an_empty_log_keeps_its_reader_from_settling(box: Box) -> None:
    assert send(Listing(ANN)) == ([ANN], [])
    assert not settle(ANN, 0)


def test_a_copy_into_a_log_that_has_run_out_lies_behind_what_was_there(box: Box) -> None:
    """Its reader keeps the cursor."""
    position = write(ANN, Discard("h"), expiry=1.0)
    box.offset = 20.0
    box.append("another", b"x", expiry=1.0)
    assert box.look([private_log(ANN)])[0] == {private_log(ANN): 0}
    assert send(Listing(ANN, position)) == ([ANN], [])
    assert len(letters(ANN, position)) == 1


def test_two_senders_at_once_leave_both_their_copies(box: Box) -> None:
    box.meanwhile["append_at"] = lambda: send(Listing(ANN))
    assert send(Listing(ANN)) == ([ANN], [])
    assert copies(ANN) == 2


@pytest.mark.parametrize("moment", ["read", "look", "append_at"])
def test_whatever_comes_between_a_copy_is_left_once(box: Box, moment: str) -> None:
    box.meanwhile[moment] = lambda: write(ANN, Discard("h"))
    assert send(Listing(ANN)) == ([ANN], [])
    assert [type(entry) for entry in letters(ANN)] == [Discard, Event]


@pytest.mark.parametrize("moment", ["look", "append_at"])
def test_who_settles_at_any_moment_gets_the_event_by_one_way(box: Box, moment: str) -> None:
    position = write(ANN, Discard("h"))
    box.meanwhile[moment] = lambda: settle(ANN, position)
    assert send(Listing(ANN, position)) == ([], [ANN])
    assert copies(ANN) == 0


def test_a_settlement_of_an_earlier_membership_does_not_count(box: Box) -> None:
    assert settle(ANN, 0)
    position = box.look([private_log(ANN)])[0][private_log(ANN)]
    assert send(Listing(ANN, position)) == ([ANN], [])


def test_late_in_its_time_nobody_gets_a_first_copy(box: Box) -> None:
    """There would be too little time to settle."""
    old = late()
    assert send(Listing(ANN, since=old), Listing(BOB)) == ([BOB], [ANN])
    write(ANN, COPY)
    assert send(Listing(ANN, since=old)) == ([ANN], [])


def test_late_in_its_time_a_copy_of_another_group_counts_and_an_event_does_not(box: Box) -> None:
    """What one sender sends to several groups is to stay in order."""
    write(ANN, Event({"type": "x"}))
    write(ANN, Frames(["x"]))
    assert send(Listing(ANN, since=late())) == ([], [ANN])
    write(ANN, Event({"type": "x"}, copy_of="h"))
    assert send(Listing(ANN, since=late())) == ([ANN], [])


def test_who_settles_for_several_groups_is_settled_for_each(box: Box) -> None:
    assert settle(ANN, 0, "h", "g")
    assert send(Listing(ANN)) == ([], [ANN])


def test_early_in_its_time_everybody_gets_copies(box: Box) -> None:
    assert send(Listing(ANN, since=time.time() - joining._LATEST + 1)) == ([ANN], [])


def test_what_has_expired_in_the_joiners_log_does_not_hold_up_the_sender(box: Box) -> None:
    first = write(ANN, Discard("h"), expiry=60.0)
    write(ANN, Discard("h"), expiry=1.0)
    box.offset = 2.0
    assert send(Listing(ANN, first)) == ([ANN], [])


def test_what_cannot_be_read_in_a_joiners_log_does_not_fail_the_sender(box: Box) -> None:
    box.append(private_log(ANN), b"\xc1", expiry=60.0)
    assert send(Listing(ANN), Listing(BOB)) == ([ANN, BOB], [])
