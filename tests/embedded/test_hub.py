from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from typing import Any

from grip_consumers.embedded.effects import Send
from grip_consumers.embedded.hub import ID_MEMORY, PATIENCE, Hub, Item, Published


class Listener:
    def __init__(self, user: str | None = None) -> None:
        self.user = user
        self.heard: list[Published | None] = []

    def receive(self, item: Item) -> None:
        self.heard.append(item.message)


class Later:
    """Stands in for the loop's timers."""

    def __init__(self) -> None:
        self.calls: list[tuple[float, Callable[[], None]]] = []

    def __call__(self, seconds: float, callback: Callable[[], None]) -> None:
        self.calls.append((seconds, callback))


def numbered(id: str, prev_id: str | None = None, **more: Any) -> Item:
    return Item("a", Send(id), id=id, prev_id=prev_id, **more)


def joined() -> tuple[Hub, Listener, Later]:
    later = Later()
    hub, listener = Hub(later=later), Listener()
    hub.subscribe("a", listener, frozenset())
    return hub, listener, later


def test_an_item_reaches_the_subscribers_of_its_channel_only() -> None:
    hub, here, there = Hub(), Listener(), Listener()
    hub.subscribe("here", here, frozenset())
    hub.subscribe("there", there, frozenset())
    assert hub.publish(Item("here", Send("x"))) == 1
    assert (here.heard, there.heard) == ([Send("x")], [])


def test_a_removed_subscriber_hears_nothing_and_leaves_nothing_behind() -> None:
    hub, listener = Hub(), Listener()
    channels = {"a", "b"}
    for channel in channels:
        hub.subscribe(channel, listener, frozenset())
    hub.remove(listener, channels)
    assert hub.publish(Item("a", Send("x"))) == 0
    assert hub._channels == {}


def test_a_subscriber_may_leave_while_it_is_served() -> None:
    hub = Hub()

    class Leaver(Listener):
        def receive(self, item: Item) -> None:
            super().receive(item)
            hub.unsubscribe("a", self)

    leavers = [Leaver(), Leaver()]
    for leaver in leavers:
        hub.subscribe("a", leaver, frozenset())
    assert hub.publish(Item("a", Send("x"))) == 2
    assert hub.subscribers("a") == 0


def test_filters_need_a_user_to_compare() -> None:
    hub, nobody = Hub(), Listener(None)
    hub.subscribe("a", nobody, frozenset({"skip-self", "skip-users"}))
    assert hub.publish(Item("a", Send("x"), meta={"sender": "", "skip_users": ""})) == 1


def test_a_subscriber_without_filters_hears_what_its_user_is_excluded_from() -> None:
    hub, user = Hub(), Listener("u")
    hub.subscribe("a", user, frozenset())
    assert hub.publish(Item("a", Send("x"), meta={"sender": "u", "skip_users": "u"})) == 1


def test_an_id_is_remembered_for_a_minute() -> None:
    now = [0.0]
    hub, listener = Hub(lambda: now[0]), Listener()
    hub.subscribe("a", listener, frozenset())
    counts = []
    for seconds in (0.0, ID_MEMORY - 1, ID_MEMORY + 1, ID_MEMORY + 2):
        now[0] = seconds
        counts.append(hub.publish(Item("a", Send("x"), id="1")))
    assert counts == [1, 0, 1, 0]


def test_forgotten_ids_take_no_memory() -> None:
    now = [0.0]
    hub = Hub(lambda: now[0])
    for number in range(100):
        hub.publish(Item("a", Send("x"), id=str(number)))
    now[0] = ID_MEMORY + 1
    hub.publish(Item("a", Send("x"), id="last"))
    assert len(hub._seen) == 1


def test_what_a_publish_costs_does_not_grow_with_the_ids_that_are_remembered() -> None:
    hub = Hub(lambda: 0.0)
    for number in range(5_000):
        hub.publish(Item("a", Send("x"), id=str(number)))
    item = Item("a", Send("x"), id="last")
    tracemalloc.start()
    try:
        hub.publish(item)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 10_000


def test_an_item_that_is_early_waits_for_those_before_it() -> None:
    hub, listener, _ = joined()
    for item in (numbered("1"), numbered("4", "3"), numbered("3", "2"), numbered("2", "1")):
        hub.publish(item)
    assert listener.heard == [Send("1"), Send("2"), Send("3"), Send("4")]
    assert hub._waiting == {}


def test_an_item_waits_five_seconds_at_most() -> None:
    hub, listener, later = joined()
    for item in (numbered("1"), numbered("4", "3"), numbered("5", "4")):
        hub.publish(item)
    assert [seconds for seconds, _ in later.calls] == [PATIENCE, PATIENCE]
    for _, give_up in later.calls:
        give_up()
    assert listener.heard == [Send("1"), Send("4"), Send("5")]
    assert (hub._waiting, hub.last_id("a")) == ({}, "5")


def test_an_item_that_asks_for_no_order_does_not_wait() -> None:
    hub, listener, _ = joined()
    hub.publish(numbered("1"))
    hub.publish(numbered("4", "3", ordered=False))
    assert listener.heard == [Send("1"), Send("4")]


def test_an_item_without_an_id_begins_the_order_anew() -> None:
    hub, listener, _ = joined()
    for item in (numbered("1"), Item("a", Send("x")), numbered("4", "3")):
        hub.publish(item)
    assert listener.heard == [Send("1"), Send("x"), Send("4")]


def test_the_last_id_is_known_while_there_are_subscribers() -> None:
    hub, listener, _ = joined()
    hub.publish(numbered("1"))
    known = hub.last_id("a")
    hub.unsubscribe("a", listener)
    hub.publish(numbered("2"))
    assert (known, hub.last_id("a"), hub._last) == ("1", None, {})
