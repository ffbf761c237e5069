"""What every mailbox promises, whatever it is kept in."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any
from uuid import uuid4

import pytest

from grip_consumers.exceptions import ChannelFull
from grip_consumers.mailbox import Mailbox
from grip_consumers.testing.processes import wait_until
from tests.servers import ROOT, environment

from .conftest import ALIAS, Store

MINUTE = 60.0


def entries(mailbox: Mailbox, log: str, cursor: int = 0) -> list[bytes]:
    return [entry for _, entry in mailbox.read({log: cursor}).get(log, [])]


def end(mailbox: Mailbox, log: str) -> int:
    return mailbox.look([log])[0][log]


def at_once(count: int, work: Callable[[int], Any]) -> list[Any]:
    """Call `work` with 0, 1, … in so many threads, which all set out together."""
    barrier = Barrier(count)

    def run(number: int) -> Any:
        barrier.wait(timeout=30)
        return work(number)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(run, range(count)))


def test_a_log_starts_at_the_present_time_in_microseconds_and_grows_by_one(store: Store) -> None:
    mailbox = store.mailbox()
    before = time.time()
    first = mailbox.append("log", b"a", expiry=MINUTE)
    assert before - 1 < first / 1_000_000 < time.time() + 1
    assert [mailbox.append("log", b"b", expiry=MINUTE) for _ in range(3)] == [first + 1, first + 2, first + 3]


def test_a_reader_gets_what_lies_behind_its_cursor_in_order(mailbox: Mailbox) -> None:
    positions = [mailbox.append("log", entry, expiry=MINUTE) for entry in (b"a", b"b", b"c")]
    assert mailbox.read({"log": 0}) == {"log": list(zip(positions, (b"a", b"b", b"c"), strict=True))}
    assert mailbox.read({"log": positions[0]}) == {"log": [(positions[1], b"b"), (positions[2], b"c")]}
    assert mailbox.read({"log": positions[2]}) == {}


def test_several_logs_are_read_at_once_and_those_without_news_are_left_out(mailbox: Mailbox) -> None:
    seen = mailbox.append("seen", b"s", expiry=MINUTE)
    a, b = mailbox.append("a", b"1", expiry=MINUTE), mailbox.append("b", b"2", expiry=MINUTE)
    assert mailbox.read({"a": 0, "seen": seen, "b": b - 1, "none": 0, "gone": 5}) == {
        "a": [(a, b"1")],
        "b": [(b, b"2")],
    }
    assert mailbox.read({}) == {}


def test_a_log_of_many_entries_is_read_whole_from_anywhere(mailbox: Mailbox) -> None:
    written = [b"%d" % number for number in range(100)]
    positions = [mailbox.append("log", entry, expiry=MINUTE) for entry in written]
    assert entries(mailbox, "log") == written
    for seen in (1, 4, 5, 20, 21, 60, 99):
        assert entries(mailbox, "log", positions[seen - 1]) == written[seen:]


@pytest.mark.parametrize("entry", [b"", b"\0", bytes(range(256)) * 800], ids=["empty", "zero", "large"])
def test_an_entry_is_any_bytes(mailbox: Mailbox, entry: bytes) -> None:
    mailbox.append("log", entry, expiry=MINUTE)
    assert entries(mailbox, "log") == [entry]


def test_names_are_text_of_any_kind_and_never_mixed_up(mailbox: Mailbox) -> None:
    names = ["", " ", "a b\n", "x" * 5_000, "x" * 5_001, "grüße", "\ud800", "a:1", "a", "log:end", "%s"]
    for number, name in enumerate(names):
        mailbox.append(name, b"%d" % number, expiry=MINUTE)
        mailbox.raise_flag(f"{name}?", expiry=MINUTE)
    assert [entries(mailbox, name) for name in names] == [[b"%d" % number] for number in range(len(names))]
    assert mailbox.look([], [f"{name}?" for name in names])[1] == {f"{name}?" for name in names}
    assert mailbox.look(["a?"], ["a", "log:end"]) == ({"a?": 0}, frozenset())


def test_projects_with_prefixes_of_their_own_do_not_meet(store: Store) -> None:
    one, other = store.mailbox(), store.mailbox()
    position = one.append("log", b"a", expiry=MINUTE)
    one.raise_flag("flag", expiry=MINUTE)
    assert other.look(["log"], ["flag"]) == ({"log": 0}, frozenset())
    assert store.mailbox(prefix=one.prefix).look(["log"], ["flag"]) == (
        ({"log": 0}, frozenset()) if store.kind == "memory" else ({"log": position}, frozenset({"flag"}))
    )


# Expiry ---------------------------------------------------------------------------------------------------------


def test_an_entry_is_not_read_any_more_when_its_time_is_over(store: Store) -> None:
    mailbox = store.mailbox()
    first = mailbox.append("log", b"short", expiry=5)
    mailbox.append("log", b"long", expiry=50)
    store.clock.moved += 10
    assert mailbox.read({"log": 0}) == {"log": [(first + 1, b"long")]}
    assert mailbox.read({"log": first - 1}) == {"log": [(first + 1, b"long")]}
    assert end(mailbox, "log") == first + 1
    store.clock.moved += 45
    assert mailbox.read({"log": 0}) == {}


def test_an_entry_that_outlives_later_ones_is_still_read(store: Store) -> None:
    mailbox = store.mailbox()
    first = mailbox.append("log", b"long", expiry=50)
    mailbox.append("log", b"short", expiry=5)
    store.clock.moved += 10
    assert mailbox.read({"log": 0}) == {"log": [(first, b"long")]}
    assert mailbox.append("log", b"next", expiry=5) > first + 1
    assert entries(mailbox, "log") == [b"long", b"next"]


def test_positions_go_on_growing_after_all_entries_have_expired(store: Store) -> None:
    mailbox = store.mailbox()
    last = 0
    for moved in (0, 10, 100, 1_000):
        store.clock.moved += moved
        cursor, last = last, mailbox.append("log", b"%d" % moved, expiry=5)
        assert last > cursor
        assert mailbox.read({"log": cursor}) == {"log": [(last, b"%d" % moved)]}


def test_an_expiry_may_be_a_fraction_of_a_second(store: Store) -> None:
    mailbox = store.mailbox()
    mailbox.append("log", b"a", expiry=0.4)
    mailbox.raise_flag("flag", expiry=0.4)
    assert (entries(mailbox, "log"), mailbox.look([], ["flag"])[1]) == ([b"a"], {"flag"})
    store.clock.moved += 0.5
    assert (entries(mailbox, "log"), mailbox.look([], ["flag"])[1]) == ([], frozenset())


def test_an_entry_expires_by_the_real_clock(store: Store) -> None:
    mailbox = store.make(ALIAS, prefix=uuid4().hex)
    mailbox.append("log", b"a", expiry=0.2)
    wait_until(lambda: not entries(mailbox, "log"), timeout=5)


# Looking, flags -------------------------------------------------------------------------------------------------


def test_the_end_of_a_log_is_its_last_position_or_0(mailbox: Mailbox) -> None:
    assert mailbox.look(["log", "other"]) == ({"log": 0, "other": 0}, frozenset())
    mailbox.append("log", b"a", expiry=MINUTE)
    last = mailbox.append("log", b"b", expiry=MINUTE)
    assert mailbox.look(["log", "other"]) == ({"log": last, "other": 0}, frozenset())
    assert mailbox.look([]) == ({}, frozenset())


def test_who_starts_to_read_at_the_end_sees_just_what_comes_later(mailbox: Mailbox) -> None:
    for log in ("empty", "used"):
        if log == "used":
            mailbox.append(log, b"before", expiry=MINUTE)
        cursor = end(mailbox, log)
        mailbox.append(log, b"after", expiry=MINUTE)
        assert entries(mailbox, log, cursor) == [b"after"]


def test_a_flag_is_raised_until_it_expires_and_may_be_raised_again(store: Store) -> None:
    mailbox = store.mailbox()
    assert mailbox.look([], ["a", "b"])[1] == frozenset()
    mailbox.raise_flag("a", expiry=5)
    assert mailbox.look(["log"], ["a", "b"]) == ({"log": 0}, frozenset({"a"}))
    store.clock.moved += 4
    mailbox.raise_flag("a", expiry=5)
    store.clock.moved += 4
    assert mailbox.look([], ["a"])[1] == {"a"}
    store.clock.moved += 2
    assert mailbox.look([], ["a"])[1] == frozenset()


# Capacity -------------------------------------------------------------------------------------------------------


def test_a_log_takes_no_more_entries_than_its_capacity(mailbox: Mailbox) -> None:
    for _ in range(3):
        mailbox.append("log", b"a", expiry=MINUTE, capacity=3)
    with pytest.raises(ChannelFull, match="log"):
        mailbox.append("log", b"b", expiry=MINUTE, capacity=3)
    assert entries(mailbox, "log") == [b"a"] * 3
    mailbox.append("log", b"c", expiry=MINUTE)
    mailbox.append("other", b"d", expiry=MINUTE, capacity=1)


def test_what_is_acknowledged_makes_room(mailbox: Mailbox) -> None:
    first = mailbox.append("log", b"a", expiry=MINUTE, capacity=2)
    mailbox.append("log", b"b", expiry=MINUTE, capacity=2)
    mailbox.acknowledge("log", first, expiry=MINUTE)
    mailbox.append("log", b"c", expiry=MINUTE, capacity=2)
    with pytest.raises(ChannelFull):
        mailbox.append("log", b"d", expiry=MINUTE, capacity=2)


def test_what_expires_makes_room(store: Store) -> None:
    mailbox = store.mailbox()
    mailbox.append("log", b"a", expiry=5, capacity=1)
    with pytest.raises(ChannelFull):
        mailbox.append("log", b"b", expiry=5, capacity=1)
    store.clock.moved += 6
    mailbox.append("log", b"c", expiry=5, capacity=1)


def test_several_who_append_at_once_meet_the_capacity_too(mailbox: Mailbox) -> None:
    def append(number: int) -> bool:
        try:
            mailbox.append("log", b"", expiry=MINUTE, capacity=5)
        except ChannelFull:
            return False
        return True

    for _ in range(5):
        append(0)
    assert at_once(8, append) == [False] * 8


# At a certain position ------------------------------------------------------------------------------------------


def test_an_entry_is_put_at_the_end_only_if_that_is_still_the_end(mailbox: Mailbox) -> None:
    last = mailbox.append("log", b"a", expiry=MINUTE)
    assert [mailbox.append_at("log", last + step, b"x", expiry=MINUTE) for step in (0, 2, -5)] == [False] * 3
    assert mailbox.append_at("log", last + 1, b"b", expiry=MINUTE)
    assert not mailbox.append_at("log", last + 1, b"c", expiry=MINUTE)
    assert mailbox.append("log", b"d", expiry=MINUTE) == last + 2
    assert entries(mailbox, "log") == [b"a", b"b", b"d"]


def test_an_empty_log_starts_where_the_first_is_put(mailbox: Mailbox) -> None:
    for log, position in (("now", mailbox.start_position()), ("later", mailbox.start_position() + 10**6), ("low", 1)):
        assert mailbox.append_at(log, position, b"a", expiry=MINUTE)
        assert mailbox.look([log])[0] == {log: position}
        assert mailbox.append(log, b"b", expiry=MINUTE) == position + 1
        assert entries(mailbox, log) == [b"a", b"b"]


def test_a_log_whose_entries_have_expired_goes_on_where_its_end_is_said_to_be(store: Store) -> None:
    mailbox = store.mailbox()
    first = mailbox.append("log", b"a", expiry=5)
    store.clock.moved += 10
    position = (end(mailbox, "log") or mailbox.start_position() - 1) + 1
    assert position > first
    assert mailbox.append_at("log", position, b"b", expiry=5)
    assert mailbox.read({"log": first}) == {"log": [(position, b"b")]}


@pytest.mark.parametrize("distance", [0, 3], ids=["same position", "positions of their own"])
@pytest.mark.parametrize("filled", [True, False], ids=["filled", "empty"])
def test_of_many_who_ask_for_one_place_one_wins(mailbox: Mailbox, filled: bool, distance: int) -> None:
    for attempt in range(3):
        log = f"{attempt}"
        last = mailbox.append(log, b"before", expiry=MINUTE) if filled else mailbox.start_position()
        step = 0 if filled else distance

        def race(number: int, log: str = log, position: int = last + 1, step: int = step) -> bool:
            return mailbox.append_at(log, position + number * step, b"%d" % number, expiry=MINUTE)

        won = at_once(8, race)
        assert won.count(True) == 1
        assert entries(mailbox, log)[filled:] == [b"%d" % won.index(True)]


def test_who_asks_for_a_place_and_who_appends_never_both_get_it(mailbox: Mailbox) -> None:
    for attempt in range(5):
        log = f"{attempt}"
        last = mailbox.append(log, b"before", expiry=MINUTE)

        def race(number: int, log: str = log, position: int = last + 1) -> int:
            if number % 2:
                return mailbox.append(log, b"%d" % number, expiry=MINUTE)
            return mailbox.append_at(log, position, b"%d" % number, expiry=MINUTE) and position

        positions = [position for position in at_once(6, race) if position]
        assert len(positions) == len(set(positions)) == len(entries(mailbox, log)) - 1
        assert sorted(positions) == list(range(last + 1, last + 1 + len(positions)))


# Many at once ---------------------------------------------------------------------------------------------------


def check_seen(seen: list[tuple[int, bytes]], writers: int, count: int) -> None:
    """Everything is there once, at positions without a hole, each writer's in its order."""
    positions = [position for position, _ in seen]
    assert positions == list(range(positions[0], positions[0] + writers * count))
    for writer in range(writers):
        own = [entry for _, entry in seen if entry.startswith(b"%d:" % writer)]
        assert own == [b"%d:%d" % (writer, number) for number in range(count)]


