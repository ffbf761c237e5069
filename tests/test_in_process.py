"""While a place is open, this process publishes there and nowhere else, and keeps its mail in memory."""

from __future__ import annotations

import gc
import json
from collections.abc import Iterator
from typing import Any

import pytest

from grip_consumers import conf, followup, in_process, mailbox, publisher, refresher
from grip_consumers.conf import Proxy
from grip_consumers.in_process import Place
from grip_consumers.mailbox.memory import MemoryMailbox
from grip_consumers.protocol import Item, TextMessage
from grip_consumers.state.table import CannotEncode, dotted, import_dotted


@pytest.fixture
def bodies(settings: Any) -> Iterator[list[Any]]:
    """What a place was given."""
    settings.GRIP_PROXIES = [{"control_uri": "http://127.0.0.1:9"}]
    settings.GRIP_MAILBOX = "nowhere.to.be.Found"
    found: list[Any] = []
    place = Place(lambda body: found.append(json.loads(body))).open()
    yield found
    place.close()


def contents(bodies: list[Any]) -> list[str]:
    return [item["formats"]["ws-message"]["content"] for body in bodies for item in body["items"]]


async def test_all_ways_of_publishing_lead_to_the_open_places(bodies: list[Any]) -> None:
    others: list[bytes] = []
    other = Place(others.append).open()
    publisher.publish([Item("c", TextMessage("a"))])
    await publisher.apublish([Item("c", TextMessage("b"))])
    publisher.submit([Item("c", TextMessage("c"))])
    publisher.wait()
    other.close()
    publisher.publish([Item("c", TextMessage("d"))])
    assert contents(bodies) == ["a", "b", "c", "d"]
    assert len(others) == 3


def test_callbacks_are_asked_for_there(bodies: list[Any]) -> None:
    refresher.refresh(["c"])
    assert [item["formats"]["ws-message"] for body in bodies for item in body["items"]] == [{"action": "refresh"}]
    assert not refresher.is_late()


def test_each_time_has_a_mailbox_of_its_own_in_memory(settings: Any) -> None:
    settings.GRIP_MAILBOX = "nowhere.to.be.Found"
    seen = []
    for _ in range(2):
        place = Place().open()
        box = mailbox.get()
        assert isinstance(box, MemoryMailbox)
        seen.append(box.look(["log"])[0])
        box.append("log", b"x", expiry=60)
        assert box.look(["log"])[0] == mailbox.get().look(["log"])[0] != {"log": 0}
        place.close()
    assert seen == [{"log": 0}] * 2


def test_proxies_of_a_place_take_the_place_of_the_configured(bodies: list[Any]) -> None:
    own = Proxy("http://127.0.0.1:10")
    place = Place(proxies=[own]).open()
    assert publisher.targets() == [own, Proxy(in_process.CONTROL_URI, control_iss="grip_consumers.embedded")]
    place.close()
    place.close()
    assert [proxy.control_uri for proxy in publisher.targets()] == [in_process.CONTROL_URI]


def test_settings_that_a_test_overrides_hold_while_a_place_is_open(bodies: list[Any], settings: Any) -> None:
    settings.GRIP_SUBSCRIPTION_LIMIT = 7
    assert (conf.get().subscription_limit, conf.get().mailbox) == (7, "memory")


def test_classes_within_functions_have_names_while_a_place_is_open() -> None:
    class Local:
        pass

    place = Place().open()
    name = dotted(Local)
    assert import_dotted(name) is Local
    first = Local
    del Local
    assert dotted(first) == name
    del first
    gc.collect()
    with pytest.raises(AttributeError):
        import_dotted(name)
    place.close()

    class Another:
        pass

    with pytest.raises(CannotEncode, match="top level of a module"):
        dotted(Another)


def test_what_was_watched_is_forgotten_when_the_last_place_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    refreshed: list[str] = []
    monkeypatch.setattr(refresher, "refresh", refreshed.extend)
    place = Place().open()
    mailbox.get().append("log", b"x", expiry=60)
    followup.watch("c", {"log": 0}, (30.0,))
    watcher = followup._watcher()
    assert watcher._heap
    place.close()
    assert (watcher._heap, refreshed) == ([], [])
