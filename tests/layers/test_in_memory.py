"""One script for both packages' layers, and equal transcripts."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import Any

import channels.layers
import pytest

import grip_consumers.layers

MODULES = [channels.layers, grip_consumers.layers]
Script = Callable[[Any, list[Any]], Awaitable[None]]


async def tried(awaitable: Awaitable[Any]) -> Any:
    try:
        return await awaitable
    except (Exception, AssertionError) as error:
        return type(error).__name__, str(error).partition("\n")[0]


async def sends_and_receives(layer: Any, seen: list[Any]) -> None:
    message = {"type": "a", "list": [1]}
    await layer.send("one", message)
    message["list"].append(2)
    await layer.send("one", {"type": "b"})
    seen += [sorted(layer.channels), await layer.receive("one"), await layer.receive("one"), layer.channels]


async def a_waiting_reader(layer: Any, seen: list[Any]) -> None:
    readers = [asyncio.ensure_future(layer.receive("one")) for _ in range(2)]
    await asyncio.sleep(0)
    for name in ("a", "b"):
        await layer.send("one", {"type": name})
    seen += [sorted(message["type"] for message in await asyncio.gather(*readers)), layer.channels]
    reader = asyncio.ensure_future(layer.receive("one"))
    await asyncio.sleep(0)
    reader.cancel()
    seen += [await asyncio.gather(reader, return_exceptions=True) != [], layer.channels]


async def groups(layer: Any, seen: list[Any]) -> None:
    for channel in ("one", "two", "one"):
        await layer.group_add("g", channel)
    await layer.group_send("g", {"type": "x"})
    seen += [list(layer.groups["g"]), await layer.receive("one"), await layer.receive("two")]
    for channel in ("one", "one", "unknown", "two"):
        await layer.group_discard("g", channel)
    await layer.group_discard("unknown", "one")
    await layer.group_send("unknown", {})
    seen += [layer.groups, layer.channels]


async def full(layer: Any, seen: list[Any]) -> None:
    await layer.group_add("g", "one")
    for number in range(3):
        seen.append(await tried(layer.send("one", {"type": str(number)})))
    await layer.group_send("g", {"type": "lost"})
    seen += [(await layer.receive("one"))["type"] for _ in range(2)]
    seen.append(layer.channels)


async def expired(layer: Any, seen: list[Any]) -> None:
    layer.expiry = -1
    await layer.group_add("g", "one")
    await layer.group_add("g", "two")
    await layer.send("one", {"type": "old"})
    layer.expiry = 60
    await layer.group_send("g", {"type": "new"})
    seen += [sorted(layer.channels), list(layer.groups["g"])]
    layer.group_expiry = -10
    await layer.group_send("g", {"type": "newer"})
    seen += [layer.groups, await layer.receive("two"), layer.channels]


async def refused(layer: Any, seen: list[Any]) -> None:
    for name in ("a b", None, "a!b!c"):
        seen.append(await tried(layer.send(name, {})))
        seen.append(await tried(layer.receive(name)))
        seen.append(await tried(layer.group_add("g", name)))
        seen.append(await tried(layer.group_send(name, {})))
    for message in (None, [], "text"):
        seen.append(await tried(layer.send("one", message)))
        seen.append(await tried(layer.group_send("g", message)))
    reserved: Any = await tried(layer.send("one", {"__asgi_channel__": "x"}))
    seen.append(reserved[0])
    seen += [layer.channels, layer.groups]


async def forgets(layer: Any, seen: list[Any]) -> None:
    await layer.send("one", {"type": "x"})
    await layer.group_add("g", "one")
    await layer.flush()
    seen += [layer.channels, layer.groups, await layer.close(), layer.extensions]


async def names(layer: Any, seen: list[Any]) -> None:
    for arguments in ((), ("mine.",)):
        name = await layer.new_channel(*arguments)
        seen += [re.sub(r"![a-zA-Z]{12}$", "!", name), layer.require_valid_channel_name(name)]


@pytest.mark.parametrize(
    "script",
    [sends_and_receives, a_waiting_reader, groups, full, expired, refused, forgets, names],
    ids=lambda s: s.__name__,
)
async def test_the_layer_does_what_that_of_channels_does(script: Script) -> None:
    transcripts: list[list[Any]] = []
    for module in MODULES:
        seen: list[Any] = []
        await script(module.InMemoryChannelLayer(capacity=2), seen)
        transcripts.append(seen)
    assert transcripts[0]
    assert transcripts[1] == transcripts[0]


# On Channels it raises ValueError: the capacities are never compiled.
async def test_a_channel_may_have_a_capacity_of_its_own() -> None:
    layer = grip_consumers.layers.InMemoryChannelLayer(channel_capacity={"small.*": 1})
    await layer.send("small.one", {"type": "x"})
    with pytest.raises(grip_consumers.exceptions.ChannelFull, match=r"^small\.one$"):
        await layer.send("small.one", {"type": "x"})
    await layer.send("other", {"type": "x"})
    await layer.send("other", {"type": "x"})
