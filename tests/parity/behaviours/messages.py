"""Frames: text, binary, empty, large, JSON, in order."""

from __future__ import annotations

import json

from ..client import Client
from . import behaviour


@behaviour(("text", "client", "hello"), ("text", "client", "grüße 🎈"), ("closed", "client", 1000, ""))
async def text_is_echoed(client: Client) -> None:
    """Text comes back as text, by the sync consumer."""
    async with client.socket("/ws/echo/") as peer:
        for text in ("hello", "grüße 🎈", "line\r\nline", "TEXT 5\r\nhello\r\n", "m:c:{}"):
            await peer.send(text)
            await peer.receive()
        await peer.close()


@behaviour(("text", "client", "hello"))
async def text_is_echoed_by_an_async_consumer(client: Client) -> None:
    """Text comes back as text, by the async consumer."""
    async with client.socket("/ws/async-echo/") as peer:
        for text in ("hello", "grüße 🎈", "c:x"):
            await peer.send(text)
            await peer.receive()
        await peer.close()


@behaviour(("bytes", "client", b"\x00\xff\r\n"), ("bytes", "client", bytes(range(256))))
async def binary_is_echoed(client: Client) -> None:
    """Bytes come back as bytes, whatever they are."""
    for path in ("/ws/echo/", "/ws/async-echo/"):
        async with client.socket(path) as peer:
            for data in (b"\x00\xff\r\n", bytes(range(256)), b"text"):
                await peer.send(data)
                await peer.receive()
            await peer.close()


@behaviour(("text", "client", ""), ("bytes", "client", b""))
async def empty_frames_are_messages(client: Client) -> None:
    """An empty text and an empty binary frame reach receive() and can be sent."""
    for path in ("/ws/echo/", "/ws/async-echo/"):
        async with client.socket(path) as peer:
            await peer.send("")
            await peer.receive()
            await peer.send(b"")
            await peer.receive()
            await peer.close()


@behaviour(("text", "client", "19"))
async def a_burst_is_answered_in_order(client: Client) -> None:
    """Many messages sent at once are answered one by one, in order."""
    async with client.socket("/ws/echo/") as peer:
        await peer.send(*(str(number) for number in range(20)))
        await peer.receive(20)
        await peer.send(*(bytes([number]) if number % 2 else str(number) for number in range(20)))
        await peer.receive(20)
        await peer.close()


@behaviour(("large", "client", 20_000, "y"), ("large", "client", 60_000, "é"), ("large", "client", 100_000, "x"))
async def large_messages_are_echoed(client: Client) -> None:
    """Messages far larger than a proxy's buffers come back whole and in order with small ones."""
    async with client.socket("/ws/echo/") as peer:
        for letter, length in (("y", 20_000), ("é", 60_000), ("x", 100_000)):
            await peer.send(letter * length, "small")
            await peer.receive_large()
            await peer.receive()
        await peer.close()


@behaviour(("pong", "client", b"are you there"))
async def a_ping_is_answered(client: Client) -> None:
    """The server side answers a ping with its payload, and the consumer does not notice."""
    async with client.socket("/ws/counter/") as peer:
        await peer.ping(b"are you there")
        await peer.send("one")
        await peer.receive()
        await peer.ping(b"")
        await peer.close()


@behaviour(("silence", "client", None))
async def the_default_consumer_accepts_and_ignores(client: Client) -> None:
    """A consumer that overrides nothing accepts, says nothing, and closes with its client."""
    async with client.socket("/ws/default/") as peer:
        await peer.send("anybody?", b"?")
        await client.silence(peer)
        await peer.close()


@behaviour(("text", "client", '{"got": {"a": [1, 2.5, null, true, "\\u00e9"]}}'))
async def json_is_decoded_and_encoded(client: Client) -> None:
    """JSON consumers, sync and async, receive and send values."""
    for path in ("/ws/json/", "/ws/async-json/"):
        async with client.socket(path) as peer:
            for content in ({"a": [1, 2.5, None, True, "é"]}, [], "text", 0):
                await peer.send_json(content)
                await peer.receive()
            await peer.close()


@behaviour(("text", "client", "a|b|c"))
async def a_json_consumer_may_bring_its_own_encoding(client: Client) -> None:
    """encode_json() and decode_json() can be overridden."""
    async with client.socket("/ws/custom-json/") as peer:
        await peer.send("a,b,c")
        await peer.receive()
        await peer.close()


@behaviour(("text", "client", "You must pass one of bytes_data or text_data"))
async def sending_nothing_is_an_error(client: Client) -> None:
    """send() with neither text nor bytes raises ValueError with Channels' words."""
    async with client.socket("/ws/send-nothing/") as peer:
        await peer.send("go")
        await peer.receive()
        await peer.close()


@behaviour(("text", "client", json.dumps({"type": "websocket.receive", "text": "hi"})))
async def the_handlers_underneath_can_be_overridden(client: Client) -> None:
    """websocket_connect(), websocket_receive() and websocket_disconnect() are called with ASGI's messages."""
    async with client.socket("/ws/overridden/") as peer:
        await peer.send("hi")
        await peer.receive()
        await peer.close(4000)
        await client.journal(until="websocket.disconnect")
