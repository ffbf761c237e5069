"""Second looks at the mailbox: what has grown is refreshed, and the thread lives no longer than it has to."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from grip_consumers import followup, mailbox, refresher
from grip_consumers.mailbox.memory import MemoryMailbox


class Scene:
    """A mailbox, and what was refreshed."""

    def __init__(self) -> None:
        self.box = MemoryMailbox()
        self.refreshed: list[list[str]] = []
        #: Raised in place of the next looks and refreshes.
        self.failures: list[Exception] = []
        #: Done right after the next refresh.
        self.then: list[Callable[[], object]] = []
        self.looks = 0
        self.asked = 0

    def append(self, log: str) -> int:
        return self.box.append(log, b"x", expiry=60.0)

    def look(self, *args: Any) -> Any:
        self.looks += 1
        return self.box.look(*args)

    def refresh(self, channels: Any) -> None:
        self.asked += 1
        if self.failures:
            raise self.failures.pop(0)
        self.refreshed.append(list(channels))
        while self.then:
            self.then.pop()()


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, "it did not come to that within 10 seconds"
        time.sleep(0.002)


def watch(channel: str, ends: dict[str, int], *delays: float) -> None:
    followup.watch(channel, ends, delays or (0.01, 0.04, 0.08))


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "grip-followup"]


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    made = Scene()
    monkeypatch.setattr(mailbox, "get", lambda: made)
    monkeypatch.setattr(refresher, "refresh", made.refresh)
    monkeypatch.setattr(followup, "_watchers", {})
    yield made
    until(lambda: not threads())


def test_a_log_that_has_grown_is_refreshed_once(scene: Scene) -> None:
    scene.append("log")
    watch("channel", {"log": 0})
    until(lambda: not threads())
    assert scene.refreshed == [["channel"]]
    assert scene.looks == 3


def test_a_log_that_has_not_grown_is_not_refreshed(scene: Scene) -> None:
    end = scene.append("log")
    watch("channel", {"log": end, "empty": 0})
    until(lambda: not threads())
    assert scene.refreshed == []


def test_each_growth_is_refreshed_by_itself(scene: Scene) -> None:
    scene.append("log")
    scene.then.append(lambda: scene.append("other"))
    watch("channel", {"log": 0, "other": 0})
    until(lambda: not threads())
    assert scene.refreshed == [["channel"]] * 2


def test_those_that_are_due_at_once_share_a_look_and_a_refresh(scene: Scene) -> None:
    scene.append("a")
    scene.append("b")
    # Held, so that the thread comes to them when all are due.
    with followup._watcher()._changed:
        for name in "abc":
            watch(f"channel-{name}", {name: 0}, 0.001)
        due = time.monotonic() + 0.002
        until(lambda: time.monotonic() > due)
    until(lambda: not threads())
    assert scene.refreshed == [["channel-a", "channel-b"]]
    assert scene.looks == 1


def test_watching_returns_at_once_and_changes_nothing_that_it_was_given(scene: Scene) -> None:
    ends = {"log": 0}
    scene.append("log")
    began = time.monotonic()
    watch("channel", ends)
    assert time.monotonic() - began < 1
    until(lambda: not threads())
    assert ends == {"log": 0}


def test_the_thread_ends_when_there_is_nothing_left_and_another_begins(scene: Scene) -> None:
    for number in range(3):
        scene.append("log")
        watch("channel", {"log": 0})
        assert len(threads()) == 1
        until(lambda: not threads())
        assert len(scene.refreshed) == number + 1


def test_one_thread_looks_after_all(scene: Scene) -> None:
    for number in range(50):
        watch(f"channel-{number}", {"log": 0})
        assert len(threads()) == 1
    scene.append("log")
    until(lambda: not threads())
    assert sorted({channel for channels in scene.refreshed for channel in channels}) == sorted(
        f"channel-{number}" for number in range(50)
    )


def test_one_that_is_due_sooner_is_not_kept_waiting(scene: Scene) -> None:
    watch("late", {"log": 0}, 30.0)
    scene.append("log")
    watcher = followup._watchers[os.getpid()]
    until(lambda: watcher._changed._waiters)
    watch("soon", {"log": 0}, 0.01)
    until(lambda: scene.refreshed)
    assert scene.refreshed == [["soon"]]
    # Nobody waits for the other one.
    with watcher._changed:
        watcher._heap.clear()
        watcher._changed.notify()


def test_a_mailbox_that_is_away_is_logged_and_looked_at_again(scene: Scene, caplog: Any) -> None:
    box, broken = scene.box, [1]

    class Broken:
        def look(self, *args: Any) -> Any:
            if broken:
                broken.pop()
                raise OSError("gone")
            return box.look(*args)

    scene.box = Broken()  # type: ignore[assignment]
    box.append("log", b"x", expiry=60.0)
    watch("channel", {"log": 0})
    until(lambda: not threads())
    assert scene.refreshed == [["channel"]]
    assert [(record.levelno, "gone" in record.exc_text) for record in caplog.records] == [(logging.ERROR, True)]


def test_a_refresh_that_fails_is_logged_and_tried_again(scene: Scene, caplog: Any) -> None:
    scene.failures.append(OSError("gone"))
    scene.append("log")
    watch("channel", {"log": 0})
    until(lambda: not threads())
    assert scene.refreshed == [["channel"]]
    assert scene.asked == 2
    assert len(caplog.records) == 1


def test_what_always_fails_comes_to_an_end(scene: Scene, caplog: Any) -> None:
    scene.failures += [OSError("gone")] * 10
    scene.append("log")
    watch("channel", {"log": 0})
    until(lambda: not threads())
    assert scene.refreshed == []


def test_unless_told_otherwise_it_looks_several_times_within_a_few_seconds(scene: Scene) -> None:
    delays = followup._Watch("channel", {}, followup.DELAYS).delays
    assert list(delays) == sorted(delays)
    assert (delays[0] < 0.1, 1 < delays[-1] < 10) == (True, True)
    scene.append("log")
    followup.watch("channel", {"log": 0})
    until(lambda: scene.refreshed)
    watcher = followup._watchers[os.getpid()]
    with watcher._changed:
        watcher._heap.clear()
        watcher._changed.notify()


def test_a_refresh_that_failed_for_several_is_tried_again_for_all(scene: Scene, caplog: Any) -> None:
    scene.failures.append(OSError("gone"))
    scene.append("a")
    watch("channel-a", {"a": 0, "b": 0})
    scene.append("b")
    until(lambda: not threads())
    assert scene.refreshed[0] == ["channel-a"]


def test_the_thread_keeps_no_process_alive(scene: Scene) -> None:
    watch("channel", {"log": 0})
    assert all(thread.daemon for thread in threads())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_process_looks_after_its_own(scene: Scene) -> None:
    watch("parent's", {"log": 0}, 0.05, 0.1)
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        try:
            scene.append("log")
            watch("child's", {"log": 0})
            until(lambda: scene.refreshed)
            os.write(writer, b",".join(channel.encode() for channel in scene.refreshed[0]))
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as file:
        assert file.read() == b"child's"
    os.waitpid(child, 0)
    until(lambda: not threads())
    assert scene.refreshed == []


def test_a_thread_that_cannot_start_is_tried_again_by_the_next_watch(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        watch("first", {"log": 0})
    assert "Nobody looks after" in caplog.text
    scene.append("log")
    watch("second", {"log": 0})
    until(lambda: scene.refreshed == [["second"]])
