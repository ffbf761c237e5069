from __future__ import annotations

import asyncio
from typing import Any
from uuid import uuid4

import pytest
from django.test import override_settings

from grip_consumers import groups
from grip_consumers.exceptions import InvalidChannelLayerError, PublishError
from grip_consumers.layers import DualChannelLayer, InMemoryChannelLayer, get_channel_layer
from grip_consumers.standin import Abandoned, Attempt, current_attempt
from tests import services

CONNECTION = "specific.grip!abc"
IN_MEMORY = "grip_consumers.layers.InMemoryChannelLayer"


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What is asked of the groups behind proxies."""
    found: list[tuple[Any, ...]] = []

    def record(name: str) -> Any:
        async def called(*arguments: Any, **keywords: Any) -> None:
            found.append((name, *arguments))

        return called

    for name in ("add", "discard"):
        monkeypatch.setattr(groups, name, lambda *arguments, name=name: found.append((name, *arguments)))
    for name in ("aadd", "adiscard", "send", "send_to_channel"):
        monkeypatch.setattr(groups, name, record(name))
    return found


@pytest.fixture
def layer() -> Any:
    return DualChannelLayer(old={"BACKEND": IN_MEMORY, "CONFIG": {"capacity": 7}})


async def test_a_connection_is_served_behind_its_proxy_and_any_other_channel_by_the_old_layer(
    layer: Any, calls: list[Any]
) -> None:
    own = await layer.new_channel()
    for channel in (CONNECTION, own):
        await layer.group_add("g", channel)
    await layer.group_send("g", {"type": "x"})
    assert await layer.receive(own) == {"type": "x"}
    for channel in (CONNECTION, own, "queue"):
        await layer.send(channel, {"type": "y"})
    assert [await layer.receive(own), await layer.receive("queue")] == [{"type": "y"}] * 2
    for channel in (CONNECTION, own):
        await layer.group_discard("g", channel)
    assert (layer.old.groups, layer.old.channels, layer.old.capacity) == ({}, {}, 7)
    assert calls == [
        ("aadd", "g", CONNECTION),
        ("send", "g", {"type": "x"}),
        ("send_to_channel", CONNECTION, {"type": "y"}),
        ("adiscard", "g", CONNECTION),
    ]


def test_synchronous_consumers_join_at_the_layer_that_their_channel_is_of(layer: Any, calls: list[Any]) -> None:
    for channel in (CONNECTION, "one"):
        layer.group_add_now("g", channel)
    assert list(layer.old.groups["g"]) == ["one"]
    for channel in (CONNECTION, "one"):
        layer.group_discard_now("g", channel)
    assert layer.old.groups == {}
    assert calls == [("add", "g", CONNECTION), ("discard", "g", CONNECTION)]


async def test_a_layer_that_fails_does_not_keep_the_event_from_the_other(
    layer: Any, calls: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*arguments: Any, **keywords: Any) -> None:
        raise PublishError({"proxy": "away"})

    monkeypatch.setattr(layer.old, "group_send", fail)
    with pytest.raises(PublishError):
        await layer.group_send("g", {"type": "x"})
    assert calls == [("send", "g", {"type": "x"})]
    monkeypatch.undo()
    monkeypatch.setattr(groups, "send", fail)
    await layer.group_add("g", "one")
    with pytest.raises(PublishError):
        await layer.group_send("g", {"type": "x"})
    assert await layer.receive("one") == {"type": "x"}


async def test_where_both_layers_fail_the_proxies_error_is_raised_and_tells_of_the_other(
    layer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*arguments: Any, **keywords: Any) -> None:
        raise PublishError({"proxy": "away"})

    async def fail_too(*arguments: Any) -> None:
        raise OSError("redis is away")

    monkeypatch.setattr(groups, "send", fail)
    monkeypatch.setattr(layer.old, "group_send", fail_too)
    with pytest.raises(PublishError) as caught:
        await layer.group_send("g", {"type": "x"})
    assert isinstance(caught.value.__context__, OSError)


@pytest.mark.parametrize("slow", ["old", "new"])
async def test_a_layer_that_is_slow_does_not_keep_the_event_from_the_other(
    layer: Any, monkeypatch: pytest.MonkeyPatch, slow: str
) -> None:
    reached, go_on = asyncio.Event(), asyncio.Event()

    async def wait(*arguments: Any, **keywords: Any) -> None:
        await go_on.wait()

    async def reach(*arguments: Any, **keywords: Any) -> None:
        reached.set()

    monkeypatch.setattr(layer.old, "group_send", wait if slow == "old" else reach)
    monkeypatch.setattr(groups, "send", reach if slow == "old" else wait)
    sending = asyncio.ensure_future(layer.group_send("g", {"type": "x"}))
    await asyncio.wait_for(reached.wait(), 10)
    assert not sending.done()
    go_on.set()
    await asyncio.wait_for(sending, 10)


async def test_what_every_member_does_once_more_is_not_sent_before(layer: Any) -> None:
    await layer.group_add("g", "one")
    token = current_attempt.set(Attempt())
    try:
        with pytest.raises(Abandoned):
            await layer.group_send("g", {"type": "x"})
    finally:
        current_attempt.reset(token)
    assert layer.old.channels == {}


async def test_a_new_channel_begins_with_the_prefix_that_is_given(layer: Any) -> None:
    for arguments in ((), ("mine.",)):
        given, expected = await layer.new_channel(*arguments), await layer.old.new_channel(*arguments)
        assert given.partition("!")[0] == expected.partition("!")[0]


async def test_a_layer_that_takes_no_prefix_is_asked_for_none() -> None:
    layer = DualChannelLayer(old={"BACKEND": f"{__name__}.WithoutPrefix"})
    assert await layer.new_channel() == "specific.own!1"


class WithoutPrefix:
    async def new_channel(self) -> str:
        return "specific.own!1"


async def test_nothing_is_received_for_a_connection(layer: Any) -> None:
    with pytest.raises(NotImplementedError, match="no process owns a connection"):
        await layer.receive(CONNECTION)


DUAL = "grip_consumers.layers.DualChannelLayer"


def test_the_old_layer_may_be_an_alias_which_goes_on_by_itself() -> None:
    configs = {"default": {"BACKEND": DUAL, "CONFIG": {"old": "before"}}, "before": {"BACKEND": IN_MEMORY}}
    with override_settings(CHANNEL_LAYERS=configs):
        dual: Any = get_channel_layer()
        assert dual.old is get_channel_layer("before")
        assert isinstance(dual.old, InMemoryChannelLayer)


@pytest.mark.parametrize("alias", ["default", "unknown"])
def test_an_old_layer_that_is_none_is_named(alias: str) -> None:
    with override_settings(CHANNEL_LAYERS={"default": {"BACKEND": DUAL, "CONFIG": {"old": alias}}}):
        dual: Any = get_channel_layer()
        with pytest.raises(InvalidChannelLayerError, match=f"another alias in CHANNEL_LAYERS.*'{alias}'"):
            _ = dual.old


def test_a_chain_of_dual_layers_ends_at_the_last_one() -> None:
    configs = {
        "default": {"BACKEND": DUAL, "CONFIG": {"old": "between"}},
        "between": {"BACKEND": DUAL, "CONFIG": {"old": {"BACKEND": IN_MEMORY}}},
    }
    with override_settings(CHANNEL_LAYERS=configs):
        dual: Any = get_channel_layer()
        assert dual.old is get_channel_layer("between")
        assert isinstance(dual.old.old, InMemoryChannelLayer)


@pytest.mark.parametrize("back", ["default", {"BACKEND": DUAL, "CONFIG": {"old": "default"}}], ids=["alias", "dict"])
async def test_dual_layers_that_lead_in_a_circle_are_refused(back: Any) -> None:
    configs = {
        "default": {"BACKEND": DUAL, "CONFIG": {"old": "other"}},
        "other": {"BACKEND": DUAL, "CONFIG": {"old": back}},
        "outside": {"BACKEND": DUAL, "CONFIG": {"old": "default"}},
    }
    with override_settings(CHANNEL_LAYERS=configs):
        for alias in configs:
            with pytest.raises(InvalidChannelLayerError, match=r"leads in a circle\. Name the layer"):
                await get_channel_layer(alias).send("queue", {"type": "x"})


@pytest.mark.parametrize(("config", "text"), [({}, "expected a BACKEND"), ({"BACKEND": "no.Such"}, "Cannot import")])
def test_an_old_layer_that_cannot_be_made_says_why(config: dict[str, Any], text: str) -> None:
    with pytest.raises(InvalidChannelLayerError, match=text):
        _ = DualChannelLayer(old=config).old


async def test_a_redis_layer_of_channels_is_sent_to_beside_the_proxies(calls: list[Any]) -> None:
    config = {"hosts": [{"address": services.redis()}], "prefix": uuid4().hex}
    backend = "channels_redis.core.RedisChannelLayer"
    layer = DualChannelLayer(old={"BACKEND": backend, "CONFIG": config})
    try:
        own = await layer.new_channel()
        await layer.group_add("g", own)
        await layer.group_send("g", {"type": "x"})
        assert (await layer.receive(own))["type"] == "x"
        await layer.send("queue", {"type": "y"})
        assert (await layer.receive("queue"))["type"] == "y"
    finally:
        await layer.old.close_pools()
    assert calls == [("send", "g", {"type": "x"})]