@pytest.mark.parametrize(("writers", "count"), [(8, 12), (64, 2)])
def test_threads_that_append_at_once_lose_nothing_while_others_read(store: Store, writers: int, count: int) -> None:
    mailbox = store.mailbox()
    readers = 2
    deadline = time.monotonic() + 60

    def write(writer: int) -> list[int]:
        return [mailbox.append("log", b"%d:%d" % (writer, number), expiry=MINUTE) for number in range(count)]

    def read() -> list[tuple[int, bytes]]:
        seen: list[tuple[int, bytes]] = []
        while len(seen) < writers * count and time.monotonic() < deadline:
            seen += mailbox.read({"log": seen[-1][0] if seen else 0}).get("log", [])
        return seen

    def work(number: int) -> Any:
        return read() if number < readers else write(number - readers)

    results = at_once(readers + writers, work)
    for seen in results[:readers]:
        check_seen(seen, writers, count)
        by_entry = {entry: position for position, entry in seen}
        for writer, positions in enumerate(results[readers:]):
            assert [by_entry[b"%d:%d" % (writer, number)] for number in range(count)] == positions
    assert end(mailbox, "log") == results[0][-1][0]


def test_processes_that_append_at_once_lose_nothing_while_others_read(shared_store: Store) -> None:
    """They are children of one that has used the mailbox, and goes on using it afterwards."""
    writers, count = 4, 25
    instructions = {
        "cache": shared_store.cache,
        "database": shared_store.database,
        "alias": ALIAS,
        "prefix": uuid4().hex,
        "writers": writers,
        "readers": 2,
        "count": count,
    }
    run = subprocess.run(
        [sys.executable, "-W", "error", "-m", "tests.mailbox.swarm", json.dumps(instructions)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        cwd=ROOT,
        env=environment({}),
    )
    assert (run.returncode, run.stderr) == (0, ""), run.stdout
    result = json.loads(run.stdout)
    for seen in result["seen"]:
        check_seen([(position, entry.encode()) for position, entry in seen], writers, count)
    assert result["last"] == result["seen"][0][-1][0] + 1


# Taking ---------------------------------------------------------------------------------------------------------


def test_entries_are_taken_in_order_each_once(mailbox: Mailbox) -> None:
    assert mailbox.take("log") is None
    written = [b"%d" % number for number in range(30)]
    for entry in written:
        mailbox.append("log", entry, expiry=MINUTE)
    assert [mailbox.take("log") for _ in range(31)] == [*written, None]
    mailbox.append("log", b"later", expiry=MINUTE)
    assert [mailbox.take("log"), mailbox.take("log")] == [b"later", None]


def test_what_has_expired_is_not_taken(store: Store) -> None:
    mailbox = store.mailbox()
    mailbox.append("log", b"short", expiry=5)
    mailbox.append("log", b"long", expiry=MINUTE)
    store.clock.moved += 10
    assert [mailbox.take("log"), mailbox.take("log")] == [b"long", None]
    store.clock.moved += 2 * MINUTE
    mailbox.append("log", b"anew", expiry=MINUTE)
    assert [mailbox.take("log"), mailbox.take("log")] == [b"anew", None]


def test_what_is_taken_leaves_room(mailbox: Mailbox) -> None:
    for _ in range(2):
        mailbox.append("log", b"a", expiry=MINUTE, capacity=2)
    with pytest.raises(ChannelFull):
        mailbox.append("log", b"b", expiry=MINUTE, capacity=2)
    assert mailbox.take("log") == b"a"
    mailbox.append("log", b"c", expiry=MINUTE, capacity=2)
    assert [mailbox.take("log"), mailbox.take("log"), mailbox.take("log")] == [b"a", b"c", None]


def test_of_several_who_take_at_once_each_entry_has_one(mailbox: Mailbox) -> None:
    written = [b"%d" % number for number in range(60)]
    for entry in written:
        mailbox.append("log", entry, expiry=MINUTE)

    def taken(number: int) -> list[bytes]:
        found: list[bytes] = []
        deadline = time.monotonic() + 30
        # An entry that somebody else has just locked may be the only one that is left.
        while time.monotonic() < deadline and (entry := mailbox.take("log")) is not None:
            found.append(entry)
        return found

    results = at_once(4, taken)
    assert sorted(entry for found in results for entry in found) == sorted(written)
    assert mailbox.take("log") is None
