from __future__ import annotations

from grip_consumers.embedded.effects import CloseClient, Refresh, Send
from grip_consumers.embedded.hub import ID_MEMORY, Hub, Item


class Listener:
    def __init__(self, user: str | None = None) -> None:
        self.user = user
        self.heard: list[Send | CloseClient | Refresh] = []

    def deliver(self, message: Send | CloseClient | Refresh) -> None:
        self.heard.append(message)


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
        def deliver(self, message: Send | CloseClient | Refresh) -> None:
            super().deliver(message)
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
