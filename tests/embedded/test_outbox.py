from __future__ import annotations

import asyncio

import pytest

from grip_consumers.embedded.effects import End, Send
from grip_consumers.embedded.outbox import Outbox

from .rig import PATIENCE


async def test_effects_come_out_in_order() -> None:
    outbox = Outbox(10)
    await outbox.put(Send("a"))
    assert outbox.offer(Send("b"))
    assert [await outbox.get(), await outbox.get()] == [Send("a"), Send("b")]


async def test_an_offer_without_room_is_refused_and_a_put_waits_for_it() -> None:
    outbox = Outbox(1)
    assert outbox.offer(Send("a"))
    assert not outbox.offer(Send("lost"))
    putting = asyncio.ensure_future(outbox.put(Send("b")))
    await asyncio.sleep(0)
    assert not putting.done()
    assert await outbox.get() == Send("a")
    await asyncio.wait_for(putting, PATIENCE)
    assert await outbox.get() == Send("b")


async def test_a_get_waits_for_something() -> None:
    outbox = Outbox(1)
    getting = asyncio.ensure_future(outbox.get())
    await asyncio.sleep(0)
    outbox.offer(Send("a"))
    assert await asyncio.wait_for(getting, PATIENCE) == Send("a")


async def test_the_last_effect_needs_no_room_and_what_comes_later_is_discarded() -> None:
    outbox = Outbox(1)
    outbox.offer(Send("a"))
    waiting = asyncio.ensure_future(outbox.put(Send("waiting")))
    await asyncio.sleep(0)
    outbox.finish(End())
    await asyncio.wait_for(waiting, PATIENCE)
    assert outbox.offer(Send("late"))
    assert [await outbox.get(), await outbox.get()] == [Send("a"), End()]
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(outbox.get(), 0.01)
