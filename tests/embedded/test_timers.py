from __future__ import annotations

import asyncio

from grip_consumers.embedded.effects import Delay, KeepAliveMessage, PingClient, Send
from grip_consumers.embedded.timers import Timers

from .rig import SILENCE, eventually


async def test_a_delayed_message_is_sent_when_its_time_has_come_and_once() -> None:
    sent: list[Send | PingClient] = []
    timers = Timers(sent.append)
    timers.delay(Delay(Send("a"), 0.01))
    assert sent == []
    await eventually(lambda: sent == [Send("a")])
    timers.flush()
    assert sent == [Send("a")]


async def test_a_second_delayed_message_pushes_the_first_out() -> None:
    sent: list[Send | PingClient] = []
    timers = Timers(sent.append)
    timers.delay(Delay(Send("a"), 60))
    timers.delay(Delay(Send("b"), 60))
    assert sent == [Send("a")]
    timers.flush()
    assert sent == [Send("a"), Send("b")]


async def test_keep_alives_repeat_until_they_are_switched_off() -> None:
    sent: list[Send | PingClient] = []
    timers = Timers(sent.append)
    timers.keep_alive(KeepAliveMessage(Send("k"), 0.01))
    await eventually(lambda: len(sent) >= 3)
    timers.keep_alive(KeepAliveMessage(None, 0))
    sent.clear()
    await asyncio.sleep(SILENCE)
    assert sent == []


async def test_anything_sent_puts_the_keep_alive_off() -> None:
    sent: list[Send | PingClient] = []
    timers = Timers(sent.append)
    timers.keep_alive(KeepAliveMessage(Send("k"), 0.1))
    loop = asyncio.get_running_loop()
    begin = loop.time()
    while loop.time() - begin < 0.3:
        timers.sent()
        await asyncio.sleep(0.01)
    assert sent == []
    await eventually(lambda: sent)
    timers.cancel()


async def test_a_keep_alive_at_an_interval_minds_nothing_that_is_sent() -> None:
    sent: list[Send | PingClient] = []
    timers = Timers(sent.append)
    timers.keep_alive(KeepAliveMessage(PingClient(b"k"), 0.1, interval=True))
    loop = asyncio.get_running_loop()
    begin = loop.time()
    while not sent and loop.time() - begin < 5:
        timers.sent()
        await asyncio.sleep(0.01)
    assert sent == [PingClient(b"k")]
    timers.cancel()


async def test_cancelled_timers_send_nothing() -> None:
    sent: list[Send | PingClient] = []
    timers = Timers(sent.append)
    timers.delay(Delay(Send("a"), 0.01))
    timers.keep_alive(KeepAliveMessage(Send("k"), 0.01))
    timers.cancel()
    await asyncio.sleep(SILENCE)
    assert sent == []
